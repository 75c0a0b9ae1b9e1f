//! Messages of a stream, read without a consumer: a page is one question and its answers (a batched direct get). Nothing
//! is made at the broker and forgotten again.
//!
//! Any replica answers, so the newest messages may be missing from a page for a moment.

use async_nats::{Message, StatusCode};
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::connection::{PUBLISH_TIMEOUT, within};
use super::{Broker, BrokerError};

/// Bytes of one page: a message of the largest size always fits.
pub(super) const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Status of the answer after the last message.
const END_OF_BATCH: u16 = 204;

/// What is asked for.
pub(super) struct Question<'a> {
    pub(super) stream: &'a str,
    /// The subjects, with wildcards.
    pub(super) subjects: &'a str,
    /// From this place of the stream on.
    pub(super) from: u64,
    /// At most so many.
    pub(super) messages_max: usize,
}

/// A message, and what the server says of it.
pub(super) struct Found {
    pub(super) sequence: u64,
    pub(super) time: OffsetDateTime,
    pub(super) subject: String,
    pub(super) message: Message,
}

/// Some messages, in the order of the stream.
pub(super) struct Page {
    pub(super) found: Vec<Found>,
    /// Where the next page begins, if this one did not reach the end.
    pub(super) next: Option<u64>,
}

impl Found {
    /// A header; where a publisher has forged one of the server's own, the server's comes after it.
    pub(super) fn header(&self, name: &'static str) -> Option<&str> {
        header(&self.message, name)
    }
}

/// Asks, and waits for all answers.
pub(super) async fn ask(broker: &Broker, question: Question<'_>) -> Result<Page, BrokerError> {
    ask_until(broker, question, u64::MAX).await
}

/// The same for the places before this one: what is behind it is not waited for.
pub(super) async fn ask_until(broker: &Broker, question: Question<'_>, end: u64) -> Result<Page, BrokerError> {
    within(PUBLISH_TIMEOUT, "reading messages back", collect(broker, question, end)).await
}

async fn collect(broker: &Broker, question: Question<'_>, end: u64) -> Result<Page, BrokerError> {
    let Question { stream, subjects, from, messages_max } = question;
    let question = serde_json::json!({
        "seq": from.max(1),
        "next_by_subj": subjects,
        "batch": messages_max,
        "max_bytes": PAGE_BYTES_MAX,
    });
    let inbox = broker.client().new_inbox();
    let mut answers = broker.client().subscribe(inbox.clone()).await.map_err(BrokerError::unavailable)?;
    let (subject, question) = (format!("$JS.API.DIRECT.GET.{stream}"), question.to_string());
    broker.client().publish_with_reply(subject, inbox, question.into()).await.map_err(BrokerError::unavailable)?;
    let (mut found, mut pending) = (Vec::new(), 0);
    while let Some(answer) = answers.next().await {
        match answer.status {
            None | Some(StatusCode::OK) => {
                pending = header(&answer, "Nats-Num-Pending").and_then(|count| count.parse().ok()).unwrap_or(0);
                let read = read(answer)?;
                if read.sequence >= end {
                    return Ok(page(found, 0));
                }
                found.push(read);
            }
            // The end of the batch, or nothing at all from that sequence on.
            Some(status) if status.as_u16() == END_OF_BATCH || status == StatusCode::NOT_FOUND => {
                return Ok(page(found, pending));
            }
            Some(status) => {
                let why = answer.description.unwrap_or_default();
                return Err(BrokerError::Unavailable(format!("{status} {why}")));
            }
        }
    }
    Err(BrokerError::Unavailable("the answers ended early".into()))
}

fn page(found: Vec<Found>, pending: u64) -> Page {
    let after_last = found.last().map(|last| last.sequence + 1);
    Page { found, next: after_last.filter(|_| pending > 0) }
}

fn read(message: Message) -> Result<Found, BrokerError> {
    let of_header = |name| header(&message, name);
    let sequence = of_header("Nats-Sequence").and_then(|sequence| sequence.parse().ok());
    let time = of_header("Nats-Time-Stamp").and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
    let (Some(sequence), Some(time)) = (sequence, time) else {
        return Err(BrokerError::Unavailable("an answer names no sequence or time".into()));
    };
    let subject = of_header("Nats-Subject").unwrap_or_default().to_owned();
    Ok(Found { sequence, time, subject, message })
}

fn header<'a>(answer: &'a Message, name: &'static str) -> Option<&'a str> {
    answer.headers.as_ref()?.get_last(name).map(|value| value.as_str())
}
