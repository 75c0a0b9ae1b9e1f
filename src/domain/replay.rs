//! A channel's messages folded from the log, page by page: for a correction, a skip, a rebuild and a rocket's history.
//!
//! The overrides are known only at the end of a reading ([`OverrideIndex`]), and the messages lie in the log
//! in the order in which they came. So a channel without overrides is read once, and one with overrides twice. A message that
//! came before its turn, and for which memory has no room, is fetched by its sequence when its turn comes
//! ([`super::reorder`]). The cost of a message does not depend on the order of arrival, and memory is bounded whatever the
//! channel's length; beside messages, ranges of numbers are remembered.
//!
//! A reading need not begin at the log's beginning where there are checkpoints ([`Checkpoint`]). It begins at the last one,
//! and again at the one before it when it meets a correction that makes that one wrong.
//!
//! Pure like the rest: whoever drives it reads the log ([`Wanted`]).

mod fold;
mod goal;
mod waypoints;

use std::sync::Arc;

pub use self::fold::Fold;
pub use self::goal::Goal;
use self::waypoints::Waypoints;
use super::reorder::Room;
use super::sequencer::Advance;
use super::{Checkpoint, Entry, Event, MessageNumber, OverrideIndex, Overrides, Sequence, StoredAt, bounds};

/// What is to be read next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A page of the channel from this sequence on.
    Page(Sequence),
    /// The messages at these sequences.
    Messages(Vec<Sequence>),
}

/// One channel that is folded from the log.
pub struct Replay<S> {
    goal: Goal,
    /// From where it may begin, the best one last; the log's beginning where there is none.
    bases: Vec<Checkpoint>,
    /// Checkpoints that a correction has made wrong.
    wrong: Vec<Checkpoint>,
    room: Room,
    size: fn(&S) -> usize,
    index: Arc<OverrideIndex>,
    /// Whether the whole channel has been seen once.
    read_once: bool,
    folds: Vec<Fold<S>>,
    next: Option<Sequence>,
    /// The last sequence that the folds have seen.
    folded: Sequence,
    /// Where the fold with all overrides came by.
    waypoints: Waypoints,
    /// Whether the folds have gone on from a record.
    resumed: bool,
    /// The last override that was read, known to the folds or not.
    last_read: Option<Sequence>,
    /// The last override that counts, if not all do.
    through: Option<Sequence>,
    /// The latest time at which an override was stored that had been folded in before, if that is known.
    since_at: Option<StoredAt>,
}

/// What came of one page, or of messages that were fetched.
#[derive(Debug)]
pub enum Taken<S> {
    /// What each fold has applied, in order.
    Advance(Vec<Vec<Advance<S>>>),
    /// The folds begin at their beginning again, now that the overrides are known, or because a correction has made the
    /// checkpoint wrong at which they began: drop every advance that was given so far, all of them are given again.
    StartOver,
}

impl<S> Replay<S> {
    /// Begins at the last of these checkpoints ([`super::checkpoint::usable`]).
    pub fn from_checkpoints(goal: Goal, bases: Vec<Checkpoint>, room: Room, size: fn(&S) -> usize) -> Self {
        let mut replay = Self {
            goal,
            bases,
            wrong: Vec::new(),
            room,
            size,
            index: Arc::default(),
            read_once: false,
            folds: Vec::new(),
            next: None,
            folded: Sequence(0),
            waypoints: Waypoints::from(Sequence(0)),
            resumed: false,
            last_read: None,
            through: None,
            since_at: None,
        };
        replay.begin();
        replay
    }

    /// Has only the overrides up to this one count.
    pub fn through(self, last: Sequence) -> Self {
        Self { through: Some(last), ..self }
    }

    /// Takes every override for new that was stored after this time, also at a sequence that was folded in before: after the
    /// log lost its end, sequences are used again.
    pub fn since_at(self, at: Option<StoredAt>) -> Self {
        Self { since_at: at, ..self }
    }

    /// The last override that was folded in before, in the log as it is now ([`OverrideIndex::known_through`]).
    pub fn since(&self) -> Option<Sequence> {
        let (Goal::Change { since } | Goal::Onward { since, .. }) = self.goal else { return None };
        self.index.known_through(since, self.since_at)
    }

