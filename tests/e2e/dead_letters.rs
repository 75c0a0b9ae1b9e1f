//! Dead letters as an operator sees them: listed, shown, sent again as they are or mended, dropped.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::harness::stream::{all_is_applied, count, publish, publish_bytes};
use super::harness::{ChannelLog, Client, Flight, TestService, becomes, pick};

const FIELDS: [&str; 10] = [
    "attempts",
    "channel",
    "dead_at",
    "error_message",
    "event_id",
    "id",
    "message_number",
    "message_type",
    "reason",
    "received_at",
];

async fn service() -> (TestService, Client, jetstream::Context) {
    let mut service = TestService::start().await;
    let (client, jetstream) = (service.ingest.clone(), service.broker().jetstream().await);
    (service, client, jetstream)
}

/// Stores bytes of a channel's token, waits until they are a dead letter, and gives it.
async fn dies(client: &Client, jetstream: &jetstream::Context, token: &str, bytes: &[u8]) -> Value {
    let id = publish_bytes(jetstream, &format!("rockets.{token}"), bytes.to_vec()).await;
    assert_eq!(client.settled(id).await["status"], "failed");
    let dead_letters = client.list("/dead-letters?limit=1000").await;
    dead_letters.into_iter().find(|dead_letter| dead_letter["event_id"] == id).expect("it is a dead letter")
}

async fn ids(client: &Client, query: &str) -> Vec<u64> {
    let dead_letters = client.list(&format!("/dead-letters?{query}")).await;
    dead_letters.iter().map(|dead_letter| dead_letter["event_id"].as_u64().unwrap()).collect()
}

fn instant(text: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(text.as_str().unwrap(), &Rfc3339).unwrap()
}

fn assert_dead_letter(dead_letter: &Value, says: Value) {
    assert!(dead_letter.as_object().unwrap().keys().eq(FIELDS), "{dead_letter}");
    assert_eq!(pick(dead_letter, ["reason", "channel", "message_number", "message_type"]), says, "{dead_letter}");
    assert!(dead_letter["id"].is_u64() && dead_letter["attempts"] == 1, "{dead_letter}");
    assert!(!dead_letter["error_message"].as_str().unwrap().is_empty(), "{dead_letter}");
    assert!(instant(&dead_letter["received_at"]) <= instant(&dead_letter["dead_at"]), "{dead_letter}");
    assert!(instant(&dead_letter["dead_at"]) <= OffsetDateTime::now_utc(), "{dead_letter}");
}

