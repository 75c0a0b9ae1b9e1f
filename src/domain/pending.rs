//! Which numbers of a channel are pending behind a gap: ranges of numbers, not messages. The messages stay in the stream.
//!
//! Ten thousand messages behind one gap are one range. Whatever a channel sends, the text of its ranges stays within
//! [`TEXT_MAX`] bytes: beyond that the highest ranges are dropped, and it is only noted that there is more.

use std::collections::BTreeMap;

use super::bounds::{self, bounds};
use super::{MessageNumber, Sequence};

/// Bound of the text of all ranges, in bytes: some hundreds of ranges with numbers as real rockets have them. At the
/// bound the highest ranges are forgotten and read back from the stream when all lower ones have been applied.
pub const TEXT_MAX: usize = 7 * 1024;

/// Text of the widest range, `[first,last,sequence],` with 19 digits each. So many ranges always fit.
const RANGE_TEXT_MAX: usize = 3 * 19 + 5;

/// Pending numbers, without a hole between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest number.
    pub first: MessageNumber,
    /// The highest number.
    pub last: MessageNumber,
    /// The lowest stream sequence among the messages of these numbers: from there on they are read back.
    pub sequence: Sequence,
}

/// Pending messages with numbers above all ranges, too many to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// No message of a dropped range has a sequence below this one.
    pub lowest: Sequence,
    /// The stream holds this one; a reading that has not seen it was not complete. One that has need not be: of a range
    /// only the lowest sequence is kept, so that after redeliveries a range may be dropped of which a message lies
    /// higher. Whether everything was seen is the leader's to say.
    pub highest: Sequence,
}

/// The numbers of one channel that are pending behind a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingRanges {
    /// Rising, never touching.
    ranges: Vec<Range>,
    overflow: Option<Overflow>,
}

/// The same without a bound: for as long as a channel is read, and not for a record.
#[derive(Clone, Debug, Default)]
pub struct PendingMap {
    /// Of each range by its first number the last one, and the lowest sequence. Never touching.
    ranges: BTreeMap<MessageNumber, (MessageNumber, Sequence)>,
    /// The highest sequence that was noted.
    highest: Sequence,
}

impl PendingMap {
    /// Notes that a number waits, and at which sequence; a further copy of it only lowers the sequence.
    pub fn insert(&mut self, number: MessageNumber, sequence: Sequence) {
        self.highest = self.highest.max(sequence);
        let before = self.ranges.range(..=number).next_back().map(|(first, range)| (*first, *range));
        let (first, (last, lowest)) = match before {
            Some((first, (last, lowest))) if number <= last => (first, (last, lowest.min(sequence))),
            Some((first, (last, lowest))) if last.next() == Some(number) => (first, (number, lowest.min(sequence))),
            _ => (number, (number, sequence)),
        };
        let next = last.next().and_then(|next| self.ranges.remove(&next));
        let (last, lowest) = next.map_or((last, lowest), |(end, place)| (end, lowest.min(place)));
        self.ranges.insert(first, (last, lowest));
    }

    /// Forgets every number up to this one.
    pub fn remove_through(&mut self, number: MessageNumber) {
        while let Some(range) = self.ranges.first_entry()
            && *range.key() <= number
        {
            let (last, lowest) = range.remove();
            if let Some(next) = number.next().filter(|next| *next <= last) {
                self.ranges.insert(next, (last, lowest));
            }
        }
    }

    /// Whether a number waits.
    pub fn contains(&self, number: MessageNumber) -> bool {
        let range = self.ranges.range(..=number).next_back();
        range.is_some_and(|(_, (last, _))| number <= *last)
    }

    /// The lowest sequence of all; none where nothing waits.
    pub fn lowest(&self) -> Option<Sequence> {
        self.ranges.values().map(|(_, lowest)| *lowest).min()
    }

    /// What a record can hold of it.
    pub fn to_pending_ranges(&self) -> PendingRanges {
        let mut pending = PendingRanges::default();
        for (first, (last, sequence)) in &self.ranges {
            pending.push(Range { first: *first, last: *last, sequence: *sequence }, self.highest);
        }
        pending
    }
}

impl PendingRanges {
    /// Puts stored ranges together again; `None` if they do not rise or touch one another.
    pub fn from_parts(ranges: Vec<Range>, overflow: Option<Overflow>) -> Option<Self> {
        let each_rises = ranges.iter().all(|range| range.first <= range.last);
        let apart = ranges.windows(2).all(|pair| pair[0].last.get() + 1 < pair[1].first.get());
        (each_rises && apart).then_some(Self { ranges, overflow })
    }

