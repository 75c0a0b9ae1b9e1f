//! S1: `rockets up` beside the same contract over PostgreSQL, both synced: single messages and batches that are answered,
//! messages that have come to state, and rockets that are read.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream::Context;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::client::{Client, Connections};
use crate::figures::{Figures, Goal, Measured, Unit};
use crate::load::{Load, get_for};
use crate::partners::postgres::{self, Database};
use crate::process::Process;
use crate::progress;
use crate::site::{Sync, Whole};

const LASTING: Duration = Duration::from_secs(3);
const OF: &str = "over PostgreSQL";
/// As long as may be waited until everything has come to state.
const THROUGH_MAX: Duration = Duration::from_secs(30);
/// One that many senders of batches have.
const BATCHES: Load = Load::batches(8, 500);

/// One of the two, with how it is asked how many messages it has applied, and how many not.
enum Service {
    Ours { whole: Whole, context: Context },
    Postgres { server: Process, database: Database },
}

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    // Where there is none it is found out before anything else.
    let database = Database::start().await?;
    let partner = Service::Postgres { server: postgres::start(&database).await?, database };
    let whole = Whole::start(Sync::Always).await?;
    let ours = Service::Ours { context: whole.jetstream().await?, whole };
    let lasting = bench.time(LASTING);
    for (load, what, goal) in [
        (Load::singly(64), "POST, 64 connections", 3.0),
        (Load::singly(256), "POST, 256 connections", 6.0),
        (BATCHES, "batches of 500 over 8 connections", 10.0),
    ] {
        let pairs = bench.in_turn(
            async || Ok(load.send(ours.addr(), lasting).await?.a_second()),
            async || Ok(load.send(partner.addr(), lasting).await?.a_second()),
        );
        let measured = Measured::new(format!("{what}, synced"), OF, Unit::PerSecond);
        figures.add(measured.goal(Goal::RatioMin(goal)), pairs.await?);
    }
    let pairs = bench.in_turn(async || ours.to_state(lasting).await, async || partner.to_state(lasting).await).await?;
    let measured = Measured::new("batches of 500 to state, synced", OF, Unit::PerSecond);
    figures.add(measured.goal(Goal::RatioMin(20.0)), pairs);
    let pairs = bench.in_turn(async || ours.read(lasting).await, async || partner.read(lasting).await).await?;
    figures.add(Measured::new("GET of a rocket, 64 connections", OF, Unit::PerSecond), pairs);
    Ok(())
}

impl Service {
    fn addr(&self) -> SocketAddr {
        match self {
            Self::Ours { whole, .. } => whole.process.addr(),
            Self::Postgres { server, .. } => server.addr(),
        }
    }

    /// Sends batches for so long, and tells how many messages a second had come to state when all of them had, or when it
    /// took too long.
    async fn to_state(&self, lasting: Duration) -> anyhow::Result<f64> {
        self.until_through().await?;
        let (before, start) = (self.applied().await?, Instant::now());
        let sent = BATCHES.send(self.addr(), lasting).await?;
        let (is_through, within) = (self.until_through().await?, start.elapsed());
        let rate = (self.applied().await? - before) as f64 / within.as_secs_f64();
        if let (true, Some((channel, number))) = (is_through, sent.witness) {
            self.has(&channel, number).await?;
        }
        Ok(rate)
    }

    /// Both must come to the same.
    async fn has(&self, channel: &str, number: u64) -> anyhow::Result<()> {
        let mut client = Client::new(self.addr(), Connections::New);
        let (status, body) = client.get(&format!("/rockets/{channel}")).await?;
        let answer: serde_json::Value = serde_json::from_slice(body)?;
        let found = (status, answer["data"]["lastMessageNumber"].as_u64());
        anyhow::ensure!(found == (200, Some(number)), "{channel}: {answer} should have come to {number}");
        Ok(())
    }

    async fn read(&self, lasting: Duration) -> anyhow::Result<f64> {
        self.until_through().await?;
        let sent = Load::batches(1, 20).send(self.addr(), Duration::from_millis(1)).await?;
        self.until_through().await?;
        let paths: Vec<_> = sent.witness.iter().map(|(channel, _)| format!("/rockets/{channel}")).collect();
        get_for(self.addr(), &paths, 64, lasting).await
    }

    /// Waits until everything has come to state, or long enough; tells whether it has.
    async fn until_through(&self) -> anyhow::Result<bool> {
        match self {
            Self::Ours { context, .. } => Ok(progress::until_through(context, THROUGH_MAX).await? == 0),
            Self::Postgres { database, .. } => database.until_through(THROUGH_MAX).await,
        }
    }

    async fn applied(&self) -> anyhow::Result<u64> {
        match self {
            Self::Ours { context, .. } => progress::applied(context).await,
            Self::Postgres { database, .. } => database.applied().await,
        }
    }
}
