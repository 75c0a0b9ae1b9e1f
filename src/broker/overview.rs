//! What the broker says of the stream of all messages as a whole: questions that only the leader answers, so that nothing
//! newer was there when it was asked.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};

use super::connection::{PUBLISH_TIMEOUT, within};
use super::leader::log_of_followed_leader;
use super::topology::{FORMAT, METADATA_FORMAT, METADATA_PARTITIONS, METADATA_RESTORING, STREAM, stored_subject};
use super::{Broker, BrokerError};
use crate::domain::{Channel, Sequence};

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

async fn stream(broker: &Broker) -> Result<Stream<()>, BrokerError> {
    broker.jetstream().get_stream_no_info(STREAM).await.map_err(BrokerError::unavailable)
}
