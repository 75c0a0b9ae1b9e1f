//! What the read side counts for Prometheus, from time to time: how fresh the view is, and the gaps in it.
//!
//! Nothing of it decides anything; whether the view can be served is [`super::routes::check`]'s to say.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::Live;
use super::feed::{Freshness, LiveView};
use crate::broker::Broker;
use crate::broker::log_reader::read_one;
use crate::domain::Sequence;
use crate::metrics::QueryMetrics;

/// How often the view is looked at.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);
/// How long the broker may take to tell since when the oldest gap is there.
const ASK_MAX: Duration = Duration::from_secs(4);

/// Observes the view until the shutdown.
pub async fn run(
    broker: Broker,
    live: Arc<LiveView>,
    following: Live,
    metrics: QueryMetrics,
    shutdown: CancellationToken,
) {
    let (mut ticks, mut fresh_at, mut oldest) = (interval(OBSERVE_EVERY), Instant::now(), None);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        if live.freshness() == Freshness::Fresh && broker.is_connected() {
            fresh_at = Instant::now();
        }
        metrics.staleness.set(fresh_at.elapsed().as_secs_f64());
        let totals = live.view.totals().1;
        metrics.rockets.set(gauged(totals.active + totals.exploded));
        metrics.gaps.set(gauged(totals.gaps));
        metrics.pending.set(gauged(totals.pending));
        metrics.live_readers.set(gauged(following.readers()));
        let observed = oldest_gap(&broker, &live, oldest);
        let Some(found) = shutdown.run_until_cancelled(observed).await else { break };
        oldest = found;
        let age = oldest.map(|(_, since)| (OffsetDateTime::now_utc() - since).as_seconds_f64());
        metrics.oldest_gap.set(age.unwrap_or_default().max(0.0));
    }
}

fn gauged(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Where the first message lies that is pending behind the oldest gap, and when it was stored: as it is known, or asked for.
async fn oldest_gap(
    broker: &Broker,
    live: &LiveView,
    known: Option<(Sequence, OffsetDateTime)>,
) -> Option<(Sequence, OffsetDateTime)> {
    let lowest = live.view.gaps(None, 1).first()?.lowest;
    if known.is_some_and(|(sequence, _)| sequence == lowest) || !broker.is_connected() {
        return known;
    }
    match timeout(ASK_MAX, read_one(broker, lowest)).await {
        Ok(Ok(first)) => first.map(|first| (lowest, first.time)),
        _ => known,
    }
}
