//! A channel's messages folded from the log, page by page: for a correction, a skip, a rebuild and a rocket's history.
//!
//! What operators said of the sequence is known only at the end of a reading ([`Survey`]), and the messages lie in the log
//! in the order in which they came. So the log is read once where nothing was said, and a second time otherwise; messages
//! that came before their turn, and for which memory has no room, are fetched one by one when it comes
//! ([`ReorderBuffer`]). The cost of a message does not depend on the order of arrival, and memory is bounded whatever the
//! channel's length; beside messages, ranges of numbers are remembered.
//!
//! Pure like the rest: whoever drives it reads the log ([`Wanted`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::parked::Waiting;
use super::reorder::{ReorderBuffer, Room};
use super::sequencer::{Placed, counts, place_in_order};
use super::{Acts, Arrival, Entry, MessageNumber, Parked, Record, Sequence, Survey};

/// Messages that are fetched at once.
const FETCH_MAX: usize = 256;

/// The state of one channel while its messages come in, in the order of the log.
#[derive(Debug)]
pub struct Fold<S> {
    record: Record,
    buffer: ReorderBuffer<S>,
    acts: Acts,
    waiting: Waiting,
    highest_correction: Option<MessageNumber>,
    /// The first plain message of each corrected number, as far as it was read.
    replaced: BTreeMap<MessageNumber, Sequence>,
}

impl<S> Fold<S> {
    /// Begins before the first message, with these acts.
    pub fn from_start(acts: Acts, room: Room, size: fn(&S) -> usize) -> Self {
        let record = Record { acts: acts.last(), ..Record::default() };
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
        let (parked, acts_through) = (Parked::default(), acts.last());
        let record = Record { parked, acts: acts_through, corrections_wait: false, ..record.clone() };
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
    fn supply<'a>(&mut self, arrivals: impl IntoIterator<Item = &'a Arc<Arrival<S>>>) -> Vec<Placed<S>>
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
    fn to_fetch(&self) -> Vec<Sequence> {
        self.record.next_number().map_or_else(Vec::new, |next| self.buffer.to_fetch(next, FETCH_MAX))
    }

    /// Whether what comes next was dropped for lack of room, so that the log is to be read again.
    fn needs_another_pass(&self) -> bool {
        let next = self.record.next_number().filter(|next| !self.buffer.knows(*next));
        next.is_some() && next >= self.buffer.dropped() && self.buffer.dropped().is_some()
    }

    /// The record as it is now, with what waits.
    pub fn state(&self) -> Record {
        let corrections_wait = self.highest_correction.is_some_and(|number| !self.record.has_passed(number));
        Record { parked: self.waiting.to_parked(), corrections_wait, ..self.record.clone() }
    }
}

/// What is to be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The state with all acts: one fold.
    State,
    /// What the acts behind this place have changed: one fold without them, and one with all, from the beginning.
    Change {
        /// The last act that was folded in before.
        since: Sequence,
    },
    /// The same, from a record on where the acts change nothing that it has applied: it needs what waits, and no more.
    Onward {
        /// The last act that was folded in before.
        since: Sequence,
        /// The last number that had been passed then.
        passed: u64,
        /// What is gone on from.
        record: Box<Record>,
        /// Whether it is gone on from there in any case, because the log does not have what came before.
        only: bool,
    },
}

/// What is to be read next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A page of the channel from this place on.
    Page(Sequence),
    /// The messages at these places.
    Messages(Vec<Sequence>),
}

/// One channel that is folded from the log.
pub struct Replay<S> {
    goal: Goal,
    room: Room,
    size: fn(&S) -> usize,
    survey: Arc<Survey>,
    /// Whether the whole channel has been seen once.
    surveyed: bool,
    folds: Vec<Fold<S>>,
    next: Option<Sequence>,
    /// The last place that the folds have seen.
    folded: Sequence,
    /// Whether the folds have gone on from a record.
    resumed: bool,
}

/// What has been read has brought.
#[derive(Debug)]
pub enum Turn<S> {
    /// What each fold has placed, in order.
    Placed(Vec<Vec<Placed<S>>>),
    /// An act was found, so that what was told so far may be wrong: forget it, all of it is told again.
    StartOver,
}

