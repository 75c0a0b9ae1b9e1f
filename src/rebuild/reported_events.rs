//! The events of which it is known what became of them, as ranges: nearly all events, and so nearly one range.
//!
//! In the order of time. Within one life of the stream the places rise with it; a place that was used again lies in two
//! ranges, and only the one of the message's own time is about it.

use crate::broker::outcomes::{ReportedRange, reported_events};
use crate::broker::{Broker, BrokerError};
use crate::domain::{Event, StoredAt};

/// Ranges that are gathered before they are put together.
const LOOSE_RANGES_MAX: usize = 1_000_000;

/// Events that are reported to be processed or failed.
#[derive(Debug, Default)]
pub struct ReportedEvents {
    /// Rising by time, and of one time by place, once all are read.
    ranges: Vec<ReportedRange>,
    /// Of each range, until when it or one before it lasts.
    until: Vec<StoredAt>,
}

impl ReportedEvents {
    /// Reads all outcomes that there are now.
    pub async fn read(broker: &Broker) -> Result<Self, BrokerError> {
        let (mut reported, mut next) = (Self::default(), Some(1));
        while let Some(from) = next {
            let (ranges, after) = reported_events(broker, from).await?;
            reported.ranges.extend(ranges);
            if reported.ranges.len() > LOOSE_RANGES_MAX {
                reported.join();
            }
            next = after;
        }
        reported.join();
        Ok(reported)
    }

    /// Whether it is known what became of an event.
    pub fn contains(&self, Event { sequence, stored_at }: Event) -> bool {
        let at = self.until.partition_point(|until| *until < stored_at);
        let begun = self.ranges[at..].iter().take_while(|range| range.earliest <= stored_at);
        { begun }.any(|range| range.latest >= stored_at && (range.first..=range.last).contains(&sequence.0))
    }

    #[cfg(test)]
    pub fn of(ranges: Vec<ReportedRange>) -> Self {
        let mut reported = Self { ranges, until: Vec::new() };
        reported.join();
        reported
    }

    fn join(&mut self) {
        self.ranges.sort_unstable_by_key(|range| (range.earliest, range.first, range.latest, range.last));
        let mut joined: Vec<ReportedRange> = Vec::new();
        for next in self.ranges.drain(..) {
            match joined.last_mut() {
                Some(range) if goes_on(range, &next) => {
                    range.last = range.last.max(next.last);
                    range.latest = range.latest.max(next.latest);
                }
                _ => joined.push(next),
            }
        }
        let mut until = StoredAt(i64::MIN);
        self.until.clear();
        for range in &joined {
            until = until.max(range.latest);
            self.until.push(until);
        }
        self.ranges = joined;
    }
}

/// Whether a range of a later time goes on where another one ends, or within it, in time as in place.
fn goes_on(range: &ReportedRange, next: &ReportedRange) -> bool {
    if next.first < range.first || next.first > range.last.saturating_add(1) {
        return false;
    }
    match (next.first <= range.last, next.last <= range.last) {
        (true, true) => next.latest <= range.latest,
        (true, false) => next.earliest <= range.latest && next.latest >= range.latest,
        (false, _) => next.earliest >= range.latest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Sequence;

    /// The message at a sequence of the first life of a stream, which was stored at ten times its place.
    fn event(sequence: u64) -> Event {
        Event { sequence: Sequence(sequence), stored_at: StoredAt(10 * sequence as i64) }
    }

    fn range(first: u64, last: u64) -> ReportedRange {
        ReportedRange { first, last, earliest: event(first).stored_at, latest: event(last).stored_at }
    }

    #[test]
    fn ranges_in_any_order_become_few() {
        let reported = ReportedEvents::of(
            [(5, 6), (1, 2), (3, 3), (9, 9), (6, 7), (5, 5)].map(|(first, last)| range(first, last)).into(),
        );
        assert_eq!(reported.ranges, [range(1, 3), range(5, 7), range(9, 9)]);
        let known: Vec<_> = (0..=10).filter(|at| reported.contains(event(*at))).collect();
        assert_eq!(known, [1, 2, 3, 5, 6, 7, 9]);
    }

    #[test]
    fn what_was_told_of_another_life_of_the_stream_says_nothing() {
        let later = |first, last, at| ReportedRange { first, last, earliest: StoredAt(at), latest: StoredAt(at) };
        let reported = ReportedEvents::of(vec![range(1, 9), later(5, 6, 1_000), later(8, 8, 1_000)]);
        let again = |at| reported.contains(Event { stored_at: StoredAt(1_000), ..event(at) });
        assert!((1..=9).all(|at| reported.contains(event(at))));
        assert_eq!((4..=9).filter(|at| again(*at)).collect::<Vec<_>>(), [5, 6, 8]);
        assert!(!reported.contains(Event { stored_at: StoredAt(500), ..event(5) }));
    }
}