    /// Begins before anything was read.
    fn begin(&mut self) {
        // An index knows of no override yet but of what its checkpoint knows.
        let known_to_base = |index| Overrides::all(&Arc::new(index));
        let behind = |base: Option<&Checkpoint>| base.map_or_else(OverrideIndex::default, OverrideIndex::behind);
        self.index = Arc::new(behind(self.base()));
        self.folds = match self.goal {
            Goal::State => vec![self.fold_with(known_to_base(behind(self.base())))],
            Goal::Change { .. } | Goal::Onward { .. } => Vec::new(),
        };
        (self.read_once, self.resumed, self.last_read) = (false, false, None);
        self.go_back();
    }

    /// Goes back to where the reading begins.
    fn go_back(&mut self) {
        let first = self.first_place();
        (self.next, self.folded) = (Some(first), Sequence(first.0 - 1));
        self.waypoints = Waypoints::from(first);
    }

    /// A fold that begins where the reading does.
    fn fold_with(&self, overrides: Overrides) -> Fold<S> {
        match self.base() {
            Some(base) => {
                bounds::reached("a fold begins at a checkpoint");
                Fold::resume(&base.record, overrides, self.room, self.size)
            }
            None => Fold::from_start(overrides, self.room, self.size),
        }
    }

    /// The checkpoint at which the reading begins, if not at the log's beginning.
    pub fn base(&self) -> Option<&Checkpoint> {
        self.bases.last()
    }

    /// Checkpoints that the reading has found to be wrong.
    pub fn wrong_checkpoints(&self) -> &[Checkpoint] {
        &self.wrong
    }

    /// Where the reading begins.
    pub fn first_place(&self) -> Sequence {
        self.base().map_or(Sequence(1), |base| base.from.max(Sequence(1)))
    }

    /// A checkpoint after the last number that is applied, once all was read up to this message; none where an
    /// override came while it was read.
    pub fn checkpoint(&self, seen: Event) -> Option<Checkpoint> {
        let knows_all = self.read_once && self.is_complete() && self.last_read <= self.index.last_override();
        let fold = self.folds.last().filter(|_| knows_all)?;
        let from = fold.lowest_waiting().unwrap_or(Sequence(seen.sequence.0 + 1));
        let record = fold.record().clone();
        record.last.is_some().then_some(Checkpoint { record, from, seen, is_trimmed: false, place: None })
    }

    /// The same about a page of a history earlier, so that the newest page can begin there; none if no waypoint lies there.
    pub fn checkpoint_before(&self, end: &Checkpoint) -> Option<Checkpoint> {
        self.waypoints.before(end)
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
        self.folds.iter().any(Fold::needs_another_pass).then(|| Wanted::Page(self.first_place()))
    }

    /// Whether the folds have gone on from the goal's record. To begin at a checkpoint does not count.
    pub fn goes_on_from_record(&self) -> bool {
        self.resumed
    }

    /// Whether the whole channel has been read once. Before, the advances that were given may have to be dropped.
    pub fn is_read_once(&self) -> bool {
        self.read_once
    }

    /// The overrides, as far as they count; complete once all has been read.
    pub fn overrides(&self) -> Overrides {
        let last = self.index.last_override();
        Overrides::through(&self.index, self.through.map_or(last, |through| Some(through).min(last)))
    }

    /// The folds, as far as they have come; the one with all overrides is the last.
    pub fn folds(&self) -> &[Fold<S>] {
        &self.folds
    }

    /// Goes on behind what was folded, where more may lie by now.
    pub fn go_on(&mut self) {
        self.next = self.next.or(Some(Sequence(self.folded.0 + 1)));
    }

    /// Whether the folds have seen all overrides that they know of, and lack nothing that they know to come next. A
    /// replica that lags behind may have left something out, even what an earlier reading showed.
    pub fn is_complete(&self) -> bool {
        let lacks_nothing = !self.folds.iter().any(Fold::lacks_what_waits);
        lacks_nothing && Some(self.folded) >= self.last_read.min(self.index.last_override())
    }

    /// Takes in the messages that were fetched.
    pub fn supply(&mut self, entries: &[Entry<S>]) -> Taken<S> {
        let supply = |fold: &mut Fold<S>| fold.supply(entries.iter().filter_map(Entry::message));
        Taken::Advance(self.folds.iter_mut().map(supply).collect())
    }

