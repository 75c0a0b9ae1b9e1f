//! What the broker says of the log as a whole, and of how far the trackers have come in each partition. What only a leader
//! knows is asked of it, so that nothing newer was there when it was asked.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use time::OffsetDateTime;

use super::connection::{PUBLISH_TIMEOUT, within};
use super::log_reader::direct::{Query, ask, count};
use super::log_reader::leader::log_of_followed_leader;
use super::objects::provision::stream_info;
use super::topology::{
    DEAD_LETTER_STREAM, FORMAT, METADATA_FORMAT, METADATA_PARTITIONS, METADATA_RESTORING, STREAM, durable_name,
    stored_subject, stored_subjects,
};
use super::{Broker, BrokerError};
use crate::domain::{Channel, Sequence};

/// Server's error code for a consumer that is not there.
const CONSUMER_NOT_FOUND: u64 = 10_014;

/// The stream of all messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overview {
    /// Its partitions, whatever the settings say.
    pub partitions: u16,
    /// How many messages it holds.
    pub messages: u64,
}

/// Looks at the stream.
pub async fn overview(broker: &Broker) -> Result<Overview, BrokerError> {
    let found = broker.jetstream().get_stream(STREAM).await;
    let stream = found.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            BrokerError::Misconfigured(format!("stream {STREAM}: is missing (`rockets init` makes it)"))
        }
        GetStreamErrorKind::JetStream(answer) => BrokerError::from_server(&answer),
        _ => BrokerError::unavailable(error),
    })?;
    let info = stream.cached_info();
    let stated = |key| info.config.metadata.get(key).map_or("none", String::as_str);
    if info.config.metadata.contains_key(METADATA_RESTORING) {
        return Err(BrokerError::Misconfigured(format!(
            "stream {STREAM} is what a restore that was not finished left behind (`rockets restore` again removes it)"
        )));
    }
    match (stated(METADATA_FORMAT), stated(METADATA_PARTITIONS).parse()) {
        (FORMAT, Ok(partitions)) => Ok(Overview { partitions, messages: info.state.messages }),
        (FORMAT, Err(_)) => {
            Err(BrokerError::Misconfigured(format!("stream {STREAM} does not say how many partitions it has")))
        }
        (format, _) => {
            Err(BrokerError::Misconfigured(format!("stream {STREAM} has format {format}, which is not known here")))
        }
    }
}

/// How many messages there have been, and how many are dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were ever stored.
    pub stored: u64,
    /// Dead letters that are there.
    pub dead_letters: u64,
}

/// Asks for both numbers, which cost the same however large they are; the dead letters of each reason would not.
pub async fn counts(broker: &Broker) -> Result<Counts, BrokerError> {
    let info = async |stream| stream_info(broker, stream).await?.ok_or(BrokerError::NotThere);
    let (log, dead_letters) = tokio::try_join!(info(STREAM), info(DEAD_LETTER_STREAM))?;
    Ok(Counts { stored: log.state.last_sequence, dead_letters: dead_letters.state.messages })
}

/// Whether nothing was ever removed from the stream: it begins with the first message, and has no holes.
pub async fn is_whole(broker: &Broker) -> Result<bool, BrokerError> {
    let log = log_of_followed_leader(broker).await?;
    Ok(log.first_sequence <= 1 && log.deleted_count.unwrap_or(0) == 0)
}

/// Where the last message of a channel lies, malformed bytes included; none if there is none.
pub async fn last_of(broker: &Broker, partition: u16, channel: &Channel) -> Result<Option<Sequence>, BrokerError> {
    let (stream, subject) = (stream(broker).await?, stored_subject(partition, channel));
    let read = async { Ok::<_, BrokerError>(stream.get_last_raw_message_by_subject(&subject).await) };
    match within(PUBLISH_TIMEOUT, "looking at a channel", read).await? {
        Ok(message) => Ok(Some(Sequence(message.sequence))),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(answer) => Err(BrokerError::from_server(&answer)),
            _ => Err(BrokerError::unavailable(error)),
        },
    }
}

