//! Where a message goes that could not be applied: kept with the reason, so that nothing is silently dropped. What an
//! operator does with it is in [`crate::broker::dead_letters::reader`].

pub mod list;
pub mod newest;
pub mod reader;
pub mod replays;

use async_nats::jetstream::{self, message::PublishMessage};
use async_nats::{HeaderMap, HeaderValue};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, EnumString, IntoStaticStr, VariantArray, VariantNames};
use time::format_description::well_known::Rfc3339;

use crate::broker::topology::{
    DEAD_LETTER_STREAM, HEADER_ATTEMPTS, HEADER_ERROR, HEADER_REASON, HEADER_REQUEST_ID, HEADER_SEQUENCE,
    HEADER_STORED_AT, dead_letter_subject,
};
use crate::broker::{Broker, BrokerError, Stored};
use crate::domain::Sequence;
use crate::traces::context;

/// Dead letters under way at once on one connection; further ones wait for their turn.
const DEAD_LETTERS_IN_FLIGHT_MAX: usize = 1_024;
/// Longest text of an error, in characters; it may quote what an outsider sent.
const ERROR_CHARS_MAX: usize = 512;

/// Why a message is a dead letter.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    AsRefStr,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
    ValueEnum,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Reason {
    /// It is no message, or not one of the channel in its subject.
    Malformed,
    /// It makes no sense in the rocket's state.
    Refused,
    /// It arrived after an operator had skipped its number.
    Skipped,
    /// Another message has its number, and says something else.
    Conflict,
}

/// A message that could not be applied.
#[derive(Clone, Debug)]
pub struct DeadLetter<'a> {
    /// The message as it is stored.
    pub stored: &'a Stored,
    /// Why it could not be applied.
    pub reason: Reason,
    /// The same in words.
    pub error: String,
    /// The last override after which it could not be applied. After another one it is a dead letter of its own,
    /// though its message may have been one before.
    pub after_overrides: Option<Sequence>,
}

impl DeadLetter<'_> {
    /// What a dead letter is recognised by, however often it is stored: its message's place and its time, because another
    /// message may have lain at that sequence. One that came too late may be one already that was refused, by somebody who
    /// had not seen the skip.
    pub(crate) fn id(&self) -> String {
        let Stored { sequence, time, .. } = self.stored;
        let (message, overrides) = (format!("{sequence}-{}", time.unix_timestamp_nanos()), self.after_overrides);
        match (self.reason, overrides) {
            (Reason::Skipped | Reason::Conflict, _) => format!("{message}-{}", self.reason.as_ref()),
            (_, Some(overrides)) => format!("{message}-{overrides}"),
            (_, None) => message,
        }
    }
}

/// The stream of dead letters, as a tracker of one partition writes it.
#[derive(Clone)]
pub(in crate::broker) struct DeadLetters {
    context: jetstream::Context,
    partition: u16,
}

impl DeadLetters {
    pub(in crate::broker) fn new(broker: &Broker, partition: u16) -> Self {
        Self { context: broker.publishing(DEAD_LETTERS_IN_FLIGHT_MAX), partition }
    }

    /// Stores a dead letter once, however often it is reported, and says whether it was stored now.
    pub(in crate::broker) async fn store_dead_letter(&self, dead_letter: &DeadLetter<'_>) -> Result<bool, BrokerError> {
        let subject =
            dead_letter_subject(self.partition, dead_letter.reason.as_ref(), &dead_letter.stored.channel_token);
        let message = PublishMessage::build()
            .payload(dead_letter.stored.payload.clone())
            .headers(headers(dead_letter))
            .message_id(dead_letter.id())
            .expected_stream(DEAD_LETTER_STREAM);
        let store_dead_letter =
            async { Ok::<_, BrokerError>(self.context.send_publish(subject, message).await?.await?) };
        match tokio::time::timeout(2 * crate::broker::connection::PUBLISH_TIMEOUT, store_dead_letter).await {
            Ok(result) => result.map(|ack| !ack.duplicate),
            Err(_) => Err(BrokerError::timed_out("storing a dead letter")),
        }
    }
}

fn headers(dead_letter: &DeadLetter<'_>) -> HeaderMap {
    let stored = dead_letter.stored;
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: String| {
        // What outsiders wrote may hold line breaks, which a header cannot.
        let value: String = value.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        if let Ok(value) = value.parse::<HeaderValue>() {
            headers.insert(name, value);
        }
    };
    put(HEADER_REASON, dead_letter.reason.as_ref().to_owned());
    put(HEADER_ERROR, dead_letter.error.chars().take(ERROR_CHARS_MAX).collect());
    put(HEADER_SEQUENCE, stored.sequence.to_string());
    put(HEADER_STORED_AT, stored.time.format(&Rfc3339).unwrap_or_default());
    put(HEADER_ATTEMPTS, stored.attempts_before.saturating_add(1).to_string());
    if let Some(request_id) = &stored.request_id {
        put(HEADER_REQUEST_ID, request_id.clone());
    }
    stored.cause.as_deref().into_iter().flat_map(context::headers).for_each(|(name, value)| put(name, value));
    headers
}
