//! Messages of a stream, read without a consumer: a page is one question and its answers (a batched direct get). Nothing
//! is made at the broker and forgotten again.
//!
//! Any replica answers, so the newest messages may be missing from a page for a moment. Nothing else can be: each answer
//! says which one came before it, and a page whose chain is broken is an error, not a shorter page.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::broker::connection::{PUBLISH_TIMEOUT, within};
use crate::broker::{Broker, BrokerError};

/// Bytes of one page: a message of the largest size always fits.
pub(in crate::broker) const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Status of the answer after the last message.
const END_OF_BATCH: u16 = 204;

/// Pause before a replica is asked again that does not show what the leader has.
pub const LAG_PAUSE: Duration = Duration::from_millis(20);

/// What is asked for.
pub(in crate::broker) struct Query<'a> {
    pub(in crate::broker) stream: &'a str,
    /// The subjects, with wildcards.
    pub(in crate::broker) subjects: &'a str,
    /// From this sequence on.
    pub(in crate::broker) from: u64,
    /// At most so many.
    pub(in crate::broker) messages_max: usize,
}

/// A message, and what the server says of it.
pub(in crate::broker) struct RawMessage {
    pub(in crate::broker) sequence: u64,
    pub(in crate::broker) time: OffsetDateTime,
    pub(in crate::broker) subject: String,
    pub(in crate::broker) message: Message,
}

/// Some messages, in the order of the stream.
pub(in crate::broker) struct Page {
    pub(in crate::broker) found: Vec<RawMessage>,
    /// How many messages come after it.
    pub(in crate::broker) pending: u64,
    /// Where the next page begins, if this one did not reach the end.
    pub(in crate::broker) next: Option<u64>,
}

impl RawMessage {
    /// A header; where a publisher has forged one of the server's own, the server's comes after it.
    pub(in crate::broker) fn header(&self, name: &'static str) -> Option<&str> {
        header(&self.message, name)
    }
}

/// Asks for the message at one place; nothing where the replica that answers has none.
pub(in crate::broker) async fn get(
    broker: &Broker,
    stream: &str,
    sequence: u64,
) -> Result<Option<RawMessage>, BrokerError> {
    get_one(broker, stream, &serde_json::json!({ "seq": sequence })).await
}

/// The same for the last message of a subject.
pub(in crate::broker) async fn get_last(
    broker: &Broker,
    stream: &str,
    subject: String,
) -> Result<Option<RawMessage>, BrokerError> {
    get_one(broker, stream, &serde_json::json!({ "last_by_subj": subject })).await
}

/// The same for the first message of some subjects from a sequence on.
pub(in crate::broker) async fn get_next(
    broker: &Broker,
    stream: &str,
    subjects: &str,
    from: u64,
) -> Result<Option<RawMessage>, BrokerError> {
    get_one(broker, stream, &serde_json::json!({ "seq": from, "next_by_subj": subjects })).await
}

/// The same for the first message that was stored at that time or later.
pub(in crate::broker) async fn get_since(
    broker: &Broker,
    stream: &str,
    time: OffsetDateTime,
) -> Result<Option<RawMessage>, BrokerError> {
    let time = time.format(&Rfc3339).map_err(BrokerError::unavailable)?;
    get_one(broker, stream, &serde_json::json!({ "start_time": time, "next_by_subj": ">" })).await
}

async fn get_one(broker: &Broker, stream: &str, query: &serde_json::Value) -> Result<Option<RawMessage>, BrokerError> {
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    let asked = broker.client().request(subject, query.to_string().into());
    let answer = within(PUBLISH_TIMEOUT, "reading a message", asked).await?;
    match answer.status {
        None | Some(StatusCode::OK) => read(answer).map(Some),
        Some(StatusCode::NOT_FOUND) => Ok(None),
        Some(status) => Err(BrokerError::Unavailable(format!("{status} {}", answer.description.unwrap_or_default()))),
    }
}

/// Asks, and waits for all answers.
pub(in crate::broker) async fn ask(broker: &Broker, query: Query<'_>) -> Result<Page, BrokerError> {
    ask_until(broker, query, u64::MAX).await
}

/// How many messages a stream has of some subjects.
pub(in crate::broker) async fn count(broker: &Broker, stream: &str, subjects: &str) -> Result<u64, BrokerError> {
    let page = ask(broker, Query { stream, subjects, from: 1, messages_max: 1 }).await?;
    Ok(page.found.len() as u64 + page.pending)
}

