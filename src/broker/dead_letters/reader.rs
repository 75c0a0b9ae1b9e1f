//! The dead letters, read and removed: what trackers and operators do with them once they are stored. An operator's lists
//! of them are in [`crate::broker::dead_letters::list`] and [`crate::broker::dead_letters::newest`].

use async_nats::jetstream::stream::RawMessageErrorKind;
use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::broker::connection::{PUBLISH_TIMEOUT, within};
use crate::broker::dead_letters::Reason;
use crate::broker::log_reader::direct::{Query, RawMessage, ask};
use crate::broker::topology::{
    DEAD_LETTER_STREAM, HEADER_ATTEMPTS, HEADER_ERROR, HEADER_MESSAGE_ID, HEADER_SEQUENCE, HEADER_STORED_AT,
    dead_letter_filter, reason_of_dead_letter, token_of_dead_letter,
};
use crate::broker::trim::removal::remove;
use crate::broker::{Broker, BrokerError};
use crate::domain::{Channel, Event, Sequence};

/// Dead letters of one page.
const PAGE_DEAD_LETTERS_MAX: usize = 500;

/// The id of no dead letter; to ask the server for it is a bad request.
const NO_ID: u64 = 0;

/// A dead letter as it is stored.
#[derive(Clone, Debug)]
pub struct StoredDeadLetter {
    /// Its sequence in the dead-letter stream.
    pub id: u64,
    /// Why its message could not be applied, by the reason's name in its subject.
    pub reason: String,
    /// The same in words.
    pub error: String,
    /// The channel's token of the message's subject, as it was.
    pub channel_token: String,
    /// The message's sequence, if the dead letter says it.
    pub event: Option<Sequence>,
    /// When the message was stored, if the dead letter says it.
    pub received_at: Option<OffsetDateTime>,
    /// The last override after which its message could not be applied.
    pub after_overrides: Option<Sequence>,
    /// When it became a dead letter.
    pub dead_at: OffsetDateTime,
    /// How many times the message has been tried, from 1.
    pub attempts: u32,
    /// The bytes of the message.
    pub payload: Bytes,
}

impl StoredDeadLetter {
    /// The message's place and its time, if the dead letter says both: its place alone may be that of another message by now.
    pub fn event(&self) -> Option<Event> {
        Some(Event::new(self.event?, self.received_at?))
    }
}

/// Some dead letters, oldest first, and where the next page begins, if this one did not reach the end.
#[derive(Clone, Debug)]
pub struct DeadLetterPage {
    /// The dead letters.
    pub dead_letters: Vec<StoredDeadLetter>,
    /// The id from which on there may be more.
    pub next: Option<u64>,
}

/// The dead letters of one channel and reason from an id on, oldest first.
pub async fn dead_letters_of(
    broker: &Broker,
    channel: &Channel,
    reason: Reason,
    from: u64,
) -> Result<DeadLetterPage, BrokerError> {
    let subjects = dead_letter_filter(Some(reason.as_ref()), Some(&channel.to_string()));
    let query = Query { stream: DEAD_LETTER_STREAM, subjects: &subjects, from, messages_max: PAGE_DEAD_LETTERS_MAX };
    let page = ask(broker, query).await?;
    Ok(DeadLetterPage { dead_letters: page.found.into_iter().map(dead_letter).collect(), next: page.next })
}

/// Reads one dead letter, as the leader of the stream has it; none if it is not there.
pub async fn read_dead_letter(broker: &Broker, id: u64) -> Result<Option<StoredDeadLetter>, BrokerError> {
    if id == NO_ID {
        return Ok(None);
    }
    let stream = broker.jetstream().get_stream_no_info(DEAD_LETTER_STREAM).await.map_err(BrokerError::unavailable)?;
    let read = async { Ok::<_, BrokerError>(stream.get_raw_message(id).await) };
    let message = match within(PUBLISH_TIMEOUT, "reading a dead letter", read).await? {
        Ok(message) => message,
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => return Ok(None),
            RawMessageErrorKind::JetStream(answer) => match BrokerError::from_server(&answer) {
                BrokerError::NotThere => return Ok(None),
                error => return Err(error),
            },
            _ => return Err(BrokerError::unavailable(error)),
        },
    };
    let header = |name| message.headers.get_last(name).map(|value| value.as_str());
    Ok(Some(dead_letter_of(message.sequence, message.time, &message.subject, header, message.payload.clone())))
}

/// Removes a dead letter for good; returns whether it was there.
pub async fn remove_dead_letter(broker: &Broker, id: u64) -> Result<bool, BrokerError> {
    if id == NO_ID {
        return Ok(false);
    }
    remove(broker, DEAD_LETTER_STREAM, id).await
}

pub(in crate::broker) fn dead_letter(found: RawMessage) -> StoredDeadLetter {
    let payload = found.message.payload.clone();
    dead_letter_of(found.sequence, found.time, &found.subject, |name| found.header(name), payload)
}

/// The override in what a dead letter is recognised by ([`crate::broker::DeadLetter`]), if there is one.
fn overrides_of_id(id: &str) -> Option<Sequence> {
    id.split('-').nth(2).and_then(|overrides| overrides.parse().ok()).and_then(Sequence::new)
}

/// Puts together what a dead letter's carrier says of it.
fn dead_letter_of<'a>(
    id: u64,
    dead_at: OffsetDateTime,
    subject: &str,
    header: impl Fn(&'static str) -> Option<&'a str>,
    payload: Bytes,
) -> StoredDeadLetter {
    StoredDeadLetter {
        id,
        reason: reason_of_dead_letter(subject).to_owned(),
        error: header(HEADER_ERROR).unwrap_or_default().to_owned(),
        channel_token: token_of_dead_letter(subject).to_owned(),
        event: header(HEADER_SEQUENCE).and_then(|text| text.parse().ok()).map(Sequence),
        received_at: header(HEADER_STORED_AT).and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()),
        after_overrides: header(HEADER_MESSAGE_ID).and_then(overrides_of_id),
        dead_at,
        attempts: header(HEADER_ATTEMPTS).and_then(|text| text.parse().ok()).unwrap_or(1),
        payload,
    }
}
