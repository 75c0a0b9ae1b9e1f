//! A tracker in a process of its own, which tells what became of each message, or does not: the difference is what telling
//! costs. No setting of the service leaves it out, so this program is started once more as that tracker.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use rockets::internals::{Broker, ConnectionSettings, GroupCommit, Signs, TrackSettings, reading_permits, track};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::process::{self, Process};
use crate::site::Site;

/// Makes this program that tracker; a port, the broker's address, and whether it tells follow.
pub const ARGUMENT: &str = "track";

/// Starts it at a broker.
pub async fn start(site: &Site, outcomes: bool) -> anyhow::Result<Process> {
    let port = process::free_port()?;
    let arguments = [ARGUMENT.to_owned(), port.to_string(), site.url(), outcomes.to_string()];
    Process::start(&std::env::current_exe()?, &arguments, port).await
}

/// Tracks until it is killed. It listens only to show that it runs.
pub async fn run(port: &str, url: &str, outcomes: &str) -> anyhow::Result<()> {
    let (port, outcomes) = (port.parse::<u16>().context("the port")?, outcomes.parse().context("true or false")?);
    let broker = Broker::connect(&ConnectionSettings::at(url), "track").await?;
    let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let settings =
        TrackSettings { partitions: 16, ack_wait: Duration::from_secs(5), group_commit: GroupCommit::Auto, outcomes };
    let (signs, leads) = (Signs::default(), watch::Sender::default());
    track(broker, settings, reading_permits(), signs, leads, CancellationToken::new()).await
}