/// The same for the places before this one: what is behind it is not waited for.
pub(in crate::broker) async fn ask_until(broker: &Broker, query: Query<'_>, end: u64) -> Result<Page, BrokerError> {
    within(PUBLISH_TIMEOUT, "reading messages back", collect(broker, query, end)).await
}

async fn collect(broker: &Broker, query: Query<'_>, end: u64) -> Result<Page, BrokerError> {
    let Query { stream, subjects, from, messages_max } = query;
    let query = serde_json::json!({
        "seq": from.max(1),
        "next_by_subj": subjects,
        "batch": messages_max,
        "max_bytes": PAGE_BYTES_MAX,
    });
    let inbox = broker.client().new_inbox();
    let mut answers = broker.client().subscribe(inbox.clone()).await.map_err(BrokerError::unavailable)?;
    let (subject, query) = (format!("$JS.API.DIRECT.GET.{stream}"), query.to_string());
    broker.client().publish_with_reply(subject, inbox, query.into()).await.map_err(BrokerError::unavailable)?;
    let (mut found, mut pending) = (Vec::new(), 0);
    while let Some(answer) = answers.next().await {
        match answer.status {
            None | Some(StatusCode::OK) => {
                pending = header(&answer, "Nats-Num-Pending").and_then(|count| count.parse().ok()).unwrap_or(0);
                check_chain(&found, &answer)?;
                let read = read(answer)?;
                if read.sequence >= end {
                    return Ok(page(found, 0));
                }
                found.push(read);
            }
            Some(status) if status.as_u16() == END_OF_BATCH => {
                check_chain(&found, &answer)?;
                return Ok(page(found, pending));
            }
            // Nothing at all from that sequence on.
            Some(StatusCode::NOT_FOUND) if found.is_empty() => return Ok(page(found, 0)),
            Some(status) => {
                let why = answer.description.unwrap_or_default();
                return Err(BrokerError::Unavailable(format!("{status} {why}")));
            }
        }
    }
    Err(BrokerError::Unavailable("the answers ended early".into()))
}

/// Refuses an answer that does not follow the one before it: one in between was lost on its way.
fn check_chain(found: &[RawMessage], answer: &Message) -> Result<(), BrokerError> {
    let before = found.last().map_or(0, |last| last.sequence);
    match header(answer, "Nats-Last-Sequence").and_then(|sequence| sequence.parse::<u64>().ok()) {
        Some(stated) if stated == before => Ok(()),
        stated => Err(BrokerError::Unavailable(format!("an answer follows {stated:?}, and {before} was the last"))),
    }
}

fn page(found: Vec<RawMessage>, pending: u64) -> Page {
    let after_last = found.last().map(|last| last.sequence + 1);
    Page { found, pending, next: after_last.filter(|_| pending > 0) }
}

fn read(message: Message) -> Result<RawMessage, BrokerError> {
    let of_header = |name| header(&message, name);
    let sequence = of_header("Nats-Sequence").and_then(|sequence| sequence.parse().ok());
    let time = of_header("Nats-Time-Stamp").and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
    let (Some(sequence), Some(time)) = (sequence, time) else {
        return Err(BrokerError::Unavailable("an answer names no sequence or time".into()));
    };
    let subject = of_header("Nats-Subject").unwrap_or_default().to_owned();
    Ok(RawMessage { sequence, time, subject, message })
}

fn header<'a>(answer: &'a Message, name: &'static str) -> Option<&'a str> {
    answer.headers.as_ref()?.get_last(name).map(|value| value.as_str())
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;

    fn answer(sequence: u64, before: Option<&str>) -> Message {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Sequence", sequence.to_string());
        headers.insert("Nats-Time-Stamp", "2026-11-27T02:50:37.509107724Z");
        if let Some(before) = before {
            headers.insert("Nats-Last-Sequence", before);
        }
        Message {
            subject: "_INBOX".into(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn an_answer_that_was_lost_on_its_way_breaks_the_chain() {
        let found = [read(answer(4, Some("0"))).unwrap()];
        assert!(check_chain(&[], &answer(4, Some("0"))).is_ok());
        assert!(check_chain(&found, &answer(6, Some("4"))).is_ok());
        for before in [Some("5"), Some("0"), Some("x"), None] {
            let broken = check_chain(&found, &answer(8, before));
            assert!(matches!(broken, Err(BrokerError::Unavailable(_))), "{before:?}");
        }
        assert!(check_chain(&[], &answer(6, Some("4"))).is_err(), "the first answer was lost");
    }
}
