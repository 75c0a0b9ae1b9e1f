//! Records in the bucket: read by channel, written only where the revision is the one that was read.
//!
//! What a record's bytes mean is [`crate::domain::record`]'s; here it is only looked whether a newer program wrote them.
//! Writes go out as plain publishes with an expected revision, so that many can be under way at once.

use std::time::Duration;

use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind, Stream};
use async_nats::{HeaderMap, HeaderValue, jetstream};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::connection::PUBLISH_TIMEOUT;
use super::group_commit::{Group, GroupCommit, Write};
use super::log_reader::direct::{Query, RawMessage, ask};
use super::topology::{
    BUCKET_STREAM, BUCKET_SUBJECTS, HEADER_ASIDE, HEADER_UNREPORTED, channel_of_record, record_subject,
};
use super::{Broker, BrokerError};
use crate::domain::record::Unreadable;
use crate::domain::{Aside, Channel, Forgotten, Record, Unreported};
use crate::metrics::track::StoreMetrics;

/// Writes under way at once on one connection; further ones wait for their turn.
const WRITES_IN_FLIGHT_MAX: usize = 4_096;

/// How long writing a record may take.
const WRITE_DEADLINE: Duration = PUBLISH_TIMEOUT.saturating_mul(2);

/// Header of a marker that says what was done to a key, as key-value buckets have it.
const HEADER_OPERATION: &str = "KV-Operation";
/// The key was deleted.
const OPERATION_DELETE: &str = "DEL";

/// Records of one page.
const PAGE_RECORDS_MAX: usize = 1_000;

/// What lies under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The record's bytes; none if there is none, or if it was deleted.
    pub record: Option<Bytes>,
    /// What a write must expect: 0 is the broker's word for nothing that was ever written.
    pub revision: u64,
    /// What was decided with it and may not have been reported.
    pub unreported: Unreported,
    /// When it was written.
    pub at: OffsetDateTime,
    /// Messages that were set aside since.
    pub aside: Option<Aside>,
}

/// The bucket.
#[derive(Clone)]
pub struct Store {
    stream: Stream<()>,
    context: jetstream::Context,
    metrics: StoreMetrics,
    writer: Option<RecordWriter>,
}

impl Store {
    /// The bucket on this connection.
    pub async fn new(broker: &Broker) -> Result<Self, BrokerError> {
        let stream = broker.jetstream().get_stream_no_info(BUCKET_STREAM).await.map_err(BrokerError::unavailable)?;
        let metrics = StoreMetrics::default();
        Ok(Self { stream, context: broker.publishing(WRITES_IN_FLIGHT_MAX), metrics, writer: None })
    }

    /// The same, writing with this writer.
    pub fn writing(self, writer: RecordWriter) -> Self {
        Self { writer: Some(writer), ..self }
    }

    /// The same, counting here what was not written.
    pub fn counting(self, metrics: StoreMetrics) -> Self {
        Self { metrics, ..self }
    }

    /// Reads a record from whichever replica answers first: it may be an older one, and a write will notice.
    pub async fn load(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        let read = self.stream.direct_get_last_for_subject(record_subject(channel));
        match tokio::time::timeout(PUBLISH_TIMEOUT, read).await {
            Ok(Ok(message)) => Ok(versioned(message)),
            Ok(Err(error)) if error.kind() == DirectGetErrorKind::NotFound => Ok(Versioned::NONE),
            Ok(Err(error)) => Err(BrokerError::from_causes(&error)),
            Err(_) => Err(BrokerError::timed_out("reading a record")),
        }
    }

    /// Reads a record through the leader: nothing newer had been written when it was asked.
    pub async fn load_latest(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        let subject = record_subject(channel);
        let read = self.stream.get_last_raw_message_by_subject(&subject);
        match tokio::time::timeout(PUBLISH_TIMEOUT, read).await {
            Ok(Ok(message)) => Ok(versioned(message)),
            Ok(Err(error)) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(Versioned::NONE),
                LastRawMessageErrorKind::JetStream(answer) => Err(BrokerError::from_server(&answer)),
                _ => Err(BrokerError::unavailable(error)),
            },
            Err(_) => Err(BrokerError::timed_out("reading a record")),
        }
    }

    /// Writes a record where its revision is still the expected one, with what was decided with it, and returns the new
    /// revision.
    ///
    /// [`BrokerError::Conflict`] if it is not. After [`BrokerError::Unavailable`] it may have been written or not: read
    /// it again through the leader.
    pub async fn write(
        &self,
        channel: &Channel,
        record: Vec<u8>,
        unreported: &Unreported,
        expected: u64,
    ) -> Result<u64, BrokerError> {
        let (bytes, message) = (record.len(), PublishMessage::build().payload(record.into()));
        self.write_message(channel, with_unreported(message, unreported), bytes, expected).await
    }

    /// Writes a record once more as it is, and notes which messages of its channel are set aside.
    pub async fn set_aside(&self, channel: &Channel, as_read: &Versioned, aside: Aside) -> Result<u64, BrokerError> {
        let record = as_read.record.clone().unwrap_or_else(|| Record::default().to_bytes().into());
        let (bytes, message) = (record.len(), PublishMessage::build().payload(record));
        let message = message.header(HEADER_ASIDE, HeaderValue::from(aside.to_text()));
        self.write_message(channel, with_unreported(message, &as_read.unreported), bytes, as_read.revision).await
    }

    async fn write_message(
        &self,
        channel: &Channel,
        message: PublishMessage,
        bytes: usize,
        expected: u64,
    ) -> Result<u64, BrokerError> {
        let (subject, message) = (record_subject(channel), message.expected_last_subject_sequence(expected));
        let (context, metrics, deadline) =
            (self.context.clone(), self.metrics.clone(), Instant::now() + WRITE_DEADLINE);
        let (asker, written) = oneshot::channel();
        let write = RecordWrite { subject, message, bytes, deadline, context, metrics, asker };
        match &self.writer {
            None => drop(write.store(false).await),
            Some(RecordWriter(group)) => {
                if let Some(write) = group.take(write) {
                    group.store_alone(write).await;
                }
            }
        }
        written.await.unwrap_or_else(|error| Err(BrokerError::unavailable(error)))
    }
}

