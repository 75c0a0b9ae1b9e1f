//! Up to where everything is through: batches end in any order, and what counts is the place before which none is missing.
//!
//! What is kept is bounded by how many batches are under way: those that have ended before an earlier one.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::lines::Place;

/// What became of some lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// How many are stored.
    pub(super) ingested: u64,
    /// How many had been stored before.
    pub(super) duplicate: u64,
    /// How many cannot be stored.
    pub(super) refused: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.ingested += other.ingested;
        self.duplicate += other.duplicate;
        self.refused += other.refused;
    }
}

/// Everything before this place is through or refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Through {
    /// The place.
    pub(super) place: Place,
    /// What became of the lines before it.
    pub(super) counts: Counts,
}

/// What has ended.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    through: Through,
    /// The batch behind that place.
    next: u64,
    /// Batches that have ended before that one.
    ahead: BTreeMap<u64, Through>,
}

impl Ledger {
    /// One that goes on from here.
    pub(super) fn new(through: Through) -> Self {
        Self { through, ..Self::default() }
    }

    /// Up to where everything is through.
    pub(super) fn through(&self) -> Through {
        self.through
    }

    /// A batch has ended: this became of it, and it ends at this place. Gives how far all of it is now, where that has changed.
    pub(super) fn end(&mut self, batch: u64, place: Place, counts: Counts) -> Option<Through> {
        self.ahead.insert(batch, Through { place, counts });
        let before = self.next;
        while let Some(Through { place, counts }) = self.ahead.remove(&self.next) {
            self.through.place = place;
            self.through.counts += counts;
            self.next += 1;
        }
        (self.next > before).then_some(self.through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u64) -> Place {
        Place { line, byte: 10 * line }
    }

    #[test]
    fn what_ended_early_counts_when_all_before_it_has_ended() {
        let before = Through { place: place(100), counts: Counts { ingested: 90, duplicate: 7, refused: 3 } };
        let mut ledger = Ledger::new(before);
        let one = |ingested| Counts { ingested, ..Counts::default() };
        assert_eq!(ledger.end(1, place(120), one(10)), None);
        assert_eq!(ledger.end(2, place(130), one(10)), None);
        assert_eq!(ledger.through(), before);
        let counts = Counts { ingested: 119, duplicate: 7, refused: 4 };
        let refused = Counts { ingested: 9, refused: 1, ..Counts::default() };
        assert_eq!(ledger.end(0, place(110), refused), Some(Through { place: place(130), counts }));
        assert_eq!(ledger.end(4, place(150), one(10)), None);
        assert_eq!(ledger.end(3, place(140), one(10)).unwrap().place, place(150));
        assert!(ledger.ahead.is_empty());
    }
}
