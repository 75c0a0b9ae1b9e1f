//! Ten thousand payloads of chance and malice, straight into the stream: whatever is no message is a dead letter that
//! can be shown and dropped, and nobody is stopped.
//!
//! The seed is printed; `E2E_SEED=<seed>` runs the same bytes again.

use std::collections::HashMap;

use async_nats::HeaderMap;
use async_nats::jetstream;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::dead_letters::payload;
use super::harness::messages::scattered;
use super::harness::stream::{all_is_applied, count};
use super::harness::{Client, Flight, TestService, becomes};

const PAYLOADS: usize = 10_000;
const CHANNELS: usize = 40;
/// Of so many events one is looked at.
const LOOKED_AT_EACH: u64 = 10;
/// Questions under way at once.
const AT_ONCE: usize = 16;
const TYPES: [&str; 6] = [
    "RocketLaunched",
    "RocketSpeedIncreased",
    "RocketSpeedDecreased",
    "RocketMissionChanged",
    "RocketExploded",
    "MessagesSkipped",
];
const HEADERS: [&str; 6] = [
    "Rockets-Corrects",
    "Rockets-Replays",
    "Rockets-Attempts",
    "Rockets-Request-Id",
    "Rockets-Reason",
    "Rockets-Sequence",
];
const HEADER_VALUES: [&str; 8] = ["", "0", "1", "-1", "x", "1.0", "18446744073709551616", "🚀"];
/// What stands in the place of some bytes.
const SPLICES: [&str; 12] = [
    "",
    "\"",
    "{",
    "}",
    "null",
    "-",
    "1e999",
    "9223372036854775807",
    "99999999999999999999",
    "\\u0000",
    "\\ud800",
    ",",
];

/// One payload, with what was done to it.
struct Attack {
    channel: String,
    header: Option<(&'static str, &'static str)>,
    payload: Vec<u8>,
    is_intact: bool,
}

fn seed() -> u64 {
    let given = std::env::var("E2E_SEED").ok().map(|seed| seed.parse().expect("E2E_SEED is a number"));
    let seed = given.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
    eprintln!("hostile_bytes: E2E_SEED={seed}");
    seed
}

fn attacks(random: &mut impl Rng) -> Vec<Attack> {
    let flights = [(); CHANNELS].map(|()| Flight::new());
    let numbers = flights.iter().map(|flight| {
        let mut messages = scattered(&flight.climb(60));
        messages.push(flight.skipped(30, "radio lost"));
        messages.push(flight.exploded(70, "FUEL"));
        messages
    });
    let good: Vec<Vec<Value>> = numbers.collect();
    (0..PAYLOADS)
        .map(|_| {
            let channel = random.random_range(0..CHANNELS);
            let message = &good[channel][random.random_range(0..good[channel].len())];
            attack(random, flights[channel].channel.clone(), message)
        })
        .collect()
}

fn attack(random: &mut impl Rng, channel: String, message: &Value) -> Attack {
    let mut payload = message.to_string().into_bytes();
    let is_intact = random.random_ratio(1, 10);
    match random.random_range(0..10_u32) {
        _ if is_intact => {}
        0 => payload = (0..random.random_range(0..300_usize)).map(|_| random.random()).collect(),
        1 => payload.truncate(random.random_range(0..payload.len())),
        2 => payload.insert(random.random_range(0..payload.len()), random.random()),
        3..6 => splice(random, &mut payload),
        _ => {
            for _ in 0..random.random_range(1..4_u32) {
                let at = random.random_range(0..payload.len());
                payload[at] ^= 1 << random.random_range(0..8_u32);
            }
        }
    }
    let header = (!is_intact && random.random_ratio(1, 4)).then(|| {
        let [name, value] = [HEADERS.len(), HEADER_VALUES.len()].map(|count| random.random_range(0..count));
        (HEADERS[name], HEADER_VALUES[value])
    });
    Attack { channel, header, payload, is_intact }
}

fn splice(random: &mut impl Rng, payload: &mut Vec<u8>) {
    let from = random.random_range(0..payload.len());
    let to = (from + random.random_range(0..30_usize)).min(payload.len());
    let splice = SPLICES[random.random_range(0..SPLICES.len())];
    payload.splice(from..to, splice.bytes());
}

