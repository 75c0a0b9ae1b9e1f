//! The overrides of one channel, gathered by one reading of its messages in the log: which numbers are corrected, and which
//! are skipped.
//!
//! Of the messages with one number, the correction with the highest sequence counts; without one, a number is
//! skipped if a skip covers it and no message of it lies before that skip. A skip covers only numbers up to the highest
//! that had arrived: it opens the way to what is pending, whatever number it names. All of it depends on the log alone,
//! not on who applied what first.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rangemap::{RangeInclusiveMap, RangeInclusiveSet};

use super::{Checkpoint, Entry, Event, MessageNumber, Sequence, Skip, StoredAt};

/// Everything that a reading has found.
#[derive(Clone, Debug, Default)]
pub struct OverrideIndex {
    /// The numbers that have arrived so far.
    arrived: RangeInclusiveSet<u64>,
    corrections: BTreeMap<MessageNumber, Vec<Event>>,
    skips: Vec<(Event, Skip)>,
    /// The numbers that are skipped, and by which skip.
    skipped: RangeInclusiveMap<u64, usize>,
    last_override: Option<Sequence>,
    /// When the overrides were stored that the checkpoint knows of, if that is known.
    before: Option<StoredAt>,
}

/// The overrides up to a sequence.
#[derive(Clone, Debug)]
pub struct Overrides {
    index: Arc<OverrideIndex>,
    through: Option<Sequence>,
}

/// Numbers that are skipped, by one skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkippedRange<'a> {
    /// The highest of them.
    pub last: MessageNumber,
    /// Where the skip lies in the stream.
    pub sequence: Sequence,
    /// The skip.
    pub skip: &'a Skip,
}

impl OverrideIndex {
    /// Goes on from a checkpoint: every number that it is past has arrived.
    pub fn behind(checkpoint: &Checkpoint) -> Self {
        let arrived = checkpoint.through().map(|through| 1..=through.get()).into_iter().collect();
        let (last_override, before) = (checkpoint.record.last_override, checkpoint.record.last_override_at);
        Self { arrived, last_override, before, ..Self::default() }
    }

    /// Takes in the next entry, in the order of the stream.
    pub fn see<S>(&mut self, entry: &Entry<S>) {
        match entry {
            Entry::Message(arrival) => {
                if arrival.corrects {
                    self.corrections.entry(arrival.message.number).or_default().push(arrival.event());
                    self.last_override = self.last_override.max(Some(arrival.sequence));
                }
                let number = arrival.message.number.get();
                self.arrived.insert(number..=number);
            }
            Entry::Skip(arrived) => {
                self.last_override = self.last_override.max(Some(arrived.sequence));
                self.skips.push((entry.event(), arrived.skip.clone()));
                self.skip_what_is_missing(arrived.skip.up_to.get());
            }
        }
    }

    /// The last override that was seen.
    pub fn last_override(&self) -> Option<Sequence> {
        self.last_override
    }

    /// All overrides, corrections first.
    fn overrides(&self) -> impl Iterator<Item = Event> + '_ {
        self.corrections.values().flatten().copied().chain(self.skips.iter().map(|(event, _)| *event))
    }

    /// The last sequence before which nothing is new to one who knows the overrides up to this sequence that were stored
    /// no later than at this time. Mostly it is that sequence; where the log lost its end, overrides that are new lie
    /// before it.
    pub fn known_through(&self, place: Option<Sequence>, at: Option<StoredAt>) -> Option<Sequence> {
        let is_new =
            |overriding: &Event| Some(overriding.sequence) <= place && at.is_some_and(|at| overriding.stored_at > at);
        let new = self.overrides().filter(is_new).map(|overriding| overriding.sequence).min();
        new.map_or(place, Sequence::before)
    }

    /// Whether a message of this number has arrived.
    pub fn has_seen(&self, number: MessageNumber) -> bool {
        self.arrived.contains(&number.get())
    }

    /// The ranges of these numbers of which no message has arrived.
    fn unseen(&self, numbers: &RangeInclusive<u64>) -> Vec<(MessageNumber, MessageNumber)> {
        let number = |number: &u64| MessageNumber::new(*number);
        self.arrived.gaps(numbers).filter_map(|gap| number(gap.start()).zip(number(gap.end()))).collect()
    }

    /// Skips every number up to this one that has neither arrived nor been skipped before.
    fn skip_what_is_missing(&mut self, up_to: u64) {
        let (highest, skip) = (self.arrived.last().map_or(0, |range| *range.end()), self.skips.len() - 1);
        let missing: Vec<_> = self.arrived.gaps(&(1..=up_to.min(highest))).collect();
        for missing in missing {
            let not_skipped: Vec<_> = self.skipped.gaps(&missing).collect();
            not_skipped.into_iter().for_each(|numbers| self.skipped.insert(numbers, skip));
        }
    }
}

