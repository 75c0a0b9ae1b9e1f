//! The channels that are pending behind a gap, by how long they have been waiting.
//!
//! Kept in order with every change, so that a page is a range. A channel that does not wait costs nothing here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::View;
use crate::domain::{Channel, MessageNumber, Record, Sequence};

/// A channel that is pending behind a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The channel, launched or not.
    pub channel: Channel,
    /// The number that is missing.
    pub waiting_for: MessageNumber,
    /// How many later numbers wait.
    pub pending: u64,
    /// Where the first of their messages lies in the stream.
    pub lowest: Sequence,
}

/// Where a gap stands among others: the one that has been waiting for longest is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Where the first of the messages lies that wait.
    #[serde(rename = "gaps")]
    pub lowest: Sequence,
    /// Whose they are.
    #[serde(rename = "id")]
    pub channel: Channel,
}

impl Gap {
    /// What a record says to wait; none if nothing does. A record that is drainable is being moved on: that is no gap.
    pub fn of(channel: Channel, record: &Record) -> Option<Self> {
        let lowest = record.pending.lowest().filter(|_| !record.is_drainable())?;
        Some(Self { channel, waiting_for: record.next_number()?, pending: record.pending.count(), lowest })
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        Place { lowest: self.lowest, channel: self.channel }
    }
}

/// All gaps.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    order: BTreeSet<Place>,
    of: BTreeMap<Channel, Gap>,
    /// How many numbers wait behind all of them.
    pending: u64,
}

impl Gaps {
    /// Notes what is pending in a channel, in the place of what was noted before.
    pub(super) fn put(&mut self, channel: Channel, gap: Option<Gap>) {
        let before = match gap {
            Some(gap) => self.of.insert(channel, gap),
            None => self.of.remove(&channel),
        };
        let pending = |gap: Option<Gap>| gap.map_or(0, |gap| gap.pending);
        self.pending = self.pending.wrapping_sub(pending(before)).wrapping_add(pending(gap));
        let (before, now) = (before.map(|gap| gap.place()), gap.map(|gap| gap.place()));
        if before != now {
            if let Some(before) = before {
                self.order.remove(&before);
            }
            self.order.extend(now);
        }
    }

    /// How many channels wait, and how many numbers in all of them.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.of.len() as u64, self.pending)
    }

    fn behind(&self, after: Option<Place>) -> impl Iterator<Item = &Gap> {
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range((behind, Bound::Unbounded)).filter_map(|place| self.of.get(&place.channel))
    }
}

impl View {
    /// The gaps behind a place, whether there is still one or not; at most `count`.
    pub fn gaps(&self, after: Option<Place>, count: usize) -> Vec<Gap> {
        self.read().gaps.behind(after).take(count).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{Sample, channel};
    use super::*;

    /// A record that has come to number 1 if it was launched, with these numbers waiting, each at its sequence.
    fn record(id: u32, launched: bool, waiting: &[(u64, u64)]) -> Record {
        let mut record = if launched { Sample::new(id).record() } else { Record::default() };
        for &(number, sequence) in waiting {
            record.pending.insert(MessageNumber::new(number).unwrap(), Sequence(sequence));
        }
        record
    }

    fn ids(view: &View) -> Vec<u32> {
        let id = |gap: &Gap| (1..100).find(|id| channel(*id) == gap.channel).unwrap();
        view.gaps(None, usize::MAX).iter().map(id).collect()
    }

    #[test]
    fn a_gap_is_what_waits_and_cannot_move() {
        let rows: [(bool, &[(u64, u64)], _); 6] = [
            (true, &[], None),
            (true, &[(2, 9)], None),
            (true, &[(2, 9), (5, 3)], None),
            (true, &[(3, 9), (4, 8), (7, 5)], Some((2, 3, 5))),
            (false, &[(1, 9)], None),
            (false, &[(2, 9), (2, 4)], Some((1, 1, 4))),
        ];
        for (launched, waiting, expected) in rows {
            let gap = Gap::of(channel(1), &record(1, launched, waiting));
            let reported = gap.map(|gap| (gap.waiting_for.get(), gap.pending, gap.lowest.0));
            assert_eq!(reported, expected, "{launched} {waiting:?}");
        }
    }

    #[test]
    fn what_waits_above_all_ranges_counts_for_the_place() {
        let mut waiting: Vec<_> = (0..2_000).map(|at| (10 + 2 * at, 100 + at)).collect();
        waiting.push((9_999, 7));
        let record = record(1, true, &waiting);
        assert!(record.pending.overflow().is_some());
        assert_eq!(Gap::of(channel(1), &record).map(|gap| gap.lowest), Some(Sequence(7)));
    }

    #[test]
    fn the_oldest_comes_first_whatever_changed_before() {
        let view = View::default();
        let offer = |id, waiting: &[(u64, u64)], revision| {
            view.apply(Some(channel(id)), Some(record(id, id != 2, waiting)), revision);
            assert_eq!(view.read().gaps.order.len(), view.read().gaps.of.len());
            let pending = view.gaps(None, usize::MAX).iter().map(|gap| gap.pending).sum();
            let counted = (view.read().gaps.of.len() as u64, pending);
            assert_eq!(view.read().gaps.counts(), counted);
        };
        offer(1, &[(3, 30)], 1);
        offer(2, &[(3, 10)], 2);
        offer(3, &[(3, 20)], 3);
        offer(4, &[], 4);
        assert_eq!(ids(&view), [2, 3, 1]);
        offer(2, &[], 5);
        offer(4, &[(4, 30)], 6);
        offer(3, &[(5, 40)], 7);
        assert_eq!(ids(&view), [1, 4, 3]);
        offer(3, &[(5, 1)], 6);
        assert_eq!(ids(&view), [1, 4, 3], "what is older is not taken");
        view.apply(Some(channel(1)), None, 8);
        assert_eq!(ids(&view), [4, 3]);
    }

    #[test]
    fn a_page_begins_behind_a_place() {
        let view = View::default();
        (1..=5).for_each(|id| view.apply(Some(channel(id)), Some(record(id, true, &[(3, 7)])), 1));
        let first = view.gaps(None, 2);
        let second = view.gaps(first.last().map(Gap::place), 2);
        view.apply(Some(channel(4)), None, 2);
        let third = view.gaps(second.last().map(Gap::place), 2);
        let channels: Vec<_> = [first, second, third].concat().iter().map(|gap| gap.channel).collect();
        assert_eq!(channels, [1, 2, 3, 4, 5].map(channel));
    }
}
