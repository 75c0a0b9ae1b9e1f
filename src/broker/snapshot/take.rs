//! A stream is taken: the server's own snapshot, read message by message as it comes.
//!
//! It holds every message up to the last one at its beginning, but for those that go meanwhile. Of a stream that keeps
//! only the last messages of each subject, one that is overwritten at the wrong moment is neither there as it was nor as it
//! is: see [`super::missed`].

use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::archive::{Entry, Reader};
use super::objects::{ask, there};
use super::s2::Unpacker;
use super::{Damaged, StreamState};
use crate::broker::connection::within;
use crate::broker::{Broker, BrokerError};

/// Bytes of one piece. The server has some megabytes of them under way at most.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest pause between two pieces; a store may be slow to read.
const PIECE_WITHIN: Duration = Duration::from_secs(30);

/// A stream that is being taken.
pub struct Snapshot {
    client: Client,
    pieces: Subscriber,
    unpacker: Unpacker,
    reader: Reader,
    begun: Begun,
    ended: bool,
}

/// What the server answers before the first piece.
#[derive(Deserialize)]
struct Begun {
    config: Value,
    state: StreamState,
}

impl Snapshot {
    /// Begins; none where there is no such stream.
    pub async fn begin(broker: &Broker, stream: &str) -> Result<Option<Self>, BrokerError> {
        let client = broker.client().clone();
        let inbox = client.new_inbox();
        let pieces = client.subscribe(inbox.clone()).await.map_err(BrokerError::unavailable)?;
        let query = json!({ "deliver_subject": inbox, "no_consumers": true, "chunk_size": PIECE_BYTES });
        let answer = ask(&broker.changing(), &format!("STREAM.SNAPSHOT.{stream}"), &query).await?;
        let Some(begun) = there(answer)? else { return Ok(None) };
        let (unpacker, reader) = (Unpacker::default(), Reader::default());
        Ok(Some(Self { client, pieces, unpacker, reader, begun, ended: false }))
    }

    /// The stream's configuration, as the server says it.
    pub fn config(&self) -> &Value {
        &self.begun.config
    }

    /// What the stream held at the beginning.
    pub fn state(&self) -> StreamState {
        self.begun.state
    }

    /// The next message, in the order of the stream; none after the last.
    pub async fn next_message(&mut self) -> Result<Option<Entry>, BrokerError> {
        loop {
            match self.reader.next_entry().map_err(cannot_be_read)? {
                Some(entry) if entry.is_end() => self.ended = true,
                // The state of the stream, which is in the manifest already.
                Some(entry) if entry.sequence == 0 => {}
                Some(_) if self.ended => return Err(cannot_be_read(Damaged("it goes on after its end"))),
                Some(message) => return Ok(Some(message)),
                None if self.next_piece().await? => {}
                None => return self.is_whole().map(|()| None),
            }
        }
    }

    /// Waits for a piece, and returns whether one has come; else it was the last.
    async fn next_piece(&mut self) -> Result<bool, BrokerError> {
        let next = async { self.pieces.next().await.ok_or("the pieces ended early") };
        let piece = within(PIECE_WITHIN, "the next piece of a snapshot", next).await?;
        if piece.payload.is_empty() {
            return refused(&piece).map(|()| false);
        }
        // The server sends on when this has come. Not each piece asks for it.
        if let Some(reply) = piece.reply {
            self.client.publish(reply, "".into()).await.map_err(BrokerError::unavailable)?;
        }
        self.unpacker.take(&piece.payload, self.reader.coming()).map_err(cannot_be_read)?;
        Ok(true)
    }

    fn is_whole(&self) -> Result<(), BrokerError> {
        match self.ended && self.unpacker.is_at_an_end() && self.reader.is_at_an_end() {
            true => Ok(()),
            false => Err(cannot_be_read(Damaged("it ends early"))),
        }
    }
}

/// The last piece says how it went: 204, or what went wrong.
fn refused(piece: &Message) -> Result<(), BrokerError> {
    match piece.status {
        Some(status) if status.as_u16() != 204 => {
            let why = piece.description.as_ref().map(ToString::to_string).unwrap_or_default();
            Err(BrokerError::Unavailable(format!("the snapshot broke off: {status} {why}")))
        }
        _ => Ok(()),
    }
}

fn cannot_be_read(damaged: Damaged) -> BrokerError {
    BrokerError::Unavailable(format!("the snapshot cannot be read: {damaged}"))
}
