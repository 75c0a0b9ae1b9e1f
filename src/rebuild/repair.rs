//! Writes what a record should be, so that nothing is left undone about the messages that it passes.
//!
//! The order is that of the trackers: dead letters, then the record, then the outcomes. The folded record has everything
//! that lies in the stream, also messages that no tracker has applied, or that are only pending by one, because the
//! record that it saw was wrong. To whoever applies them later they are duplicates; so who writes the record reports what
//! became of them, if nothing was reported yet. In between, the record has it unreported in its header, like any other
//! one.

use futures_util::future::try_join_all;
use time::OffsetDateTime;

use super::examine::{MissingOutcomes, Wrong};
use crate::broker::log_reader::read_one;
use crate::broker::{Broker, BrokerError, DeadLetter, NatsPartition, Reason, TrackBroker as _};
use crate::domain::outcome::{SKIPPED_LATE, UNREPORTED_MAX};
use crate::domain::{Channel, Event, Outcome, OutcomeRecord, Record, Refusal, Sequence, Unreported};
use crate::fail_point;

/// Dead letters that are stored at once.
const DEAD_LETTERS_AT_ONCE: usize = 64;

/// Writes the record where its revision is still the one that was looked at.
pub async fn repair(
    broker: &Broker,
    partition: &NatsPartition,
    channel: &Channel,
    wrong: &Wrong,
) -> Result<(), BrokerError> {
    store_dead_letter(broker, partition, wrong).await?;
    let (at, overrides) = (partition.now(), wrong.should_be.last_override);
    // More than a header holds is reported before. It is true already: it depends on the stream alone.
    let (before, unreported) = wrong.unstored.split_at(wrong.unstored.len().saturating_sub(UNREPORTED_MAX));
    report(partition, before, at, overrides).await?;
    let to_report = Unreported { messages: unreported.to_vec(), since: wrong.since, forgotten: wrong.forgotten };
    let held = partition.load_latest(channel).await?.record;
    let carried = held.and_then(|bytes| Record::read(&bytes).ok()?.1);
    let record = wrong.should_be.to_bytes();
    let record = carried.map_or_else(|| record.clone(), |carried| carried.put_into(&record));
    partition.write(channel, record, &to_report, wrong.revision).await?;
    fail_point::reached("rebuild.record-written");
    report(partition, unreported, at, overrides).await?;
    report_late(partition, &wrong.unstored_late, at, overrides).await
}

/// Reports what became of messages of which nothing is reported yet, and says of how many. Their dead letters are left alone:
/// those that are missing may have been dropped.
pub async fn report_again(partition: &NatsPartition, missing: MissingOutcomes) -> Result<usize, BrokerError> {
    let MissingOutcomes { mut applied, mut late, after_overrides } = missing;
    let events: Vec<_> = applied.iter().map(|(event, _)| *event).chain(late.iter().copied()).collect();
    // Some may have been applied and reported, since this rebuild began. To be a duplicate says nothing.
    let mut reported = partition.outcomes_of(&events).await?;
    reported.retain(|_, outcome_record| !outcome_record.outcome.is_duplicate());
    applied.retain(|(event, _)| !reported.contains_key(event));
    late.retain(|event| !reported.contains_key(event));
    report(partition, &applied, partition.now(), after_overrides).await?;
    report_late(partition, &late, partition.now(), after_overrides).await?;
    Ok(applied.len() + late.len())
}

async fn report_late(
    partition: &NatsPartition,
    late: &[Event],
    at: OffsetDateTime,
    after_overrides: Option<Sequence>,
) -> Result<(), BrokerError> {
    let outcome = || Outcome::Failed(SKIPPED_LATE.into());
    let late = late.iter().map(|event| OutcomeRecord { event: *event, outcome: outcome(), at, after_overrides });
    partition.report(late.collect()).await
}

async fn report(
    partition: &NatsPartition,
    applied: &[(Event, Option<Refusal>)],
    at: OffsetDateTime,
    after_overrides: Option<Sequence>,
) -> Result<(), BrokerError> {
    let outcome_record = |(event, refusal): &(Event, Option<Refusal>)| OutcomeRecord {
        event: *event,
        outcome: Outcome::of_applied(*refusal),
        at,
        after_overrides,
    };
    for applied in applied.chunks(UNREPORTED_MAX) {
        partition.report(applied.iter().map(outcome_record).collect()).await?;
    }
    Ok(())
}

async fn store_dead_letter(broker: &Broker, partition: &NatsPartition, wrong: &Wrong) -> Result<(), BrokerError> {
    let refused = wrong
        .unstored
        .iter()
        .filter_map(|(event, refusal)| refusal.map(|refusal| (*event, Reason::Refused, refusal.to_string())));
    let overrides = wrong.should_be.last_override;
    let refused = refused.map(|(event, reason, error)| (event, reason, error, overrides));
    let late = wrong.unstored_late.iter().map(|event| (*event, Reason::Skipped, SKIPPED_LATE.to_owned(), None));
    let dead_letters: Vec<_> = refused.chain(late).collect();
    for dead_letters in dead_letters.chunks(DEAD_LETTERS_AT_ONCE) {
        try_join_all(dead_letters.iter().map(|(event, reason, error, overrides)| async move {
            let Some(stored) = read_one(broker, event.sequence).await? else { return Ok(()) };
            let dead_letter =
                DeadLetter { stored: &stored, reason: *reason, error: error.clone(), after_overrides: *overrides };
            partition.store_dead_letter(&dead_letter).await
        }))
        .await?;
    }
    Ok(())
}
