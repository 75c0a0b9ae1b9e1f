//! What is to be said of an event, from what is stored about it: one pure decision.
//!
//! The order in which that was read is part of it: the record and the durable first, the outcome after them. A record
//! has an outcome unreported until it is reported, so that an event that was applied is found in one of the two; and what was
//! acknowledged before the outcome was looked for has had its outcome reported, if it was ever to have one.

use time::OffsetDateTime;

use crate::broker::Stored;
use crate::broker::inspect::Progress;
use crate::domain::{Entry, Event, MessageNumber, Outcome, OutcomeRecord, Record, Unreported};

/// What an event is, as far as its status depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A rocket's message of this number.
    Message(MessageNumber),
    /// A message that is to take this number's place.
    Correction(MessageNumber),
    /// A skip.
    Skip,
    /// Nothing that can be read.
    Unreadable,
}

/// What was found stored about an event, in the order in which it was read.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The record of its channel.
    pub record: Record,
    /// What the record has unreported.
    pub unreported: Unreported,
    /// When the record was written.
    pub at: OffsetDateTime,
    /// How far its partition has come; none if nobody has ever worked on it.
    pub progress: Option<Progress>,
    /// What was reported of it.
    pub outcome_record: Option<OutcomeRecord>,
}

/// What is to be said of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Stored, and not yet applied.
    Pending,
    /// Waits behind a gap, until this number comes.
    Waiting(MessageNumber),
    /// Taken up.
    Processing,
    /// It is final, since this time if that is known.
    Final(Outcome, Option<OffsetDateTime>),
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
            Self::Final(Outcome::Processed, _) => "processed",
            Self::Final(Outcome::Failed(_), _) => "failed",
            Self::Final(Outcome::Duplicate | Outcome::Conflict(_), _) => "duplicate",
        }
    }
}

impl Snapshot {
    /// What is to be said of an event.
    pub fn status(&self, event: Event, asked: Asked) -> Status {
        let reported =
            || self.outcome_record.clone().filter(|outcome_record| self.may_be_so(asked, &outcome_record.outcome));
        if let Some(OutcomeRecord { outcome, at, .. }) = self.unreported_outcome(event).or_else(reported) {
            return Status::Final(outcome, Some(at));
        }
        if let Some(missing) = self.missing_before(event, asked) {
            return Status::Waiting(missing);
        }
        match self.progress {
            Some(progress) if event.sequence <= progress.acknowledged && self.unreported.since.is_none() => {
                self.settled(event, asked)
            }
            Some(progress) if event.sequence <= progress.delivered => Status::Processing,
            _ => Status::Pending,
        }
    }

    /// What an event is of which nothing was reported, though it was acknowledged and nothing is unreported: its outcome
    /// is lost.
    fn settled(&self, event: Event, asked: Asked) -> Status {
        match asked {
            Asked::Skip if self.is_followed(event) => Status::Final(Outcome::Processed, None),
            asked if self.is_placed_otherwise(event, asked) => Status::Final(Outcome::Duplicate, None),
            _ => Status::Processing,
        }
    }

    /// Whether the record has what an outcome tells of. One that was read before has not: an outcome of that kind may be
    /// another one's a moment later, and a view that is like that record does not show the effect.
    pub fn has_effect(&self, event: Event, asked: Asked) -> bool {
        match asked {
            Asked::Message(number) => self.record.is_through(number),
            Asked::Correction(_) | Asked::Skip => self.is_followed(event),
            Asked::Unreadable => true,
        }
    }

    /// Whether what was reported of a message can be so: not where the record has not come to its number. Then the record is
    /// another one than that of which it was reported: older, restored or replayed. A conflict is one of the log alone.
    fn may_be_so(&self, asked: Asked, outcome: &Outcome) -> bool {
        match asked {
            Asked::Message(number) => self.record.is_through(number) || matches!(outcome, Outcome::Conflict(_)),
            Asked::Correction(_) | Asked::Skip | Asked::Unreadable => true,
        }
    }

