//! What outsiders put straight into the stream: all of it is kept as dead letters as it was, and stops nobody.

use async_nats::HeaderMap;
use async_nats::jetstream;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::harness::stream::{Letter, dead_letters, is_taken_up, publish_bytes};
use super::harness::{Broker, Flight, Program, eventually};

/// A service with one partition, so that whatever stops a partition stops everything.
async fn one_partition() -> (Broker, Program, jetstream::Context) {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).env("ROCKETS_STREAM__PARTITIONS", "1").start();
    up.ready().await;
    let jetstream = broker.jetstream().await;
    (broker, up, jetstream)
}

/// Fails unless a rocket that behaves is served, and nothing is left that was not taken up.
async fn goes_on(up: &mut Program, jetstream: &jetstream::Context) {
    let (client, flight) = (up.client().await, Flight::new());
    client.ingest(&flight.launched(1)).await;
    eventually("a rocket that behaves is seen", async || client.rocket(&flight.channel).await).await;
    is_taken_up(jetstream).await;
}

fn assert_malformed(letter: &Letter, token: &str, sequence: u64, payload: &[u8]) {
    assert_eq!(letter.subject, format!("rockets_dlq.0.{token}"));
    assert_eq!(letter.header("Rockets-Reason"), "malformed");
    assert_eq!(letter.header("Rockets-Sequence"), sequence.to_string());
    assert_eq!(letter.header("Rockets-Attempts"), "1");
    assert!(!letter.header("Rockets-Error").is_empty());
    let stored_at = OffsetDateTime::parse(letter.header("Rockets-Stored-At"), &Rfc3339).unwrap();
    assert!(stored_at <= OffsetDateTime::now_utc());
    assert!(letter.payload == payload, "the bytes of {token} are others");
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

    let mut letters = dead_letters(&jetstream).await;
    letters.sort_by_key(|letter| letter.header("Rockets-Sequence").parse::<u64>().unwrap());
    assert_eq!(letters.len(), rows.len());
    for (((token, payload), sequence), letter) in rows.iter().zip(sequences).zip(&letters) {
        assert_malformed(letter, token, sequence, payload);
    }
    let client = up.client().await;
    for channel in [&channel, &other.channel] {
        assert_eq!(client.rocket(channel).await, None);
    }
}

#[tokio::test]
async fn hostile_subjects_and_headers_stop_nobody() {
    let (_broker, mut up, jetstream) = one_partition().await;
    let long = "x".repeat(3_000);
    let tokens =
        ["*", ">", "$JS", "🚀", "\u{1}\u{7f}", "\"\\", "%s%n", "{{wildcard(1)}}", "-1", "ROCKETS", "\u{feff}", &long];
    let mut stored = Vec::new();
    for token in tokens {
        // Which of them it takes is the server's affair.
        if let Ok(publish) = jetstream.publish(format!("rockets.{token}"), "x".into()).await
            && let Ok(ack) = publish.await
        {
            stored.push((token, ack.sequence));
        }
    }
    assert!(stored.len() > 4, "{stored:?}");

    let mut hostile = HeaderMap::new();
    // Nearly all that the server takes: there is no room for any other header beside it.
    hostile.insert("Rockets-Request-Id", "\u{202e}🚀".repeat(9_300).as_str());
    hostile.insert("Rockets-Reason", "refused");
    hostile.insert("Rockets-Sequence", "1");
    hostile.insert("Nats-Sequence", "-1");
    hostile.insert("Nats-Time-Stamp", "never");
    hostile.insert("Nats-Subject", "else");
    hostile.insert("KV-Operation", "PURGE");
    let flight = Flight::new();
    let subject = format!("rockets.{}", flight.channel);
    for payload in ["x".to_owned(), flight.launched(1).to_string(), flight.launched(2).to_string()] {
        jetstream.publish_with_headers(subject.clone(), hostile.clone(), payload.into()).await.unwrap().await.unwrap();
    }
    goes_on(&mut up, &jetstream).await;

    let letters = dead_letters(&jetstream).await;
    for (token, sequence) in &stored {
        let of_sequence = |letter: &&Letter| letter.header("Rockets-Sequence") == sequence.to_string();
        let letter = letters.iter().find(of_sequence).unwrap_or_else(|| panic!("{token:?} is no dead letter"));
        assert_eq!((letter.header("Rockets-Reason"), &letter.payload[..]), ("malformed", &b"x"[..]));
    }
    assert_eq!(letters.len(), stored.len() + 2);
    let client = up.client().await;
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["lastMessageNumber"], 2);
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
    is_taken_up(&jetstream).await;
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
