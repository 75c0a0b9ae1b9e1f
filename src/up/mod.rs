//! `rockets up`: every role in one process, and a broker of its own where none is configured.
//!
//! At its own broker it makes and changes what it needs; at one of others it only makes what is missing. While everything
//! runs, it makes again what is missing at either ([`mod@repair`]).
//! [`store_lock`] sees to it that one program at a time works on a store; [`server`] starts the broker there, watches it,
//! and ends it last.

pub mod repair;
pub mod server;
pub mod store_lock;

use tokio_util::sync::CancellationToken;

use crate::broker::objects::provision::{self, Means, Step};
use crate::broker::{Broker, ConnectionSettings, Monitor};
use crate::config::Config;
use crate::http::Entrance;
use crate::roles::{self, Role};
use repair::{is_bucket_to_be_filled, repair};
use server::OwnBroker;

/// Runs these roles until the shutdown, at the configured broker or at one of our own.
pub async fn run(
    config: &Config,
    roles: &[Role],
    entrance: Entrance,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    if let Some(connection) = config.named_broker() {
        return provision_and_run(config, roles, &connection, None, entrance, shutdown).await;
    }
    let Some(own) = shutdown.run_until_cancelled(OwnBroker::start(&config.broker, config.stream.bounds.sum())).await
    else {
        return Ok(());
    };
    let own = own?;
    let connection = ConnectionSettings::at(own.url());
    let name = Some(own.name());
    let result = provision_and_run(config, roles, &connection, name, entrance, shutdown).await;
    own.stop().await;
    result
}

async fn provision_and_run(
    config: &Config,
    roles: &[Role],
    connection: &ConnectionSettings,
    expected_name: Option<&str>,
    entrance: Entrance,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let provisioned = provision(config, connection, expected_name);
    let (broker, is_to_be_filled) = match shutdown.run_until_cancelled(provisioned).await {
        None => return Ok(()),
        Some(provisioned) => provisioned?,
    };
    let topology = config.topology();
    let (monitor, objects) = Monitor::new(topology);
    let monitored = (monitor, objects.clone());
    tokio::select! {
        ended = roles::run(config, roles, connection, monitored, entrance, shutdown.clone()) => ended,
        // What the roles need at their end is there or not: nothing is made any more.
        Some(never) = shutdown.run_until_cancelled(repair(&broker, &topology, objects, is_to_be_filled)) => never,
    }
}

/// Sets up the broker, and returns whether the bucket is new at a log that is not.
async fn provision(
    config: &Config,
    connection: &ConnectionSettings,
    expected_name: Option<&str>,
) -> anyhow::Result<(Broker, bool)> {
    let broker = Broker::connect(connection, "up").await?;
    if let Some(name) = expected_name {
        anyhow::ensure!(
            broker.server_name() == name,
            "broker.port: another program's broker answers at {}; choose another port (ROCKETS_BROKER__PORT), or use \
             that broker (ROCKETS_NATS__URL={})",
            connection.shown(),
            connection.shown()
        );
    }
    // What others have set up is theirs.
    let is_own = expected_name.is_some();
    let means = if is_own { Means::Change { lower_replicas: false, set_bounds: true } } else { Means::MakeMissing };
    let steps = provision::provision(&broker, &config.topology(), means).await?;
    steps.iter().for_each(Step::log);
    provision::refuse_unfit(&steps)?;
    Ok((broker, is_bucket_to_be_filled(&steps)))
}
