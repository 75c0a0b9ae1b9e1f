//! What is to be said of an event, from what is stored about it: one pure decision.
//!
//! The order in which that was read is part of it: the record and the durable first, the outcome after them. A record
//! owes an outcome until it was told, so that an event that took its place is found in one of the two; and what was
//! acknowledged before the outcome was looked for has had its outcome told, if it was ever to have one.

use time::OffsetDateTime;

use crate::broker::Stored;
use crate::broker::inspect::Progress;
use crate::domain::{Became, Entry, Event, MessageNumber, Outcome, Owed, Record};

/// What an event is, as far as its status depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A rocket's message of this number.
    Message(MessageNumber),
    /// A message that is to take this number's place.
    Correction(MessageNumber),
    /// An operator's word that numbers are skipped.
    Skip,
    /// Nothing that can be read.
    Unreadable,
}

/// What was found stored about an event, in the order in which it was read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The record of its channel.
    pub record: Record,
    /// What the record owes.
    pub owed: Owed,
    /// When the record was written.
    pub at: OffsetDateTime,
    /// How far its partition has come; none if nobody has ever worked on it.
    pub progress: Option<Progress>,
    /// What was told of it.
    pub outcome: Option<Outcome>,
}

/// What is to be said of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Stored, and not yet taken up.
    Pending,
    /// Waits behind a gap, until this number comes.
    Waiting(MessageNumber),
    /// Taken up.
    Processing,
    /// It is final, since this time if that is known.
    Final(Became, Option<OffsetDateTime>),
}

impl Asked {
    /// What a stored entry is.
    pub fn of(entry: &Entry<Stored>) -> Self {
        match entry {
            Entry::Message(arrival) if arrival.corrects => Self::Correction(arrival.message.number),
            Entry::Message(arrival) => Self::Message(arrival.message.number),
            Entry::Skip(_) => Self::Skip,
        }
    }
}

impl Status {
    /// Whether there is nothing to wait for: it is final, or waits for something that may never come.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Final(..) | Self::Waiting(_))
    }

    /// The name that clients see.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending | Self::Waiting(_) => "pending",
            Self::Processing => "processing",
            Self::Final(Became::Processed, _) => "processed",
            Self::Final(Became::Failed(_), _) => "failed",
            Self::Final(Became::Duplicate | Became::Conflict(_), _) => "duplicate",
        }
    }
}

impl Seen {
    /// What is to be said of an event.
    pub fn status(&self, event: Event, asked: Asked) -> Status {
        let told = || self.outcome.clone().filter(|outcome| self.may_be_so(asked, &outcome.became));
        if let Some(Outcome { became, at, .. }) = self.owed_outcome(event).or_else(told) {
            return Status::Final(became, Some(at));
        }
        if let Some(missing) = self.missing_before(event, asked) {
            return Status::Waiting(missing);
        }
        match self.progress {
            Some(progress) if event.sequence <= progress.acknowledged && self.owed.since.is_none() => {
                self.settled(event, asked)
            }
            Some(progress) if event.sequence <= progress.delivered => Status::Processing,
            _ => Status::Pending,
        }
    }

    /// What an event is of which nothing was told, though it was let go and nothing is owed: its outcome is lost.
    fn settled(&self, event: Event, asked: Asked) -> Status {
        match asked {
            Asked::Skip if self.is_followed(event) => Status::Final(Became::Processed, None),
            asked if self.is_placed_otherwise(event, asked) => Status::Final(Became::Duplicate, None),
            _ => Status::Processing,
        }
    }

    /// Whether the record has what an outcome tells of. One that was read before has not: an outcome of that kind may be
    /// another one's a moment later, and a view that is like that record does not show the effect.
    pub fn has_effect(&self, event: Event, asked: Asked) -> bool {
        match asked {
            Asked::Message(number) => self.record.has_passed(number),
            Asked::Correction(_) | Asked::Skip => self.is_followed(event),
            Asked::Unreadable => true,
        }
    }

