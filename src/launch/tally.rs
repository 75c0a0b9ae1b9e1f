//! What has happened so far, in numbers. How they are shown is in `report.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;

use super::client::{Attempt, Outcome};
use super::disorder::Outgoing;

/// The longest latency that the histogram holds; an attempt ends well before.
const LATENCY_MICROSECONDS_MAX: u64 = 60_000_000;
/// Percentiles are exact to three digits.
const LATENCY_DIGITS: u8 = 3;

/// The counts of one run.
#[derive(Debug)]
pub(super) struct Tally {
    /// Messages that were generated and taken by a worker, copies and losses aside.
    pub(super) generated: u64,
    /// Messages that were generated and lost on the radio: no worker ever saw them.
    pub(super) lost: u64,
    /// Second copies that were taken.
    pub(super) copies: u64,
    /// Messages and copies that are through.
    pub(super) through: u64,
    /// Attempts that came after a first one.
    pub(super) retried: u64,
    /// Messages that the service said it had already.
    pub(super) answered_duplicate: u64,
    /// How attempts ended, `duplicate` aside.
    pub(super) outcomes: BTreeMap<Outcome, u64>,
    /// The latencies of the attempts that got through, in microseconds.
    pub(super) latencies: Histogram<u64>,
}

impl Tally {
    /// Nothing has happened yet.
    pub(super) fn new() -> anyhow::Result<Tally> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MICROSECONDS_MAX, LATENCY_DIGITS)
            .context("the latencies cannot be counted")?;
        let (generated, lost, copies, through, retried, answered_duplicate) = (0, 0, 0, 0, 0, 0);
        let outcomes = BTreeMap::new();
        Ok(Tally { generated, lost, copies, through, retried, answered_duplicate, outcomes, latencies })
    }

    /// Counts a message that is about to be sent.
    pub(super) fn count_taken(&mut self, outgoing: &Outgoing) {
        let counter = match outgoing {
            Outgoing { is_retry: true, .. } => &mut self.retried,
            Outgoing { is_copy: true, .. } => &mut self.copies,
            _ => &mut self.generated,
        };
        *counter += 1;
    }

    /// Counts how an attempt ended.
    pub(super) fn count(&mut self, attempt: &Attempt) {
        let mut outcome = attempt.outcome;
        if let Outcome::Through { duplicate, .. } = &mut outcome {
            self.through += 1;
            self.answered_duplicate += u64::from(*duplicate);
            *duplicate = false;
            self.latencies.saturating_record(microseconds(attempt.latency));
        }
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// All attempts that have ended.
    pub(super) fn attempts(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Whether everything that was taken is through.
    pub(super) fn is_all_through(&self) -> bool {
        self.through == self.generated + self.copies
    }
}

fn microseconds(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_by_how_they_ended() {
        let mut tally = Tally::new().unwrap();
        let duplicate = Outcome::Through { status: 200, duplicate: true };
        let ingested = Outcome::Through { status: 200, duplicate: false };
        for outcome in [ingested, duplicate, Outcome::Refused { status: 503 }, Outcome::TimedOut] {
            tally.count_taken(&Outgoing { body: Default::default(), is_copy: false, is_retry: false });
            tally.count(&Attempt { outcome, latency: Duration::from_millis(5) });
        }
        assert_eq!((tally.attempts(), tally.through, tally.answered_duplicate), (4, 2, 1));
        assert_eq!(tally.outcomes[&ingested], 2);
        assert_eq!(tally.latencies.len(), 2, "only those that got through");
        assert!(!tally.is_all_through());
    }
}
