//! Writes what a record should be, so that nothing is left undone about the messages that it passes.
//!
//! The order is that of the trackers: dead letters, then the record, then the outcomes. The folded record has
//! everything that lies in the stream, also messages that no tracker has taken up, or that one has only parked, because
//! the record that it saw was wrong. To whoever takes them up later they are duplicates; so who writes the record tells
//! what became of them, if nobody was told yet. In between, the record owes it in its header, like any other one.

use futures_util::future::try_join_all;
use time::OffsetDateTime;

use super::look::{Unreported, Wrong};
use crate::broker::log_reader::read_one;
use crate::broker::{Broker, BrokerError, DeadLetter, NatsPartition, Reason, TrackBroker as _};
use crate::domain::outcome::{LATE, OWED_MAX};
use crate::domain::{Became, Channel, Event, Outcome, Owed, Record, Refusal, Sequence};
use crate::fail_point;

/// Dead letters that are stored at once.
const LETTERS_AT_ONCE: usize = 64;

/// Writes the record where its revision is still the one that was looked at.
pub async fn repair(
    broker: &Broker,
    partition: &NatsPartition,
    channel: &Channel,
    wrong: &Wrong,
) -> Result<(), BrokerError> {
    bury(broker, partition, wrong).await?;
    let (at, acts) = (partition.now(), wrong.should_be.acts);
    // More than a header holds is told before. It is true already: it depends on the stream alone.
    let (before, owed) = wrong.untold.split_at(wrong.untold.len().saturating_sub(OWED_MAX));
    tell(partition, before, at, acts).await?;
    let owes = Owed { placed: owed.to_vec(), since: wrong.since, forgotten: wrong.forgotten };
    let held = partition.load_latest(channel).await?.record;
    let carried = held.and_then(|bytes| Record::read(&bytes).ok()?.1);
    let record = wrong.should_be.to_bytes();
    let record = carried.map_or_else(|| record.clone(), |carried| carried.put_into(&record));
    partition.write(channel, record, &owes, wrong.revision).await?;
    fail_point::reached("rebuild.record-written");
    tell(partition, owed, at, acts).await?;
    tell_late(partition, &wrong.untold_late, at, acts).await
}

/// Reports what became of messages of which still nobody is told, and says of how many. Their dead letters are left alone:
/// those that are missing may have been dropped.
pub async fn report_again(partition: &NatsPartition, unreported: Unreported) -> Result<usize, BrokerError> {
    let Unreported { mut placed, mut late, after_acts } = unreported;
    let events: Vec<_> = placed.iter().map(|(event, _)| *event).chain(late.iter().copied()).collect();
    // Some may have taken their place, and been reported, since this rebuild began. To be a duplicate says nothing.
    let mut reported = partition.outcomes_of(&events).await?;
    reported.retain(|_, outcome| !outcome.became.is_duplicate());
    placed.retain(|(event, _)| !reported.contains_key(event));
    late.retain(|event| !reported.contains_key(event));
    tell(partition, &placed, partition.now(), after_acts).await?;
    tell_late(partition, &late, partition.now(), after_acts).await?;
    Ok(placed.len() + late.len())
}

async fn tell_late(
    partition: &NatsPartition,
    late: &[Event],
    at: OffsetDateTime,
    after_acts: Sequence,
) -> Result<(), BrokerError> {
    let became = || Became::Failed(LATE.into());
    let late = late.iter().map(|event| Outcome { event: *event, became: became(), at, after_acts });
    partition.tell(late.collect()).await
}

async fn tell(
    partition: &NatsPartition,
    placed: &[(Event, Option<Refusal>)],
    at: OffsetDateTime,
    after_acts: Sequence,
) -> Result<(), BrokerError> {
    let outcome = |(event, refusal): &(Event, Option<Refusal>)| Outcome {
        event: *event,
        became: Became::placed(*refusal),
        at,
        after_acts,
    };
    for placed in placed.chunks(OWED_MAX) {
        partition.tell(placed.iter().map(outcome).collect()).await?;
    }
    Ok(())
}

async fn bury(broker: &Broker, partition: &NatsPartition, wrong: &Wrong) -> Result<(), BrokerError> {
    let refused = wrong
        .untold
        .iter()
        .filter_map(|(event, refusal)| refusal.map(|refusal| (*event, Reason::Refused, refusal.to_string())));
    let acts = wrong.should_be.acts;
    let refused = refused.map(|(event, reason, error)| (event, reason, error, acts));
    let late = wrong.untold_late.iter().map(|event| (*event, Reason::Skipped, LATE.to_owned(), Sequence(0)));
    let letters: Vec<_> = refused.chain(late).collect();
    for letters in letters.chunks(LETTERS_AT_ONCE) {
        try_join_all(letters.iter().map(|(event, reason, error, acts)| async move {
            let Some(stored) = read_one(broker, event.sequence).await? else { return Ok(()) };
            let letter = DeadLetter { stored: &stored, reason: *reason, error: error.clone(), after_acts: *acts };
            partition.bury(&letter).await
        }))
        .await?;
    }
    Ok(())
}