    /// Whether what was told of a message can be so: not where the record has not come to its number. Then the record is
    /// another one than that of which it was told: older, restored or folded anew. A conflict is one of the log alone.
    fn may_be_so(&self, asked: Asked, became: &Became) -> bool {
        match asked {
            Asked::Message(number) => self.record.has_passed(number) || matches!(became, Became::Conflict(_)),
            Asked::Correction(_) | Asked::Skip | Asked::Unreadable => true,
        }
    }

    /// Whether an outcome may have been told that could be relied on: not of what no record shows, as long as it is held
    /// unacknowledged. (What was acknowledged and is in no record was in one that is lost.)
    pub fn may_be_told(&self, event: Event, asked: Asked) -> bool {
        let is_acknowledged = self.progress.is_some_and(|progress| event.sequence <= progress.acknowledged);
        self.owed_outcome(event).is_none() && (is_acknowledged || self.has_effect(event, asked))
    }

    /// What the record says itself. While changes of acts are being told, what it lists may be one of them.
    fn owed_outcome(&self, event: Event) -> Option<Outcome> {
        let placed = self.owed.placed.iter().rev().filter(|_| self.owed.since.is_none());
        let (_, refusal) = placed.copied().find(|(placed, _)| *placed == event)?;
        Some(Outcome { event, became: Became::placed(refusal), at: self.at, after_acts: self.record.acts })
    }

    /// The number that a message waits for. A record that could move is on its way, and it is not known up to where.
    fn missing_before(&self, event: Event, asked: Asked) -> Option<MessageNumber> {
        let number = self.number_taken_up(event, asked)?;
        let parked = &self.record.parked;
        let is_beyond = || parked.beyond().is_some() && parked.ranges().last().is_some_and(|last| last.last < number);
        let waits = !self.record.has_passed(number) && (parked.contains(number) || is_beyond());
        self.record.next_number().filter(|_| waits && !self.record.could_move())
    }

    /// Whether the number was passed by something else. Its own outcome would have been told, and it was not skipped:
    /// what is skipped did not arrive before, and is a dead letter.
    fn is_placed_otherwise(&self, event: Event, asked: Asked) -> bool {
        let passed = |number| self.record.has_passed(number) && self.record.skipped.contains(number) != Some(true);
        self.number_taken_up(event, asked).is_some_and(passed)
    }

    /// The number of a message; of a correction once it was taken up.
    fn number_taken_up(&self, event: Event, asked: Asked) -> Option<MessageNumber> {
        match asked {
            Asked::Message(number) => Some(number),
            Asked::Correction(number) => Some(number).filter(|_| self.is_followed(event)),
            Asked::Skip | Asked::Unreadable => None,
        }
    }

