//! What acts have changed in a channel: number by number, what a fold without them and one with them have placed.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::broker::Stored;
use crate::domain::outcome::Since;
use crate::domain::{Arrival, Became, Event, Outcome, Placed, Refusal, Sequence};

/// Which event has a place, and why it was refused there, if it was.
type Place = (Event, Option<Refusal>);

/// The changes since a state.
pub struct Changes {
    since: Since,
    /// Places of the fold without the acts that the other one has not come to.
    before: BTreeMap<u64, Place>,
    /// By number.
    now: BTreeMap<u64, Change>,
}

/// A number whose place is another one now, or that lies behind the state.
struct Change {
    before: Option<Place>,
    now: Place,
}

/// A message that is refused now.
pub struct Dead {
    /// The message.
    pub arrival: Arc<Arrival<Stored>>,
    /// Why.
    pub refusal: Refusal,
    /// Whether it was refused before.
    pub was_refused: bool,
}

impl Changes {
    /// No changes yet.
    pub fn since(since: Since) -> Self {
        Self { since, before: BTreeMap::new(), now: BTreeMap::new() }
    }

    /// The last act of the state since which changes are noted.
    pub fn acts(&self) -> Sequence {
        self.since.acts
    }

    /// Notes which the last act was in the log as it is, now that all of it was read.
    pub fn acts_through(&mut self, last: Sequence) {
        self.since.acts = last;
    }

    /// Notes up to which number others have told everything but changes: the more, the longer this has taken.
    pub fn passed_before(&mut self, passed: u64) {
        self.since.passed = self.since.passed.max(passed);
    }

    /// Notes what the fold without the acts and the one with them have placed, and gives what is refused now.
    ///
    /// Either may be behind the other: a correction lies behind the message whose place it takes, and a message that came
    /// after a skip of its number is waited for only without the skip.
    pub fn note(&mut self, placed: Vec<Vec<Placed<Stored>>>) -> Vec<Dead> {
        let mut folds = placed.into_iter();
        let (before, after) = (folds.next().unwrap_or_default(), folds.next().unwrap_or_default());
        for placed in before {
            if let Placed::Message(arrival, verdict) = placed {
                self.note_before(arrival.message.number.get(), (arrival.event(), verdict.err()));
            }
        }
        after.into_iter().filter_map(|placed| self.note_after(placed)).collect()
    }

    fn note_before(&mut self, number: u64, before: Place) {
        match self.now.get_mut(&number) {
            Some(change) => change.before = Some(before),
            None => drop(self.before.insert(number, before)),
        }
    }

    fn note_after(&mut self, placed: Placed<Stored>) -> Option<Dead> {
        let Placed::Message(arrival, verdict) = placed else { return None };
        let (number, now) = (arrival.message.number.get(), (arrival.event(), verdict.err()));
        let before = self.before.remove(&number);
        if number <= self.since.passed && before == Some(now) {
            return None;
        }
        self.now.insert(number, Change { before, now });
        let was_refused = before.is_some_and(|(event, refusal)| event == arrival.event() && refusal.is_some());
        verdict.err().map(|refusal| Dead { arrival, refusal, was_refused })
    }

    fn to_tell(&self) -> impl Iterator<Item = &Change> {
        let is_new =
            |(number, change): &(&u64, &Change)| **number > self.since.passed || change.before != Some(change.now);
        self.now.iter().filter(is_new).map(|(_, change)| change)
    }

    /// What is to be told, as it is after this act.
    pub fn outcomes(&self, at: OffsetDateTime, after_acts: Sequence) -> Vec<Outcome> {
        let outcome = |change: &Change| {
            let (event, refusal) = change.now;
            Outcome { event, became: Became::placed(refusal), at, after_acts }
        };
        self.to_tell().map(outcome).collect()
    }

    /// What is to be told and has a place: the event, and why it is refused, if it is.
    pub fn placed(&self) -> Vec<(Event, Option<Refusal>)> {
        self.to_tell().map(|change| change.now).collect()
    }

    /// Events that were refused and are applied now.
    pub fn applied(&self) -> impl Iterator<Item = Event> {
        self.to_tell().filter_map(|change| match (change.before, change.now) {
            (Some((before, Some(_))), (now, None)) if before == now => Some(now),
            _ => None,
        })
    }
}