impl<S> Replay<S> {
    /// Begins at the beginning of the log; `size` tells what a carrier takes in memory, in bytes.
    pub fn from_start(goal: Goal, room: Room, size: fn(&S) -> usize) -> Self {
        let none = || Fold::from_start(Acts::none(), room, size);
        let folds = if matches!(goal, Goal::State) { vec![none()] } else { Vec::new() };
        let (survey, folded) = (Arc::default(), Sequence(0));
        Self { goal, room, size, survey, surveyed: false, folds, next: Some(Sequence(1)), folded, resumed: false }
    }

    /// What is to be read next; nothing at the end.
    pub fn wanted(&self) -> Option<Wanted> {
        if let Some(from) = self.next {
            return Some(Wanted::Page(from));
        }
        let mut places: Vec<_> = self.folds.iter().flat_map(Fold::to_fetch).collect();
        places.sort_unstable();
        places.dedup();
        if !places.is_empty() {
            return Some(Wanted::Messages(places));
        }
        self.folds.iter().any(Fold::needs_another_pass).then_some(Wanted::Page(Sequence(1)))
    }

    /// Whether the folds have gone on from a record, and not from the beginning of the log.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Whether the whole channel has been read once. Before, what was told may have to be forgotten.
    pub fn is_surveyed(&self) -> bool {
        self.surveyed
    }

    /// What operators said; complete once all has been read.
    pub fn acts(&self) -> Acts {
        Acts::all(&self.survey)
    }

    /// The folds, as far as they have come; the one with all acts is the last.
    pub fn folds(&self) -> &[Fold<S>] {
        &self.folds
    }

    /// Goes on behind what was folded, where more may lie by now.
    pub fn go_on(&mut self) {
        self.next = self.next.or(Some(Sequence(self.folded.0 + 1)));
    }

    /// Whether the folds have seen all acts that they know of. A replica that lags behind may not have shown them.
    pub fn is_complete(&self) -> bool {
        self.folded >= self.survey.last_act()
    }

    /// Takes in the messages that were fetched.
    pub fn supply(&mut self, entries: &[Entry<S>]) -> Turn<S> {
        let supply = |fold: &mut Fold<S>| fold.supply(entries.iter().filter_map(Entry::message));
        Turn::Placed(self.folds.iter_mut().map(supply).collect())
    }

    /// Takes in a page, and where the next one begins, if this was not the last.
    pub fn take(&mut self, entries: &[Entry<S>], next: Option<Sequence>) -> Turn<S> {
        if self.next.is_none() {
            self.folds.iter_mut().for_each(|fold| fold.buffer.forget_dropped());
        }
        self.next = next;
        if self.surveyed { Turn::Placed(self.fold(entries)) } else { self.take_for_the_first_time(entries) }
    }

    fn take_for_the_first_time(&mut self, entries: &[Entry<S>]) -> Turn<S> {
        if let Some(survey) = Arc::get_mut(&mut self.survey) {
            entries.iter().for_each(|entry| survey.see(entry));
        }
        if entries.iter().any(Entry::is_act) {
            self.folds.clear();
        }
        let placed = self.fold(entries);
        if self.next.is_some() {
            return Turn::Placed(placed);
        }
        self.surveyed = true;
        if !self.folds.is_empty() {
            return Turn::Placed(placed);
        }
        self.begin_folds();
        (self.next, self.folded) = (Some(Sequence(1)), Sequence(0));
        Turn::StartOver
    }

    /// Begins the folds, now that it is known what operators said.
    fn begin_folds(&mut self) {
        let from_start = |acts| Fold::from_start(acts, self.room, self.size);
        let (all, until) = (Acts::all(&self.survey), |since| Acts::through(&self.survey, since));
        self.folds = match &self.goal {
            Goal::State => vec![from_start(all)],
            Goal::Onward { since, passed, record, only } if *only || !all.touch(*since, *passed) => {
                self.resumed = true;
                let resume = |acts| Fold::resume(record, acts, self.room, self.size);
                vec![resume(until(*since)), resume(all)]
            }
            Goal::Change { since } | Goal::Onward { since, .. } => vec![from_start(until(*since)), from_start(all)],
        };
    }

    fn fold(&mut self, entries: &[Entry<S>]) -> Vec<Vec<Placed<S>>> {
        self.folded = self.folded.max(entries.last().map_or(Sequence(0), Entry::sequence));
        let take = |fold: &mut Fold<S>| fold.take(entries.iter().filter_map(Entry::message));
        self.folds.iter_mut().map(take).collect()
    }
}

#[cfg(test)]
mod tests;
