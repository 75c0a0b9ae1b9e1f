//! A tracker in a process of its own, which tells what became of each message, or does not: the difference is what telling
//! costs. No setting of the service leaves it out, so this program is started once more as that tracker.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use rockets::internals::{Broker, ConnectionSettings, GroupCommit, Signs, TrackSettings, reading_permits, track};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::process::Process;
use crate::site::Site;

pub(super) const ARGUMENT: &str = "track";

/// Starts it at a broker.
pub async fn start(site: &Site, outcomes: bool) -> anyhow::Result<Process> {
    super::start(ARGUMENT, &[site.url(), outcomes.to_string()]).await
}

/// Tracks until it is killed. It listens only to show that it runs.
pub(super) async fn run(addr: SocketAddr, url: &str, outcomes: &str) -> anyhow::Result<()> {
    let outcomes = outcomes.parse().context("true or false")?;
    let broker = Broker::connect(&ConnectionSettings::at(url), "track").await?;
    let _listener = TcpListener::bind(addr).await?;
    let settings =
        TrackSettings { partitions: 16, ack_wait: Duration::from_secs(5), group_commit: GroupCommit::Auto, outcomes };
    let (signs, leads) = (Signs::default(), watch::Sender::default());
    track(broker, settings, reading_permits(), signs, leads, CancellationToken::new()).await
}
