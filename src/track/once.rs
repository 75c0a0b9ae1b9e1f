//! Dead letters of malformed messages and of those that came after their number was skipped, each stored once for all: also
//! where the broker has forgotten its id, or where it was dropped.
//!
//! Such a message may come again after a day, because its durable was made again. If it was reported to have failed, its dead
//! letter was stored then, and no other one is.
//!
//! Deliberately not here: dead letters of refused messages. Those are stored before the record that passes them, and a
//! message that comes again is a duplicate.

use std::collections::HashSet;

use futures_util::future::try_join_all;

use super::Counters;
use crate::broker::{BrokerError, DeadLetter, Malformed, Reason, Stored, TrackBroker};
use crate::domain::outcome::SKIPPED_LATE;
use crate::domain::{Event, Outcome, OutcomeRecord};
use crate::logging::limited;

/// Those of these messages that were reported to have failed for such a reason: their dead letters were stored.
pub async fn reported_as_failed(
    broker: &impl TrackBroker,
    messages: impl Iterator<Item = &Stored>,
    failed_so: impl Fn(&str) -> bool,
) -> Result<HashSet<Event>, BrokerError> {
    let events: Vec<_> = messages.map(Stored::event).collect();
    if events.is_empty() {
        return Ok(HashSet::new());
    }
    let outcomes = broker.outcomes_of(&events).await?;
    let has_failed =
        |outcome_record: &OutcomeRecord| matches!(&outcome_record.outcome, Outcome::Failed(why) if failed_so(why));
    let failed = outcomes.into_iter().filter(|(_, outcome_record)| has_failed(outcome_record));
    Ok(failed.map(|(event, _)| event).collect())
}

/// Stores dead letters of messages that came after their number was skipped.
pub async fn store_late(broker: &impl TrackBroker, late: Vec<&Stored>) -> Result<(), BrokerError> {
    let failed = reported_as_failed(broker, late.iter().copied(), |why| why == SKIPPED_LATE).await?;
    let dead_letters = late.into_iter().filter(|stored| !failed.contains(&stored.event())).map(|stored| DeadLetter {
        stored,
        reason: Reason::Skipped,
        error: SKIPPED_LATE.to_owned(),
        after_overrides: None,
    });
    try_join_all(dead_letters.map(|dead_letter| async move { broker.store_dead_letter(&dead_letter).await }))
        .await
        .map(drop)
}

/// Stores a malformed message as a dead letter.
pub async fn dead_letter_malformed(
    broker: &impl TrackBroker,
    malformed: &Malformed,
    counters: &Counters,
) -> Result<(), BrokerError> {
    let Malformed { stored, error } = malformed;
    let dead_letter = DeadLetter { stored, reason: Reason::Malformed, error: error.clone(), after_overrides: None };
    let (event_id, request_id, trace_id) = (stored.sequence.0, stored.request_id.as_deref(), stored.trace_id());
    broker.store_dead_letter(&dead_letter).await.inspect_err(|error| {
        limited!(warn, event_id, %error, "a dead letter could not be stored, its message comes again");
    })?;
    counters.metrics.outcomes.malformed.inc();
    let channel = &stored.channel_token;
    limited!(warn, request_id, trace_id, ?channel, event_id, ?error, "not a message, kept as a dead letter");
    Ok(())
}
