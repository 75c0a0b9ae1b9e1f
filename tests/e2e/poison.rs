//! What outsiders put straight into the stream: all of it is kept as dead letters as it was, and stops nobody.

use async_nats::HeaderMap;
use async_nats::jetstream;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::harness::stream::{Letter, all_is_applied, count, dead_letters, publish_bytes};
use super::harness::{Broker, Flight, Program, becomes, eventually};

/// A service with one partition, so that whatever stops a partition stops everything.
async fn one_partition() -> (Broker, Program, jetstream::Context) {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).env("ROCKETS_STREAM__PARTITIONS", "1").start();
    up.ready().await;
    let jetstream = broker.jetstream().await;
    (broker, up, jetstream)
}

/// Fails unless a rocket that behaves is served, and nothing is left that was not applied.
async fn goes_on(up: &mut Program, jetstream: &jetstream::Context) {
    let (client, flight) = (up.client().await, Flight::new());
    client.ingest(&flight.launched(1)).await;
    eventually("a rocket that behaves is seen", async || client.rocket(&flight.channel).await).await;
    all_is_applied(jetstream).await;
}

fn assert_malformed(dead_letter: &Letter, token: &str, sequence: u64, payload: &[u8]) {
    assert_eq!(dead_letter.subject, format!("rockets_dlq.0.malformed.{token}"));
    assert_eq!(dead_letter.header("Rockets-Reason"), "malformed");
    assert_eq!(dead_letter.header("Rockets-Sequence"), sequence.to_string());
    assert_eq!(dead_letter.header("Rockets-Attempts"), "1");
    assert!(!dead_letter.header("Rockets-Error").is_empty());
    let stored_at = OffsetDateTime::parse(dead_letter.header("Rockets-Stored-At"), &Rfc3339).unwrap();
    assert!(stored_at <= OffsetDateTime::now_utc());
    assert!(dead_letter.payload == payload, "the bytes of {token} are others");
}

#[tokio::test]
async fn bytes_that_are_no_message_become_dead_letters() {
    let (_broker, mut up, jetstream) = one_partition().await;
    let (flight, other) = (Flight::new(), Flight::new());
    let channel = flight.channel.clone();
    let upper = Flight { channel: other.channel.to_uppercase() };
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        (&channel, b"garbage".to_vec()),
        (&channel, Vec::new()),
        (&channel, vec![0xff, 0xfe, 0x00, b'\r', b'\n', 0x80]),
        (&channel, vec![b'x'; 200 * 1024]),
        (&channel, vec![b'x'; 256 * 1024]),
        (&channel, deep),
        (&channel, br#"{"metadata":{"channel":null},"message":7}"#.to_vec()),
        (&channel, flight.message(1, "RocketLanded", serde_json::json!({})).to_string().into_bytes()),
        (&channel, flight.message(0, "RocketExploded", serde_json::json!({ "reason": "x" })).to_string().into_bytes()),
        (&channel, other.launched(1).to_string().into_bytes()),
        (&upper.channel, upper.launched(1).to_string().into_bytes()),
        ("not-a-uuid", flight.launched(1).to_string().into_bytes()),
    ];
    let mut sequences = Vec::new();
    for (token, payload) in &rows {
        sequences.push(publish_bytes(&jetstream, &format!("rockets.{token}"), payload.clone()).await);
    }
    goes_on(&mut up, &jetstream).await;

    let mut dead_letters = dead_letters(&jetstream).await;
    dead_letters.sort_by_key(|dead_letter| dead_letter.header("Rockets-Sequence").parse::<u64>().unwrap());
    assert_eq!(dead_letters.len(), rows.len());
    for (((token, payload), sequence), dead_letter) in rows.iter().zip(sequences).zip(&dead_letters) {
        assert_malformed(dead_letter, token, sequence, payload);
    }
    let client = up.client().await;
    for channel in [&channel, &other.channel] {
        assert_eq!(client.rocket(channel).await, None);
    }
}

#[tokio::test]
async fn hostile_subjects_and_headers_stop_nobody() {
    let (_broker, mut up, jetstream) = one_partition().await;
    let long = "x".repeat(256);
    let tokens = ["$JS", "🚀", "\u{1}\u{7f}", "\"\\", "%s%n", "{{wildcard(1)}}", "-1", "ROCKETS", "\u{feff}", &long];
    let mut expected = Vec::new();
    for token in tokens {
        let sequence = publish_bytes(&jetstream, &format!("rockets.{token}"), b"x".to_vec()).await;
        expected.push((format!("rockets_dlq.0.malformed.{token}"), sequence.to_string(), "malformed", "x".to_owned()));
    }
    // The server takes a wildcard as a subject, too, and gives it no partition: nobody is served such a message.
    for token in ["*", ">"] {
        publish_bytes(&jetstream, &format!("rockets.{token}"), b"x".to_vec()).await;
    }

    let flight = Flight::new();
    for hostile in hostile_headers() {
        let messages = [("malformed", "x".to_owned()), ("refused", flight.launched(1).to_string())];
        for (reason, payload) in messages {
            let subject = format!("rockets.{}", flight.channel);
            let publish = jetstream.publish_with_headers(subject, hostile.clone(), payload.clone().into()).await;
            let sequence = publish.unwrap().await.unwrap().sequence;
            let subject = format!("rockets_dlq.0.{reason}.{}", flight.channel);
            expected.push((subject, sequence.to_string(), reason, payload));
        }
    }
    goes_on(&mut up, &jetstream).await;

    // Of the launches the first one counts, and the others are repeats of its number.
    let launches: Vec<_> = expected.extract_if(.., |(_, _, reason, _)| *reason == "refused").collect();
    assert_eq!(launches.len(), 3);
    let told: Vec<_> = dead_letters(&jetstream).await.into_iter().map(told).collect();
    assert_eq!(told.len(), expected.len());
    for (subject, sequence, reason, payload) in expected {
        assert!(told.contains(&(subject, sequence, reason.to_owned(), payload)), "{told:?}");
    }
    assert_eq!(up.client().await.rocket(&flight.channel).await.unwrap()["lastMessageNumber"], 1);
}

