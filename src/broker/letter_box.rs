//! The dead letters, read and removed: what trackers and operators do with them once they are stored.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::connection::{PUBLISH_TIMEOUT, within};
use super::dead_letters::Reason;
use super::direct::{Found, Question, ask};
use super::topology::{
    DEAD_LETTER_STREAM, HEADER_ATTEMPTS, HEADER_ERROR, HEADER_REASON, HEADER_REQUEST_ID, HEADER_SEQUENCE,
    HEADER_STORED_AT, dead_letter_filter, token_of_letter,
};
use super::{Broker, BrokerError};
use crate::domain::{Channel, Sequence};

/// Letters of one page.
const PAGE_LETTERS_MAX: usize = 500;

/// A dead letter as it is stored.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its place in the stream of dead letters.
    pub id: u64,
    /// Why its message could not be applied, by the reason's name.
    pub reason: String,
    /// The same in words.
    pub error: String,
    /// The channel's token of the message's subject, as it was.
    pub channel_token: String,
    /// The message's place in the stream of all messages, if the letter says it.
    pub event: Option<Sequence>,
    /// When the message was stored, if the letter says it.
    pub received_at: Option<OffsetDateTime>,
    /// When it became a dead letter.
    pub dead_at: OffsetDateTime,
    /// How many times the message has been tried, from 1.
    pub attempts: u32,
    /// The id of the request that brought the message, if one did.
    pub request_id: Option<String>,
    /// The bytes of the message.
    pub payload: bytes::Bytes,
}

/// Some dead letters, oldest first, and where the next page begins, if this one did not reach the end.
#[derive(Clone, Debug)]
pub struct LetterPage {
    /// The letters.
    pub letters: Vec<Letter>,
    /// The id from which on there may be more.
    pub next: Option<u64>,
}

/// The dead letters of one channel and reason from an id on, oldest first.
pub async fn letters_of(
    broker: &Broker,
    channel: &Channel,
    reason: Reason,
    from: u64,
) -> Result<LetterPage, BrokerError> {
    let subjects = dead_letter_filter(Some(reason.name()), Some(&channel.to_string()));
    let question = Question { stream: DEAD_LETTER_STREAM, subjects: &subjects, from, messages_max: PAGE_LETTERS_MAX };
    let page = ask(broker, question).await?;
    Ok(LetterPage { letters: page.found.into_iter().map(letter).collect(), next: page.next })
}

/// Removes a dead letter for good; tells whether it was there.
pub async fn remove_letter(broker: &Broker, id: u64) -> Result<bool, BrokerError> {
    let stream = broker.jetstream().get_stream_no_info(DEAD_LETTER_STREAM).await.map_err(BrokerError::unavailable)?;
    let removed = async { Ok::<_, BrokerError>(stream.delete_message(id).await) };
    match within(PUBLISH_TIMEOUT, "removing a dead letter", removed).await? {
        Ok(removed) => Ok(removed),
        Err(error) => match BrokerError::from_causes(&error) {
            BrokerError::NotThere => Ok(false),
            error => Err(error),
        },
    }
}

fn letter(found: Found) -> Letter {
    let text = |name| found.header(name).unwrap_or_default().to_owned();
    Letter {
        id: found.sequence,
        reason: text(HEADER_REASON),
        error: text(HEADER_ERROR),
        channel_token: token_of_letter(&found.subject).to_owned(),
        event: found.header(HEADER_SEQUENCE).and_then(|text| text.parse().ok()).map(Sequence),
        received_at: found.header(HEADER_STORED_AT).and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()),
        dead_at: found.time,
        attempts: found.header(HEADER_ATTEMPTS).and_then(|text| text.parse().ok()).unwrap_or(1),
        request_id: found.header(HEADER_REQUEST_ID).map(str::to_owned),
        payload: found.message.payload,
    }
}
