//! What overrides have changed in a channel: number by number, what a fold without them and one with them have applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::broker::Stored;
use crate::domain::outcome::Since;
use crate::domain::{Advance, Arrival, Event, MessageNumber, Outcome, OutcomeRecord, Refusal, Sequence};

/// Which event was applied as a number, and why it was refused, if it was.
type Place = (Event, Option<Refusal>);

/// The changes since a state.
pub struct Changes {
    since: Since,
    /// What the fold without the overrides has applied and the other one has not come to.
    before: BTreeMap<MessageNumber, Place>,
    /// By number.
    now: BTreeMap<MessageNumber, Change>,
}

/// A number that another message has now, or that lies behind the state.
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

    /// The last override of the state since which changes are noted.
    pub fn last_override_before(&self) -> Option<Sequence> {
        self.since.last_override
    }

    /// Notes which the last override was in the log as it is, now that all of it was read.
    pub fn overrides_through(&mut self, last: Option<Sequence>) {
        self.since.last_override = last;
    }

    /// Notes up to which number others have reported everything but changes: the more, the longer this has taken.
    pub fn applied_before(&mut self, applied_through: Option<MessageNumber>) {
        self.since.applied_through = self.since.applied_through.max(applied_through);
    }

    /// Notes what the fold without the overrides and the one with them have applied, and gives what is refused now.
    ///
    /// Either may be behind the other: a correction lies behind the message whose place it takes, and a message that came
    /// after a skip of its number is waited for only without the skip.
    pub fn note(&mut self, advances: Vec<Vec<Advance<Stored>>>) -> Vec<Dead> {
        let mut folds = advances.into_iter();
        let (before, after) = (folds.next().unwrap_or_default(), folds.next().unwrap_or_default());
        for advance in before {
            if let Advance::Message(arrival, verdict) = advance {
                self.note_before(arrival.message.number, (arrival.event(), verdict.err()));
            }
        }
        after.into_iter().filter_map(|advance| self.note_after(advance)).collect()
    }

    fn note_before(&mut self, number: MessageNumber, before: Place) {
        match self.now.get_mut(&number) {
            Some(change) => change.before = Some(before),
            None => drop(self.before.insert(number, before)),
        }
    }

    fn note_after(&mut self, advance: Advance<Stored>) -> Option<Dead> {
        let Advance::Message(arrival, verdict) = advance else { return None };
        let (number, now) = (arrival.message.number, (arrival.event(), verdict.err()));
        let before = self.before.remove(&number);
        if Some(number) <= self.since.applied_through && before == Some(now) {
            return None;
        }
        self.now.insert(number, Change { before, now });
        let was_refused = before.is_some_and(|(event, refusal)| event == arrival.event() && refusal.is_some());
        verdict.err().map(|refusal| Dead { arrival, refusal, was_refused })
    }

    fn to_report(&self) -> impl Iterator<Item = &Change> {
        let is_new = |(number, change): &(&MessageNumber, &Change)| {
            Some(**number) > self.since.applied_through || change.before != Some(change.now)
        };
        self.now.iter().filter(is_new).map(|(_, change)| change)
    }

    /// What is to be reported, as it is after this override.
    pub fn outcomes(&self, at: OffsetDateTime, after_overrides: Option<Sequence>) -> Vec<OutcomeRecord> {
        let outcome_record = |change: &Change| {
            let (event, refusal) = change.now;
            OutcomeRecord { event, outcome: Outcome::of_applied(refusal), at, after_overrides }
        };
        self.to_report().map(outcome_record).collect()
    }

    /// What is to be reported and was applied: the event, and why it is refused, if it is.
    pub fn applied(&self) -> Vec<(Event, Option<Refusal>)> {
        self.to_report().map(|change| change.now).collect()
    }

    /// Events that were refused and are applied now.
    pub fn no_longer_refused(&self) -> impl Iterator<Item = Event> {
        self.to_report().filter_map(|change| match (change.before, change.now) {
            (Some((before, Some(_))), (now, None)) if before == now => Some(now),
            _ => None,
        })
    }
}
