//! An acknowledgement is only ever sent for what is stored. Acknowledgements are not fenced: the broker takes one also from
//! a tracker that was frozen for long and whose message another one has by now, so this is what has to be right.
//!
//! A client beside the trackers hears all acknowledgements. Again and again all trackers are stopped wherever they are, and
//! some killed: what was acknowledged by then must be stored, because nobody can store it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Message, Subscriber};
use futures_util::StreamExt as _;
use serde_json::Value;

use super::harness::messages::number_of;
use super::harness::stream::{dead_letters, publish_bytes};
use super::harness::{Flight, Trackers, load};

/// Without an acknowledgement for so long, the broker has heard all that the stopped trackers have said.
const QUIET: Duration = Duration::from_millis(300);
/// Times that all trackers are stopped.
const STOPS: usize = 12;

/// What lies at the broker, and what was acknowledged of it.
struct Witness {
    acknowledgements: Subscriber,
    messages: Stream,
    records: Stream,
    jetstream: jetstream::Context,
    seen: BTreeSet<u64>,
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_stored() {
    let mut service = Trackers::start(3, "2s").await;
    let mut witness = Witness::new(&service).await;
    let mut launch = load::launch(&service.ingest, &service.query, 10_000);
    let mut seen_while_stopped = 0;
    for stop in 0..STOPS {
        load::reaches(&service.query, &mut launch, 600 * stop as u64).await;
        for _ in 0..5 {
            let channel = Flight::new().channel;
            publish_bytes(&witness.jetstream, &format!("rockets.{channel}"), b"no message".to_vec()).await;
        }
        service.trackers.iter().for_each(|tracker| tracker.freeze());
        if stop % 4 == 1 {
            service.trackers.remove(0).kill();
        }
        seen_while_stopped += witness.check().await;
        service.trackers.iter().for_each(|tracker| tracker.thaw());
        if service.trackers.len() < 3 {
            service.join().await;
        }
    }
    load::is_verified(launch).await;
    assert!(seen_while_stopped > 1_000, "too little was looked at: {seen_while_stopped}");
}

impl Witness {
    async fn new(service: &Trackers) -> Self {
        let jetstream = service.broker.jetstream().await;
        let acknowledgements = service.broker.client().await.subscribe("$JS.ACK.ROCKETS.>").await.unwrap();
        let messages = jetstream.get_stream("ROCKETS").await.unwrap();
        let records = jetstream.get_stream("KV_rockets").await.unwrap();
        Self { acknowledgements, messages, records, jetstream, seen: BTreeSet::new() }
    }

    /// Looks whether everything that has been acknowledged since the last time is stored, and tells how much that was.
    async fn check(&mut self) -> usize {
        let (mut malformed, mut records, mut count) = (BTreeSet::new(), BTreeMap::new(), 0);
        while let Ok(Some(message)) = tokio::time::timeout(QUIET, self.acknowledgements.next()).await {
            let Some(sequence) = acknowledged(&message).filter(|sequence| self.seen.insert(*sequence)) else {
                continue;
            };
            count += 1;
            let raw = self.messages.get_raw_message(sequence).await.unwrap();
            let Ok(message) = serde_json::from_slice::<Value>(&raw.payload) else {
                malformed.insert(sequence);
                continue;
            };
            records
                .entry(message["metadata"]["channel"].as_str().unwrap().to_lowercase())
                .or_insert_with(Vec::new)
                .push(message);
        }
        for (channel, messages) in records {
            let record = self.records.get_last_raw_message_by_subject(&format!("$KV.rockets.{channel}")).await.unwrap();
            let record: Value = serde_json::from_slice(&record.payload).unwrap();
            for message in messages {
                let number = number_of(&message);
                assert!(has(&record, number), "{channel}: number {number} was acknowledged and is not in {record}");
            }
        }
        if !malformed.is_empty() {
            let dead_letters = dead_letters(&self.jetstream).await;
            let kept: BTreeSet<u64> = dead_letters
                .iter()
                .filter_map(|dead_letter| dead_letter.header("Rockets-Sequence").parse().ok())
                .collect();
            assert!(malformed.is_subset(&kept), "acknowledged and no dead letter: {:?}", malformed.difference(&kept));
        }
        count
    }
}

/// The sequence of what is acknowledged by this; nothing where it says something else.
fn acknowledged(message: &Message) -> Option<u64> {
    let tokens: Vec<_> = message.subject.split('.').collect();
    assert_eq!(tokens.len(), 9, "{tokens:?}");
    let is_final = message.payload.is_empty() || message.payload.starts_with(b"+ACK");
    is_final.then(|| tokens[5].parse().unwrap())
}

/// Whether a record is past a number, or says that it waits.
fn has(record: &Value, number: u64) -> bool {
    let pending = record["parked"].as_array().cloned().unwrap_or_default();
    let waits = |range: &Value| (range[0].as_u64().unwrap()..=range[1].as_u64().unwrap()).contains(&number);
    number <= record["lastMessageNumber"].as_u64().unwrap_or_default() || pending.iter().any(waits)
}