    /// Takes in a page, and where the next one begins, if this was not the last.
    pub fn take(&mut self, entries: &[Entry<S>], next: Option<Sequence>) -> Taken<S> {
        if self.next.is_none() {
            self.begin_another_pass();
        }
        self.next = next;
        let overrides = entries.iter().filter(|entry| entry.is_override()).map(Entry::sequence);
        self.last_read = self.last_read.max(overrides.max());
        if !self.read_once {
            return self.take_for_the_first_time(entries);
        }
        self.note_latecomers(entries);
        Taken::Advance(self.fold(entries))
    }

    /// Notes messages that were stored after the first reading. The folds keep the overrides as they were, but these numbers
    /// count as seen.
    fn note_latecomers(&mut self, entries: &[Entry<S>]) {
        for entry in entries.iter().filter(|entry| !entry.is_override()) {
            if entry.message().is_some_and(|arrival| !self.index.has_seen(arrival.message.number)) {
                Arc::make_mut(&mut self.index).see(entry);
            }
        }
    }

    /// Reads from the beginning once more, for what was dropped. What the reading before has shown may not be shown again.
    fn begin_another_pass(&mut self) {
        self.folds.iter_mut().for_each(|fold| fold.buffer.forget_dropped());
        self.folded = Sequence(self.first_place().0 - 1);
    }

    /// Gives up the checkpoints that a correction makes wrong, and returns whether the one at which it began is among them.
    fn gives_up_its_base(&mut self, entries: &[Entry<S>]) -> bool {
        let makes_wrong =
            |base: &Checkpoint| entries.iter().filter_map(Entry::message).any(|arrival| base.is_made_wrong_by(arrival));
        let before = self.base().cloned();
        let (wrong, bases) = std::mem::take(&mut self.bases).into_iter().partition(makes_wrong);
        self.bases = bases;
        self.wrong.extend::<Vec<_>>(wrong);
        self.base() != before.as_ref()
    }

    fn take_for_the_first_time(&mut self, entries: &[Entry<S>]) -> Taken<S> {
        if self.gives_up_its_base(entries) {
            self.begin();
            return Taken::StartOver;
        }
        // The folds of a first reading have an index of their own, so that nobody shares this one and it is not copied.
        let index = Arc::make_mut(&mut self.index);
        entries.iter().for_each(|entry| index.see(entry));
        if entries.iter().any(Entry::is_override) {
            self.folds.clear();
            self.waypoints.clear();
        }
        let advances = self.fold(entries);
        if self.next.is_some() {
            return Taken::Advance(advances);
        }
        self.read_once = true;
        if !self.folds.is_empty() {
            return Taken::Advance(advances);
        }
        self.begin_folds();
        self.go_back();
        Taken::StartOver
    }

    /// Begins the folds, now that the overrides are known.
    fn begin_folds(&mut self) {
        let from_base = |overrides| self.fold_with(overrides);
        let (all, since) = (self.overrides(), self.since());
        let before = Overrides::through(&self.index, since);
        self.folds = match &self.goal {
            Goal::State => vec![from_base(all)],
            Goal::Onward { applied_through, record, only, .. }
                if !self.begins_behind(*applied_through) && (*only || !all.touch(since, *applied_through)) =>
            {
                self.resumed = true;
                let resume = |overrides| Fold::resume(record, overrides, self.room, self.size);
                vec![resume(before), resume(all)]
            }
            Goal::Change { .. } | Goal::Onward { .. } => vec![from_base(before), from_base(all)],
        };
    }

    /// Whether it begins behind numbers that a record has not applied: the record was damaged, and the log trimmed.
    fn begins_behind(&self, applied_through: Option<MessageNumber>) -> bool {
        self.base().is_some_and(|base| base.through() > applied_through)
    }

    fn fold(&mut self, entries: &[Entry<S>]) -> Vec<Vec<Advance<S>>> {
        self.folded = self.folded.max(entries.last().map_or(Sequence(0), Entry::sequence));
        self.waypoints.turn_to(entries);
        let take = |fold: &mut Fold<S>| fold.take(entries.iter().filter_map(Entry::message));
        let advances = self.folds.iter_mut().map(take).collect();
        self.note_waypoint();
        advances
    }

    fn note_waypoint(&mut self) {
        let begun_behind = self.base().and_then(Checkpoint::through);
        let Some(fold) = self.folds.last() else { return };
        let from = fold.lowest_waiting().unwrap_or(Sequence(self.folded.0 + 1));
        self.waypoints.note(fold.record(), from, begun_behind);
    }
}

#[cfg(test)]
mod tests;
