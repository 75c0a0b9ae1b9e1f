//! Where dead letters went that were replayed: a note for each, kept when the dead letter is gone, so that a repeated
//! replay is told what became of the first.
//!
//! The notes lie by segments of dead letters, as outcomes do by segments of events.

use async_nats::jetstream::{self, message::PublishMessage};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::broker::connection::PUBLISH_TIMEOUT;
use crate::broker::log_reader::direct::{Query, ask};
use crate::broker::topology::{OUTCOME_STREAM, SEGMENT_EVENTS, replay_subject};
use crate::broker::{Broker, BrokerError};
use crate::domain::Sequence;

/// Notes under way at once; further ones wait for their turn.
const WRITES_IN_FLIGHT_MAX: usize = 64;

/// Where replayed dead letters went.
#[derive(Clone)]
pub struct ReplayNotes {
    broker: Broker,
    context: jetstream::Context,
}

/// What is known of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The message that the dead letter was replayed as.
    pub event: Sequence,
    /// When that was noted.
    pub noted_at: OffsetDateTime,
}

/// A note, as it is stored.
#[derive(Serialize, Deserialize)]
struct Note {
    #[serde(rename = "letter")]
    dead_letter: u64,
    event: u64,
}

impl ReplayNotes {
    /// The notes on this connection.
    pub fn new(broker: &Broker) -> Self {
        Self { broker: broker.clone(), context: broker.publishing(WRITES_IN_FLIGHT_MAX) }
    }

    /// Notes as which message a dead letter was replayed.
    pub async fn note(&self, dead_letter: u64, event: Sequence) -> Result<(), BrokerError> {
        let note = serde_json::to_vec(&Note { dead_letter, event: event.0 }).unwrap_or_default();
        let message = PublishMessage::build().payload(note.into()).expected_stream(OUTCOME_STREAM);
        let write = async {
            Ok::<_, BrokerError>(self.context.send_publish(replay_subject(dead_letter), message).await?.await?)
        };
        match tokio::time::timeout(PUBLISH_TIMEOUT, write).await {
            Ok(result) => result.map(drop),
            Err(_) => Err(BrokerError::timed_out("noting a replay")),
        }
    }

    /// As which message a dead letter was replayed, if it was: of several notes the first counts. Those from before `since`
    /// are of another dead letter, in a stream that is no more.
    pub async fn find(&self, dead_letter: u64, since: Option<OffsetDateTime>) -> Result<Option<Replayed>, BrokerError> {
        let (subject, mut from) = (replay_subject(dead_letter), Some(1));
        while let Some(first) = from {
            let messages_max = usize::try_from(SEGMENT_EVENTS).unwrap_or(1);
            let query = Query { stream: OUTCOME_STREAM, subjects: &subject, from: first, messages_max };
            let page = ask(&self.broker, query).await?;
            let of_dead_letter = page.found.iter().find_map(|found| {
                let note: Note = serde_json::from_slice(&found.message.payload).ok()?;
                let counts = note.dead_letter == dead_letter && since.is_none_or(|since| found.time >= since);
                counts.then_some(Replayed { event: Sequence(note.event), noted_at: found.time })
            });
            if of_dead_letter.is_some() {
                return Ok(of_dead_letter);
            }
            from = page.next;
        }
        Ok(None)
    }
}
