//! What a replay is to find out.

use super::super::{Record, Sequence};

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
