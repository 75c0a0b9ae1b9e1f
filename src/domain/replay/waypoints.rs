//! Where a reading came by, a page of a history before its end: a checkpoint there serves the newest page.

use std::collections::VecDeque;

use super::super::{Checkpoint, Entry, MessageNumber, Record, Sequence};

/// How far before the end of a reading a checkpoint may lie from which its last numbers are read once more: a history shows
/// so many on a page.
const NUMBERS_BEFORE_END: u64 = if cfg!(test) { 4 } else { 1_000 };
/// One that lies further back saves too little.
const NUMBERS_BEFORE_END_MAX: u64 = 4 * NUMBERS_BEFORE_END;

/// The last two states on the way of a fold, so many numbers apart that one of them lies before the end.
pub(super) struct Waypoints {
    last: VecDeque<Waypoint>,
    /// Where the last two pages began, the later one last.
    pages: [Sequence; 2],
}

/// What a reading has come by on its way, and from where the log goes on behind it.
struct Waypoint {
    record: Record,
    from: Sequence,
}

impl Waypoints {
    /// None yet, in a reading that begins at this sequence.
    pub(super) fn from(first: Sequence) -> Self {
        Self { last: VecDeque::new(), pages: [first; 2] }
    }

    /// Forgets all: they were wrong.
    pub(super) fn clear(&mut self) {
        self.last.clear();
    }

    /// Notes that a page is read.
    pub(super) fn turn_to<S>(&mut self, page: &[Entry<S>]) {
        self.pages = [self.pages[1], page.first().map_or(self.pages[1], Entry::sequence)];
    }

    /// Notes a state that is far enough behind the last one, or behind the number at which the reading began. Where what
    /// is pending lies further back than the last page, there is no use in beginning here.
    pub(super) fn note(&mut self, record: &Record, from: Sequence, begun_behind: Option<MessageNumber>) {
        let before = self.last.back().map_or(begun_behind, |at| at.record.applied_through());
        let through = MessageNumber::count_through;
        if through(record.applied_through()) < through(before) + NUMBERS_BEFORE_END || from < self.pages[0] {
            return;
        }
        self.last.push_back(Waypoint { record: record.clone(), from });
        if self.last.len() > 2 {
            self.last.pop_front();
        }
    }

    /// A checkpoint a page before one at the end, if the reading has come by there.
    pub(super) fn before(&self, end: &Checkpoint) -> Option<Checkpoint> {
        let through = MessageNumber::count_through;
        let distance = |at: &Waypoint| through(end.through()).saturating_sub(through(at.record.applied_through()));
        let is_before = |at: &&Waypoint| (NUMBERS_BEFORE_END..=NUMBERS_BEFORE_END_MAX).contains(&distance(at));
        let Waypoint { record, from } = self.last.iter().rev().find(is_before)?;
        Some(Checkpoint { record: record.clone(), from: *from, ..end.clone() })
    }
}