    /// Whether an outcome may have been reported that could be relied on: not of what no record shows, as long as it is held
    /// unacknowledged. (What was acknowledged and is in no record was in one that is lost.)
    pub fn may_be_reported(&self, event: Event, asked: Asked) -> bool {
        let is_acknowledged = self.progress.is_some_and(|progress| event.sequence <= progress.acknowledged);
        self.unreported_outcome(event).is_none() && (is_acknowledged || self.has_effect(event, asked))
    }

    /// What the record says itself. While changes of overrides are being reported, what it lists may be one of them.
    fn unreported_outcome(&self, event: Event) -> Option<OutcomeRecord> {
        let messages = self.unreported.messages.iter().rev().filter(|_| self.unreported.since.is_none());
        let (_, refusal) = messages.copied().find(|(messages, _)| *messages == event)?;
        Some(OutcomeRecord {
            event,
            outcome: Outcome::of_applied(refusal),
            at: self.at,
            after_overrides: self.record.last_override,
        })
    }

    /// The number that a message waits for. A record that is drainable is on its way, and it is not known up to where.
    fn missing_before(&self, event: Event, asked: Asked) -> Option<MessageNumber> {
        let number = self.number_taken_up(event, asked)?;
        let pending = &self.record.pending;
        let is_overflow =
            || pending.overflow().is_some() && pending.ranges().last().is_some_and(|last| last.last < number);
        let waits = !self.record.is_through(number) && (pending.contains(number) || is_overflow());
        self.record.next_number().filter(|_| waits && !self.record.is_drainable())
    }

    /// Whether the number was applied or skipped by something else. Its own outcome would have been reported, and it was
    /// not skipped: what is skipped did not arrive before, and is a dead letter.
    fn is_placed_otherwise(&self, event: Event, asked: Asked) -> bool {
        let applied_through =
            |number| self.record.is_through(number) && self.record.skipped.contains(number) != Some(true);
        self.number_taken_up(event, asked).is_some_and(applied_through)
    }

    /// The number of a message; of a correction once it was applied.
    fn number_taken_up(&self, event: Event, asked: Asked) -> Option<MessageNumber> {
        match asked {
            Asked::Message(number) => Some(number),
            Asked::Correction(number) => Some(number).filter(|_| self.is_followed(event)),
            Asked::Skip | Asked::Unreadable => None,
        }
    }

