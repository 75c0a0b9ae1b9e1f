//! What acts have changed in a channel: number by number, what a fold without them and one with them have placed.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::broker::Stored;
use crate::domain::outcome::Since;
use crate::domain::{Arrival, Became, Outcome, Placed, Refusal, Sequence};

/// Which event has a place, and why it was refused there, if it was.
type Place = (Sequence, Option<Refusal>);

/// The changes since a state.
pub struct Changes {
    since: Since,
    /// Places of the fold without the acts that the other one has not come to.
    before: BTreeMap<u64, Place>,
    /// Places that are others now, and all behind the state.
    now: Vec<Place>,
    /// Events that were refused and are applied now.
    applied: Vec<Sequence>,
}

/// A message that is refused now.
pub struct Dead {
    /// The message.
    pub arrival: Arc<Arrival<Stored>>,
    /// Why.
    pub refusal: Refusal,
    /// Whether it was applied before.
    pub was_applied: bool,
}

impl Changes {
    /// No changes yet.
    pub fn since(since: Since) -> Self {
        Self { since, before: BTreeMap::new(), now: Vec::new(), applied: Vec::new() }
    }

    /// The state since which changes are noted.
    pub fn began_at(&self) -> Since {
        self.since
    }

    /// Notes what the fold without the acts and the one with them have placed, and gives what is refused now.
    ///
    /// The first one is never behind: an act only ever moves the message of a number to a later place in the stream.
    pub fn note(&mut self, placed: Vec<Vec<Placed<Stored>>>) -> Vec<Dead> {
        let mut folds = placed.into_iter();
        let (before, after) = (folds.next().unwrap_or_default(), folds.next().unwrap_or_default());
        for placed in before {
            if let Placed::Message(arrival, verdict) = placed {
                self.before.insert(arrival.message.number.get(), (arrival.sequence, verdict.err()));
            }
        }
        after.into_iter().filter_map(|placed| self.note_after(placed)).collect()
    }

    fn note_after(&mut self, placed: Placed<Stored>) -> Option<Dead> {
        let Placed::Message(arrival, verdict) = placed else { return None };
        let (number, place) = (arrival.message.number.get(), (arrival.sequence, verdict.err()));
        let before = self.before.remove(&number);
        if number <= self.since.passed && before == Some(place) {
            return None;
        }
        self.now.push(place);
        let same_event = before.filter(|(event, _)| *event == arrival.sequence);
        match (same_event, verdict) {
            (Some((event, Some(_))), Ok(())) => {
                self.applied.push(event);
                None
            }
            (_, Ok(())) => None,
            (before, Err(refusal)) => {
                Some(Dead { arrival, refusal, was_applied: before.is_some_and(|(_, refusal)| refusal.is_none()) })
            }
        }
    }

    /// What is to be told.
    pub fn outcomes(&self, at: OffsetDateTime) -> Vec<Outcome> {
        let outcome = |(event, refusal): &Place| Outcome { event: *event, became: Became::placed(*refusal), at };
        self.now.iter().map(outcome).collect()
    }

    /// Events that were refused and are applied now.
    pub fn applied(&self) -> impl Iterator<Item = Sequence> {
        self.applied.iter().copied()
    }
}
