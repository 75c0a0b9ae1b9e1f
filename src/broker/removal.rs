//! Messages taken out of a stream for good.

use async_nats::jetstream::response::Response;
use serde::Deserialize;

use super::connection::{PUBLISH_TIMEOUT, within};
use super::{Broker, BrokerError};

/// What the server says of a removal.
#[derive(Deserialize)]
struct Removed {
    success: bool,
}

/// Removes the message at a place; tells whether it was there.
pub(super) async fn remove(broker: &Broker, stream: &str, place: u64) -> Result<bool, BrokerError> {
    // What the client's own call asks for is to overwrite the bytes as well, which takes the server many times as long.
    let question = serde_json::json!({ "seq": place, "no_erase": true });
    let asked = broker.jetstream().request(format!("STREAM.MSG.DELETE.{stream}"), &question);
    match within(PUBLISH_TIMEOUT, "removing a message", asked).await? {
        Response::Ok(Removed { success }) => Ok(success),
        Response::Err { error } => match BrokerError::from_server(&error) {
            BrokerError::NotThere => Ok(false),
            error => Err(error),
        },
    }
}
