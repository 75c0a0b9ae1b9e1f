//! A channel folded anew from its stream, page by page: for a correction, a skip, a rebuild and a rocket's history.
//!
//! What operators said of the sequence is known only at the end of a reading ([`Survey`]), and the messages lie in the
//! stream in the order in which they came. So the stream is read as often as needed: once where nothing was said and
//! what is out of order fits into the hand, and again from where the fold has come to otherwise. Memory is bounded by
//! the hand, whatever the channel's length; beside it, ranges of numbers are remembered.
//!
//! Pure like the rest: whoever drives it reads the pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::parked::Waiting;
use super::sequencer::{Placed, offer, place_in_order, trim};
use super::{Acts, Arrival, Entry, Hand, MessageNumber, Record, Sequence, Survey};

/// Bytes of messages that one fold holds in memory to put them in order. Beyond it those with the highest numbers are
/// let go, and read again on the next pass.
const HAND_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The state of one channel while its messages come in, in the order of the stream.
#[derive(Debug)]
pub struct Fold<S> {
    record: Record,
    hand: Hand<S>,
    acts: Acts,
    waiting: Waiting,
    /// The lowest number that was let go for lack of room. From there on nothing is taken before the next pass: another
    /// copy of a number is not the first one.
    let_go: Option<MessageNumber>,
    highest_correction: Option<MessageNumber>,
    /// The first plain message of each corrected number, as far as it was read.
    replaced: BTreeMap<MessageNumber, Sequence>,
}

impl<S> Fold<S> {
    /// Begins before the first message, with these acts.
    pub fn anew(acts: Acts) -> Self {
        let record = Record { acts: acts.last(), ..Record::default() };
        let (waiting, replaced) = (Waiting::default(), BTreeMap::new());
        Self { record, hand: Hand::new(), acts, waiting, let_go: None, highest_correction: None, replaced }
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
        for arrival in arrivals {
            let number = arrival.message.number;
            self.note_replaced(arrival);
            // A correction that lies behind the acts has not been taken up: it is not there yet.
            if self.record.has_passed(number) || (arrival.corrects && arrival.sequence > self.acts.last()) {
                continue;
            }
            if arrival.corrects {
                self.highest_correction = self.highest_correction.max(Some(number));
            }
            self.waiting.insert(number, arrival.sequence);
            if self.let_go.is_none_or(|let_go| number < let_go) {
                offer(&mut self.hand, arrival, &self.record, &self.acts);
            }
        }
        let placed = self.place();
        if let Some(last) = &self.record.last {
            self.waiting.remove_through(last.number);
        }
        placed
    }

    fn note_replaced(&mut self, arrival: &Arrival<S>) {
        let number = arrival.message.number;
        if !arrival.corrects && self.acts.correction_of(number).is_some() {
            let first = self.replaced.entry(number).or_insert(arrival.sequence);
            *first = (*first).min(arrival.sequence);
        }
    }

    fn place(&mut self) -> Vec<Placed<S>> {
        let mut placed = place_in_order(&mut self.record, &mut self.hand, &self.acts);
        let mut count = placed.len();
        while count > 0 {
            let more = place_in_order(&mut self.record, &mut self.hand, &self.acts);
            count = more.len();
            placed.extend(more);
        }
        placed
    }

    /// Lets go of the highest numbers, where there is no room for all.
    fn make_room(&mut self, size: fn(&S) -> usize) {
        let highest = self.hand.last_key_value().map(|(number, _)| *number);
        if trim(&mut self.hand, size, HAND_BYTES_MAX).1 {
            let kept = self.hand.last_key_value().map(|(number, _)| *number);
            self.let_go = kept.map_or(self.record.next_number(), MessageNumber::next).or(highest);
        }
    }

    /// From where on the stream has to be read again, if what comes next lies there and was let go.
    fn next_pass(&mut self) -> Option<Sequence> {
        self.let_go = None;
        self.waiting.could_follow(self.record.next_number()?)
    }

    /// The record as it is now, with what waits.
    pub fn state(&self) -> Record {
        let corrections_wait = self.highest_correction.is_some_and(|number| !self.record.has_passed(number));
        Record { parked: self.waiting.to_parked(), corrections_wait, ..self.record.clone() }
    }
}

/// What is to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The state with all acts: one fold.
    State,
    /// What the acts behind this place have changed: one fold without them, and one with all.
    Change {
        /// The last act that was folded in before.
        since: Sequence,
    },
}

/// One channel that is folded anew.
pub struct Refold<S> {
    goal: Goal,
    size: fn(&S) -> usize,
    survey: Arc<Survey>,
    /// Whether the whole channel has been seen once.
    surveyed: bool,
    folds: Vec<Fold<S>>,
    next: Option<Sequence>,
    /// The last place that the folds have seen.
    folded: Sequence,
}

/// What a page has brought.
#[derive(Debug)]
pub enum Turn<S> {
    /// What each fold has placed, in order.
    Placed(Vec<Vec<Placed<S>>>),
    /// An act was found, so that what was told so far may be wrong: forget it, all of it is told again.
    StartOver,
}

impl<S> Refold<S> {
    /// Begins at the beginning of the stream; `size` tells what a carrier takes in memory, in bytes.
    pub fn new(goal: Goal, size: fn(&S) -> usize) -> Self {
        let folds = if goal == Goal::State { vec![Fold::anew(Acts::none())] } else { Vec::new() };
        let (survey, folded) = (Arc::default(), Sequence(0));
        Self { goal, size, survey, surveyed: false, folds, next: Some(Sequence(1)), folded }
    }

    /// Where the next page begins; none at the end.
    pub fn next(&self) -> Option<Sequence> {
        self.next
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

    /// Takes in a page, and where the next one begins, if this was not the last.
    pub fn take(&mut self, entries: &[Entry<S>], next: Option<Sequence>) -> Turn<S> {
        self.next = next;
        if !self.surveyed {
            return self.take_for_the_first_time(entries);
        }
        let placed = self.fold(entries);
        if next.is_none() {
            self.next = self.folds.iter_mut().filter_map(Fold::next_pass).min();
        }
        Turn::Placed(placed)
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
            self.next = self.folds.iter_mut().filter_map(Fold::next_pass).min();
            return Turn::Placed(placed);
        }
        let all = Acts::all(&self.survey);
        self.folds = match self.goal {
            Goal::State => vec![Fold::anew(all)],
            Goal::Change { since } => vec![Fold::anew(Acts::through(&self.survey, since)), Fold::anew(all)],
        };
        (self.next, self.folded) = (Some(Sequence(1)), Sequence(0));
        Turn::StartOver
    }

    fn fold(&mut self, entries: &[Entry<S>]) -> Vec<Vec<Placed<S>>> {
        self.folded = self.folded.max(entries.last().map_or(Sequence(0), Entry::sequence));
        let mut placed = Vec::new();
        for fold in &mut self.folds {
            placed.push(fold.take(entries.iter().filter_map(Entry::message)));
            fold.make_room(self.size);
        }
        placed
    }
}

#[cfg(test)]
mod tests;
