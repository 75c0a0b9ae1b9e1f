//! What the broker says of the stream of all messages as a whole, and of how far its readers are: questions that only the
//! leader answers, so that nothing newer was there when it was asked.

use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};

use super::connection::{PUBLISH_TIMEOUT, within};
use super::topology::{METADATA_PARTITIONS, STREAM, durable_name, stored_subject};
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
    let stream = broker.jetstream().get_stream(STREAM).await.map_err(|error| BrokerError::from_causes(&error))?;
    let info = stream.cached_info();
    let partitions = info.config.metadata.get(METADATA_PARTITIONS).and_then(|text| text.parse().ok());
    match partitions {
        Some(partitions) => Ok(Overview { partitions, messages: info.state.messages }),
        None => Err(BrokerError::Misconfigured(format!("stream {STREAM} does not say how many partitions it has"))),
    }
}

/// Up to where every message of a partition is acknowledged. Some behind it may be too.
pub async fn ack_floor(broker: &Broker, partition: u16) -> Result<Sequence, BrokerError> {
    let (stream, durable) = (stream(broker).await?, durable_name(partition));
    let info = async { Ok::<_, BrokerError>(stream.consumer_info(durable).await) };
    let info = within(PUBLISH_TIMEOUT, "looking at a durable", info).await?;
    let info = info.map_err(|error| BrokerError::from_causes(&error))?;
    Ok(Sequence(info.ack_floor.stream_sequence))
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