    /// Nothing is known but that messages may wait from this sequence on.
    pub fn unknown_from(lowest: Sequence) -> Self {
        Self { ranges: Vec::new(), overflow: Some(Overflow { lowest, highest: Sequence(0) }) }
    }

    /// The ranges, rising.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// What is pending above all ranges, if the ranges are not all.
    pub fn overflow(&self) -> Option<Overflow> {
        self.overflow
    }

    /// Where the first of the pending messages lies in the stream.
    pub fn lowest(&self) -> Option<Sequence> {
        let ranges = self.ranges.iter().map(|range| range.sequence);
        ranges.chain(self.overflow.map(|overflow| overflow.lowest)).min()
    }

    /// How many numbers are known to wait; fewer than do when there are some in the overflow.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|range| range.last.get() - range.first.get() + 1).sum()
    }

    /// Whether a number is known to wait.
    pub fn contains(&self, number: MessageNumber) -> bool {
        let at = self.ranges.partition_point(|range| range.last < number);
        self.ranges.get(at).is_some_and(|range| range.first <= number)
    }

    /// Whether all numbers from the first to the last are known to wait.
    pub fn contains_all(&self, first: MessageNumber, last: MessageNumber) -> bool {
        let at = self.ranges.partition_point(|range| range.last < first);
        self.ranges.get(at).is_some_and(|range| range.first <= first && last <= range.last)
    }

    /// The first number from the first to the last that is not known to wait.
    pub fn first_missing(&self, first: MessageNumber, last: MessageNumber) -> Option<MessageNumber> {
        let at = self.ranges.partition_point(|range| range.last < first);
        let covering = self.ranges.get(at).filter(|range| range.first <= first);
        covering.map_or(Some(first), |range| range.last.next()).filter(|missing| *missing <= last)
    }

    /// Whether what is pending could be applied, if `next` is the number to come: it waits itself, or it is not known what
    /// waits.
    pub fn may_begin_with(&self, next: MessageNumber) -> bool {
        match self.ranges.first() {
            Some(range) => range.first <= next,
            None => self.overflow.is_some(),
        }
    }

    /// Notes that a number waits, and at which sequence; a further copy of it only lowers the sequence.
    pub fn insert(&mut self, number: MessageNumber, sequence: Sequence) {
        if self.overflow.is_some() && self.ranges.last().is_none_or(|range| range.last < number) {
            return self.note_overflow(sequence, sequence);
        }
        self.note(number, sequence);
        self.keep_within_bound(sequence);
    }

    /// Forgets every number up to this one.
    pub fn remove_through(&mut self, number: MessageNumber) {
        let applied_through = self.ranges.partition_point(|range| range.last <= number);
        self.ranges.drain(..applied_through);
        if let (Some(range), Some(next)) = (self.ranges.first_mut(), number.next()) {
            range.first = range.first.max(next);
        }
    }

    /// Adds a range above all others, if it fits; no message of it lies behind `highest`.
    fn push(&mut self, range: Range, highest: Sequence) {
        if self.overflow.is_some() {
            return self.note_overflow(range.sequence, highest);
        }
        self.ranges.push(range);
        self.keep_within_bound(highest);
    }

    fn note(&mut self, number: MessageNumber, sequence: Sequence) {
        let at = self.ranges.partition_point(|range| range.last.get() + 1 < number.get());
        match self.ranges.get_mut(at) {
            Some(range) if range.first.get() <= number.get() + 1 => {
                range.first = range.first.min(number);
                range.last = range.last.max(number);
                range.sequence = range.sequence.min(sequence);
                self.join_with_next(at);
            }
            _ => self.ranges.insert(at, Range { first: number, last: number, sequence }),
        }
    }

    fn join_with_next(&mut self, at: usize) {
        let Some(next) = self.ranges.get(at + 1).copied() else { return };
        let range = &mut self.ranges[at];
        if range.last.get() + 1 >= next.first.get() {
            range.last = next.last;
            range.sequence = range.sequence.min(next.sequence);
            self.ranges.remove(at + 1);
        }
    }

    fn keep_within_bound(&mut self, newest: Sequence) {
        let text_max = bounds().pending_text;
        while self.ranges.len() > text_max / RANGE_TEXT_MAX && self.text_len() > text_max {
            if let Some(range) = self.ranges.pop() {
                bounds::reached("ranges are not listed");
                self.note_overflow(range.sequence, newest.max(range.sequence));
            }
        }
    }

    /// Notes that more waits above all ranges, between these sequences.
    pub fn note_overflow(&mut self, lowest: Sequence, highest: Sequence) {
        let overflow = self.overflow.get_or_insert(Overflow { lowest, highest });
        overflow.lowest = overflow.lowest.min(lowest);
        overflow.highest = overflow.highest.max(highest);
    }

    fn text_len(&self) -> usize {
        let digits = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
        let text_of =
            |range: &Range| digits(range.first.get()) + digits(range.last.get()) + digits(range.sequence.0) + 5;
        self.ranges.iter().map(text_of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u64) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    fn pending(numbers: &[(u64, u64)]) -> PendingRanges {
        let mut pending = PendingRanges::default();
        numbers.iter().for_each(|&(of, sequence)| pending.insert(number(of), Sequence(sequence)));
        pending
    }

    fn ranges(pending: &PendingRanges) -> Vec<(u64, u64, u64)> {
        pending.ranges().iter().map(|range| (range.first.get(), range.last.get(), range.sequence.0)).collect()
    }

    #[test]
    fn neighbours_become_one_range() {
        assert_eq!(ranges(&pending(&[])), []);
        assert_eq!(ranges(&pending(&[(5, 1)])), [(5, 5, 1)]);
        assert_eq!(ranges(&pending(&[(5, 3), (6, 1), (4, 2)])), [(4, 6, 1)]);
        assert_eq!(ranges(&pending(&[(5, 1), (7, 2)])), [(5, 5, 1), (7, 7, 2)]);
        assert_eq!(ranges(&pending(&[(5, 3), (7, 2), (6, 1)])), [(5, 7, 1)]);
        assert_eq!(ranges(&pending(&[(5, 2), (5, 9), (5, 1)])), [(5, 5, 1)]);
    }

    #[test]
    fn what_is_passed_is_forgotten() {
        let mut pending = pending(&[(3, 1), (4, 2), (5, 3), (9, 4)]);
        assert!(pending.may_begin_with(number(3)) && !pending.may_begin_with(number(2)));
        pending.remove_through(number(4));
        assert_eq!((ranges(&pending), pending.lowest()), (vec![(5, 5, 1), (9, 9, 4)], Some(Sequence(1))));
        pending.remove_through(number(8));
        assert_eq!(ranges(&pending), [(9, 9, 4)]);
        assert_eq!((pending.count(), pending.contains(number(9)), pending.contains(number(8))), (1, true, false));
    }

    #[test]
    fn all_of_a_range_wait_only_without_a_hole() {
        let pending = pending(&[(3, 1), (4, 2), (5, 3), (7, 4)]);
        for (first, last, expected) in [(3, 5, true), (4, 4, true), (4, 7, false), (2, 3, false), (6, 6, false)] {
            assert_eq!(pending.contains_all(number(first), number(last)), expected, "{first} to {last}");
        }
    }

    #[test]
    fn beyond_the_bound_only_the_lowest_ranges_are_kept() {
        let mut pending = PendingRanges::default();
        for step in 0..10_000 {
            pending.insert(number(20_000 - 2 * step), Sequence(step + 1));
        }
        assert!(pending.text_len() <= TEXT_MAX);
        assert!(pending.ranges.len() > 300, "some hundreds of ranges fit: {}", pending.ranges.len());
        assert_eq!(pending.ranges[0].first, number(2));
        assert_eq!(pending.overflow(), Some(Overflow { lowest: Sequence(1), highest: Sequence(10_000) }));

        let before = pending.ranges.len();
        pending.insert(number(1_000_000), Sequence(10_001));
        assert_eq!((pending.ranges.len(), pending.overflow().unwrap().highest), (before, Sequence(10_001)));
    }

    #[test]
    fn the_widest_ranges_stay_within_the_bound_too() {
        let mut pending = PendingRanges::default();
        for step in 0..1_000 {
            pending.insert(number(MessageNumber::MAX - 2 * step), Sequence(u64::MAX >> 1));
        }
        assert!(pending.text_len() <= TEXT_MAX && pending.ranges.len() >= TEXT_MAX / RANGE_TEXT_MAX);
    }

    #[test]
    fn when_all_ranges_are_applied_the_rest_has_to_be_read_back() {
        let mut unknown = PendingRanges::unknown_from(Sequence(7));
        assert!(unknown.may_begin_with(MessageNumber::FIRST));
        unknown.insert(number(3), Sequence(9));
        assert_eq!((ranges(&unknown), unknown.overflow().unwrap().lowest), (vec![], Sequence(7)));
    }

    #[test]
    fn stored_ranges_that_make_no_sense_are_refused() {
        let range = |first, last| Range { first: number(first), last: number(last), sequence: Sequence(1) };
        assert!(PendingRanges::from_parts(vec![range(1, 2), range(4, 4)], None).is_some());
        for ranges in [vec![range(2, 1)], vec![range(1, 2), range(3, 4)], vec![range(5, 6), range(1, 2)]] {
            assert_eq!(PendingRanges::from_parts(ranges, None), None);
        }
    }
}
