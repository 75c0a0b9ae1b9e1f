//! Why a channel is replayed: the deliveries that ask for it, and what becomes of each.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::channel_state::Known;
use crate::broker::Stored;
use crate::domain::outcome::SKIPPED_LATE;
use crate::domain::{Arrival, Event, Outcome, Overrides};

/// Why a channel is replayed.
#[derive(Debug)]
pub enum Cause {
    /// An override.
    Override(Event),
    /// A message whose number was applied or skipped.
    Unjudged(Arc<Arrival<Stored>>),
    /// A record that only a replay can advance, because corrections are pending, or whose changes were not reported.
    CorrectionsWait,
}

impl Cause {
    /// The override, if it is one.
    pub(super) fn overriding(&self) -> Option<Event> {
        match self {
            Self::Override(overriding) => Some(*overriding),
            Self::Unjudged(_) | Self::CorrectionsWait => None,
        }
    }

    /// Whether it is one of these overrides.
    pub(super) fn is_one_of(&self, overrides: &BTreeSet<Event>) -> bool {
        self.overriding().is_some_and(|overriding| overrides.contains(&overriding))
    }

    /// Whether a record has what was asked for, or it was forgotten. Of a message whose number was applied or skipped, a
    /// record does not know.
    pub(super) fn is_followed(&self, known: &Known) -> bool {
        match self {
            Self::Override(overriding) => known.record.has_followed(*overriding) || known.has_forgotten(*overriding),
            Self::Unjudged(arrival) => known.has_forgotten(arrival.event()),
            Self::CorrectionsWait => !known.record.is_drainable(),
        }
    }

    /// Whether it is new and lies before the last override that a record has followed: the log lost its end, and that
    /// override.
    pub(super) fn lies_before(&self, known: &Known) -> bool {
        self.overriding().is_some_and(|overriding| Some(overriding.sequence) <= known.record.last_override)
            && !self.is_followed(known)
    }
}

/// What becomes of a message whose number was applied or skipped.
pub(super) fn judge(arrival: &Arrival<Stored>, overrides: &Overrides) -> Outcome {
    match overrides.skipped_from(arrival.message.number) {
        Some(_) => Outcome::Failed(SKIPPED_LATE.into()),
        None => Outcome::Duplicate,
    }
}