    fn is_followed(&self, overriding: Event) -> bool {
        self.record.has_followed(overriding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::Since;
    use crate::domain::record::Last;
    use crate::domain::{MessageTime, PendingRanges, Refusal, Sequence, StoredAt};

    const EVENT: Event = Event { sequence: Sequence(50), stored_at: StoredAt(7) };
    const AT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const SINCE: Option<Since> = Some(Since { last_override: Some(Sequence(1)), applied_through: None });

    fn number(number: u64) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    /// Passed up to 4, waiting 7 and 8, all overrides followed up to 40, everything delivered and acknowledged up to here.
    fn seen(delivered: u64, acknowledged: u64) -> Snapshot {
        let last = Last { number: number(4), time: MessageTime::parse("2022-02-02T19:39:05Z").unwrap() };
        let mut record = Record { last: Some(last), last_override: Some(Sequence(40)), ..Record::default() };
        [7, 8].into_iter().for_each(|at| record.pending.insert(number(at), Sequence(at)));
        let progress = Some(Progress { delivered: Sequence(delivered), acknowledged: Sequence(acknowledged) });
        Snapshot { record, unreported: Unreported::default(), at: AT, progress, outcome_record: None }
    }

    fn reported(outcome: Outcome) -> Snapshot {
        let outcome_record = Some(OutcomeRecord { event: EVENT, outcome, at: AT, after_overrides: None });
        Snapshot { outcome_record, ..seen(60, 60) }
    }

    fn with_unreported(refusal: Option<Refusal>, since: Option<Since>) -> Snapshot {
        let at = |sequence| Event { sequence: Sequence(sequence), ..EVENT };
        let messages = vec![(at(49), None), (EVENT, refusal), (at(51), None)];
        Snapshot { unreported: Unreported { messages, since, forgotten: None }, ..seen(60, 60) }
    }

    fn check(rows: impl IntoIterator<Item = (Snapshot, Asked, Status)>) {
        for (row, (seen, asked, expected)) in rows.into_iter().enumerate() {
            assert_eq!(seen.status(EVENT, asked), expected, "row {row}: {asked:?} {seen:?}");
        }
    }

    #[test]
    fn what_is_reported_or_unreported_is_final() {
        let processed = || Status::Final(Outcome::Processed, Some(AT));
        let failed = |why: String| Status::Final(Outcome::Failed(why), Some(AT));
        let refused = || Some(Refusal::Exploded);
        let applied_through = Asked::Message(number(4));
        let duplicate = || Outcome::Duplicate;
        check([
            (reported(Outcome::Processed), applied_through, processed()),
            (reported(Outcome::Processed), Asked::Skip, processed()),
            (reported(Outcome::Failed("why".into())), Asked::Unreadable, failed("why".into())),
            (reported(duplicate()), applied_through, Status::Final(duplicate(), Some(AT))),
            (with_unreported(None, None), applied_through, processed()),
            (with_unreported(refused(), None), applied_through, failed(Refusal::Exploded.to_string())),
            // Found to be a duplicate by another tracker, before the one that applied it has reported so.
            (
                Snapshot { outcome_record: reported(duplicate()).outcome_record, ..with_unreported(None, None) },
                applied_through,
                processed(),
            ),
            // What overrides have changed is being reported: the list may be older than that.
            (with_unreported(None, SINCE), applied_through, Status::Processing),
            (
                Snapshot {
                    outcome_record: reported(Outcome::Processed).outcome_record,
                    ..with_unreported(refused(), SINCE)
                },
                applied_through,
                processed(),
            ),
        ]);
    }

    #[test]
    fn nothing_is_final_that_another_life_of_the_stream_says() {
        // The record has the outcome of a message that lay there before.
        let before = Event { stored_at: StoredAt(6), ..EVENT };
        let unreported = Unreported { messages: vec![(before, None)], ..Unreported::default() };
        let with_unreported_before = |seen: Snapshot| Snapshot { unreported: unreported.clone(), ..seen };
        // The record was restored, and does not have what was reported.
        let (next, seven) = (Asked::Message(number(5)), Asked::Message(number(7)));
        let conflict = || Outcome::Conflict(Sequence(7));
        check([
            (with_unreported_before(seen(60, 49)), next, Status::Processing),
            (with_unreported_before(seen(60, 60)), seven, Status::Waiting(number(5))),
            (reported(Outcome::Processed), next, Status::Processing),
            (reported(Outcome::Failed("why".into())), seven, Status::Waiting(number(5))),
            (Snapshot { progress: None, ..reported(Outcome::Processed) }, next, Status::Pending),
            // What says something else than the message that waits says so whatever becomes of that one.
            (reported(conflict()), seven, Status::Final(conflict(), Some(AT))),
        ]);
        assert!(with_unreported_before(seen(60, 60)).may_be_reported(EVENT, seven));
    }

    #[test]
    fn what_waits_says_for_which_number() {
        let waiting = Status::Waiting(number(5));
        let overflow = |mut seen: Snapshot| {
            (0..2_000).for_each(|at| seen.record.pending.insert(number(10 + 2 * at), Sequence(10 + at)));
            assert!(seen.record.pending.overflow().is_some());
            seen
        };
        let moving = |mut seen: Snapshot| {
            seen.record.pending.insert(number(5), Sequence(5));
            seen
        };
        let unknown = |mut seen: Snapshot| {
            seen.record.pending = PendingRanges::unknown_from(Sequence(1));
            seen
        };
        let following = |mut seen: Snapshot| {
            seen.record.last_override = Some(EVENT.sequence);
            seen
        };
        let without_durable = |seen: Snapshot| Snapshot { progress: None, ..seen };
        let with_unreported = |seen: Snapshot| Snapshot { unreported: with_unreported(None, SINCE).unreported, ..seen };
        let (seven, six) = (Asked::Message(number(7)), Asked::Message(number(6)));
        let (high, correction) = (Asked::Message(number(4_001)), Asked::Correction(number(7)));
        check([
            (seen(60, 60), seven, waiting.clone()),
            (seen(49, 49), seven, waiting.clone()),
            (with_unreported(seen(60, 60)), seven, waiting.clone()),
            (without_durable(seen(60, 60)), seven, waiting.clone()),
            (overflow(seen(60, 60)), high, waiting.clone()),
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
        let duplicate = || Status::Final(Outcome::Duplicate, None);
        let applied_through = Asked::Message(number(4));
        let corrected = Asked::Correction(number(4));
        let following = |mut seen: Snapshot| {
            seen.record.last_override = Some(EVENT.sequence);
            seen
        };
        let skipping = |mut seen: Snapshot| {
            seen.record.skipped.push(number(4), number(4));
            seen
        };
        let with_unreported = |seen: Snapshot| Snapshot { unreported: with_unreported(None, SINCE).unreported, ..seen };
        check([
            (Snapshot { progress: None, ..seen(0, 0) }, applied_through, Status::Pending),
            (seen(49, 49), applied_through, Status::Pending),
            (seen(50, 49), applied_through, Status::Processing),
            (seen(50, 50), applied_through, duplicate()),
            (with_unreported(seen(50, 50)), applied_through, Status::Processing),
            (skipping(seen(50, 50)), applied_through, Status::Processing),
            (seen(50, 50), Asked::Message(number(5)), Status::Processing),
            (seen(50, 50), corrected, Status::Processing),
            (following(seen(50, 49)), corrected, Status::Processing),
            (following(seen(50, 50)), corrected, duplicate()),
            (seen(49, 49), Asked::Skip, Status::Pending),
            (seen(50, 50), Asked::Skip, Status::Processing),
            (following(seen(50, 49)), Asked::Skip, Status::Processing),
            (following(seen(50, 50)), Asked::Skip, Status::Final(Outcome::Processed, None)),
            (with_unreported(following(seen(50, 50))), Asked::Skip, Status::Processing),
            (seen(49, 49), Asked::Unreadable, Status::Pending),
            (seen(50, 50), Asked::Unreadable, Status::Processing),
        ]);
    }

    #[test]
    fn what_was_not_taken_up_is_not_looked_for() {
        let (applied_through, next) = (Asked::Message(number(4)), Asked::Message(number(5)));
        let rows = [
            (seen(60, 49), applied_through, true),
            (seen(60, 49), next, false),
            (seen(60, 50), next, true),
            (Snapshot { progress: None, ..seen(0, 0) }, next, false),
            (seen(60, 49), Asked::Unreadable, true),
            (seen(60, 49), Asked::Skip, false),
            (with_unreported(None, None), applied_through, false),
            (with_unreported(None, SINCE), applied_through, true),
        ];
        for (row, (seen, asked, expected)) in rows.into_iter().enumerate() {
            assert_eq!(seen.may_be_reported(EVENT, asked), expected, "row {row}");
        }
    }

    #[test]
    fn an_outcome_whose_effect_the_record_lacks_is_not_relied_on() {
        let following =
            Snapshot { record: Record { last_override: Some(EVENT.sequence), ..seen(60, 60).record }, ..seen(60, 60) };
        let rows = [
            (Asked::Message(number(4)), true, true),
            (Asked::Message(number(5)), false, false),
            (Asked::Correction(number(4)), false, true),
            (Asked::Skip, false, true),
            (Asked::Unreadable, true, true),
        ];
        for (asked, before, after) in rows {
            let has_effect = |seen: &Snapshot| seen.has_effect(EVENT, asked);
            assert_eq!((has_effect(&seen(60, 60)), has_effect(&following)), (before, after), "{asked:?}");
        }
    }
}
