//! What a tracker counts: what became of messages, how long they took, what it stores, and which partitions it leads.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::durations::Durations;
use super::{Label, Seconds, counter, counters, gauge};

/// The bounds of the buckets of batch sizes, in messages.
const BATCH_BOUNDS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// The handles of a tracker. Clones share what they count.
#[derive(Clone, Debug)]
pub struct TrackMetrics {
    /// What became of messages.
    pub outcomes: Outcomes,
    /// How long messages took from stored to applied that were never pending.
    pub apply_lag: Durations,
    /// The same of those that were pending behind a gap.
    pub apply_lag_pending: Durations,
    /// Deliveries of messages that had been delivered before.
    pub redeliveries: Counter,
    /// How many messages a batch had.
    pub batches: Histogram,
    /// What is stored.
    pub stores: StoreMetrics,
    /// Where this tracker stands among the others.
    pub partitions: PartitionMetrics,
}

/// Messages by what became of them.
#[derive(Clone, Debug)]
pub struct Outcomes {
    /// Took their place and changed the rocket.
    pub applied: Counter,
    /// Took their place and changed nothing: dead letters.
    pub refused: Counter,
    /// Could not be read as a message: dead letters.
    pub malformed: Counter,
    /// Pending behind a gap.
    pub pending: Counter,
    /// Arrived after their number had been skipped: dead letters.
    pub late: Counter,
    /// Had a number that was taken.
    pub duplicate: Counter,
}

/// What became of what a tracker stores.
#[derive(Clone, Debug, Default)]
pub struct StoreMetrics {
    conflicts: Family<Label<u64>, Counter>,
    dead_letters: Family<Label, Counter>,
}

/// The partitions that a tracker leads.
#[derive(Clone, Debug)]
pub struct PartitionMetrics {
    /// How many partitions it leads.
    pub led: Gauge,
    /// How many came to it after its start.
    pub takeovers: Counter,
    leads: Family<Label<u16>, Gauge>,
    lag: Family<Label<u16>, Gauge>,
    oldest: Family<Label<u16>, Seconds>,
}

impl TrackMetrics {
    pub(super) fn new(registry: &mut Registry, partitions: u16) -> Self {
        let outcomes = Outcomes::new(registry);
        let lag = Family::<Label, Durations>::default();
        let help = "How long messages took from stored to applied, by whether they were pending behind a gap";
        registry.register("rockets_apply_lag_seconds", help, lag.clone());
        let [apply_lag, apply_lag_pending] =
            ["false", "true"].map(|was_pending| lag.get_or_create_owned(&[("pending", was_pending)]));
        let batches = Histogram::new(BATCH_BOUNDS);
        registry.register("rockets_track_batch_messages", "Messages of a batch that a tracker took", batches.clone());
        let name = "rockets_track_redeliveries";
        let redeliveries = counter(registry, name, "Deliveries of messages that had been delivered before");
        let (stores, partitions) = (StoreMetrics::new(registry), PartitionMetrics::new(registry, partitions));
        Self { outcomes, apply_lag, apply_lag_pending, redeliveries, batches, stores, partitions }
    }
}

/// Handles that nobody reads.
impl Default for TrackMetrics {
    fn default() -> Self {
        Self::new(&mut Registry::default(), 0)
    }
}

impl Outcomes {
    fn new(registry: &mut Registry) -> Self {
        let [applied, refused, malformed, pending, late, duplicate] = counters(
            registry,
            "rockets_track_messages",
            "Messages that a tracker judged, by what became of them",
            "outcome",
            ["applied", "refused", "malformed", "pending", "skipped", "duplicate"],
        );
        Self { applied, refused, malformed, pending, late, duplicate }
    }
}

impl StoreMetrics {
    fn new(registry: &mut Registry) -> Self {
        let (conflicts, dead_letters) = (Family::default(), Family::default());
        let help = "Records that were not written because another tracker was faster, by the broker's error code";
        registry.register("rockets_state_conflicts", help, conflicts.clone());
        let help = "Dead letters that were stored, by their reason";
        registry.register("rockets_dead_letters", help, dead_letters.clone());
        Self { conflicts, dead_letters }
    }

    /// Has a sample for each of these codes and reasons.
    pub fn know(&self, codes: &[u64], reasons: &[&'static str]) {
        codes.iter().for_each(|code| drop(self.conflicts.get_or_create_owned(&[("code", *code)])));
        reasons.iter().for_each(|reason| drop(self.dead_letters.get_or_create_owned(&[("reason", *reason)])));
    }

    /// Counts a record that was not written.
    pub fn conflict(&self, code: u64) {
        self.conflicts.get_or_create_owned(&[("code", code)]).inc();
    }

    /// Counts a dead letter.
    pub fn dead_letter(&self, reason: &'static str) {
        self.dead_letters.get_or_create_owned(&[("reason", reason)]).inc();
    }
}

impl PartitionMetrics {
    fn new(registry: &mut Registry, partitions: u16) -> Self {
        let led = gauge(registry, "rockets_partitions_led", "Partitions that this tracker leads");
        let takeovers =
            counter(registry, "rockets_partition_takeovers", "Partitions that came to this tracker after its start");
        let (leads, lag, oldest) = (Family::default(), Family::default(), Family::default());
        registry.register("rockets_partition_led", "Whether this tracker leads a partition", leads.clone());
        let help = "Messages of a partition that are not acknowledged, as its leader says";
        registry.register("rockets_partition_lag_messages", help, lag.clone());
        let help = "How long ago the oldest message of a partition was stored that is not acknowledged";
        registry.register("rockets_partition_oldest_seconds", help, oldest.clone());
        let metrics = Self { led, takeovers, leads, lag, oldest };
        (0..partitions).for_each(|partition| metrics.lead(partition, false));
        metrics
    }

    /// Notes whether this tracker leads a partition. Of one that it does not lead it says nothing more.
    pub fn lead(&self, partition: u16, leads: bool) {
        let label = [("partition", partition)];
        self.leads.get_or_create_owned(&label).set(leads.into());
        if !leads {
            self.lag.remove(&label);
            self.oldest.remove(&label);
        }
    }

    /// Notes what is not acknowledged of a partition.
    pub fn backlog(&self, partition: u16, messages: u64, oldest_seconds: f64) {
        let label = [("partition", partition)];
        self.lag.get_or_create_owned(&label).set(i64::try_from(messages).unwrap_or(i64::MAX));
        self.oldest.get_or_create_owned(&label).set(oldest_seconds);
    }
}