/// Writes records, in groups where that pays. Cheap to clone; clones share the queue.
#[derive(Clone)]
pub struct RecordWriter(Group<RecordWrite>);

impl RecordWriter {
    /// A writer on this connection.
    pub fn new(broker: &Broker, commit: GroupCommit) -> Self {
        Self(Group::new(broker.clone(), broker.publishing(WRITES_IN_FLIGHT_MAX), TaskTracker::new(), commit))
    }
}

/// A record that is to be written.
struct RecordWrite {
    subject: String,
    message: PublishMessage,
    /// Bytes of the record.
    bytes: usize,
    deadline: Instant,
    context: jetstream::Context,
    metrics: StoreMetrics,
    asker: oneshot::Sender<Result<u64, BrokerError>>,
}

impl RecordWrite {
    async fn publish(&self) -> Result<u64, BrokerError> {
        let ack = self.context.send_publish(self.subject.clone(), self.message.clone()).await?.await;
        let conflict = ack.as_ref().err().and_then(BrokerError::conflict_code);
        conflict.into_iter().for_each(|code| self.metrics.conflict(code));
        Ok(ack?.sequence)
    }
}

impl Write for RecordWrite {
    fn key(&self) -> &str {
        &self.subject
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn goes_alone(&self) -> bool {
        false
    }

    fn message(&self) -> (String, PublishMessage) {
        (self.subject.clone(), self.message.clone())
    }

    fn stored_at(self, revision: u64) {
        let _ = self.asker.send(Ok(revision));
    }

    /// One that may have been written is not written again: it would conflict with itself. Whoever wanted it reads first.
    async fn store(self, was_tried: bool) -> bool {
        let written = match was_tried {
            true => Err(BrokerError::Unavailable("it may have been written with a group".into())),
            false => timeout_at(self.deadline, self.publish())
                .await
                .unwrap_or_else(|_| Err(BrokerError::timed_out("writing a record"))),
        };
        let is_written = written.is_ok();
        let _ = self.asker.send(written);
        is_written
    }
}

fn with_unreported(message: PublishMessage, unreported: &Unreported) -> PublishMessage {
    match unreported.is_empty() {
        true => message,
        false => message.header(HEADER_UNREPORTED, HeaderValue::from(unreported.to_text())),
    }
}

impl Store {
    /// Deletes a record, whatever its revision is, and notes in the marker what is forgotten.
    pub async fn forget(&self, channel: &Channel, forgotten: Forgotten) -> Result<(), BrokerError> {
        let unreported = Unreported { forgotten: Some(forgotten), ..Unreported::default() };
        let message = PublishMessage::build()
            .header(HEADER_OPERATION, HeaderValue::from(OPERATION_DELETE.to_owned()))
            .header(HEADER_UNREPORTED, HeaderValue::from(unreported.to_text()));
        let write =
            async { Ok::<_, BrokerError>(self.context.send_publish(record_subject(channel), message).await?.await?) };
        match tokio::time::timeout(2 * PUBLISH_TIMEOUT, write).await {
            Ok(result) => result.map(drop),
            Err(_) => Err(BrokerError::timed_out("deleting a record")),
        }
    }
}

impl Versioned {
    /// What lies where nothing was ever written.
    pub const NONE: Self = Self {
        record: None,
        revision: 0,
        unreported: Unreported { messages: Vec::new(), since: None, forgotten: None },
        at: OffsetDateTime::UNIX_EPOCH,
        aside: None,
    };

