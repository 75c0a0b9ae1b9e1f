//! What the tools of an operator have in common: a connection, questions before something is done for good, tables in
//! which nothing from outside moves the cursor, and how they end.

use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Write as _, stderr, stdin, stdout};
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::{Settings, failed, loaded, tell, wrong_usage};
use crate::admin::{AdminError, Operations};
use crate::broker::inspect::overview;
use crate::broker::{Broker, ConnectionSettings};
use crate::config::Config;
use crate::domain::Channel;
use crate::logging;
use crate::text::printable;

/// Says that the user was to be asked and cannot be.
const CANNOT_ASK: &str = "there is no terminal to ask whether it is meant so; pass --yes";

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

/// How a tool ends that could not do what it was asked.
pub(super) fn ended(error: &anyhow::Error) -> ExitCode {
    let is_closed = |error: &std::io::Error| error.kind() == ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(is_closed) {
        // Whoever reads the output (`head`) has seen enough.
        return ExitCode::SUCCESS;
    }
    if let Some(AdminError::BadRequest(problem)) = error.downcast_ref() {
        return wrong_usage(&printable(problem));
    }
    failed(&anyhow::Error::msg(printable(&format!("{error:#}"))))
}

/// Reads a channel on the command line.
pub(super) fn channel(text: &str) -> Result<Channel, &'static str> {
    Channel::parse(text).ok_or(Channel::MUST_BE)
}

/// Refuses at once what will have to be asked where nobody can be asked.
pub(super) fn can_ask(yes: bool) -> Result<(), ExitCode> {
    if yes || has_terminal() {
        return Ok(());
    }
    Err(wrong_usage(CANNOT_ASK))
}

/// Whether there is somebody to ask.
pub(super) fn has_terminal() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Asks on the terminal whether this is to be done; anything but a yes is a no.
pub(super) fn is_confirmed(yes: bool, what: &str) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    write!(stderr(), "{} Go on? [y/N] ", printable(what))?;
    stderr().flush()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    let confirmed = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if !confirmed {
        tell("nothing was done");
    }
    Ok(confirmed)
}

/// Writes a line for the user.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(stdout(), "{text}")?)
}

/// Writes a line for a program.
pub(super) fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(value)?)
}

/// A table with these columns, as wide as the terminal.
pub(super) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    if !columns.is_empty() {
        table.set_header(columns);
    }
    table
}

/// A cell of a table; `-` for what is not known.
pub(super) fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| printable(&value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_obeyed() {
        assert_eq!(cell(Some("a\u{1b}[2J\u{202e}\n")), "a\\u{1b}[2J\\u{202e}\\u{a}");
        assert_eq!(cell(None::<u64>), "-");
    }
}
