//! Messages of the stream, read again: those of one channel or one partition page by page, or one by its place. The stream
//! is the buffer in which messages are pending behind a gap, and the log from which every state can be folded again.

pub(super) mod direct;
pub(super) mod leader;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use futures_util::future::try_join_all;

use crate::broker::connection::PUBLISH_TIMEOUT;
use crate::broker::log_reader::direct::{Query, RawMessage, ask, get};
use crate::broker::log_reader::leader::log_of_followed_leader;
use crate::broker::topology::{STREAM, partition_in, stored_subject, stored_subjects};
use crate::broker::{Broker, BrokerError, Stored};
use crate::domain::{Channel, Sequence};

/// Messages of one page.
pub const PAGE_MESSAGES_MAX: usize = 1_000;

/// Some messages, in the order of the stream.
#[derive(Clone, Debug)]
pub struct Page {
    /// The messages, from the sequence that was asked for on.
    pub messages: Vec<Stored>,
    /// Where the next page begins, if this one did not reach the end.
    pub next: Option<Sequence>,
}

/// Reads a page of a channel's messages from this sequence on.
pub async fn read_page(
    broker: &Broker,
    partition: u16,
    channel: &Channel,
    from: Sequence,
) -> Result<Page, BrokerError> {
    read_some(broker, partition, channel, from, PAGE_MESSAGES_MAX).await
}

/// The same, of so many messages at most.
pub async fn read_some(
    broker: &Broker,
    partition: u16,
    channel: &Channel,
    from: Sequence,
    messages_max: usize,
) -> Result<Page, BrokerError> {
    page(broker, &stored_subject(partition, channel), from, messages_max).await
}

/// Reads a page of a partition's messages from this sequence on.
pub async fn read_partition(broker: &Broker, partition: u16, from: Sequence) -> Result<Page, BrokerError> {
    page(broker, &stored_subjects(partition), from, PAGE_MESSAGES_MAX).await
}

/// Reads the message at this sequence; none if there is none.
pub async fn read_one(broker: &Broker, sequence: Sequence) -> Result<Option<Stored>, BrokerError> {
    Ok(locate(broker, sequence).await?.map(|(_, stored)| stored))
}

/// Reads the message at this sequence, with its partition; none if there is none.
pub async fn locate(broker: &Broker, sequence: Sequence) -> Result<Option<(u16, Stored)>, BrokerError> {
    if sequence < Sequence::FIRST {
        // The server takes 0 for no question.
        return Ok(None);
    }
    let query = Query { stream: STREAM, subjects: ">", from: sequence.0, messages_max: 1 };
    match ask(broker, query).await?.found.pop().filter(|found| found.sequence == sequence.0) {
        Some(found) => Ok(Some((partition_in(&found.subject), stored(found)))),
        // A replica may lag behind.
        None => locate_at_leader(broker, sequence).await,
    }
}

/// Asks the stream's leader. That there is no message, it knows only while the others follow it.
async fn locate_at_leader(broker: &Broker, sequence: Sequence) -> Result<Option<(u16, Stored)>, BrokerError> {
    if let Some(found) = ask_leader(broker, sequence).await? {
        return Ok(Some(found));
    }
    let log = log_of_followed_leader(broker).await?;
    match sequence.0 > log.last_sequence {
        true => Ok(None),
        // Another one may have answered the first time.
        false => ask_leader(broker, sequence).await,
    }
}

async fn ask_leader(broker: &Broker, sequence: Sequence) -> Result<Option<(u16, Stored)>, BrokerError> {
    let stream = broker.jetstream().get_stream_no_info(STREAM).await.map_err(BrokerError::unavailable)?;
    let message = match tokio::time::timeout(PUBLISH_TIMEOUT, stream.get_raw_message(sequence.0)).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => return Ok(None),
            RawMessageErrorKind::JetStream(answer) => match BrokerError::from_server(&answer) {
                BrokerError::NotThere => return Ok(None),
                error => return Err(error),
            },
            _ => return Err(BrokerError::unavailable(error)),
        },
        Err(_) => return Err(BrokerError::timed_out("reading a message back")),
    };
    let StreamMessage { subject, headers, payload, time, .. } = message;
    let header = |name| headers.get_last(name).map(|value| value.as_str());
    Ok(Some((partition_in(&subject), Stored::of(sequence, time, &subject, header, &payload))))
}

/// Reads the messages at these sequences, all at once, in their order.
pub async fn read_messages(broker: &Broker, places: &[Sequence]) -> Result<Vec<Stored>, BrokerError> {
    let read = |place: &Sequence| get(broker, STREAM, place.0);
    let found = try_join_all(places.iter().map(read)).await?;
    let gone = || BrokerError::Unavailable("a message that was read before is not there".into());
    found.into_iter().map(|found| found.map(stored).ok_or_else(gone)).collect()
}

async fn page(broker: &Broker, subjects: &str, from: Sequence, messages_max: usize) -> Result<Page, BrokerError> {
    let query = Query { stream: STREAM, subjects, from: from.0, messages_max };
    let page = ask(broker, query).await?;
    Ok(Page { messages: page.found.into_iter().map(stored).collect(), next: page.next.map(Sequence) })
}

fn stored(found: RawMessage) -> Stored {
    Stored::of(Sequence(found.sequence), found.time, &found.subject, |name| found.header(name), &found.message.payload)
}
