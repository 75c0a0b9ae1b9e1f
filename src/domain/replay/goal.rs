//! What a replay is to find out.

use super::super::{MessageNumber, Record, Sequence};

/// What is to be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The state with all overrides: one fold.
    State,
    /// What the overrides behind this sequence have changed: one fold without them, and one with all, from the beginning.
    Change {
        /// The last override that was folded in before.
        since: Option<Sequence>,
    },
    /// The same, from a record on where the overrides change nothing that it has applied: it needs what is pending, and
    /// no more.
    Onward {
        /// The last override that was folded in before.
        since: Option<Sequence>,
        /// The last number that had been applied or skipped then.
        applied_through: Option<MessageNumber>,
        /// What is gone on from.
        record: Box<Record>,
        /// Whether it is gone on from there in any case, because the log does not have what came before.
        only: bool,
    },
}