#[tokio::test]
async fn dead_letters_are_listed_newest_first_and_found_by_channel_and_reason() {
    let (_service, client, jetstream) = service().await;
    assert_eq!(client.list("/dead-letters").await, Vec::<Value>::new());
    let [one, other] = [Flight::new(), Flight::new()];
    let mut log = ChannelLog::new(&one.channel);
    for message in [one.launched(1), one.launched(2), one.faster(4, 1)] {
        log.post(&client, &message).await;
    }
    log.rocket_holds(&client).await;
    log.skip(&client, &jetstream, 3).await;
    log.rocket_holds(&client).await;
    log.post(&client, &one.faster(3, 1)).await;
    log.holds(&client).await;
    let odd = "a\u{2003}+&=%2F🚀";
    for (token, bytes) in [(&*other.channel, &b"garbage"[..]), ("not-a-uuid", b"\xff"), (odd, b"x"), (odd, b"y")] {
        dies(&client, &jetstream, token, bytes).await;
    }
    let all = client.list("/dead-letters").await;
    let mut events: Vec<_> = all.iter().map(|dead_letter| dead_letter["event_id"].as_u64().unwrap()).collect();
    assert_eq!(events.len(), 6);
    assert!(all.is_sorted_by(|newer, older| newer["id"].as_u64() > older["id"].as_u64()), "{all:?}");
    assert_dead_letter(&all[5], json!(["refused", one.channel, 2, "RocketLaunched"]));
    assert_dead_letter(&all[4], json!(["skipped", one.channel, 3, "RocketSpeedIncreased"]));
    for (dead_letter, token) in all[..4].iter().rev().zip([&*other.channel, "not-a-uuid", odd, odd]) {
        assert_dead_letter(dead_letter, json!(["malformed", token, null, null]));
    }
    for (dead_letter, event_id) in all.iter().zip(&events) {
        let event = client.event(*event_id).await.unwrap();
        assert_eq!(event["error_message"], dead_letter["error_message"]);
        assert_eq!(instant(&event["received_at"]), instant(&dead_letter["received_at"]));
    }

    for limit in [1, 2, 5, 6, 7] {
        assert_eq!(client.pages("/dead-letters", limit).await, all, "by {limit}");
    }
    let odd = "a%E2%80%83%2B%26%3D%252F%F0%9F%9A%80";
    for (query, expected) in [
        ("reason=malformed".to_owned(), &events[..4]),
        ("reason=refused".to_owned(), &events[5..]),
        ("reason=skipped".to_owned(), &events[4..5]),
        (format!("channel={}", one.channel), &events[4..]),
        (format!("channel={}&reason=skipped", one.channel), &events[4..5]),
        (format!("channel={}&reason=refused", other.channel), &[]),
        (format!("channel={}", other.channel), &events[3..4]),
        ("channel=not-a-uuid".to_owned(), &events[2..3]),
        ("channel=never-seen".to_owned(), &[]),
        (format!("channel={odd}&reason=malformed"), &events[..2]),
    ] {
        assert_eq!(ids(&client, &query).await, expected, "{query}");
        let pages = client.pages(&format!("/dead-letters?{query}"), 1).await;
        assert_eq!(pages.len(), expected.len(), "{query}");
    }
    // A page that was begun goes on where it was, whatever has come and gone.
    let first = client.get("/dead-letters?limit=2").await;
    let cursor = first.body["next_cursor"].as_str().unwrap().to_owned();
    let newer = dies(&client, &jetstream, "not-a-uuid", b"newer").await;
    assert_eq!(client.drop_dead_letter(&all[2]["id"]).await.status, 200);
    events.remove(2);
    assert_eq!(ids(&client, &format!("limit=2&cursor={cursor}")).await, events[2..4]);
    assert_eq!(ids(&client, "limit=1").await, [newer["event_id"].as_u64().unwrap()]);
    for wrong in ["reason=lost", "reason=", "limit=0", "limit=x", "cursor=x", "order=asc"] {
        let answer = client.get(&format!("/dead-letters?{wrong}")).await;
        assert!(answer.error(400).starts_with(wrong.split('=').next().unwrap()), "{answer:?}");
    }
}

#[tokio::test]
async fn pages_of_a_reason_are_whole_however_its_dead_letters_lie() {
    let (_service, client, jetstream) = service().await;
    let mixed = (0..240).map(|at| if at % 80 == 40 { "skipped" } else { "malformed" });
    let lie = ["refused"; 250]
        .into_iter()
        .chain(mixed)
        .chain(["conflict", "refused", "refused", "refused"])
        .chain(["malformed"; 130]);
    let mut dead_letters = Vec::new();
    for reason in lie {
        let subject = format!("rockets_dlq.0.{reason}.{}", Flight::new().channel);
        dead_letters.push((publish_bytes(&jetstream, &subject, b"x".to_vec()).await, reason));
    }
    let dropped = [3, 249, 300, 500].map(|at| dead_letters[at].0);
    for id in dropped {
        assert_eq!(client.drop_dead_letter(&id.into()).await.status, 200);
    }
    dead_letters.retain(|(id, _)| !dropped.contains(id));
    for reason in ["malformed", "refused", "skipped", "conflict"] {
        let of_reason = dead_letters.iter().rev().filter(|(_, of)| *of == reason).map(|(id, _)| *id);
        let expected: Vec<_> = of_reason.collect();
        for limit in [3, 100, 1_000] {
            let pages = client.pages(&format!("/dead-letters?reason={reason}"), limit).await;
            let ids: Vec<_> = pages.iter().map(|dead_letter| dead_letter["id"].as_u64().unwrap()).collect();
            assert_eq!(ids, expected, "{reason} by {limit}");
        }
    }

    // A page among its like costs the broker its places, and no look at subjects, of which there may be any number.
    let mut asked = jetstream.client().subscribe("$JS.API.DIRECT.GET.ROCKETS_DLQ").await.unwrap();
    assert_eq!(client.list("/dead-letters?reason=malformed&limit=100").await.len(), 100);
    let mut places = 0;
    while let Ok(Some(question)) = tokio::time::timeout(Duration::from_millis(500), asked.next()).await {
        let question: Value = serde_json::from_slice(&question.payload).unwrap();
        assert!(question.as_object().unwrap().keys().eq(["seq"]), "{question}");
        places += 1;
    }
    assert!((101..200).contains(&places), "{places}");
}

