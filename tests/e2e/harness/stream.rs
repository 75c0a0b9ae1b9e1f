//! What lies at the broker, looked at and written to past the service: as `nats pub` and `nats stream view` do.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream::LastRawMessageErrorKind};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::Value;

use super::messages::subject;
use super::service::init;
use super::{Broker, becomes};

/// Publishes and acknowledgements under way at once.
const CHUNK: usize = 2_000;
/// Records asked for at once.
const READS_AT_ONCE: usize = 64;

/// A dead letter as it is stored.
#[derive(Debug)]
pub struct Letter {
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// The bytes of the message that died.
    pub payload: Vec<u8>,
}

impl Letter {
    /// One header; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.as_str())
    }
}

/// Stores messages without ids, so that none is recognised as a repeat, and gives their sequences.
pub async fn publish(jetstream: &jetstream::Context, messages: &[Value]) -> Vec<u64> {
    let mut sequences = Vec::new();
    for chunk in messages.chunks(CHUNK) {
        let publishes = chunk.iter().map(async |message| {
            let payload = serde_json::to_vec(message).unwrap();
            jetstream.publish(subject(message), payload.into()).await.unwrap().await.unwrap().sequence
        });
        sequences.extend(join_all(publishes).await);
    }
    sequences
}

/// Stores bytes on a subject, and gives their sequence.
pub async fn publish_bytes(jetstream: &jetstream::Context, subject: &str, payload: Vec<u8>) -> u64 {
    jetstream.publish(subject.to_owned(), payload.into()).await.unwrap().await.unwrap().sequence
}

/// All records of the bucket, as they are stored.
pub async fn records(jetstream: &jetstream::Context) -> BTreeMap<String, Vec<u8>> {
    let bucket = jetstream.get_key_value("rockets").await.unwrap();
    let keys: Vec<String> = bucket.keys().await.unwrap().map(Result::unwrap).collect().await;
    let get = async |key: String| {
        let record = bucket.get(key.as_str()).await.unwrap().unwrap_or_default().to_vec();
        (key, record)
    };
    futures_util::stream::iter(keys).map(get).buffer_unordered(READS_AT_ONCE).collect().await
}

/// Takes away all records, and makes the empty bucket again.
pub async fn lose_records(broker: &Broker) {
    broker.jetstream().await.delete_stream("KV_rockets").await.unwrap();
    init(broker).await;
}

/// How many messages lie in a stream.
pub async fn count(jetstream: &jetstream::Context, stream: &str) -> u64 {
    jetstream.get_stream(stream).await.unwrap().cached_info().state.messages
}

/// All dead letters, oldest first.
pub async fn dead_letters(jetstream: &jetstream::Context) -> Vec<Letter> {
    let stream = jetstream.get_stream("ROCKETS_DLQ").await.unwrap();
    let mut dead_letters = Vec::new();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        match stream.get_raw_message(sequence).await {
            Ok(message) => dead_letters.push(Letter {
                subject: message.subject.to_string(),
                headers: message.headers,
                payload: message.payload.to_vec(),
            }),
            Err(error) => assert_eq!(error.kind(), LastRawMessageErrorKind::NoMessageFound, "{error}"),
        }
    }
    dead_letters
}

/// Waits until the trackers have applied everything that is stored and hold nothing any more.
pub async fn all_is_applied(jetstream: &jetstream::Context) {
    becomes("messages that are not acknowledged", 0, async || unacknowledged(jetstream).await).await;
}

/// Messages that are held and not acknowledged, or not delivered.
pub async fn unacknowledged(jetstream: &jetstream::Context) -> u64 {
    let stream = jetstream.get_stream("ROCKETS").await.unwrap();
    let consumers: Vec<_> = stream.consumers().map(Result::unwrap).collect().await;
    consumers.iter().map(|consumer| consumer.num_pending + consumer.num_ack_pending as u64).sum()
}
