//! The role that knows each rocket's true state: takes the messages of all partitions, puts those of each channel in
//! order, and keeps each rocket's record in the bucket.
//!
//! `[stream] ▸ broker/consumer ▸ worker ▸ batch ▸ settle ▸ domain/sequencer ▸ broker/store ▸ [bucket]`, and then
//! `batch ▸ broker/outcomes ▸ [outcomes]`
//!
//! One task a partition. [`worker`] takes a [`batch`], sorts it by channel and settles each channel by itself; [`settle`]
//! is the heart: fold, write where the revision is still the same, else again. What became of its messages is reported while
//! the next batch is settled, and then the messages are acknowledged. A [`job`] is work on one channel that takes many steps:
//! [`drain`] goes on with what waits in the stream behind a gap that closed, [`act`] folds a channel anew for what an
//! operator said. [`mod@checkpoint`] keeps from where a channel can be read later; [`disposition`] is the table of what
//! becomes of a delivery,
//! [`conflict`] finds copies that say something else, [`reported`] keeps a dead letter once for all, [`aside`] is what takes
//! a newer program; [`desk`] and [`cache`] hold hints that may be lost at any moment. [`health`] is whether all of this can
//! be done.
//!
//! With several trackers, [`standing`] gives each its place in the [`mod@line`] of each partition, and the broker serves the
//! first.
//!
//! What is deliberately absent: ownership. Any number of trackers may work on any channel; compare-and-set decides, and
//! the loser reads again. Nothing is acknowledged before its effect is stored, and no message of a channel whose record
//! could still move is let go without another one being held for it.

mod act;
mod aside;
mod batch;
mod cache;
mod changes;
mod checkpoint;
mod conflict;
mod desk;
mod disposition;
mod drain;
pub mod health;
mod job;
mod line;
mod reported;
mod settle;
mod standing;
pub(crate) mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::broker::outcomes::OutcomeWriter;
use crate::broker::{Broker, Deliveries, NatsPartition};
use aside::SetAside;
use health::Signs;
use standing::Standing;
use worker::Worker;

/// What a tracker has to know.
#[derive(Clone, Copy, Debug)]
pub struct TrackSettings {
    /// Partitions of the stream.
    pub partitions: u16,
    /// How long a message may be held unacknowledged before it is delivered again.
    pub ack_wait: Duration,
    /// Whether it is told what became of each message; benchmarks leave it out.
    pub outcomes: bool,
}

/// How many messages came to which end in this process.
#[derive(Debug, Default)]
pub struct Counters {
    /// Took their place and changed the rocket.
    pub applied: AtomicU64,
    /// Took their place and changed nothing: dead letters.
    pub refused: AtomicU64,
    /// Could not be read as a message: dead letters.
    pub malformed: AtomicU64,
    /// Wait behind a gap.
    pub parked: AtomicU64,
    /// Arrived after their number had been skipped: dead letters.
    pub late: AtomicU64,
    /// Had a number that was taken.
    pub duplicate: AtomicU64,
    /// Writes that came too late and were done again.
    pub conflicts: AtomicU64,
    /// Channels that take a newer program.
    pub aside: SetAside,
}

impl Counters {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tracks all partitions until the shutdown, and says on `leads` for which it is first. Then it says goodbye, so that others
/// take over at once, and gives back what is held.
pub async fn run(
    broker: Broker,
    settings: TrackSettings,
    readings: Arc<Semaphore>,
    signs: Signs,
    leads: watch::Sender<Arc<[u16]>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let counters = Arc::new(Counters { aside: signs.aside.clone(), ..Counters::default() });
    let outcomes = settings.outcomes.then(|| OutcomeWriter::new(&broker));
    let standing = Standing::join(&broker, settings.partitions, leads).await?;
    let (mut partitions, stop) = (JoinSet::new(), CancellationToken::new());
    for partition in 0..settings.partitions {
        let deliveries = Deliveries::new(broker.clone(), partition, standing.ranks());
        let nats = NatsPartition::new(&broker, partition, outcomes.clone()).await?.noting(signs.stores.clone());
        let worker = Worker::new(nats, settings.ack_wait, counters.clone(), readings.clone());
        partitions.spawn(worker.run(deliveries, stop.clone()));
    }
    tracing::info!(partitions = settings.partitions, "tracking");
    // A worker that ends before leaves its partition to nobody, so that this process is of no use any more.
    let failed = tokio::select! {
        () = standing.keep(&shutdown) => Ok(()),
        Some(ended) = partitions.join_next() => ended.context("a partition's worker failed").and_then(|()| {
            anyhow::bail!("a partition's worker ended before its time")
        }),
    };
    stop.cancel();
    while let Some(ended) = partitions.join_next().await {
        ended.context("a partition's worker failed")?;
    }
    // What was acknowledged or given back last is on its way; without a broker it comes again.
    let _ = broker.flush().await;
    tracing::info!(?counters, "tracking has ended");
    failed
}