impl Overrides {
    /// No overrides at all.
    pub fn none() -> Self {
        Self { index: Arc::default(), through: None }
    }

    /// All overrides of an index.
    pub fn all(index: &Arc<OverrideIndex>) -> Self {
        Self::through(index, index.last_override)
    }

    /// The overrides of an index up to a sequence, that one included.
    pub fn through(index: &Arc<OverrideIndex>, through: Option<Sequence>) -> Self {
        Self { index: index.clone(), through }
    }

    /// The last sequence that counts; of all overrides, the last override.
    pub fn last(&self) -> Option<Sequence> {
        self.through
    }

    /// The latest time at which one of them was stored, if that is known.
    pub fn last_at(&self) -> Option<StoredAt> {
        let overrides = self.index.overrides().filter(|overriding| Some(overriding.sequence) <= self.through);
        overrides.map(|overriding| overriding.stored_at).chain(self.index.before).max()
    }

    /// The skips behind this sequence.
    pub fn skips_after(&self, since: Option<Sequence>) -> impl Iterator<Item = Event> {
        let skips = self.index.skips.iter().map(|(event, _)| *event);
        skips.filter(move |event| since < Some(event.sequence) && Some(event.sequence) <= self.through)
    }

    /// The overrides behind this sequence.
    pub fn after(&self, since: Option<Sequence>) -> impl Iterator<Item = Event> + '_ {
        let corrections = self.index.corrections.values().flatten().copied();
        corrections.filter(move |overriding| Some(overriding.sequence) > since).chain(self.skips_after(since))
    }

    /// The corrections behind this sequence that were overtaken by another one of their number.
    pub fn overtaken_after(&self, since: Option<Sequence>) -> impl Iterator<Item = Event> {
        let corrections = self.index.corrections.iter();
        corrections.flat_map(move |(number, of_number)| {
            let counts = self.correction_of(*number);
            let overtaken = of_number.iter().copied().filter(move |event| Some(event.sequence) < counts);
            overtaken.filter(move |event| Some(event.sequence) > since)
        })
    }

    /// Where the correction lies that takes the place of this number.
    pub fn correction_of(&self, number: MessageNumber) -> Option<Sequence> {
        let corrections = self.index.corrections.get(&number)?;
        corrections.iter().rev().map(|event| event.sequence).find(|sequence| Some(*sequence) <= self.through)
    }

    /// What a correction of this number stands in for, among the overrides: the correction before it, else the skip.
    pub fn stands_in_for(&self, number: MessageNumber, correction: Sequence) -> Option<Sequence> {
        let corrections = self.index.corrections.get(&number).into_iter().flatten();
        let before = corrections.map(|event| event.sequence).filter(|sequence| *sequence < correction).max();
        before.or_else(|| self.covering(number).map(|(_, (event, _))| event.sequence))
    }

    /// The skip that lies at this sequence.
    pub fn skip_at(&self, sequence: Sequence) -> Option<&Skip> {
        let skips = &self.index.skips;
        skips.binary_search_by_key(&sequence, |(event, _)| event.sequence).ok().map(|at| &skips[at].1)
    }

    /// The sequence and the time of that skip.
    pub fn event_of_skip(&self, sequence: Sequence) -> Option<Event> {
        let skips = &self.index.skips;
        skips.binary_search_by_key(&sequence, |(event, _)| event.sequence).ok().map(|at| skips[at].0)
    }

    /// Ranges of numbers up to this one that are skipped, and of which the reading has seen no message.
    pub fn skipped_and_unseen(
        &self,
        through: MessageNumber,
    ) -> impl Iterator<Item = (MessageNumber, MessageNumber)> + '_ {
        let ranges = self.index.skipped.overlapping(1..=through.get());
        let of_overrides = ranges.filter(|(_, skip)| Some(self.index.skips[**skip].0.sequence) <= self.through);
        of_overrides.flat_map(move |(range, _)| self.index.unseen(&(*range.start()..=*range.end().min(&through.get()))))
    }

    /// The first number from the first to the last of which the reading has seen no message.
    pub fn first_unseen(&self, first: MessageNumber, last: MessageNumber) -> Option<MessageNumber> {
        let numbers = first.get()..=last.get();
        if numbers.is_empty() { None } else { self.index.unseen(&numbers).first().map(|(first, _)| *first) }
    }

    /// Whether overrides behind a sequence change what a record has made of the numbers up to this one: they correct one,
    /// or skip one whose message came after the skip.
    pub fn touch(&self, since: Option<Sequence>, through: Option<MessageNumber>) -> bool {
        self.touching(since, through).next().is_some()
    }

    /// The overrides that do ([`Self::touch`]).
    pub fn touching(
        &self,
        since: Option<Sequence>,
        through: Option<MessageNumber>,
    ) -> impl Iterator<Item = Event> + '_ {
        let OverrideIndex { corrections, skipped, skips, arrived, .. } = &*self.index;
        let corrected = corrections.iter().take_while(move |(number, _)| Some(**number) <= through);
        let passed = through.map(|through| 1..=through.get());
        let skipped = passed.into_iter().flat_map(|passed| skipped.overlapping(passed));
        let is_seen = move |range: &RangeInclusive<u64>| {
            through.is_some_and(|through| arrived.overlaps(&(*range.start()..=*range.end().min(&through.get()))))
        };
        let seen_skipped = skipped.filter(move |(range, _)| is_seen(range));
        let overrides = corrected.flat_map(|(_, overrides)| overrides.iter().copied());
        let of_skips = seen_skipped.map(|(_, skip)| skips[*skip].0);
        overrides.chain(of_skips).filter(move |overriding| Some(overriding.sequence) > since)
    }

    /// The end of the range of skipped numbers that holds this one, corrected or not, and the skip.
    fn covering(&self, number: MessageNumber) -> Option<(u64, &(Event, Skip))> {
        let (range, skip) = self.index.skipped.get_key_value(&number.get())?;
        let skip = &self.index.skips[*skip];
        (Some(skip.0.sequence) <= self.through).then_some((*range.end(), skip))
    }

    /// The numbers from this one on that are skipped, up to the next that is not; corrected ones end them.
    pub fn skipped_from(&self, number: MessageNumber) -> Option<SkippedRange<'_>> {
        let (last, (event, skip)) = self.covering(number)?;
        if self.correction_of(number).is_some() {
            return None;
        }
        let within = self.index.corrections.range(number..).map(|(corrected, _)| *corrected);
        let corrected = within.take_while(|corrected| corrected.get() <= last);
        let end = corrected.filter(|corrected| self.correction_of(*corrected).is_some()).map(|at| at.get() - 1).next();
        MessageNumber::new(end.unwrap_or(last)).map(|last| SkippedRange { last, sequence: event.sequence, skip })
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::ArrivedSkip;
    use super::super::testing::{channel, message};
    use super::super::{Arrival, Kind, MessageTime, StoredAt};
    use super::*;

    fn number(number: u64) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    fn arrival(of: u64, corrects: bool, sequence: u64) -> Entry<()> {
        let message = message(of, Kind::SpeedIncreased(1));
        Entry::Message(Arc::new(Arrival {
            sequence: Sequence(sequence),
            stored_at: StoredAt(0),
            message,
            corrects,
            stored: (),
        }))
    }

    fn skip(up_to: u64, sequence: u64) -> Entry<()> {
        let time = MessageTime::parse("2022-02-02T19:39:05Z").unwrap();
        let skip = Skip { channel: channel(), up_to: number(up_to), time, reason: "lost".into() };
        Entry::Skip(ArrivedSkip { sequence: Sequence(sequence), stored_at: StoredAt(0), skip })
    }

    fn overrides(entries: &[Entry<()>], through: u64) -> Overrides {
        let mut index = OverrideIndex::default();
        entries.iter().for_each(|entry| index.see(entry));
        Overrides::through(&Arc::new(index), Some(Sequence(through)))
    }

    /// The numbers of 1..=12 that are skipped, each with its skip's place.
    fn skipped(overrides: &Overrides) -> Vec<(u64, u64)> {
        let of = |at| overrides.skipped_from(number(at)).map(|range| (at, range.sequence.0));
        (1..=12).filter_map(of).collect()
    }

    #[test]
    fn a_skip_takes_what_has_not_arrived_up_to_the_highest_that_has() {
        let entries = [arrival(3, false, 1), arrival(7, false, 2), skip(5, 3), arrival(4, false, 4), skip(99, 5)];
        assert_eq!(skipped(&overrides(&entries, 9)), [(1, 3), (2, 3), (4, 3), (5, 3), (6, 5)]);
        assert_eq!(skipped(&overrides(&entries, 4)), [(1, 3), (2, 3), (4, 3), (5, 3)]);
        assert_eq!(skipped(&overrides(&entries, 2)), []);
        assert_eq!(skipped(&overrides(&[skip(5, 1), arrival(5, false, 2)], 9)), [], "nothing had arrived");
    }

    #[test]
    fn what_was_said_later_is_new_wherever_it_lies() {
        let mut index = OverrideIndex::default();
        for (sequence, at) in [(2, 20), (5, 500), (7, 510)] {
            let Entry::Skip(skip) = skip(1, sequence) else { unreachable!() };
            index.see::<()>(&Entry::Skip(ArrivedSkip { stored_at: StoredAt(at), ..skip }));
        }
        for (place, at, expected) in
            [(9, Some(90), 4), (9, Some(500), 6), (9, Some(510), 9), (9, None, 9), (4, Some(90), 4)]
        {
            let known = index.known_through(Some(Sequence(place)), at.map(StoredAt));
            assert_eq!(known, Some(Sequence(expected)), "{place} {at:?}");
        }
        let index = Arc::new(index);
        let at = |through| Overrides::through(&index, Some(Sequence(through))).last_at().map(|at| at.0);
        assert_eq!([1, 2, 6, 9].map(at), [None, Some(20), Some(500), Some(510)]);
    }

    #[test]
    fn of_two_corrections_the_one_that_lies_higher_counts() {
        let entries = [arrival(2, false, 1), arrival(2, true, 3), arrival(2, true, 5)];
        for (through, expected) in [(2, None), (3, Some(3)), (4, Some(3)), (9, Some(5))] {
            let correction = overrides(&entries, through).correction_of(number(2));
            assert_eq!(correction.map(|sequence| sequence.0), expected, "{through}");
        }
    }

    #[test]
    fn a_corrected_number_is_not_skipped_any_more() {
        let entries = [arrival(6, false, 1), skip(5, 2), arrival(3, true, 3)];
        let overrides = overrides(&entries, 9);
        assert_eq!(skipped(&overrides), [(1, 2), (2, 2), (4, 2), (5, 2)]);
        assert_eq!(overrides.skipped_from(number(1)).map(|range| range.last), Some(number(2)));
        assert_eq!(overrides.skipped_from(number(4)).map(|range| range.last), Some(number(5)));
    }

    #[test]
    fn a_correction_stands_in_for_the_override_before_it() {
        let entries = [arrival(6, false, 1), skip(5, 2), arrival(3, true, 3), arrival(3, true, 4), arrival(6, true, 5)];
        let overrides = overrides(&entries, 9);
        for (of, correction, expected) in [(3, 4, Some(3)), (3, 3, Some(2)), (6, 5, None)] {
            let before = overrides.stands_in_for(number(of), Sequence(correction)).map(|sequence| sequence.0);
            assert_eq!(before, expected, "{of} {correction}");
        }
        assert_eq!(overrides.skip_at(Sequence(2)).map(|skip| skip.up_to), Some(number(5)));
        assert_eq!(overrides.skip_at(Sequence(3)), None);
    }

    #[test]
    fn a_skip_of_everything_there_is_costs_one_range() {
        let entries = [arrival(MessageNumber::MAX, false, 1), skip(MessageNumber::MAX, 2)];
        let range = overrides(&entries, 2).skipped_from(number(1)).map(|range| range.last.get());
        assert_eq!(range, Some(MessageNumber::MAX - 1));
    }
}
