//! A dead letter as JSON, for people and programs: what HTTP and `rockets dlq --json` say.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::broker::dead_letters::reader::StoredDeadLetter;
use crate::domain::MessageNumber;
use crate::domain::wire;

/// A dead letter as lists have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub struct DeadLetterRow {
    /// What it is shown, replayed and dropped by.
    pub id: u64,
    /// `malformed`, `refused`, `skipped` or `conflict`.
    pub reason: String,
    /// The same in words.
    pub error_message: String,
    /// The channel's token of the message's subject, as it was; an outsider's need not be a channel.
    pub channel: String,
    /// The message's number, where its bytes have one.
    pub message_number: Option<u64>,
    /// The message's type, where its bytes have one.
    pub message_type: Option<String>,
    /// The message's sequence.
    pub event_id: Option<u64>,
    /// When the message was stored.
    #[schema(format = DateTime)]
    pub received_at: Option<String>,
    /// When it became a dead letter.
    #[schema(format = DateTime)]
    pub dead_at: String,
    /// How many times the message has been tried, from 1.
    #[schema(minimum = 1)]
    pub attempts: u32,
}

/// A dead letter with its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DeadLetterWithPayload)]
pub struct DeadLetterDetail {
    /// What lists have of it.
    #[serde(flatten)]
    pub row: DeadLetterRow,
    /// The bytes of the message as they were stored: as text where they are text.
    pub payload: String,
    /// `base64` where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^base64$")]
    pub encoding: Option<&'static str>,
}

impl DeadLetterRow {
    /// What lists have of a dead letter.
    pub fn of(dead_letter: &StoredDeadLetter) -> Self {
        let (number, message_type) = wire::peek(&dead_letter.payload);
        Self {
            id: dead_letter.id,
            reason: dead_letter.reason.clone(),
            error_message: dead_letter.error.clone(),
            channel: dead_letter.channel_token.clone(),
            message_number: number.map(MessageNumber::get),
            message_type,
            event_id: dead_letter.event.map(|event| event.0),
            received_at: dead_letter.received_at.and_then(said),
            dead_at: said(dead_letter.dead_at).unwrap_or_default(),
            attempts: dead_letter.attempts,
        }
    }
}

/// What it was, in a few words.
impl fmt::Display for DeadLetterRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.message_number.map(|number| format!("number {number} ")).unwrap_or_default();
        write!(f, "{}: {number}of {}", self.reason, self.channel)
    }
}

impl DeadLetterDetail {
    /// All of a dead letter.
    pub fn of(dead_letter: StoredDeadLetter) -> Self {
        let row = DeadLetterRow::of(&dead_letter);
        match std::str::from_utf8(&dead_letter.payload) {
            Ok(text) => Self { row, payload: text.to_owned(), encoding: None },
            Err(_) => Self { row, payload: STANDARD.encode(&dead_letter.payload), encoding: Some("base64") },
        }
    }
}

fn said(time: OffsetDateTime) -> Option<String> {
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::Sequence;

    pub const CHANNEL: &str = "193270a9-c9cf-404a-8f83-838e71d9ae67";

    pub fn dead_letter(payload: &[u8]) -> StoredDeadLetter {
        let at = OffsetDateTime::UNIX_EPOCH;
        StoredDeadLetter {
            id: 7,
            reason: "refused".into(),
            error: "why".into(),
            channel_token: CHANNEL.into(),
            event: Some(Sequence(9)),
            received_at: None,
            after_overrides: None,
            dead_at: at,
            attempts: 1,
            payload: payload.to_vec().into(),
        }
    }

    #[test]
    fn it_is_said_as_the_contract_has_it() {
        let detail =
            DeadLetterDetail::of(dead_letter(br#"{"metadata":{"messageNumber":3,"messageType":"RocketLost"}}"#));
        let expected = serde_json::json!({
            "id": 7, "reason": "refused", "error_message": "why", "channel": CHANNEL, "message_number": 3,
            "message_type": "RocketLost", "event_id": 9, "received_at": null, "dead_at": "1970-01-01T00:00:00Z",
            "attempts": 1, "payload": r#"{"metadata":{"messageNumber":3,"messageType":"RocketLost"}}"#,
        });
        assert_eq!(serde_json::to_value(detail).unwrap(), expected);
    }

    #[test]
    fn bytes_that_are_no_text_are_said_as_base64() {
        let detail = DeadLetterDetail::of(dead_letter(b"\xff\x00"));
        assert_eq!((detail.payload.as_str(), detail.encoding), ("/wA=", Some("base64")));
        assert_eq!((detail.row.message_number, detail.row.message_type), (None, None));
    }
}
