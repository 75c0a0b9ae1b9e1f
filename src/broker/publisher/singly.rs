//! One message by itself, tried until it is stored or its time is over: whichever try reaches the broker first counts, and
//! the others are recognised by their id.

use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Outgoing, RETRY_PAUSE, Receipt};
use crate::broker::connection::PUBLISH_TIMEOUT;
use crate::broker::topology::{HEADER_REQUEST_ID, STREAM, subject};
use crate::broker::{Broker, BrokerError};
use crate::domain::Sequence;

/// Stores messages one by one.
pub struct Singly {
    pub broker: Broker,
    pub context: jetstream::Context,
}

impl Singly {
    /// Stores a message with this id, of which an earlier try may have come through already.
    pub async fn store(
        &self,
        outgoing: &Outgoing,
        id: &str,
        deadline: Instant,
        mut was_tried: bool,
    ) -> Result<Receipt, BrokerError> {
        loop {
            let attempt = timeout_at(deadline, self.store_once(outgoing, id)).await;
            let error = match attempt.unwrap_or_else(|_| Err(BrokerError::timed_out("storing the message"))) {
                Err(error @ (BrokerError::Unavailable(_) | BrokerError::InFlight)) => error,
                Ok(receipt) if receipt.duplicate && was_tried => {
                    // On the heap: it is rare, and large.
                    let duplicate = !Box::pin(self.is_ours(receipt.sequence, outgoing)).await;
                    return Ok(Receipt { duplicate, ..receipt });
                }
                result => return result,
            };
            if Instant::now() + RETRY_PAUSE >= deadline || !self.broker.is_connected() {
                return Err(error);
            }
            tracing::debug!(request_id = outgoing.origin.request_id, %error, "storing the message failed, trying again");
            sleep(RETRY_PAUSE).await;
            was_tried = true;
        }
    }

    /// Whether what is stored there came with this very request: then an earlier try got through, and it is no repeat.
    async fn is_ours(&self, sequence: Sequence, outgoing: &Outgoing) -> bool {
        let Ok(stream) = self.broker.jetstream().get_stream_no_info(STREAM).await else { return false };
        // Through the leader: a replica may not have it yet.
        let stored = timeout(PUBLISH_TIMEOUT, stream.get_raw_message(sequence.0)).await;
        let brought_by = |message: &StreamMessage| {
            let request_id = message.headers.get(HEADER_REQUEST_ID);
            request_id.is_some_and(|request_id| request_id.as_str() == outgoing.origin.request_id)
        };
        matches!(&stored, Ok(Ok(message)) if brought_by(message))
    }

    async fn store_once(&self, outgoing: &Outgoing, id: &str) -> Result<Receipt, BrokerError> {
        let ack = self.context.send_publish(subject(&outgoing.channel), outgoing.message(id)).await?.await?;
        Ok(Receipt { sequence: Sequence(ack.sequence), duplicate: ack.duplicate })
    }
}