/// How many messages of a channel there are, malformed bytes included.
pub async fn messages_of(broker: &Broker, partition: u16, channel: &Channel) -> Result<u64, BrokerError> {
    count(broker, STREAM, &stored_subject(partition, channel)).await
}

/// How far the trackers have come in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here was handed to a tracker at least once.
    pub delivered: Sequence,
    /// Of everything up to here the effect is stored.
    pub acknowledged: Sequence,
}

/// Asks the durable of a partition; none if there is no durable.
pub async fn progress(broker: &Broker, partition: u16) -> Result<Option<Progress>, BrokerError> {
    let info = info(broker, partition).await?;
    Ok(info.map(|Info { delivered, ack_floor, .. }| Progress {
        delivered: Sequence(delivered.stream_sequence),
        acknowledged: Sequence(ack_floor.stream_sequence),
    }))
}

/// What the broker says of the durable of a partition; nothing if there is no durable.
async fn info(broker: &Broker, partition: u16) -> Result<Option<Info>, BrokerError> {
    let subject = format!("CONSUMER.INFO.{STREAM}.{}", durable_name(partition));
    let nothing = serde_json::json!({});
    let asked = broker.jetstream().request(subject, &nothing);
    match within(PUBLISH_TIMEOUT, "asking how far a partition has come", asked).await? {
        Response::Ok(info) => Ok(Some(info)),
        Response::Err { error } if error.error_code().0 == CONSUMER_NOT_FOUND => Ok(None),
        Response::Err { error } => Err(BrokerError::from_server(&error)),
    }
}

/// Up to where every message of a partition is acknowledged: its effect is stored. Some behind it may be too.
pub async fn acknowledged_through(broker: &Broker, partition: u16) -> Result<Sequence, BrokerError> {
    progress(broker, partition).await?.map(|progress| progress.acknowledged).ok_or_else(|| missing(partition))
}

/// What is wrong where a partition has no durable.
fn missing(partition: u16) -> BrokerError {
    BrokerError::Misconfigured(format!("durable {}: is missing (`rockets init` makes it)", durable_name(partition)))
}

/// What of a partition is not applied yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages that were not handed to any tracker yet.
    pub lag: u64,
    /// Messages that a tracker has and has not acknowledged.
    pub in_hand: u64,
    /// Of those the ones that were handed out more than once.
    pub redelivered: u64,
    /// How many deliveries there have been, since the durable was made.
    pub deliveries: u64,
    /// When the oldest of all these messages was stored.
    pub oldest: Option<OffsetDateTime>,
}

impl Backlog {
    /// Messages whose effect may not be stored.
    pub fn messages(&self) -> u64 {
        self.lag + self.in_hand
    }
}

/// Asks the durable of a partition, and the stream for the oldest message.
pub async fn backlog(broker: &Broker, partition: u16) -> Result<Backlog, BrokerError> {
    let info = info(broker, partition).await?.ok_or_else(|| missing(partition))?;
    let backlog = Backlog {
        lag: info.num_pending,
        in_hand: info.num_ack_pending as u64,
        redelivered: info.num_redelivered as u64,
        deliveries: info.delivered.consumer_sequence,
        oldest: None,
    };
    if backlog.messages() == 0 {
        return Ok(backlog);
    }
    // Everything up to the floor is acknowledged, and what comes next is not.
    let (subjects, from) = (&stored_subjects(partition), info.ack_floor.stream_sequence + 1);
    let page = ask(broker, Query { stream: STREAM, subjects, from, messages_max: 1 }).await?;
    Ok(Backlog { oldest: page.found.first().map(|found| found.time), ..backlog })
}

async fn stream(broker: &Broker) -> Result<Stream<()>, BrokerError> {
    broker.jetstream().get_stream_no_info(STREAM).await.map_err(BrokerError::unavailable)
}
