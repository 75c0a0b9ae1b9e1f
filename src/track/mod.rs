//! The role that knows each rocket's true state: takes the messages of all partitions, puts those of each channel in
//! order, and keeps each rocket's record in the bucket.
//!
//! `[stream] ▸ broker/consumer ▸ worker ▸ batch ▸ settle ▸ domain/sequencer ▸ broker/store ▸ [bucket]`, and then
//! `batch ▸ broker/outcomes ▸ [outcomes]`
//!
//! One task a partition. [`worker`] takes a [`batch`], sorts it by channel and settles each channel by itself. [`settle`] is
//! the heart: apply what is next, write the record where its revision is still the same, else read it and begin again. The
//! outcomes of a batch are reported while the next one is settled; then its messages are acknowledged.
//!
//! A [`job`] is work on one channel that takes many steps. [`drain`] applies what is pending behind a gap that has closed.
//! [`replay_job`] replays a channel for an override, and [`outcome_diff`] compares what its two folds, without
//! the override and with it, have made of each message.
//!
//! [`disposition`] is the table that acks, keeps or naks a delivery. [`conflict`] finds copies that say something else.
//! [`once`] stores a dead letter once for all. [`aside`] keeps channels that take a newer program. [`mod@checkpoint`]
//! stores from where a channel can be read later. [`channel_state`] and [`cache`] are what is in memory: hints, which may
//! be lost at any moment. [`health`] says whether all of this can be done, [`mod@observe`] counts it.
//!
//! With several trackers, [`assignment`] gives each its rank in each partition ([`mod@ranking`]); the broker serves the
//! lowest rank first.
//!
//! What is deliberately absent: ownership. Any number of trackers may work on any channel; compare-and-set decides, and
//! the loser reads again. Nothing is acknowledged before its effect is stored, and of a channel whose record is drainable
//! one delivery stays unacknowledged.

mod aside;
mod assignment;
mod batch;
mod cache;
mod channel_state;
mod checkpoint;
mod conflict;
mod disposition;
mod drain;
pub mod health;
mod job;
pub mod observe;
mod once;
mod outcome_diff;
mod ranking;
mod replay_job;
mod settle;
pub(crate) mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::broker::outcomes::OutcomeWriter;
use crate::broker::store::RecordWriter;
use crate::broker::{Broker, Deliveries, GroupCommit, NatsPartition};
use crate::metrics::TrackMetrics;
use crate::metrics::track::Outcomes;
use aside::SetAside;
use assignment::Assignment;
use health::Signs;
use worker::Worker;

/// What a tracker has to know.
#[derive(Clone, Copy, Debug)]
pub struct TrackSettings {
    /// Partitions of the stream.
    pub partitions: u16,
    /// How long a message may be held unacknowledged before it is delivered again.
    pub ack_wait: Duration,
    /// Whether records that wait are written as one batch.
    pub group_commit: GroupCommit,
    /// Whether it is reported what became of each message; benchmarks leave it out.
    pub outcomes: bool,
}

/// What is counted in this process.
#[derive(Default)]
pub struct Counters {
    /// What Prometheus reads of it.
    pub metrics: TrackMetrics,
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

/// How many messages came to which end.
impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcomes { applied, refused, malformed, pending, late, duplicate } = &self.metrics.outcomes;
        let mut counters = f.debug_struct("Counters");
        counters.field("applied", &applied.get()).field("refused", &refused.get());
        counters.field("malformed", &malformed.get()).field("pending", &pending.get());
        counters.field("late", &late.get()).field("duplicate", &duplicate.get());
        counters.field("conflicts", &self.conflicts).field("aside", &self.aside).finish()
    }
}

/// Tracks all partitions until the shutdown, and says on `leads` for which it is first. Then it says goodbye, so that others
/// take over at once, and naks what is held.
pub async fn run(
    broker: Broker,
    settings: TrackSettings,
    readings: Arc<Semaphore>,
    signs: Signs,
    leads: watch::Sender<Arc<[u16]>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (metrics, aside) = (signs.metrics.clone(), signs.aside.clone());
    let counters = Arc::new(Counters { metrics, aside, ..Counters::default() });
    let outcomes = settings.outcomes.then(|| OutcomeWriter::new(&broker));
    let records = RecordWriter::new(&broker, settings.group_commit);
    let assignment = Assignment::join(&broker, settings.partitions, leads).await?;
    let (mut partitions, stop) = (JoinSet::new(), CancellationToken::new());
    for partition in 0..settings.partitions {
        let deliveries = Deliveries::new(broker.clone(), partition, assignment.ranks());
        let nats = NatsPartition::new(&broker, partition, outcomes.clone()).await?.noting(signs.stores.clone());
        let nats = nats.writing(records.clone()).counting(signs.metrics.stores.clone());
        let worker = Worker::new(nats, settings.ack_wait, counters.clone(), readings.clone());
        let worker = worker.traced(signs.traces.clone(), partition);
        partitions.spawn(worker.run(deliveries, stop.clone()));
    }
    tracing::info!(partitions = settings.partitions, "tracking");
    // A worker that ends before the shutdown leaves its partition without one, so that this process is of no use any more.
    let failed = tokio::select! {
        () = assignment.keep(&shutdown) => Ok(()),
        Some(ended) = partitions.join_next() => ended.context("a partition's worker failed").and_then(|()| {
            anyhow::bail!("a partition's worker ended before its time")
        }),
    };
    stop.cancel();
    while let Some(ended) = partitions.join_next().await {
        ended.context("a partition's worker failed")?;
    }
    // What was acknowledged or returned last is on its way; without a broker it comes again.
    let _ = broker.flush().await;
    tracing::info!(?counters, "tracking has ended");
    failed
}