    fn is_followed(&self, act: Event) -> bool {
        self.record.has_followed(act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::Since;
    use crate::domain::record::Last;
    use crate::domain::{MessageTime, Parked, Refusal, Sequence, StoredAt};

    const EVENT: Event = Event { sequence: Sequence(50), stored_at: StoredAt(7) };
    const AT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const SINCE: Option<Since> = Some(Since { acts: Sequence(1), passed: 3 });

    fn number(number: u64) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    /// Passed up to 4, waiting 7 and 8, all acts followed up to 40, everything delivered and acknowledged up to here.
    fn seen(delivered: u64, acknowledged: u64) -> Seen {
        let last = Last { number: number(4), time: MessageTime::parse("2022-02-02T19:39:05Z").unwrap() };
        let mut record = Record { last: Some(last), acts: Sequence(40), ..Record::default() };
        [7, 8].into_iter().for_each(|at| record.parked.insert(number(at), Sequence(at)));
        let progress = Some(Progress { delivered: Sequence(delivered), acknowledged: Sequence(acknowledged) });
        Seen { record, owed: Owed::default(), at: AT, progress, outcome: None }
    }

    fn told(became: Became) -> Seen {
        let outcome = Some(Outcome { event: EVENT, became, at: AT, after_acts: Sequence(0) });
        Seen { outcome, ..seen(60, 60) }
    }

    fn owing(refusal: Option<Refusal>, since: Option<Since>) -> Seen {
        let at = |sequence| Event { sequence: Sequence(sequence), ..EVENT };
        let placed = vec![(at(49), None), (EVENT, refusal), (at(51), None)];
        Seen { owed: Owed { placed, since, forgotten: None }, ..seen(60, 60) }
    }

    fn check(rows: impl IntoIterator<Item = (Seen, Asked, Status)>) {
        for (row, (seen, asked, expected)) in rows.into_iter().enumerate() {
            assert_eq!(seen.status(EVENT, asked), expected, "row {row}: {asked:?} {seen:?}");
        }
    }

    #[test]
    fn what_is_told_or_owed_is_final() {
        let processed = || Status::Final(Became::Processed, Some(AT));
        let failed = |why: String| Status::Final(Became::Failed(why), Some(AT));
        let refused = || Some(Refusal::Exploded);
        let passed = Asked::Message(number(4));
        let duplicate = || Became::Duplicate;
        check([
            (told(Became::Processed), passed, processed()),
            (told(Became::Processed), Asked::Skip, processed()),
            (told(Became::Failed("why".into())), Asked::Unreadable, failed("why".into())),
            (told(duplicate()), passed, Status::Final(duplicate(), Some(AT))),
            (owing(None, None), passed, processed()),
            (owing(refused(), None), passed, failed(Refusal::Exploded.to_string())),
            // Found to be a duplicate by another tracker, before the one that applied it has told so.
            (Seen { outcome: told(duplicate()).outcome, ..owing(None, None) }, passed, processed()),
            // What acts have changed is being told: the list may be older than that.
            (owing(None, SINCE), passed, Status::Processing),
            (Seen { outcome: told(Became::Processed).outcome, ..owing(refused(), SINCE) }, passed, processed()),
        ]);
    }

    #[test]
    fn nothing_is_final_that_another_life_of_the_stream_says() {
        // The record owes the outcome of a message that lay there before.
        let before = Event { stored_at: StoredAt(6), ..EVENT };
        let owed = Owed { placed: vec![(before, None)], ..Owed::default() };
        let owing_before = |seen: Seen| Seen { owed: owed.clone(), ..seen };
        // The record was restored, and does not have what was told.
        let (next, seven) = (Asked::Message(number(5)), Asked::Message(number(7)));
        let conflict = || Became::Conflict(Sequence(7));
        check([
            (owing_before(seen(60, 49)), next, Status::Processing),
            (owing_before(seen(60, 60)), seven, Status::Waiting(number(5))),
            (told(Became::Processed), next, Status::Processing),
            (told(Became::Failed("why".into())), seven, Status::Waiting(number(5))),
            (Seen { progress: None, ..told(Became::Processed) }, next, Status::Pending),
            // What says something else than the message that waits says so whatever becomes of that one.
            (told(conflict()), seven, Status::Final(conflict(), Some(AT))),
        ]);
        assert!(owing_before(seen(60, 60)).may_be_told(EVENT, seven));
    }

    #[test]
    fn what_waits_says_for_which_number() {
        let waiting = Status::Waiting(number(5));
        let beyond = |mut seen: Seen| {
            (0..2_000).for_each(|at| seen.record.parked.insert(number(10 + 2 * at), Sequence(10 + at)));
            assert!(seen.record.parked.beyond().is_some());
            seen
        };
        let moving = |mut seen: Seen| {
            seen.record.parked.insert(number(5), Sequence(5));
            seen
        };
        let unknown = |mut seen: Seen| {
            seen.record.parked = Parked::unknown_from(Sequence(1));
            seen
        };
        let following = |mut seen: Seen| {
            seen.record.acts = EVENT.sequence;
            seen
        };
        let without_durable = |seen: Seen| Seen { progress: None, ..seen };
        let owing = |seen: Seen| Seen { owed: owing(None, SINCE).owed, ..seen };
        let (seven, six) = (Asked::Message(number(7)), Asked::Message(number(6)));
        let (high, correction) = (Asked::Message(number(4_001)), Asked::Correction(number(7)));
        check([
            (seen(60, 60), seven, waiting.clone()),
            (seen(49, 49), seven, waiting.clone()),
            (owing(seen(60, 60)), seven, waiting.clone()),
            (without_durable(seen(60, 60)), seven, waiting.clone()),
            (beyond(seen(60, 60)), high, waiting.clone()),
            (seen(60, 60), high, Status::Processing),
            (seen(60, 60), six, Status::Processing),
            (moving(seen(60, 60)), seven, Status::Processing),
            (moving(seen(49, 49)), seven, Status::Pending),
            (unknown(seen(60, 60)), seven, Status::Processing),
            (following(seen(60, 60)), correction, waiting),
            (seen(60, 49), correction, Status::Processing),
            (seen(49, 49), correction, Status::Pending),
        ]);
    }

    #[test]
    fn what_is_not_final_is_pending_until_it_was_delivered() {
        let duplicate = || Status::Final(Became::Duplicate, None);
        let passed = Asked::Message(number(4));
        let corrected = Asked::Correction(number(4));
        let following = |mut seen: Seen| {
            seen.record.acts = EVENT.sequence;
            seen
        };
        let skipping = |mut seen: Seen| {
            seen.record.skipped.push(number(4), number(4));
            seen
        };
        let owing = |seen: Seen| Seen { owed: owing(None, SINCE).owed, ..seen };
        check([
            (Seen { progress: None, ..seen(0, 0) }, passed, Status::Pending),
            (seen(49, 49), passed, Status::Pending),
            (seen(50, 49), passed, Status::Processing),
            (seen(50, 50), passed, duplicate()),
            (owing(seen(50, 50)), passed, Status::Processing),
            (skipping(seen(50, 50)), passed, Status::Processing),
            (seen(50, 50), Asked::Message(number(5)), Status::Processing),
            (seen(50, 50), corrected, Status::Processing),
            (following(seen(50, 49)), corrected, Status::Processing),
            (following(seen(50, 50)), corrected, duplicate()),
            (seen(49, 49), Asked::Skip, Status::Pending),
            (seen(50, 50), Asked::Skip, Status::Processing),
            (following(seen(50, 49)), Asked::Skip, Status::Processing),
            (following(seen(50, 50)), Asked::Skip, Status::Final(Became::Processed, None)),
            (owing(following(seen(50, 50))), Asked::Skip, Status::Processing),
            (seen(49, 49), Asked::Unreadable, Status::Pending),
            (seen(50, 50), Asked::Unreadable, Status::Processing),
        ]);
    }

    #[test]
    fn what_was_not_taken_up_is_not_looked_for() {
        let (passed, next) = (Asked::Message(number(4)), Asked::Message(number(5)));
        let rows = [
            (seen(60, 49), passed, true),
            (seen(60, 49), next, false),
            (seen(60, 50), next, true),
            (Seen { progress: None, ..seen(0, 0) }, next, false),
            (seen(60, 49), Asked::Unreadable, true),
            (seen(60, 49), Asked::Skip, false),
            (owing(None, None), passed, false),
            (owing(None, SINCE), passed, true),
        ];
        for (row, (seen, asked, expected)) in rows.into_iter().enumerate() {
            assert_eq!(seen.may_be_told(EVENT, asked), expected, "row {row}");
        }
    }

    #[test]
    fn an_outcome_whose_effect_the_record_lacks_is_not_relied_on() {
        let following = Seen { record: Record { acts: EVENT.sequence, ..seen(60, 60).record }, ..seen(60, 60) };
        let rows = [
            (Asked::Message(number(4)), true, true),
            (Asked::Message(number(5)), false, false),
            (Asked::Correction(number(4)), false, true),
            (Asked::Skip, false, true),
            (Asked::Unreadable, true, true),
        ];
        for (asked, before, after) in rows {
            let has_effect = |seen: &Seen| seen.has_effect(EVENT, asked);
            assert_eq!((has_effect(&seen(60, 60)), has_effect(&following)), (before, after), "{asked:?}");
        }
    }
}