/// The bytes of a dead letter as they are shown.
pub fn payload(dead_letter: &Value) -> Vec<u8> {
    let text = dead_letter["payload"].as_str().unwrap();
    if dead_letter["encoding"] == "base64" { STANDARD.decode(text).unwrap() } else { text.as_bytes().to_vec() }
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_bytes_and_can_be_dropped() {
    let (_service, client, jetstream) = service().await;
    let flight = Flight::new();
    let long = [b"{\"long\":\"".to_vec(), vec![b'x'; 200 * 1024]].concat();
    let rows: [(&[u8], bool); 7] = [
        (b"garbage", true),
        ("{\"metadata\": \"🚀\\u0000\"}\n".as_bytes(), true),
        (b"", true),
        (b"line\r\nline\t\"quoted\" \\ \x01", true),
        (b"\xff\xfe\x00\r\n\x80", false),
        (b"\xf0\x9f\x9a", false),
        (&long, true),
    ];
    for (bytes, is_text) in rows {
        let listed = dies(&client, &jetstream, &flight.channel, bytes).await;
        let mut shown = client.dead_letter(&listed["id"]).await.unwrap();
        assert_eq!(shown["encoding"] != "base64", is_text, "{shown}");
        assert!(payload(&shown) == bytes, "the bytes are others: {shown}");
        let fields = shown.as_object_mut().unwrap();
        fields.remove("payload");
        fields.remove("encoding");
        assert_eq!(shown, listed);
    }
    let last = client.list("/dead-letters?limit=1").await[0]["id"].as_u64().unwrap();
    for unknown in [0, last + 1, i64::MAX as u64] {
        for method in [Method::GET, Method::DELETE] {
            let answer = client.answer(client.request(method, &format!("/dead-letters/{unknown}"))).await;
            assert_eq!(answer.error(404), "dead letter not found");
        }
        assert_eq!(client.replay(&unknown.into(), None).await.error(404), "dead letter not found");
    }
    for wrong in ["x", "-1", "1.0", "9223372036854775808"] {
        for method in [Method::GET, Method::DELETE] {
            let answer = client.answer(client.request(method, &format!("/dead-letters/{wrong}"))).await;
            assert!(answer.error(400).contains(wrong), "{answer:?}");
        }
        let answer = client.answer(client.request(Method::POST, &format!("/dead-letters/{wrong}/replay"))).await;
        assert!(answer.error(400).contains(wrong), "{answer:?}");
    }
    let head = client.answer(client.request(Method::HEAD, &format!("/dead-letters/{last}"))).await;
    assert_eq!((head.status, head.body), (200, Value::Null));
    let answer = client.answer(client.request(Method::PUT, &format!("/dead-letters/{last}"))).await;
    let allow: BTreeSet<_> = answer.headers["allow"].to_str().unwrap().split(", ").collect();
    assert_eq!((answer.status, allow), (405, BTreeSet::from(["DELETE", "GET", "HEAD"])));

    let event = client.dead_letter(&last.into()).await.unwrap()["event_id"].as_u64().unwrap();
    let dropped = client.drop_dead_letter(&last.into()).await;
    assert_eq!((dropped.status, &dropped.body["data"]), (200, &json!({ "status": "dropped" })));
    for again in [client.drop_dead_letter(&last.into()).await, client.replay(&last.into(), None).await] {
        assert_eq!(again.error(404), "dead letter not found");
    }
    assert_eq!(client.dead_letter(&last.into()).await, None);
    assert_eq!(client.list("/dead-letters").await.len(), 6);
    assert_eq!(client.status(event).await.unwrap(), "failed", "what became of it is known still");
}

#[tokio::test]
async fn a_replay_is_one_message_however_often_it_is_asked_for() {
    let (_service, client, jetstream) = service().await;
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    log.post(&client, &flight.launched(1)).await;
    log.holds(&client).await;
    // A number that was not applied yet: what was garbage becomes a plain message.
    let dead_letter = dies(&client, &jetstream, &flight.channel, b"garbage").await;
    let id = &dead_letter["id"];
    let other = Flight::new();
    for (body, says) in [
        (json!({}), "metadata"),
        (flight.message(2, "RocketLanded", json!({})), "failed to process message: unknown message type"),
        (flight.skipped(2, "x"), "failed to process message: unknown message type"),
        (flight.message(2, "RocketSpeedIncreased", json!({ "by": -1 })), "message.by"),
        (other.faster(2, 1), "metadata.channel"),
    ] {
        let answer = client.replay(id, Some(&body)).await;
        assert!(answer.error(400).starts_with(says), "{body}: {answer:?}");
    }
    assert!(!client.replay(id, None).await.error(409).is_empty(), "it cannot be a message as it is");
    let get = client.answer(client.request(Method::GET, &format!("/dead-letters/{id}/replay"))).await;
    assert_eq!((get.status, get.headers["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(client.dead_letter(id).await.unwrap()["attempts"], 1, "it is where it was");
    assert_eq!(count(&jetstream, "ROCKETS").await, 2);

    let mended = flight.faster(2, 7);
    let event = log.replay(&client, &dead_letter, Some(&mended)).await;
    assert_eq!(client.dead_letter(id).await, None);
    log.holds(&client).await;
    for body in [None, Some(&mended), Some(&flight.faster(3, 1))] {
        let answer = client.replay(id, body).await;
        let expected = json!({ "status": "duplicate", "event_id": event });
        assert_eq!((answer.status, &answer.body["data"]), (200, &expected));
    }
    assert_eq!(count(&jetstream, "ROCKETS").await, 3);
    // The channel of a body may be written in either case; that of a dead letter that has none may be any.
    let upper = Flight { channel: flight.channel.to_uppercase() };
    let dead_letter = dies(&client, &jetstream, &flight.channel, b"more garbage").await;
    let event = client.replay(&dead_letter["id"], Some(&upper.faster(3, 70))).await.ingested();
    log.message(event, &flight.faster(3, 70));
    let dead_letter = dies(&client, &jetstream, "not-a-uuid", b"much garbage").await;
    let event = client.replay(&dead_letter["id"], Some(&flight.faster(4, 700))).await.ingested();
    log.message(event, &flight.faster(4, 700));
    log.holds(&client).await;
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["currentSpeed"], 500 + 777);
}

#[tokio::test]
async fn a_replay_that_fails_again_is_a_new_dead_letter_with_one_more_attempt() {
    let (_service, client, jetstream) = service().await;
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in [flight.launched(1), flight.launched(2), flight.faster(3, 1)] {
        log.post(&client, &message).await;
    }
    log.holds(&client).await;
    let mut dead_letter = client.dead_letters_of(&flight.channel).await.remove(0);
    for attempts in 2..=4 {
        let event = log.replay(&client, &dead_letter, None).await;
        log.holds(&client).await;
        let again = client.dead_letters_of(&flight.channel).await.remove(0);
        let says = pick(&again, ["attempts", "event_id", "reason", "message_number"]);
        assert_eq!(says, json!([attempts, event, "refused", 2]));
        assert!(again["id"].as_u64() > dead_letter["id"].as_u64());
        dead_letter = again;
    }
    log.replay(&client, &dead_letter, Some(&flight.faster(2, 5))).await;
    log.holds(&client).await;
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["currentSpeed"], 506);

    // What others have stored is sent again as it is, too, and a copy of what was applied is no letter at all.
    publish(&jetstream, &[flight.launched(1)]).await;
    all_is_applied(&jetstream).await;
    becomes("dead letters", 0, async || count(&jetstream, "ROCKETS_DLQ").await).await;
}