    /// The format that its channel takes, if that is newer than those that this program knows.
    pub fn newer_format(&self) -> Option<u32> {
        let of_record = match self.record.as_deref().map(Record::from_bytes) {
            Some(Err(Unreadable::Newer(format))) => Some(format),
            _ => None,
        };
        let of_messages = self.aside.filter(Aside::is_newer).map(|aside| aside.format);
        of_record.max(of_messages)
    }
}

/// Some of the channels that have a record, and where the next page begins, if this one did not reach the end. A record
/// that is written meanwhile moves to the end, and so its channel may come twice.
pub async fn channels_with_records(broker: &Broker, from: u64) -> Result<(Vec<Channel>, Option<u64>), BrokerError> {
    let (stream, subjects, messages_max) = (BUCKET_STREAM, BUCKET_SUBJECTS, PAGE_RECORDS_MAX);
    let page = ask(broker, Query { stream, subjects, from, messages_max }).await?;
    let is_record = |found: &&RawMessage| !found.message.headers.as_ref().is_some_and(is_delete_marker);
    let channels = page.found.iter().filter(is_record).filter_map(|found| channel_of_record(&found.subject));
    Ok((channels.collect(), page.next))
}

/// Some of the records that can be read, each with its channel, and where the next page begins, as above.
pub async fn records(broker: &Broker, from: u64) -> Result<(Vec<(Channel, Record)>, Option<u64>), BrokerError> {
    let (stream, subjects, messages_max) = (BUCKET_STREAM, BUCKET_SUBJECTS, PAGE_RECORDS_MAX);
    let page = ask(broker, Query { stream, subjects, from, messages_max }).await?;
    let record = |found: &RawMessage| {
        let record = Record::from_bytes(&found.message.payload).ok()?;
        Some((channel_of_record(&found.subject)?, record))
    };
    Ok((page.found.iter().filter_map(record).collect(), page.next))
}

/// A deleted key leaves a marker, which has a revision and no record.
fn versioned(message: StreamMessage) -> Versioned {
    let StreamMessage { sequence: revision, headers, payload, time: at, .. } = message;
    let deleted = is_delete_marker(&headers);
    let unreported = headers.get(HEADER_UNREPORTED).and_then(|text| Unreported::from_text(text.as_str()));
    let aside = headers.get(HEADER_ASIDE).and_then(|text| Aside::from_text(text.as_str()));
    Versioned { record: (!deleted).then_some(payload), revision, unreported: unreported.unwrap_or_default(), at, aside }
}

pub(super) fn is_delete_marker(headers: &HeaderMap) -> bool {
    headers.get(HEADER_OPERATION).is_some_and(|operation| matches!(operation.as_str(), OPERATION_DELETE | "PURGE"))
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::broker::topology::{Bounds, Topology};
    use crate::simulation::nats_server::NatsServer;

    /// A bucket with groups of whatever is written at the same time.
    async fn grouping(server: &NatsServer) -> Store {
        let topology =
            Topology { partitions: 1, replicas: 1, ack_wait: Duration::from_secs(2), bounds: Bounds::UNLIMITED };
        let broker = server.provisioned(&topology).await;
        Store::new(&broker).await.unwrap().writing(RecordWriter::new(&broker, GroupCommit::On))
    }

    /// Writes the records of some channels at the same time, each over the revision that is expected there.
    async fn write<const N: usize>(store: &Store, expected: [u64; N]) -> [Result<u64, BrokerError>; N] {
        let nothing = Unreported::default();
        let written = (0..).zip(expected).map(|(at, expected)| {
            let (channel, nothing) = (channel(at), &nothing);
            async move { store.write(&channel, b"{}".to_vec(), nothing, expected).await }
        });
        join_all(written).await.try_into().unwrap()
    }

    fn channel(at: usize) -> Channel {
        Channel::parse(&format!("00000000-0000-4000-8000-00000000000{at}")).unwrap()
    }

    #[tokio::test]
    async fn of_a_group_only_the_record_that_comes_too_late_is_not_written() {
        let server = NatsServer::start();
        let store = grouping(&server).await;
        assert_eq!(write(&store, [0, 0, 0]).await, [Ok(1), Ok(2), Ok(3)]);
        let written = write(&store, [1, 1, 3]).await;
        assert_eq!(written[1], Err(BrokerError::Conflict));
        for (at, revision) in [(0, written[0].clone().unwrap()), (1, 2), (2, written[2].clone().unwrap())] {
            assert_eq!(store.load_latest(&channel(at)).await.unwrap().revision, revision);
        }
    }

    #[tokio::test]
    async fn the_records_of_a_group_without_an_answer_are_not_said_to_be_written() {
        let mut server = NatsServer::start();
        let store = grouping(&server).await;
        assert_eq!(write(&store, [0, 0]).await, [Ok(1), Ok(2)]);
        server.stop();
        for written in write(&store, [1, 2]).await {
            assert!(matches!(written, Err(BrokerError::Unavailable(_))), "{written:?}");
        }
    }
}
