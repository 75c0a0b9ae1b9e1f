//! A message on its way into the stream: what it is recognised by, and the headers that it is stored with.

use async_nats::HeaderValue;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;

use crate::broker::topology::{
    HEADER_ATTEMPTS, HEADER_CORRECTS, HEADER_KEY, HEADER_REPLAYS, HEADER_REQUEST_ID, STREAM, SUBJECT_TEMPLATE,
    message_id, replay_id, skip_id, subject,
};
use crate::domain::{Channel, MessageNumber, Sequence};
use crate::traces::spans::Published;
use crate::traces::{Span, Trace};

/// What a message is, and so what it is recognised by when it is stored again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A rocket's message of this number.
    Message(MessageNumber),
    /// A skip up to this number.
    Skip(MessageNumber),
    /// A dead letter that is tried again.
    Replay {
        /// The dead letter's id.
        dead_letter: u64,
        /// How many times its message has been tried.
        attempts: u32,
        /// The number whose place it takes, if that one has been applied.
        corrects: Option<MessageNumber>,
    },
}

/// What brought a message.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The id of the request: visible ASCII.
    pub request_id: String,
    /// The trace that it is a part of.
    pub trace: Trace,
    /// The id of the key that let it in, where one is asked for.
    pub key: Option<String>,
}

/// A message on its way into the stream.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Whose message it is.
    pub channel: Channel,
    /// What it is.
    pub identity: Identity,
    /// What brought it.
    pub origin: Origin,
    /// The bytes as they came.
    pub payload: Bytes,
}

/// A request that is not traced, such as a tool's.
impl From<String> for Origin {
    fn from(request_id: String) -> Self {
        Self { request_id, ..Self::default() }
    }
}

impl Outgoing {
    /// What the broker recognises it by.
    pub(crate) fn message_id(&self) -> String {
        match self.identity {
            Identity::Message(number) => message_id(&self.channel, number, &self.payload),
            Identity::Skip(up_to) => skip_id(&self.channel, up_to),
            Identity::Replay { dead_letter, .. } => replay_id(dead_letter),
        }
    }

    /// As it is published with this id. None of a request's own headers goes on, because the broker obeys some.
    pub(crate) fn message(&self, id: &str) -> PublishMessage {
        let message = PublishMessage::build().payload(self.payload.clone()).expected_stream(STREAM).message_id(id);
        let message = match self.identity {
            Identity::Replay { dead_letter, attempts, corrects } => {
                let message = message
                    .header(HEADER_REPLAYS, HeaderValue::from(dead_letter))
                    .header(HEADER_ATTEMPTS, HeaderValue::from(u64::from(attempts)));
                corrects
                    .into_iter()
                    .fold(message, |message, number| message.header(HEADER_CORRECTS, HeaderValue::from(number.get())))
            }
            Identity::Message(_) | Identity::Skip(_) => message,
        };
        // A value with a line break in it makes the client panic unless it is parsed first.
        let with = |message: PublishMessage, name, text: &str| match text.parse::<HeaderValue>() {
            Ok(value) => message.header(name, value),
            Err(_) => message,
        };
        let message = with(message, HEADER_REQUEST_ID, &self.origin.request_id);
        let message = self.origin.key.iter().fold(message, |message, key| with(message, HEADER_KEY, key));
        self.origin.trace.headers().fold(message, |message, (name, value)| with(message, name, &value))
    }

    /// The span of its publishing.
    pub(super) fn begin(&self, id: &str) -> Span {
        let (trace, channel) = (&self.origin.trace, &self.channel);
        if trace.is_none() {
            return Span::default();
        }
        let (subject, bytes) = (&*subject(channel), self.payload.len());
        trace.publish(&Published { subject, template: SUBJECT_TEMPLATE, id, bytes })
    }
}

/// The broker has the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where it was stored; of a repeat, where the first one was.
    pub sequence: Sequence,
    /// Whether it is a repeat within the dedup window.
    pub duplicate: bool,
}
