//! A stream is put back: sent to the server in pieces, each of which it answers when it has taken it in.
//!
//! A single server that syncs always syncs each message, and calls a piece that takes it 5 s stalled. So a piece begins
//! with a few messages, and has as many as the server takes in a fraction of that time ([`PieceSize`]).
//!
//! Whatever goes wrong, a part of the stream stays at the server: who began has to remove it.

use std::time::{Duration, Instant};

use async_nats::jetstream::response::Response;
use async_nats::{Client, Request};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::archive::{Entry, MAGIC};
use super::objects::{Stream, ask, there};
use super::{StreamState, s2};
use crate::broker::{Broker, BrokerError};

/// Messages of the first piece: a bad disk may take a tenth of a second for each.
const PIECE_MESSAGES_FIRST: usize = 8;
const PIECE_MESSAGES_MAX: usize = 1_024;
/// Bytes of a piece, however few messages they are; well below the largest message of any server.
const PIECE_BYTES_MAX: usize = 128 * 1024;
/// A piece that took less may be followed by a larger one.
const PIECE_QUICK: Duration = Duration::from_millis(100);
/// After one that took more, they become smaller.
const PIECE_SLOW: Duration = Duration::from_millis(400);
/// How long a piece may take. The server gives up after 5 s, and then answers no more.
const PIECE_WITHIN: Duration = Duration::from_secs(15);
/// How long the server may take for the rest, and for making a stream of it all.
const FINISH_WITHIN: Duration = Duration::from_secs(60);

/// A stream that is being put back.
pub struct Restore {
    client: Client,
    /// Where the server takes the pieces.
    subject: String,
    /// What is sent next, and how many messages end in it.
    piece: Vec<u8>,
    messages: usize,
    size: PieceSize,
}

/// What the server answers before the first piece.
#[derive(Deserialize)]
struct Begun {
    deliver_subject: String,
}

impl Restore {
    /// Begins at a broker that has no stream of this name.
    pub async fn begin(
        broker: &Broker,
        stream: &str,
        config: &Value,
        state: &StreamState,
    ) -> Result<Self, BrokerError> {
        let query = json!({ "config": config, "state": state });
        let answer = ask(&broker.changing(), &format!("STREAM.RESTORE.{stream}"), &query).await?;
        let Begun { deliver_subject: subject } = there(answer)?.ok_or(BrokerError::NotThere)?;
        let (client, piece, size) = (broker.client().clone(), MAGIC.to_vec(), PieceSize::default());
        let mut restore = Self { client, subject, piece, messages: 0, size };
        restore.send(s2::beginning()).await?;
        let state = serde_json::to_vec(state).map_err(BrokerError::unavailable)?;
        restore.append(&Entry { name: b"state.json".into(), content: state, ..Entry::end() }).await?;
        Ok(restore)
    }

    /// Sends a message, or keeps it for the next piece.
    pub async fn append(&mut self, entry: &Entry) -> Result<(), BrokerError> {
        entry.append_to(&mut self.piece);
        self.messages += 1;
        if self.messages >= self.size.messages || self.piece.len() >= PIECE_BYTES_MAX {
            self.send_piece().await?;
        }
        Ok(())
    }

    /// Sends the rest, and gives what the server has made of it all.
    pub async fn finish(mut self) -> Result<StreamState, BrokerError> {
        self.append(&Entry::end()).await?;
        self.send_piece().await?;
        let answer = self.request(Bytes::new(), FINISH_WITHIN).await?;
        let answer: Response<Stream> = serde_json::from_slice(&answer).map_err(BrokerError::unavailable)?;
        there(answer)?.map(|stream| stream.state).ok_or(BrokerError::NotThere)
    }

    /// Sends what has been kept; a large message in several parts.
    async fn send_piece(&mut self) -> Result<(), BrokerError> {
        let (piece, began) = (std::mem::take(&mut self.piece), Instant::now());
        for part in piece.chunks(PIECE_BYTES_MAX) {
            let mut frame = Vec::with_capacity(part.len() + 16);
            s2::append_plain(part, &mut frame);
            self.send(frame).await?;
        }
        let (messages, took) = (std::mem::take(&mut self.messages), began.elapsed());
        tracing::debug!(messages, bytes = piece.len(), ?took, "a piece was taken in");
        self.size = self.size.after(took);
        Ok(())
    }

    async fn send(&self, frame: Vec<u8>) -> Result<(), BrokerError> {
        let answer = self.request(frame.into(), PIECE_WITHIN).await?;
        if answer.is_empty() {
            return Ok(());
        }
        let answer: Response<Value> = serde_json::from_slice(&answer).map_err(BrokerError::unavailable)?;
        there(answer).map(drop)
    }

    async fn request(&self, piece: Bytes, limit: Duration) -> Result<Bytes, BrokerError> {
        let request = Request::new().payload(piece).timeout(Some(limit));
        let answer = self.client.send_request(self.subject.clone(), request).await;
        answer.map(|answer| answer.payload).map_err(|error| {
            BrokerError::Unavailable(format!("the server takes no more of the stream ({error}); its log says why"))
        })
    }
}

/// How many messages the next piece has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PieceSize {
    messages: usize,
}

impl Default for PieceSize {
    fn default() -> Self {
        Self { messages: PIECE_MESSAGES_FIRST }
    }
}

impl PieceSize {
    /// The size after a piece that took so long.
    fn after(self, took: Duration) -> Self {
        let messages = match took {
            quick if quick < PIECE_QUICK => self.messages * 2,
            slow if slow > PIECE_SLOW => self.messages / 4,
            _ => self.messages,
        };
        Self { messages: messages.clamp(1, PIECE_MESSAGES_MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_piece_takes_a_slow_disk_as_long_as_the_server_waits() {
        for millis in [1, 3, 10, 30, 100, 300] {
            let message = Duration::from_millis(millis);
            let mut size = PieceSize::default();
            for _ in 0..100 {
                let took = message * size.messages as u32;
                assert!(took < Duration::from_secs(3), "{millis} ms a message: a piece takes {took:?}");
                size = size.after(took);
            }
            // And none is smaller than it has to be.
            assert!(size.messages == PIECE_MESSAGES_MAX || message * size.messages as u32 * 4 >= PIECE_QUICK);
        }
    }
}
