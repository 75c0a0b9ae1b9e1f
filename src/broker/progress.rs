//! How far the trackers have come in one partition, as its durable has it.

use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::response::Response;

use super::connection::{PUBLISH_TIMEOUT, within};
use super::topology::{STREAM, durable_name};
use super::{Broker, BrokerError};
use crate::domain::Sequence;

/// Server's error code for a consumer that is not there.
const CONSUMER_NOT_FOUND: u64 = 10_014;

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
pub(super) async fn info(broker: &Broker, partition: u16) -> Result<Option<Info>, BrokerError> {
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
pub(super) fn missing(partition: u16) -> BrokerError {
    BrokerError::Misconfigured(format!("durable {}: is missing (`rockets init` makes it)", durable_name(partition)))
}
