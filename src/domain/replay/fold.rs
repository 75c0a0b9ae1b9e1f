//! One fold of a channel: its record while its messages come in, what came before its turn, and what is pending.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::pending::PendingMap;
use super::super::reorder::{ReorderBuffer, Room};
use super::super::sequencer::{Advance, apply_in_order, counts};
use super::super::{Arrival, MessageNumber, Overrides, PendingRanges, Record, Sequence};

/// Messages that are fetched at once.
const FETCH_MAX: usize = 256;

/// The state of one channel while its messages come in, in the order of the log.
#[derive(Debug)]
pub struct Fold<S> {
    record: Record,
    pub(super) buffer: ReorderBuffer<S>,
    overrides: Overrides,
    waiting: PendingMap,
    highest_correction: Option<MessageNumber>,
    /// The first plain message of each corrected number, as far as it was read.
    replaced: BTreeMap<MessageNumber, Sequence>,
}

impl<S> Fold<S> {
    /// Begins before the first message, with these overrides.
    pub fn from_start(overrides: Overrides, room: Room, size: fn(&S) -> usize) -> Self {
        let record =
            Record { last_override: overrides.last(), last_override_at: overrides.last_at(), ..Record::default() };
        Self {
            record,
            buffer: ReorderBuffer::new(room, size),
            overrides,
            waiting: PendingMap::default(),
            highest_correction: None,
            replaced: BTreeMap::new(),
        }
    }

    /// Goes on from a record, with these overrides: what it has applied and skipped stays.
    pub fn resume(record: &Record, overrides: Overrides, room: Room, size: fn(&S) -> usize) -> Self {
        let (pending, overrides_through, last_override_at) =
            (PendingRanges::default(), overrides.last(), overrides.last_at());
        let record = Record {
            pending,
            last_override: overrides_through,
            last_override_at,
            corrections_wait: false,
            ..record.clone()
        };
        Self { record, ..Self::from_start(overrides, room, size) }
    }

    /// How far it has come, without what is pending.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The event that would have the place of a correction if there were only what came before: another correction, a
    /// skip, or the first plain message, as far as that was read.
    pub fn stands_in_for(&self, number: MessageNumber, correction: Sequence) -> Option<Sequence> {
        self.overrides.stands_in_for(number, correction).or_else(|| self.replaced.get(&number).copied())
    }

    /// Takes messages in, and returns what could be applied now.
    pub fn take<'a>(&mut self, arrivals: impl IntoIterator<Item = &'a Arc<Arrival<S>>>) -> Vec<Advance<S>>
    where
        S: 'a,
    {
        let mut advances = Vec::new();
        for arrival in arrivals {
            self.note_replaced(arrival);
            // A correction that lies behind the overrides has not been applied: it is not there yet.
            let is_there = !arrival.corrects || Some(arrival.sequence) <= self.overrides.last();
            if is_there && !self.record.is_through(arrival.message.number) {
                self.wait_for_its_turn(arrival);
                self.place(&mut advances);
            }
        }
        advances
    }

    fn wait_for_its_turn(&mut self, arrival: &Arc<Arrival<S>>) {
        let number = arrival.message.number;
        if arrival.corrects {
            self.highest_correction = self.highest_correction.max(Some(number));
        }
        self.waiting.insert(number, arrival.sequence);
        if counts(arrival, &self.overrides) {
            self.buffer.insert(arrival.clone());
        }
    }

    fn note_replaced(&mut self, arrival: &Arrival<S>) {
        let number = arrival.message.number;
        if !arrival.corrects && self.overrides.correction_of(number).is_some() {
            let first = self.replaced.entry(number).or_insert(arrival.sequence);
            *first = (*first).min(arrival.sequence);
        }
    }

    /// Takes in messages that were fetched, and returns what could be applied now.
    pub(super) fn supply<'a>(&mut self, arrivals: impl IntoIterator<Item = &'a Arc<Arrival<S>>>) -> Vec<Advance<S>>
    where
        S: 'a,
    {
        arrivals.into_iter().for_each(|arrival| self.buffer.supply(arrival.clone()));
        let mut advances = Vec::new();
        self.place(&mut advances);
        advances
    }

    fn place(&mut self, advances: &mut Vec<Advance<S>>) {
        let before = advances.len();
        loop {
            let more = apply_in_order(&mut self.record, |next| self.buffer.take(next), &self.overrides);
            if more.is_empty() {
                break;
            }
            advances.extend(more);
        }
        if advances.len() > before
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

    /// The record as it is now, with what is pending.
    pub fn state(&self) -> Record {
        let corrections_wait = self.highest_correction.is_some_and(|number| !self.record.is_through(number));
        Record { pending: self.waiting.to_pending_ranges(), corrections_wait, ..self.record.clone() }
    }
}
