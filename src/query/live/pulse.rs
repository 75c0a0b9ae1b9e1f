//! What all readers are told every few seconds: that the stream lives, how fresh it is, and how things stand as a whole.
//!
//! One task makes it for all of them, and only while there are any. Nearly all of it is known here; how many messages are
//! stored and how many are dead letters is asked of the broker, and not known where that does not answer.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use utoipa::ToSchema;

use super::super::feed::{Freshness, LiveView};
use super::super::view::Position;
use super::super::view::totals::Totals;
use super::places::Places;
use crate::broker::Broker;
use crate::broker::inspect::{Counts, counts};

/// Time between two.
const PULSE_EVERY: Duration = Duration::from_secs(5);
/// How long the broker may take to say what only it knows.
const ASK_MAX: Duration = Duration::from_secs(2);

/// The last pulse; none while nobody follows.
#[derive(Clone, Debug, Default)]
pub struct Pulses(watch::Sender<Option<Arc<str>>>);

impl Pulses {
    /// The last one, if there is one, and each from now on.
    pub fn follow(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.0.subscribe()
    }
}

/// Makes them for ever.
pub async fn run(broker: &Broker, live: &LiveView, places: &Places, pulses: &Pulses) {
    loop {
        places.are_taken().await;
        tokio::select! {
            () = beat(broker, live, places, pulses) => {}
            () = places.are_free() => {}
        }
        pulses.0.send_replace(None);
    }
}

async fn beat(broker: &Broker, live: &LiveView, places: &Places, pulses: &Pulses) {
    let mut ticks = interval(PULSE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        ticks.tick().await;
        let sample = Sample::take(broker, live).await;
        let pulse = Pulse { vitals: Vitals::of(&sample, before.as_ref()), readers: places.count() };
        pulses.0.send_replace(serde_json::to_string(&pulse).ok().map(Arc::from));
        before = Some(sample);
    }
}

/// How things stood at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    at: Instant,
    position: Position,
    totals: Totals,
    counts: Option<Counts>,
    freshness: Freshness,
}

/// What all readers of the stream are told every five seconds.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pulse {
    #[serde(flatten)]
    #[schema(inline)]
    vitals: Vitals,
    /// How many follow.
    readers: usize,
}

/// How things stand, and how fast they go on since the moment before.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Vitals {
    /// When it was so.
    #[schema(format = DateTime)]
    pub time: Option<String>,
    /// Of which revision of the bucket.
    pub revision: String,
    /// Whether the view may lack something.
    pub stale: bool,
    /// How much it is worth.
    #[schema(inline)]
    pub freshness: Freshness,
    /// How many rockets there are.
    pub rockets: u64,
    /// How many there are of each status.
    #[schema(inline)]
    pub by_status: ByStatus,
    /// Channels that wait for a number.
    pub gaps: u64,
    /// Numbers that wait behind them.
    pub pending_messages: u64,
    /// Messages that were stored, a second; null where the broker could not be asked.
    pub ingested_per_second: Option<f64>,
    /// Numbers that rockets have come on, a second.
    pub applied_per_second: Option<f64>,
    /// How many dead letters there are; null where the broker could not be asked.
    pub dead_letters: Option<u64>,
}

/// How many rockets there are of each status.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct ByStatus {
    /// Those that fly.
    pub active: u64,
    /// Those that are gone.
    pub exploded: u64,
}

impl Vitals {
    /// How things stand, and what has become of them since a sample before.
    pub fn of(now: &Sample, before: Option<&Sample>) -> Self {
        let (Totals { active, exploded, gaps, pending, .. }, freshness) = (now.totals, now.freshness);
        Self {
            time: OffsetDateTime::now_utc().format(&Rfc3339).ok(),
            revision: now.position.to_string(),
            stale: freshness != Freshness::Fresh,
            freshness,
            rockets: active + exploded,
            by_status: ByStatus { active, exploded },
            gaps,
            pending_messages: pending,
            ingested_per_second: before.and_then(|before| now.ingested_since(before)),
            applied_per_second: before.and_then(|before| now.applied_since(before)),
            dead_letters: now.counts.map(|counts| counts.dead_letters),
        }
    }
}

impl Sample {
    /// How things stand now.
    pub async fn take(broker: &Broker, live: &LiveView) -> Self {
        let counts = if broker.is_connected() { timeout(ASK_MAX, counts(broker)).await.ok() } else { None };
        let (position, totals) = live.view.totals();
        let freshness = match live.freshness() {
            Freshness::Fresh if !broker.is_connected() => Freshness::Stale,
            freshness => freshness,
        };
        Self { at: Instant::now(), position, totals, counts: counts.and_then(Result::ok), freshness }
    }

    fn ingested_since(&self, before: &Self) -> Option<f64> {
        let stored = self.counts?.stored.checked_sub(before.counts?.stored)?;
        self.rate(before, stored)
    }

    /// Not known across two lives of the bucket, nor where rockets went away with their numbers.
    fn applied_since(&self, before: &Self) -> Option<f64> {
        let applied = self.totals.applied.wrapping_sub(before.totals.applied);
        let is_known = self.position.epoch == before.position.epoch && applied < 1 << 63;
        is_known.then(|| self.rate(before, applied))?
    }

    /// So many a second, to a tenth.
    fn rate(&self, before: &Self, count: u64) -> Option<f64> {
        let seconds = (self.at - before.at).as_secs_f64();
        (seconds > 0.0).then(|| (count as f64 / seconds * 10.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_two_samples_of_one_bucket() {
        let start = Instant::now();
        let sample = |seconds, epoch: &str, applied, stored: Option<u64>| Sample {
            at: start + Duration::from_secs(seconds),
            position: Position { epoch: epoch.into(), revision: 1 },
            totals: Totals { applied, ..Totals::default() },
            counts: stored.map(|stored| Counts { stored, dead_letters: 3 }),
            freshness: Freshness::Fresh,
        };
        let before = sample(0, "a", u64::MAX - 9, Some(100));
        for (now, expected) in [
            (sample(5, "a", 15, Some(107)), (Some(1.4), Some(5.0))),
            (sample(5, "a", 15, None), (None, Some(5.0))),
            (sample(5, "b", 15, Some(100)), (Some(0.0), None)),
            (sample(5, "a", u64::MAX - 10, Some(99)), (None, None)),
            (sample(0, "a", 15, Some(107)), (None, None)),
        ] {
            let vitals = Vitals::of(&now, Some(&before));
            assert_eq!((vitals.ingested_per_second, vitals.applied_per_second), expected, "{now:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_null() {
        let totals = Totals { active: 2, exploded: 1, applied: 9, gaps: 1, pending: 4 };
        let position = Position { epoch: "a".into(), revision: 7 };
        let sample = Sample { at: Instant::now(), position, totals, counts: None, freshness: Freshness::Behind };
        let pulse = Pulse { vitals: Vitals::of(&sample, None), readers: 5 };
        let mut pulse = serde_json::to_value(pulse).unwrap();
        assert!(OffsetDateTime::parse(pulse["time"].take().as_str().unwrap(), &Rfc3339).is_ok());
        let expected = serde_json::json!({
            "time": null, "revision": "a.7", "stale": true, "freshness": "behind", "rockets": 3,
            "by_status": { "active": 2, "exploded": 1 }, "gaps": 1, "pending_messages": 4,
            "ingested_per_second": null, "applied_per_second": null, "dead_letters": null, "readers": 5,
        });
        assert_eq!(pulse, expected);
    }
}
