//! `rockets backup` and `rockets restore`: what is said to them, and what they print.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::common::{configured, ended, say};
use super::consent::{has_terminal, is_confirmed};
use super::{Settings, loaded, shutdown_signal};
use crate::backup::manifest::Manifest;
use crate::backup::restore::{Existing, Restoring, check, existing, remove_left_behind};
use crate::backup::save;
use crate::broker::topology::Topology;
use crate::broker::{Broker, ConnectionSettings};
use crate::config::Config;
use crate::logging;
use crate::text::printable;
use crate::up::server::OwnBroker;

/// How a backup is asked for.
#[derive(Debug, Args)]
#[command(
    long_about = "Save everything that the service has stored into a new folder.\n\nSafe while everything runs. The folder \
                  has a file for each stream and, written last, manifest.json with counts and checksums; without it, it \
                  is no backup."
)]
pub(super) struct BackupOptions {
    /// The folder, which must not be there yet
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

/// How a restore is asked for.
#[derive(Debug, Args)]
#[command(
    long_about = "Bring a backup back, at a broker that has none of its streams.\n\nEverything in the folder is checked \
                  first. Exit code 0 only when the broker has exactly what was saved; otherwise nothing of it is left \
                  there. Without a broker at hand, the store of `rockets up` is filled. Then `rockets init` makes the rest, and the roles can be started."
)]
pub(super) struct RestoreOptions {
    /// The folder that `rockets backup` made
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Do not ask whether what an unfinished restore left behind may be removed
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Makes a backup.
pub(super) async fn backup(options: BackupOptions) -> ExitCode {
    let BackupOptions { folder, settings } = options;
    configured(settings, async |config, connection| {
        let shutdown = shutdown_signal()?;
        let broker = Broker::connect(&connection, "tool").await?;
        let streams = config.topology().stream_names();
        let mut said = Ok(());
        let saved = save::save(&broker, &streams, &folder, |line| said_unless_closed(&mut said, line));
        match shutdown.run_until_cancelled(saved).await {
            Some(saved) => saved?,
            None => {
                save::remove(&folder).await;
                bail!("stopped; nothing was saved");
            }
        }
        said?;
        say(&printable(&format!("the backup is in {}", folder.display())))?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Brings one back.
pub(super) async fn restore(options: RestoreOptions) -> ExitCode {
    let RestoreOptions { folder, yes, settings } = options;
    let config = match loaded(settings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    logging::start_of_tool(config.log.format);
    restore_from(&folder, yes, &config).await.unwrap_or_else(|error| ended(&error))
}

async fn restore_from(folder: &Path, yes: bool, config: &Config) -> anyhow::Result<ExitCode> {
    let shutdown = shutdown_signal()?;
    let topology = config.topology();
    let streams = topology.stream_names();
    let checked = check(folder, &streams);
    let manifest = shutdown.run_until_cancelled(checked).await.context("stopped; nothing was done")??;
    let (own, connection) = match config.broker_of_a_tool() {
        Some(connection) if !config.nats.urls.is_empty() || answers(config.broker.port).await => (None, connection),
        // The store of `rockets up`, which makes the streams as soon as it runs.
        _ => {
            let own = OwnBroker::start(&config.broker, config.stream.bounds.sum()).await?;
            let connection = ConnectionSettings::at(own.url());
            (Some(own), connection)
        }
    };
    let restored = restore_at(&connection, &topology, (&manifest, folder), yes, &shutdown).await;
    if let Some(own) = own {
        own.stop().await;
    }
    restored
}

/// Whether a broker answers where `rockets up` has its own.
async fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
}

async fn restore_at(
    connection: &ConnectionSettings,
    topology: &Topology,
    (manifest, folder): (&Manifest, &Path),
    yes: bool,
    shutdown: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let broker = Broker::connect(connection, "tool").await?;
    if !make_room(&broker, &topology.stream_names(), yes).await? {
        return Ok(ExitCode::FAILURE);
    }
    let restoring = Restoring::new(&broker, folder, manifest, topology.replicas)?;
    fill(restoring, shutdown).await?;
    let (folder, made_at) = (folder.display(), &manifest.made_at);
    say(&printable(&format!(
        "{folder}, saved at {made_at}, is back; `rockets init` or `rockets up` makes what else is needed"
    )))?;
    Ok(ExitCode::SUCCESS)
}

/// Sees to it that none of the streams is there, and returns whether that is so. What an unfinished restore left behind is
/// removed, if that is wanted.
async fn make_room(broker: &Broker, streams: &[String], yes: bool) -> anyhow::Result<bool> {
    let left = match existing(broker, streams).await? {
        Existing::Free => return Ok(true),
        Existing::Taken(taken) => bail!(
            "the broker has {} already, and nothing is written over it; restore at a broker with an empty store, or, if \
             what is there is not needed, stop all roles and remove it (`nats stream rm NAME`)",
            taken.join(", ")
        ),
        Existing::LeftBehind(left) => left,
    };
    let what = format!("A restore that was not finished left parts behind ({}).", left.join(", "));
    ensure!(yes || has_terminal(), "{what} Run it again with --yes to remove them and begin again");
    let confirmed = yes || is_confirmed(&format!("{what} They are removed, and it begins again."))?;
    if confirmed {
        remove_left_behind(broker, &left).await?;
    }
    Ok(confirmed)
}

async fn fill(mut restoring: Restoring<'_>, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut said = Ok(());
    let run = restoring.run(|line| said_unless_closed(&mut said, line));
    let ended = shutdown.run_until_cancelled(run).await.unwrap_or_else(|| Err(anyhow::Error::msg("stopped")));
    let Err(error) = ended else { return said };
    match restoring.undo().await {
        Ok(()) => Err(error.context("not restored, and nothing of it was left at the broker")),
        Err(left) => Err(error.context(format!("not restored; {left:#}"))),
    }
}

fn said_unless_closed(said: &mut anyhow::Result<()>, line: &str) {
    if said.is_ok() {
        *said = say(&printable(line));
    }
}
