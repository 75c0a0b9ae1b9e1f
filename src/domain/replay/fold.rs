//! One fold of a channel: its record while its messages come in, what came before its turn, and what waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::parked::Waiting;
use super::super::reorder::{ReorderBuffer, Room};
use super::super::sequencer::{Placed, counts, place_in_order};
use super::super::{Acts, Arrival, MessageNumber, Parked, Record, Sequence};

/// Messages that are fetched at once.
const FETCH_MAX: usize = 256;

/// The state of one channel while its messages come in, in the order of the log.
#[derive(Debug)]
pub struct Fold<S> {
    record: Record,
    pub(super) buffer: ReorderBuffer<S>,
    acts: Acts,
    waiting: Waiting,
    highest_correction: Option<MessageNumber>,
    /// The first plain message of each corrected number, as far as it was read.
    replaced: BTreeMap<MessageNumber, Sequence>,
}

impl<S> Fold<S> {
    /// Begins before the first message, with these acts.
    pub fn from_start(acts: Acts, room: Room, size: fn(&S) -> usize) -> Self {
        let record = Record { acts: acts.last(), acts_at: acts.last_at(), ..Record::default() };
        Self {
            record,
            buffer: ReorderBuffer::new(room, size),
            acts,
            waiting: Waiting::default(),
            highest_correction: None,
            replaced: BTreeMap::new(),
        }
    }

    /// Goes on from a record, with these acts: what it has applied and skipped stays.
    pub fn resume(record: &Record, acts: Acts, room: Room, size: fn(&S) -> usize) -> Self {
        let (parked, acts_through, acts_at) = (Parked::default(), acts.last(), acts.last_at());
        let record = Record { parked, acts: acts_through, acts_at, corrections_wait: false, ..record.clone() };
        Self { record, ..Self::from_start(acts, room, size) }
    }

    /// How far it has come, without what waits.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The event that would have the place of a correction if there were only what came before: another correction, a
    /// skip, or the first plain message, as far as that was read.
    pub fn stands_in_for(&self, number: MessageNumber, correction: Sequence) -> Option<Sequence> {
        self.acts.stands_in_for(number, correction).or_else(|| self.replaced.get(&number).copied())
    }

    /// Takes messages in, and tells what could be placed now.
    pub fn take<'a>(&mut self, arrivals: impl IntoIterator<Item = &'a Arc<Arrival<S>>>) -> Vec<Placed<S>>
    where
        S: 'a,
    {
        let mut placed = Vec::new();
        for arrival in arrivals {
            self.note_replaced(arrival);
            // A correction that lies behind the acts has not been taken up: it is not there yet.
            let is_there = !arrival.corrects || arrival.sequence <= self.acts.last();
            if is_there && !self.record.has_passed(arrival.message.number) {
                self.wait_for_its_turn(arrival);
                self.place(&mut placed);
            }
        }
        placed
    }

    fn wait_for_its_turn(&mut self, arrival: &Arc<Arrival<S>>) {
        let number = arrival.message.number;
        if arrival.corrects {
            self.highest_correction = self.highest_correction.max(Some(number));
        }
        self.waiting.insert(number, arrival.sequence);
        if counts(arrival, &self.acts) {
            self.buffer.insert(arrival.clone());
        }
    }

    fn note_replaced(&mut self, arrival: &Arrival<S>) {
        let number = arrival.message.number;
        if !arrival.corrects && self.acts.correction_of(number).is_some() {
            let first = self.replaced.entry(number).or_insert(arrival.sequence);
            *first = (*first).min(arrival.sequence);
        }
    }

    /// Takes in messages that were fetched, and tells what could be placed now.
    pub(super) fn supply<'a>(&mut self, arrivals: impl IntoIterator<Item = &'a Arc<Arrival<S>>>) -> Vec<Placed<S>>
    where
        S: 'a,
    {
        arrivals.into_iter().for_each(|arrival| self.buffer.supply(arrival.clone()));
        let mut placed = Vec::new();
        self.place(&mut placed);
        placed
    }

    fn place(&mut self, placed: &mut Vec<Placed<S>>) {
        let before = placed.len();
        loop {
            let more = place_in_order(&mut self.record, |next| self.buffer.take(next), &self.acts);
            if more.is_empty() {
                break;
            }
            placed.extend(more);
        }
        if placed.len() > before
            && let Some(last) = &self.record.last
        {
            self.waiting.remove_through(last.number);
            self.buffer.remove_through(last.number);
        }
    }

    /// The places of the messages that come next, if they are not in memory.
    pub(super) fn to_fetch(&self) -> Vec<Sequence> {
        self.record.next_number().map_or_else(Vec::new, |next| self.buffer.to_fetch(next, FETCH_MAX))
    }

    /// Whether what comes next was dropped for lack of room, so that the log is to be read again.
    pub(super) fn needs_another_pass(&self) -> bool {
        let next = self.record.next_number().filter(|next| !self.buffer.knows(*next));
        next.is_some() && next >= self.buffer.dropped() && self.buffer.dropped().is_some()
    }

    /// Whether it knows that a message of the number that comes next is there, and has not got it.
    pub(super) fn lacks_what_waits(&self) -> bool {
        self.record.next_number().is_some_and(|next| self.waiting.contains(next))
    }

    /// Where the first message lies that has not taken its place, as far as was read.
    pub(super) fn lowest_waiting(&self) -> Option<Sequence> {
        self.waiting.lowest()
    }

    /// The record as it is now, with what waits.
    pub fn state(&self) -> Record {
        let corrections_wait = self.highest_correction.is_some_and(|number| !self.record.has_passed(number));
        Record { parked: self.waiting.to_parked(), corrections_wait, ..self.record.clone() }
    }
}
