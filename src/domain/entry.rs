//! What lies in the log of one channel, read: messages of the rocket, corrections of them, and skips.
//!
//! A correction is a message that takes the place of another one with its number; a header of its carrier says so. It
//! and a skip are *overrides*, which mean the same whenever they are applied.

use std::sync::Arc;

use super::wire::{self, Body};
use super::{Channel, Event, Message, Sequence, Skip, StoredAt};

/// A message that arrived, with whatever its carrier needs to know of it later (`S`).
#[derive(Debug)]
pub struct Arrival<S> {
    /// Its sequence.
    pub sequence: Sequence,
    /// When it was stored there.
    pub stored_at: StoredAt,
    /// What it says.
    pub message: Message,
    /// Whether it takes the place of another message with its number.
    pub corrects: bool,
    /// The carrier's own, such as the bytes as they were stored.
    pub stored: S,
}

/// A skip that arrived.
#[derive(Debug)]
pub struct ArrivedSkip {
    /// Its sequence.
    pub sequence: Sequence,
    /// When it was stored there.
    pub stored_at: StoredAt,
    /// What it says.
    pub skip: Skip,
}

/// What one message of the log says.
#[derive(Debug)]
pub enum Entry<S> {
    /// A message, perhaps one that corrects another.
    Message(Arc<Arrival<S>>),
    /// A skip.
    Skip(ArrivedSkip),
}

/// What a carrier brings of one message. All of it may be an outsider's, and hostile.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// The place.
    pub sequence: Sequence,
    /// When it was stored there; this is the broker's.
    pub stored_at: StoredAt,
    /// The channel's token of the subject.
    pub channel_token: &'a str,
    /// What the header says that marks a correction: the number that it takes the place of.
    pub corrects: Option<&'a str>,
    /// The bytes.
    pub payload: &'a [u8],
}

impl Raw<'_> {
    /// Reads what is there, or tells in words why it is neither a message nor a skip of the channel in its subject.
    pub fn read<S>(self, stored: impl FnOnce() -> S) -> Result<Entry<S>, String> {
        let Some(channel) = Channel::from_token(self.channel_token) else {
            return Err("the subject names no channel: must be a UUID in lower case".into());
        };
        let body = wire::read_stored(self.payload).map_err(|error| error.to_string())?;
        let of = match &body {
            Body::Message(message) => message.channel,
            Body::Skip(skip) => skip.channel,
        };
        if of != channel {
            return Err("metadata.channel: is not the channel of the subject".into());
        }
        let Self { sequence, stored_at, .. } = self;
        match (body, self.corrects) {
            (Body::Message(message), corrects) => {
                if corrects.is_some_and(|number| number != message.number.to_string()) {
                    return Err("the header of a correction does not name the message's own number".into());
                }
                let corrects = corrects.is_some();
                Ok(Entry::Message(Arc::new(Arrival { sequence, stored_at, message, corrects, stored: stored() })))
            }
            (Body::Skip(_), Some(_)) => Err("a skip corrects nothing".into()),
            (Body::Skip(skip), None) => Ok(Entry::Skip(ArrivedSkip { sequence, stored_at, skip })),
        }
    }
}

impl<S> Arrival<S> {
    /// Its sequence and its time.
    pub fn event(&self) -> Event {
        Event { sequence: self.sequence, stored_at: self.stored_at }
    }
}

impl<S> Entry<S> {
    /// The message, if it is one.
    pub fn message(&self) -> Option<&Arc<Arrival<S>>> {
        match self {
            Self::Message(arrival) => Some(arrival),
            Self::Skip(_) => None,
        }
    }

    /// Whether it is an override.
    pub fn is_override(&self) -> bool {
        match self {
            Self::Message(arrival) => arrival.corrects,
            Self::Skip(_) => true,
        }
    }

    /// Whose it is.
    pub fn channel(&self) -> Channel {
        match self {
            Self::Message(arrival) => arrival.message.channel,
            Self::Skip(arrived) => arrived.skip.channel,
        }
    }

    /// Its sequence.
    pub fn sequence(&self) -> Sequence {
        match self {
            Self::Message(arrival) => arrival.sequence,
            Self::Skip(skip) => skip.sequence,
        }
    }

    /// Its sequence and its time.
    pub fn event(&self) -> Event {
        match self {
            Self::Message(arrival) => arrival.event(),
            Self::Skip(skip) => Event { sequence: skip.sequence, stored_at: skip.stored_at },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "193270a9-c9cf-404a-8f83-838e71d9ae67";

    fn body(message_type: &str) -> String {
        format!(
            r#"{{"metadata":{{"channel":"{CHANNEL}","messageNumber":7,"messageTime":"2022-02-02T19:39:05Z",
               "messageType":"{message_type}"}},"message":{{"reason":"x"}}}}"#
        )
    }

    fn read(channel_token: &str, corrects: Option<&str>, payload: &str) -> Result<bool, String> {
        let raw =
            Raw { sequence: Sequence(1), stored_at: StoredAt(0), channel_token, corrects, payload: payload.as_bytes() };
        raw.read(|| ()).map(|entry| entry.is_override())
    }

    #[test]
    fn what_an_operator_says_is_told_from_what_a_rocket_sends() {
        let (message, skip) = (body("RocketExploded"), body("MessagesSkipped"));
        assert_eq!(read(CHANNEL, None, &message), Ok(false));
        assert_eq!(read(CHANNEL, Some("7"), &message), Ok(true));
        assert_eq!(read(CHANNEL, None, &skip), Ok(true));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let (message, skip) = (body("RocketExploded"), body("MessagesSkipped"));
        for (token, corrects, payload) in [
            ("else", None, &message),
            ("00000000-0000-4000-8000-000000000000", None, &message),
            ("00000000-0000-4000-8000-000000000000", None, &skip),
            (CHANNEL, Some("8"), &message),
            (CHANNEL, Some("07"), &message),
            (CHANNEL, Some(""), &message),
            (CHANNEL, Some("7"), &skip),
        ] {
            assert!(read(token, corrects, payload).is_err(), "{token} {corrects:?}");
        }
    }
}
