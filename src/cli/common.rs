//! What the tools of an operator have in common: a connection, a view of all rockets, how they say something, and how they
//! end.

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Settings, failed, is_closed, loaded, wrong_usage};
use crate::admin::{AdminError, Operations};
use crate::broker::inspect::overview;
use crate::broker::watch::bucket_state;
use crate::broker::{Broker, ConnectionSettings, Origin};
use crate::config::Config;
use crate::domain::Channel;
use crate::logging;
use crate::query::feed::{self, Freshness, LiveView};
use crate::text::printable;

/// How long all rockets may take to be loaded: some millions of them.
const LOAD_MAX: Duration = Duration::from_secs(120);
/// Pause between two looks whether the rockets are loaded.
const POLL: Duration = Duration::from_millis(10);

/// Runs a tool with what an operator does its work by, and returns how the process ends.
pub(super) async fn run(
    settings: Settings,
    tool: impl AsyncFnOnce(Operations) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    at_broker(settings, async |broker, partitions| {
        let operations = Operations::new(broker, partitions).await?;
        let ended = tool(operations.clone()).await;
        operations.drain().await;
        ended
    })
    .await
}

/// Runs a tool at the broker, whose stream has so many partitions, and returns how the process ends.
pub(super) async fn at_broker(
    settings: Settings,
    tool: impl AsyncFnOnce(Broker, u16) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    configured(settings, async |_, connection| {
        let broker = Broker::connect(&connection, "tool").await?;
        let partitions = overview(&broker).await?.partitions;
        tool(broker, partitions).await
    })
    .await
}

/// Runs a tool that knows where the broker is, and returns how the process ends.
pub(super) async fn configured(
    settings: Settings,
    tool: impl AsyncFnOnce(Config, ConnectionSettings) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    let config = match loaded(settings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    logging::start_of_tool(config.log.format);
    let Some(connection) = config.broker_of_a_tool() else {
        return wrong_usage("broker.port: is 0, so that it is not known where the broker is; name it with nats.url");
    };
    tool(config, connection).await.unwrap_or_else(|error| ended(&error))
}

/// Runs a tool that looks at all rockets, in a view that is kept as the bucket is: after a broken connection it goes on where
/// it was.
pub(super) async fn following<T>(
    broker: &Broker,
    tool: impl AsyncFnOnce(&LiveView) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // A bucket that is not there is said, and not waited for.
    bucket_state(broker).await?;
    let live = Arc::new(LiveView::default());
    let feeding = feed::run(broker.clone(), live.clone(), CancellationToken::new());
    let loaded = async {
        while live.freshness() == Freshness::Loading {
            sleep(POLL).await;
        }
    };
    let looking = async {
        timeout(LOAD_MAX, loaded).await.context("the broker does not hand the rockets out in time")?;
        tool(&live).await
    };
    tokio::select! {
        looked = looking => looked,
        () = feeding => bail!("rockets are not watched any more"),
    }
}

/// How a tool ends that could not do what it was asked.
pub(super) fn ended(error: &anyhow::Error) -> ExitCode {
    if is_closed(error) {
        // Whoever reads the output (`head`) has seen enough.
        return ExitCode::SUCCESS;
    }
    if let Some(AdminError::BadRequest(problem)) = error.downcast_ref() {
        return wrong_usage(&printable(problem));
    }
    failed(&anyhow::Error::msg(printable(&format!("{error:#}"))))
}

/// What brings what a tool does: an id as a request has one, so that the log tells what was done together, and no key.
pub(super) fn by_hand() -> Origin {
    uuid::Uuid::new_v4().to_string().into()
}

/// Reads a channel on the command line.
pub(super) fn channel(text: &str) -> Result<Channel, &'static str> {
    Channel::parse(text).ok_or(Channel::MUST_BE)
}

/// Writes a line for the user.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(stdout(), "{text}")?)
}

/// Writes a line for a program.
pub(super) fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(value)?)
}

/// A cell of a table; `-` for what is not known.
pub(super) fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
