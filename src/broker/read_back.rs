//! Messages of the stream, read again: those of one channel or one partition page by page, or one by its place. The stream
//! is the buffer in which messages wait behind a gap, and the log from which every state can be folded again.

use super::direct::{Found, Question, ask};
use super::topology::{STREAM, stored_subject, stored_subjects};
use super::{Broker, BrokerError, Stored};
use crate::domain::{Channel, Sequence};

/// Messages of one page.
pub const PAGE_MESSAGES_MAX: usize = 1_000;

/// Some messages, in the order of the stream.
#[derive(Clone, Debug)]
pub struct Page {
    /// The messages, from the sequence that was asked for on.
    pub messages: Vec<Stored>,
    /// Where the next page begins, if this one did not reach the end.
    pub next: Option<Sequence>,
}

/// Reads a page of a channel's messages from this sequence on.
pub async fn read_back(
    broker: &Broker,
    partition: u16,
    channel: &Channel,
    from: Sequence,
) -> Result<Page, BrokerError> {
    page(broker, &stored_subject(partition, channel), from).await
}

/// Reads a page of a partition's messages from this sequence on.
pub async fn read_partition(broker: &Broker, partition: u16, from: Sequence) -> Result<Page, BrokerError> {
    page(broker, &stored_subjects(partition), from).await
}

/// Reads the message at this place; none if there is none.
pub async fn read_one(broker: &Broker, sequence: Sequence) -> Result<Option<Stored>, BrokerError> {
    let question = Question { stream: STREAM, subjects: ">", from: sequence.0, messages_max: 1 };
    let found = ask(broker, question).await?.found.pop();
    Ok(found.map(stored).filter(|stored| stored.sequence == sequence))
}

async fn page(broker: &Broker, subjects: &str, from: Sequence) -> Result<Page, BrokerError> {
    let question = Question { stream: STREAM, subjects, from: from.0, messages_max: PAGE_MESSAGES_MAX };
    let page = ask(broker, question).await?;
    Ok(Page { messages: page.found.into_iter().map(stored).collect(), next: page.next.map(Sequence) })
}

fn stored(found: Found) -> Stored {
    let payload = found.message.payload.clone();
    Stored::of(Sequence(found.sequence), found.time, &found.subject, |name| found.header(name), payload)
}
