//! What a tracker counts for Prometheus: of a batch once it is stored, and of its partitions from time to time.
//!
//! Nothing of it decides anything.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::settle::{Judged, is_unknown};
use crate::broker::inspect::backlog;
use crate::broker::{Broker, Delivery};
use crate::domain::{Record, Verdict};
use crate::metrics::TrackMetrics;
use crate::metrics::durations::Tally;
use crate::metrics::track::PartitionMetrics;

/// How often the broker is asked how far the partitions have come.
const OBSERVE_EVERY: Duration = Duration::from_secs(5);

/// Counts deliveries; a turn without any is no batch.
pub fn count_batch(metrics: &TrackMetrics, batch: &[Delivery]) {
    if batch.is_empty() {
        return;
    }
    metrics.batches.observe(batch.len() as f64);
    let redelivered = batch.iter().filter(|delivery| delivery.handle.deliveries > 1).count();
    if redelivered > 0 {
        metrics.redeliveries.inc_by(redelivered as u64);
    }
}

/// Counts what became of messages of one channel, and how long it took, now that it is stored.
pub fn count(metrics: &TrackMetrics, now: OffsetDateTime, before: &Record, judged: &[Judged]) {
    let (mut applied, mut applied_pending) = (Tally::default(), Tally::default());
    let [mut in_place, mut refused, mut duplicate, mut late, mut pending] = [0; 5];
    for (arrival, verdict) in judged {
        match verdict {
            Verdict::Applied => {
                let lag = Duration::try_from(now - arrival.stored.time).unwrap_or_default();
                let was_pending = !is_unknown(before, arrival.message.number);
                if was_pending { &mut applied_pending } else { &mut applied }.count(lag);
                in_place += 1;
            }
            Verdict::Refused(_) => refused += 1,
            Verdict::Duplicate | Verdict::Unjudged => duplicate += 1,
            Verdict::SkippedLate => late += 1,
            Verdict::Pending => pending += 1,
        }
    }
    metrics.apply_lag.add(&applied);
    metrics.apply_lag_pending.add(&applied_pending);
    let outcomes = &metrics.outcomes;
    let counts = [
        (&outcomes.applied, in_place),
        (&outcomes.refused, refused),
        (&outcomes.duplicate, duplicate),
        (&outcomes.late, late),
        (&outcomes.pending, pending),
    ];
    for (counter, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        counter.inc_by(count);
    }
}

/// Observes the partitions that this tracker leads until the shutdown.
pub async fn run(
    broker: Broker,
    mut leads: watch::Receiver<Arc<[u16]>>,
    metrics: PartitionMetrics,
    shutdown: CancellationToken,
) {
    let (mut led, mut ticks) = (None, interval(OBSERVE_EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Ok(()) = leads.changed() => {
                let now = leads.borrow_and_update().clone();
                note_leads(&metrics, led.as_deref(), &now);
                led = Some(now);
            }
            _ = ticks.tick() => {}
        }
        let observed =
            join_all(led.iter().flat_map(|led| &**led).map(|partition| observe(&broker, *partition, &metrics)));
        let _ = shutdown.run_until_cancelled(observed).await;
    }
}

/// Notes which partitions are led now and were not before; nothing is taken over with the first ones.
fn note_leads(metrics: &PartitionMetrics, before: Option<&[u16]>, now: &[u16]) {
    let gone = before.unwrap_or_default().iter().filter(|partition| !now.contains(partition));
    gone.for_each(|partition| metrics.lead(*partition, false));
    now.iter().for_each(|partition| metrics.lead(*partition, true));
    metrics.led.set(i64::try_from(now.len()).unwrap_or(i64::MAX));
    let taken_over = before.map_or(0, |before| now.iter().filter(|partition| !before.contains(partition)).count());
    metrics.takeovers.inc_by(taken_over as u64);
}

/// Asks the broker what is not acknowledged of a partition.
async fn observe(broker: &Broker, partition: u16, metrics: &PartitionMetrics) {
    match backlog(broker, partition).await {
        Ok(backlog) => {
            let oldest = backlog.oldest.map(|oldest| (OffsetDateTime::now_utc() - oldest).as_seconds_f64());
            metrics.backlog(partition, backlog.messages(), oldest.unwrap_or_default().max(0.0));
        }
        Err(error) => tracing::debug!(partition, %error, "nobody tells how far a partition has come"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_comes_after_the_start_is_taken_over() {
        let metrics = TrackMetrics::default().partitions;
        let mut before: Option<Vec<u16>> = None;
        for (now, led, taken_over) in
            [(&[0, 1, 2][..], 3, 0), (&[1, 2], 2, 0), (&[1, 2, 3, 0], 4, 2), (&[], 0, 2), (&[5], 1, 3)]
        {
            note_leads(&metrics, before.as_deref(), now);
            assert_eq!((metrics.led.get(), metrics.takeovers.get()), (led, taken_over), "{now:?}");
            before = Some(now.to_vec());
        }
    }
}
