//! Checkpoints: stored, found and removed. What they are for is [`crate::domain::checkpoint`]'s to say.
//!
//! What nobody here wrote, and what is of another life of the log, is as if it were not there: a checkpoint names the last
//! message that was seen when it was made, and that message must lie there still. Of one with which the log was trimmed it
//! may be gone; that one counts as it is.

use async_nats::HeaderValue;
use async_nats::jetstream::message::PublishMessage;

use super::connection::{PUBLISH_TIMEOUT, within};
use super::log_reader::direct::{Query, RawMessage, ask, get};
use super::topology::{
    CHECKPOINT_STREAM, HEADER_FROM, HEADER_SEEN, HEADER_SEEN_AT, HEADER_THROUGH, STREAM, TRIMMED_CHECKPOINTS,
    checkpoint_of, checkpoint_subject, checkpoint_subjects,
};
use super::trim::removal::{purge, remove};
use super::{Broker, BrokerError};
use crate::domain::checkpoint::usable;
use crate::domain::{Channel, Checkpoint, Event, MessageNumber, Record, Sequence, StoredAt};

/// Checkpoints of one page: more than there can be of one channel.
const PAGE_CHECKPOINTS_MAX: usize = 100;
/// Stores under way at once on one connection.
const STORES_IN_FLIGHT_MAX: usize = 16;

/// The checkpoints from which a reading of a channel may begin, the best one last.
pub async fn checkpoints(broker: &Broker, channel: &Channel) -> Result<Vec<Checkpoint>, BrokerError> {
    let subjects = checkpoint_subjects(channel);
    let query = Query { stream: CHECKPOINT_STREAM, subjects: &subjects, from: 1, messages_max: PAGE_CHECKPOINTS_MAX };
    let found = ask(broker, query).await?.found;
    let mut all = usable(found.iter().filter_map(checkpoint).map(|(_, checkpoint)| checkpoint).collect());
    // What one has seen tells of all that were made before it.
    while let Some(last) = all.last()
        && !last.is_trimmed
        && !is_of_this_log(broker, last.seen).await?
    {
        all.pop();
    }
    Ok(all)
}

/// Whether the message lies in the log that was seen there.
async fn is_of_this_log(broker: &Broker, seen: Event) -> Result<bool, BrokerError> {
    let found = get(broker, STREAM, seen.sequence.0).await?;
    Ok(found.is_some_and(|found| Event::new(seen.sequence, found.time) == seen))
}

/// Some of the checkpoints with which the log was trimmed, each with its channel, oldest first, and where the next page
/// begins, if this one did not reach the end.
pub async fn trimmed(broker: &Broker, from: u64) -> Result<(Vec<(Channel, Checkpoint)>, Option<u64>), BrokerError> {
    let (stream, subjects, messages_max) = (CHECKPOINT_STREAM, TRIMMED_CHECKPOINTS, PAGE_CHECKPOINTS_MAX);
    let page = ask(broker, Query { stream, subjects, from, messages_max }).await?;
    Ok((page.found.iter().filter_map(checkpoint).collect(), page.next))
}

/// Stores a checkpoint, and gives its place.
pub async fn store(broker: &Broker, channel: &Channel, checkpoint: &Checkpoint) -> Result<u64, BrokerError> {
    let message = PublishMessage::build()
        .payload(checkpoint.record.to_bytes().into())
        .header(HEADER_THROUGH, HeaderValue::from(MessageNumber::count_through(checkpoint.through())))
        .header(HEADER_FROM, HeaderValue::from(checkpoint.from.0))
        .header(HEADER_SEEN, HeaderValue::from(checkpoint.seen.sequence.0))
        .header(HEADER_SEEN_AT, HeaderValue::from(checkpoint.seen.stored_at.0))
        .expected_stream(CHECKPOINT_STREAM);
    let (context, subject) =
        (broker.publishing(STORES_IN_FLIGHT_MAX), checkpoint_subject(channel, checkpoint.is_trimmed));
    let store = async { Ok::<_, BrokerError>(context.send_publish(subject, message).await?.await?) };
    match tokio::time::timeout(2 * PUBLISH_TIMEOUT, store).await {
        Ok(result) => result.map(|ack| ack.sequence),
        Err(_) => Err(BrokerError::timed_out("storing a checkpoint")),
    }
}

/// Removes all checkpoints of a channel.
pub async fn remove_checkpoints(broker: &Broker, channel: &Channel) -> Result<(), BrokerError> {
    purge(broker, CHECKPOINT_STREAM, Some(&checkpoint_subjects(channel)), None).await.map(drop)
}

/// Removes a checkpoint, if it is there.
pub async fn remove_checkpoint(broker: &Broker, place: u64) -> Result<(), BrokerError> {
    within(2 * PUBLISH_TIMEOUT, "removing a checkpoint", remove(broker, CHECKPOINT_STREAM, place)).await.map(drop)
}

/// The last message that was seen when a checkpoint was made.
pub(super) fn seen(found: &RawMessage) -> Option<Event> {
    checkpoint(found).map(|(_, checkpoint)| checkpoint.seen)
}

fn checkpoint(found: &RawMessage) -> Option<(Channel, Checkpoint)> {
    let (channel, is_trimmed) = checkpoint_of(&found.subject)?;
    let record = Record::from_bytes(&found.message.payload).ok()?;
    let number = |name| found.header(name).and_then(|text| text.parse::<u64>().ok());
    let stored_at = StoredAt(found.header(HEADER_SEEN_AT)?.parse().ok()?);
    let seen = Event { sequence: Sequence(number(HEADER_SEEN)?), stored_at };
    let checkpoint =
        Checkpoint { record, from: Sequence(number(HEADER_FROM)?), seen, is_trimmed, place: Some(found.sequence) };
    (number(HEADER_THROUGH) == Some(MessageNumber::count_through(checkpoint.through())))
        .then_some((channel, checkpoint))
}
