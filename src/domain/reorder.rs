//! Messages of one channel that came before their turn, in the order of their numbers: as messages while there is room,
//! beyond that only by their sequences, from where they are fetched when their turn comes.
//!
//! Whatever the order of arrival, a message costs the logarithm of how many there are, and is read twice at most. Of two
//! messages with one number the one with the lower sequence is kept.
//!
//! Deliberately not here: which messages may be applied at all, and applying them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Arrival, MessageNumber, Sequence, bounds};

/// How much a buffer keeps.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes of messages. Beyond it of those with the highest numbers only the sequence is kept.
    pub bytes_max: usize,
    /// Numbers of which only the sequence is kept. Beyond it those with the highest numbers are dropped, and the log is read
    /// once more when everything below them is done.
    pub places_max: usize,
}

impl Room {
    /// What one reading of a channel takes that has so many bytes. Under test it is so little that channels of some dozen
    /// messages exceed it.
    pub fn of_a_reading(bytes_max: usize) -> Self {
        match cfg!(test) {
            true => Self { bytes_max: 8 * 1024, places_max: 12 },
            false => Self { bytes_max, places_max: 1_000_000 },
        }
    }
}

/// Messages of one channel that came before their turn.
#[derive(Debug)]
pub struct ReorderBuffer<S> {
    room: Room,
    size: fn(&S) -> usize,
    bytes: usize,
    held: BTreeMap<MessageNumber, Arc<Arrival<S>>>,
    listed: BTreeMap<MessageNumber, Sequence>,
    /// The lowest number that was dropped. From there on nothing is taken in: another copy of a number is not the first.
    dropped: Option<MessageNumber>,
}

impl<S> ReorderBuffer<S> {
    /// An empty buffer; `size` tells what a message takes in memory, in bytes.
    pub fn new(room: Room, size: fn(&S) -> usize) -> Self {
        Self { room, size, bytes: 0, held: BTreeMap::new(), listed: BTreeMap::new(), dropped: None }
    }

    /// Takes a message in, unless an earlier copy of it is there.
    pub fn insert(&mut self, arrival: Arc<Arrival<S>>) {
        let number = arrival.message.number;
        let is_dropped = self.dropped.is_some_and(|dropped| number >= dropped);
        let is_copy = self.place_of(number).is_some_and(|place| place <= arrival.sequence);
        if is_dropped || is_copy {
            return;
        }
        self.remove(number);
        self.hold(arrival);
        self.make_room();
    }

    /// Takes in a message that was fetched, whether there is room or not: it is its turn.
    pub fn supply(&mut self, arrival: Arc<Arrival<S>>) {
        if self.listed.get(&arrival.message.number) == Some(&arrival.sequence) {
            self.listed.remove(&arrival.message.number);
            self.hold(arrival);
        }
    }

    /// Takes a message out, if it is in memory.
    pub fn take(&mut self, number: MessageNumber) -> Option<Arc<Arrival<S>>> {
        let arrival = self.held.remove(&number)?;
        self.bytes -= (self.size)(&arrival.stored);
        Some(arrival)
    }

    /// Forgets every number up to this one.
    pub fn remove_through(&mut self, number: MessageNumber) {
        while let Some((first, _)) = self.held.first_key_value().filter(|(first, _)| **first <= number) {
            let first = *first;
            self.take(first);
        }
        while self.listed.first_entry().is_some_and(|first| *first.key() <= number) {
            self.listed.pop_first();
        }
    }

    /// Whether the message of a number is in memory.
    pub fn holds(&self, number: MessageNumber) -> bool {
        self.held.contains_key(&number)
    }

    /// Whether the message of a number is in memory, or its place is known.
    pub fn knows(&self, number: MessageNumber) -> bool {
        self.place_of(number).is_some()
    }

    /// The places of messages that are to be fetched, if that of `next` is: those of the numbers from there on without a
    /// hole, at most so many.
    pub fn to_fetch(&self, next: MessageNumber, count_max: usize) -> Vec<Sequence> {
        if !self.listed.contains_key(&next) {
            return Vec::new();
        }
        let numbers = std::iter::successors(Some(next), |number| number.next());
        let without_a_hole = numbers.take_while(|number| self.knows(*number));
        without_a_hole.filter_map(|number| self.listed.get(&number).copied()).take(count_max).collect()
    }

    /// All numbers that are known, rising, each with its place.
    pub fn places(&self) -> impl Iterator<Item = (MessageNumber, Sequence)> {
        let mut held = self.held.iter().map(|(number, arrival)| (*number, arrival.sequence)).peekable();
        let mut listed = self.listed.iter().map(|(number, place)| (*number, *place)).peekable();
        std::iter::from_fn(move || match (held.peek(), listed.peek()) {
            (Some(one), Some(other)) if other.0 < one.0 => listed.next(),
            (Some(_), _) => held.next(),
            (None, _) => listed.next(),
        })
    }

    /// The messages that are in memory, rising.
    pub fn into_held(self) -> impl Iterator<Item = Arc<Arrival<S>>> {
        self.held.into_values()
    }

    /// The lowest number that was dropped for lack of room: from there on the log has to be read again.
    pub fn dropped(&self) -> Option<MessageNumber> {
        self.dropped
    }