fn told(dead_letter: Letter) -> (String, String, String, String) {
    let header = |name| dead_letter.header(name).to_owned();
    let (sequence, reason) = (header("Rockets-Sequence"), header("Rockets-Reason"));
    (dead_letter.subject, sequence, reason, String::from_utf8(dead_letter.payload).unwrap())
}

/// Headers that say what only the service or the server may say, and ones beside which no other finds room: the server
/// takes 64 KiB of them.
fn hostile_headers() -> Vec<HeaderMap> {
    let forged = [
        ("Rockets-Reason", "refused"),
        ("Rockets-Sequence", "1"),
        ("Nats-Sequence", "-1"),
        ("Nats-Time-Stamp", "never"),
        ("Nats-Subject", "else"),
        ("Nats-Num-Pending", "0"),
        ("KV-Operation", "PURGE"),
        ("Status", "404"),
    ];
    let text = "\u{202e}🚀".repeat(1_000);
    let full = "x".repeat(65_450);
    let rows = [forged.to_vec(), vec![("Rockets-Request-Id", &text)], vec![("Rockets-Request-Id", &full)]];
    rows.map(|row| row.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
        .into()
}

#[tokio::test]
async fn the_longest_subjects_stop_nobody() {
    let (broker, mut up, jetstream) = one_partition().await;
    let outsider = broker.client().await;
    // A line of the protocol has 4 KiB at most; without a reply in it there is the most room for the subject.
    let lengths = [1_000, 2_000, 3_000, 4_000, 4_050, 4_080];
    for length in lengths {
        outsider.publish(format!("rockets.{}", "x".repeat(length)), "x".into()).await.unwrap();
    }
    outsider.flush().await.unwrap();
    becomes("messages in the stream", lengths.len() as u64, async || count(&jetstream, "ROCKETS").await).await;
    goes_on(&mut up, &jetstream).await;
    let dead_letters = dead_letters(&jetstream).await;
    assert_eq!(dead_letters.len(), lengths.len());
    assert!(dead_letters.iter().all(|dead_letter| dead_letter.subject.starts_with("rockets_dlq.0.malformed.xxx")));
    assert!(!up.log().contains("lost the broker"));
}

#[tokio::test]
async fn what_waits_is_found_among_hostile_headers() {
    let (_broker, mut up, jetstream) = one_partition().await;
    let flight = Flight::new();
    let mut hostile = HeaderMap::new();
    hostile.insert("Nats-Sequence", "999999");
    hostile.insert("Nats-Time-Stamp", "never");
    hostile.insert("Nats-Subject", "rockets.0.else");
    hostile.insert("Nats-Num-Pending", "0");
    hostile.insert("Status", "404");
    let subject = format!("rockets.{}", flight.channel);
    // More than is kept in memory, so that the stream has to be read.
    let last = 4_000;
    for number in 2..=last {
        let payload = flight.faster(number, 1).to_string();
        let publish = jetstream.publish_with_headers(subject.clone(), hostile.clone(), payload.into()).await.unwrap();
        if number % 500 == 0 || number == last {
            publish.await.unwrap();
        }
    }
    let client = up.client().await;
    all_is_applied(&jetstream).await;
    client.ingest(&flight.launched(1)).await;
    eventually("all are applied", async || {
        (client.rocket(&flight.channel).await?["lastMessageNumber"] == last).then_some(())
    })
    .await;
    goes_on(&mut up, &jetstream).await;
}

#[tokio::test]
async fn a_megabyte_is_refused_by_the_stream() {
    let (_broker, mut up, jetstream) = one_partition().await;
    let subject = format!("rockets.{}", Flight::new().channel);
    for bytes in [256 * 1024 + 1, 1024 * 1024] {
        let publish = jetstream.publish(subject.clone(), vec![b'x'; bytes].into()).await.unwrap();
        assert!(publish.await.is_err(), "{bytes}");
    }
    goes_on(&mut up, &jetstream).await;
    assert!(dead_letters(&jetstream).await.is_empty());
}
