//! Events as they stand on the wire. What is foreign in them is JSON, which has no line breaks.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::view::changes::Change;
use super::super::view::{Entry, Position};
use crate::domain::Channel;

/// After how many milliseconds a browser connects again.
const RETRY_MS: u64 = 2_000;

/// What comes at once, so that whoever is on the way passes the headers on.
pub fn opening() -> Bytes {
    format!("retry: {RETRY_MS}\n: rockets, as they change\n\n").into()
}

/// A rocket that is not among those that were asked for any more.
#[derive(Serialize, ToSchema)]
pub struct Gone {
    /// Its id.
    #[schema(value_type = Uuid)]
    id: Channel,
}

/// Everything that was there has been sent.
#[derive(Serialize, ToSchema)]
pub struct Synced {
    /// Up to where.
    revision: String,
}

/// What was sent before counts no more.
#[derive(Serialize, ToSchema)]
pub struct Reset<'a> {
    /// Why.
    reason: &'a str,
}

/// Some events, one after the other.
#[derive(Debug, Default)]
pub struct Frames(BytesMut);

impl Frames {
    /// The state of a rocket.
    pub fn rocket(&mut self, at: &Position, entry: &Entry) {
        self.put("rocket", at, entry.public_json());
    }

    /// A rocket that is not among those that were asked for any more.
    pub fn gone(&mut self, at: &Position, change: &Change) {
        self.put_json("gone", at, &Gone { id: change.channel });
    }

    /// Everything that was there up to a position has been sent.
    pub fn synced(&mut self, at: &Position) {
        self.put_json("synced", at, &Synced { revision: at.to_string() });
    }

    /// What was sent before counts no more; everything is sent again.
    pub fn reset(&mut self, at: &Position, reason: &str) {
        self.put_json("reset", at, &Reset { reason });
    }

    /// What all readers are told, to one who has everything up to a position.
    pub fn pulse(&mut self, at: &Position, json: &str) {
        self.put("pulse", at, json);
    }

    /// Further ones behind these.
    pub fn append(&mut self, further: Self) {
        self.0.unsplit(further.0);
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes.
    pub fn into_bytes(self) -> Bytes {
        self.0.freeze()
    }

    fn put_json(&mut self, event: &str, at: &Position, data: &impl Serialize) {
        // Strings and ids: this cannot fail.
        self.put(event, at, &serde_json::to_string(data).unwrap_or_default());
    }

    fn put(&mut self, event: &str, at: &Position, json: &str) {
        let id = at.to_string();
        self.0.reserve(event.len() + id.len() + json.len() + 24);
        for text in ["event: ", event, "\nid: ", &id, "\ndata: ", json, "\n\n"] {
            self.0.put_slice(text.as_bytes());
        }
    }
}
