//! Which numbers of a channel an operator has skipped, as its record remembers it: ranges within a bound.
//!
//! A skipped number that arrives after all is a dead letter, where a message with a number that was applied is a
//! duplicate. Beyond [`TEXT_MAX`] bytes the lowest ranges are dropped, and it is only noted up to where some may be
//! missing; what arrives there is judged by reading the channel again.

use super::MessageNumber;
use super::bounds::{self, bounds};

/// Bound of the text of all ranges, in bytes: some hundred ranges with numbers as real rockets have them.
pub const TEXT_MAX: usize = 2 * 1024;

/// The numbers that were skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// First and last number of each range: rising, never touching.
    ranges: Vec<(MessageNumber, MessageNumber)>,
    /// Up to this number, some may have been skipped and are not among the ranges.
    unlisted: Option<MessageNumber>,
}

impl Skipped {
    /// Puts stored ranges together again; `None` if they do not rise or touch one another.
    pub fn from_parts(ranges: Vec<(MessageNumber, MessageNumber)>, unlisted: Option<MessageNumber>) -> Option<Self> {
        let each_rises = ranges.iter().all(|(first, last)| first <= last);
        let apart = ranges.windows(2).all(|pair| pair[0].1.get() + 1 < pair[1].0.get());
        (each_rises && apart).then_some(Self { ranges, unlisted })
    }

    /// The ranges, rising.
    pub fn ranges(&self) -> &[(MessageNumber, MessageNumber)] {
        &self.ranges
    }

    /// Up to which number the ranges may not be all.
    pub fn unlisted(&self) -> Option<MessageNumber> {
        self.unlisted
    }

    /// Whether a number was skipped; none where that is not remembered.
    pub fn contains(&self, number: MessageNumber) -> Option<bool> {
        let at = self.ranges.partition_point(|(_, last)| *last < number);
        let listed = self.ranges.get(at).is_some_and(|(first, _)| *first <= number);
        (listed || self.unlisted.is_none_or(|unlisted| number > unlisted)).then_some(listed)
    }

    /// Adds numbers that lie above all that were added before.
    pub fn push(&mut self, first: MessageNumber, last: MessageNumber) {
        match self.ranges.last_mut() {
            Some(range) if range.1.next() == Some(first) => range.1 = last,
            _ => self.ranges.push((first, last)),
        }
        while self.text_len() > bounds().skipped_text {
            bounds::reached("skipped numbers are not listed");
            self.unlisted = Some(self.ranges.remove(0).1);
        }
    }

    fn text_len(&self) -> usize {
        let digits = |number: MessageNumber| number.get().ilog10() as usize + 1;
        self.ranges.iter().map(|(first, last)| digits(*first) + digits(*last) + 4).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u64) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    #[test]
    fn neighbours_become_one_range() {
        let mut skipped = Skipped::default();
        for (first, last) in [(1, 2), (3, 3), (7, 9)] {
            skipped.push(number(first), number(last));
        }
        assert_eq!(skipped.ranges(), [(number(1), number(3)), (number(7), number(9))]);
        let told: Vec<_> = [3, 4, 7, 9, 10].map(|at| skipped.contains(number(at)).unwrap()).into();
        assert_eq!(told, [true, false, true, true, false]);
    }

    #[test]
    fn beyond_the_bound_the_lowest_are_dropped_and_that_is_known() {
        let mut skipped = Skipped::default();
        (1..=1_000).for_each(|at| skipped.push(number(2 * at), number(2 * at)));
        assert!(skipped.text_len() <= TEXT_MAX && skipped.ranges().len() > 100);
        assert_eq!((skipped.contains(number(2)), skipped.contains(number(3))), (None, None));
        assert_eq!((skipped.contains(number(2_000)), skipped.contains(number(1_999))), (Some(true), Some(false)));
    }

    #[test]
    fn stored_ranges_that_make_no_sense_are_refused() {
        let parts = |ranges: &[(u64, u64)]| {
            let ranges = ranges.iter().map(|&(first, last)| (number(first), number(last))).collect();
            Skipped::from_parts(ranges, None)
        };
        assert!(parts(&[(1, 2), (4, 4)]).is_some());
        assert!([&[(2, 1)][..], &[(1, 2), (3, 4)], &[(5, 6), (1, 2)]].into_iter().all(|wrong| parts(wrong).is_none()));
    }
}