impl Attack {
    async fn publish(&self, jetstream: &jetstream::Context) -> u64 {
        let headers: HeaderMap =
            self.header.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let subject = format!("rockets.{}", self.channel);
        let publish = jetstream.publish_with_headers(subject, headers, self.payload.clone().into()).await.unwrap();
        publish.await.unwrap().sequence
    }

    /// Whether it may be a message still: what every message is, without what makes each one a message.
    fn may_be_a_message(&self) -> bool {
        let Ok(body) = serde_json::from_slice::<Value>(&self.payload) else { return false };
        let metadata = &body["metadata"];
        let is_ours = metadata["channel"].as_str().is_some_and(|channel| channel.eq_ignore_ascii_case(&self.channel));
        let number = metadata["messageNumber"].as_u64().filter(|number| (1..=i64::MAX as u64).contains(number));
        let is_known = metadata["messageType"].as_str().is_some_and(|kind| TYPES.contains(&kind));
        let corrects = self.header.filter(|(name, _)| *name == "Rockets-Corrects");
        let is_right = corrects.is_none_or(|(_, value)| number.is_some_and(|number| value == number.to_string()));
        is_ours && number.is_some() && is_known && body["message"].is_object() && is_right
    }
}

#[tokio::test]
async fn ten_thousand_hostile_payloads_are_told_kept_and_dropped() {
    let seed = seed();
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    let client = service.ingest.clone();
    let attacks = attacks(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut by_event = HashMap::new();
    for chunk in attacks.chunks(1_000) {
        let sequences = join_all(chunk.iter().map(|attack| attack.publish(&jetstream))).await;
        by_event.extend(sequences.into_iter().zip(chunk));
    }
    assert_eq!(by_event.len(), PAYLOADS);
    all_is_applied(&jetstream).await;

    // What cannot be a message is malformed, and what was left as it was is none of those.
    let dead_letters = client.pages("/dead-letters", 1_000).await;
    let malformed: HashMap<u64, &Value> = dead_letters
        .iter()
        .filter(|dead_letter| dead_letter["reason"] == "malformed")
        .map(|dead_letter| (dead_letter["event_id"].as_u64().unwrap(), dead_letter))
        .collect();
    for (event, attack) in &by_event {
        let told = malformed.contains_key(event);
        assert!(told || attack.may_be_a_message(), "E2E_SEED={seed}: event {event} is no message");
        assert!(!(told && attack.is_intact), "E2E_SEED={seed}: event {event} is a message");
    }
    assert!(malformed.len() > PAYLOADS / 4, "E2E_SEED={seed}: only {} are malformed", malformed.len());
    each_is_told(&client, &by_event, &malformed).await;

    // Every letter, of whatever reason, has the bytes of its event, and can be dropped.
    let drops = stream::iter(&dead_letters).map(async |dead_letter| {
        let event = dead_letter["event_id"].as_u64().unwrap();
        let shown = client.dead_letter(&dead_letter["id"]).await.expect("it is shown");
        assert!(payload(&shown) == by_event[&event].payload, "the bytes of event {event} are others: {shown}");
        assert_eq!(client.drop_dead_letter(&dead_letter["id"]).await.status, 200);
    });
    assert_eq!(drops.buffer_unordered(AT_ONCE).count().await, dead_letters.len());
    becomes("dead letters", 0, async || count(&jetstream, "ROCKETS_DLQ").await).await;

    // Every partition goes on: so many channels leave none out.
    for flight in [(); 100].map(|()| Flight::new()) {
        client.settled(client.ingest(&flight.launched(1)).await).await;
        assert!(client.rocket(&flight.channel).await.is_some());
    }
    all_is_applied(&jetstream).await;
}

/// Fails unless each event that is looked at says what it is, and the malformed ones what their dead letters say.
async fn each_is_told(client: &Client, by_event: &HashMap<u64, &Attack>, malformed: &HashMap<u64, &Value>) {
    let some: Vec<_> = by_event.iter().filter(|(id, _)| **id % LOOKED_AT_EACH == 0).collect();
    let looks = stream::iter(&some).map(async |(id, attack)| {
        let event = client.event(**id).await.expect("it is stored");
        assert_eq!(event["channel"], attack.channel, "{event}");
        if let Some(dead_letter) = malformed.get(*id) {
            let event = client.settled(**id).await;
            assert_eq!(event["status"], "failed", "{event}");
            assert_eq!(event["error_message"], dead_letter["error_message"], "{event}");
        }
    });
    assert_eq!(looks.buffer_unordered(AT_ONCE).count().await, some.len());
}