    /// Takes numbers in again that were dropped, because the log is read again.
    pub fn forget_dropped(&mut self) {
        if self.dropped.take().is_some() {
            bounds::reached("the log is read again for what was dropped");
        }
    }

    fn place_of(&self, number: MessageNumber) -> Option<Sequence> {
        self.held.get(&number).map(|arrival| arrival.sequence).or_else(|| self.listed.get(&number).copied())
    }

    fn remove(&mut self, number: MessageNumber) {
        self.take(number);
        self.listed.remove(&number);
    }

    fn hold(&mut self, arrival: Arc<Arrival<S>>) {
        self.bytes += (self.size)(&arrival.stored);
        self.held.insert(arrival.message.number, arrival);
    }

    fn make_room(&mut self) {
        while self.bytes > self.room.bytes_max
            && let Some((number, arrival)) = self.held.pop_last()
        {
            self.bytes -= (self.size)(&arrival.stored);
            self.listed.insert(number, arrival.sequence);
            bounds::reached("only the sequence of a message is kept");
        }
        while self.listed.len() > self.room.places_max
            && let Some((number, _)) = self.listed.pop_last()
        {
            bounds::reached("a message is dropped from the reorder buffer");
            self.dropped = Some(self.dropped.map_or(number, |dropped| dropped.min(number)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::message;
    use super::super::{Kind, StoredAt};
    use super::*;

    fn arrival(number: u64, sequence: u64) -> Arc<Arrival<()>> {
        let message = message(number, Kind::SpeedIncreased(1));
        Arc::new(Arrival { sequence: Sequence(sequence), message, corrects: false, stored_at: StoredAt(0), stored: () })
    }

    fn number(number: u64) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    /// A buffer with room for so many messages and places.
    fn buffer(bytes_max: usize, places_max: usize, arrivals: &[(u64, u64)]) -> ReorderBuffer<()> {
        let mut buffer = ReorderBuffer::new(Room { bytes_max, places_max }, |()| 1);
        arrivals.iter().for_each(|(number, sequence)| buffer.insert(arrival(*number, *sequence)));
        buffer
    }

    fn places(buffer: &ReorderBuffer<()>) -> Vec<(u64, u64)> {
        buffer.places().map(|(number, place)| (number.get(), place.0)).collect()
    }

    #[test]
    fn of_what_has_no_room_the_place_is_kept() {
        let mut buffer = buffer(2, 9, &[(7, 1), (5, 2), (6, 3), (8, 4)]);
        assert_eq!(places(&buffer), [(5, 2), (6, 3), (7, 1), (8, 4)]);
        assert_eq!([5, 6, 7, 8].map(|at| buffer.holds(number(at))), [true, true, false, false]);
        assert_eq!(buffer.to_fetch(number(5), 9), [], "it is in memory");
        assert!(buffer.take(number(5)).is_some() && buffer.take(number(6)).is_some());
        assert!(buffer.take(number(7)).is_none() && buffer.knows(number(7)));
        assert_eq!(buffer.to_fetch(number(7), 9), [Sequence(1), Sequence(4)]);
        assert_eq!(buffer.to_fetch(number(7), 1), [Sequence(1)]);
        buffer.supply(arrival(7, 9));
        assert!(!buffer.holds(number(7)), "that is another message");
        buffer.supply(arrival(7, 1));
        assert_eq!((buffer.holds(number(7)), places(&buffer)), (true, vec![(7, 1), (8, 4)]));
    }

    #[test]
    fn what_is_fetched_lies_before_the_next_hole() {
        let buffer = buffer(0, 9, &[(5, 1), (6, 2), (8, 3)]);
        assert_eq!(buffer.to_fetch(number(5), 9), [Sequence(1), Sequence(2)]);
        assert_eq!(buffer.to_fetch(number(4), 9), []);
    }

    #[test]
    fn of_two_copies_the_one_that_lies_lower_is_kept() {
        for bytes_max in [0, 9] {
            assert_eq!(places(&buffer(bytes_max, 9, &[(5, 3), (5, 7), (6, 4), (6, 2)])), [(5, 3), (6, 2)]);
        }
    }

    #[test]
    fn what_is_dropped_is_not_taken_for_the_first_copy_later() {
        let mut buffer = buffer(1, 2, &[(9, 1), (7, 2), (5, 3), (3, 4), (9, 5), (8, 6)]);
        assert_eq!(places(&buffer), [(3, 4), (5, 3), (7, 2)]);
        assert_eq!(buffer.dropped(), Some(number(8)), "8 had no room after 9, and 9 is not taken in again");
        buffer.remove_through(number(5));
        buffer.forget_dropped();
        buffer.insert(arrival(9, 1));
        assert_eq!(places(&buffer), [(7, 2), (9, 1)]);
    }

    #[test]
    fn everything_up_to_a_number_is_forgotten() {
        let mut buffer = buffer(2, 9, &[(3, 1), (4, 2), (5, 3), (6, 4)]);
        buffer.remove_through(number(5));
        assert_eq!((places(&buffer), buffer.bytes), (vec![(6, 4)], 0));
    }
}
