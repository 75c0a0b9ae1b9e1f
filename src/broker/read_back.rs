//! Messages of one channel, read again from the stream: the stream is the buffer in which messages wait behind a gap.
//!
//! A page is one question and its answers (a batched direct get), without a consumer to make and to forget. It is
//! answered by any replica, so the newest messages may be missing from it for a moment.

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::connection::{PUBLISH_TIMEOUT, within};
use super::consumer::usable_request_id;
use super::topology::{HEADER_REQUEST_ID, STREAM, channel_token, stored_subject};
use super::{Broker, BrokerError, Stored};
use crate::domain::{Channel, Sequence};

/// Messages of one page.
pub const PAGE_MESSAGES_MAX: usize = 1_000;
/// Bytes of one page: a message of the largest size always fits.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Status of the answer after the last message.
const END_OF_BATCH: u16 = 204;

/// Some messages of one channel, in the order of the stream.
#[derive(Clone, Debug)]
pub struct Page {
    /// The messages, from the sequence that was asked for on.
    pub messages: Vec<Stored>,
    /// Where the next page begins, if this one did not reach the end.
    pub next: Option<Sequence>,
}

/// Reads a page of a channel's messages from this sequence on.
pub(super) async fn read_back(
    broker: &Broker,
    partition: u16,
    channel: &Channel,
    from: Sequence,
) -> Result<Page, BrokerError> {
    let question = serde_json::json!({
        "seq": from.0.max(1),
        "next_by_subj": stored_subject(partition, channel),
        "batch": PAGE_MESSAGES_MAX,
        "max_bytes": PAGE_BYTES_MAX,
    });
    within(PUBLISH_TIMEOUT, "reading messages back", ask(broker, question.to_string().into())).await
}

async fn ask(broker: &Broker, question: Bytes) -> Result<Page, BrokerError> {
    let inbox = broker.client().new_inbox();
    let mut answers = broker.client().subscribe(inbox.clone()).await.map_err(BrokerError::unavailable)?;
    let subject = format!("$JS.API.DIRECT.GET.{STREAM}");
    broker.client().publish_with_reply(subject, inbox, question).await.map_err(BrokerError::unavailable)?;
    let (mut messages, mut pending) = (Vec::new(), 0);
    while let Some(answer) = answers.next().await {
        match answer.status {
            None | Some(StatusCode::OK) => {
                pending = header(&answer, "Nats-Num-Pending").and_then(|count| count.parse().ok()).unwrap_or(0);
                messages.push(stored(answer)?);
            }
            // The end of the batch, or nothing at all from that sequence on.
            Some(status) if status.as_u16() == END_OF_BATCH || status == StatusCode::NOT_FOUND => {
                return Ok(page(messages, pending));
            }
            Some(status) => {
                let why = answer.description.unwrap_or_default();
                return Err(BrokerError::Unavailable(format!("{status} {why}")));
            }
        }
    }
    Err(BrokerError::Unavailable("the answers ended early".into()))
}

fn page(messages: Vec<Stored>, pending: u64) -> Page {
    let after_last = messages.last().map(|last| Sequence(last.sequence.0 + 1));
    Page { messages, next: after_last.filter(|_| pending > 0) }
}

fn stored(answer: Message) -> Result<Stored, BrokerError> {
    let of_header = |name| header(&answer, name);
    let sequence = of_header("Nats-Sequence").and_then(|sequence| sequence.parse().ok()).map(Sequence);
    let time = of_header("Nats-Time-Stamp").and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
    let (Some(sequence), Some(time)) = (sequence, time) else {
        return Err(BrokerError::Unavailable("an answer names no sequence or time".into()));
    };
    let channel_token = channel_token(of_header("Nats-Subject").unwrap_or_default()).to_owned();
    let request_id = of_header(HEADER_REQUEST_ID).and_then(usable_request_id);
    Ok(Stored { sequence, channel_token, time, request_id, payload: answer.payload })
}

/// The server's own headers come after those that a publisher may have forged.
fn header<'a>(answer: &'a Message, name: &'static str) -> Option<&'a str> {
    answer.headers.as_ref()?.get_last(name).map(|value| value.as_str())
}
