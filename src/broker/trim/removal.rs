//! Messages taken out of a stream for good: one by one, or all of some subjects up to a place.

use async_nats::jetstream::response::Response;
use serde::Deserialize;

use crate::broker::connection::{PUBLISH_TIMEOUT, within};
use crate::broker::{Broker, BrokerError};

/// What the server says of a removal.
#[derive(Deserialize)]
struct Removed {
    success: bool,
}

/// What the server says of a purge.
#[derive(Deserialize)]
struct Purged {
    purged: u64,
}

/// Removes the message at a sequence; returns whether it was there.
pub(in crate::broker) async fn remove(broker: &Broker, stream: &str, place: u64) -> Result<bool, BrokerError> {
    // What the client's own call asks for is to overwrite the bytes as well, which takes the server many times as long.
    let query = serde_json::json!({ "seq": place, "no_erase": true });
    let asked = broker.jetstream().request(format!("STREAM.MSG.DELETE.{stream}"), &query);
    match within(PUBLISH_TIMEOUT, "removing a message", asked).await? {
        Response::Ok(Removed { success }) => Ok(success),
        Response::Err { error } => match BrokerError::from_server(&error) {
            BrokerError::NotThere => Ok(false),
            error => Err(error),
        },
    }
}

/// Removes the messages before a place, or wherever they lie, those of some subjects or all; returns how many there were.
pub(in crate::broker) async fn purge(
    broker: &Broker,
    stream: &str,
    subjects: Option<&str>,
    before: Option<u64>,
) -> Result<u64, BrokerError> {
    let mut query = serde_json::json!({});
    if let Some(before) = before {
        query["seq"] = before.into();
    }
    if let Some(subjects) = subjects {
        query["filter"] = subjects.into();
    }
    // A purge grows with what it removes, and the server answers when it is done.
    match broker.changing().request(format!("STREAM.PURGE.{stream}"), &query).await {
        Ok(Response::Ok(Purged { purged })) => Ok(purged),
        Ok(Response::Err { error }) => Err(BrokerError::from_server(&error)),
        Err(error) => Err(BrokerError::unavailable(error)),
    }
}
