//! The way of messages when nothing breaks: whatever their order, however often they come, whoever takes them up.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::Value;

use super::harness::messages::{expected, scattered};
use super::harness::service::init;
use super::harness::stream::{all_is_applied, count, dead_letters, publish};
use super::harness::{Broker, Flight, Program, TestService, eventually, load};

#[tokio::test]
async fn messages_are_applied_in_every_shape_of_the_service() {
    for service in [TestService::start().await, TestService::embedded().await, TestService::split().await] {
        let flight = Flight::new();
        let messages = flight.climb(10);
        for message in &messages {
            service.ingest.ingest(message).await;
        }
        service.settles(&messages).await;
    }
}

#[tokio::test]
async fn order_and_repeats_make_no_difference() {
    let mut service = TestService::start().await;
    let flight = Flight::new();
    let mut messages = flight.climb(299);
    messages.push(flight.exploded(300, "PRESSURE_VESSEL_FAILURE"));
    let twice = [scattered(&messages), messages.clone()].concat();
    let ingest = &service.ingest;
    let answers: Vec<_> =
        stream::iter(&twice).map(async |message| (message, ingest.post(message).await)).buffered(16).collect().await;

    // Two copies may be under way at once, so either of them may be the first.
    let mut by_number: HashMap<_, Vec<_>> = HashMap::new();
    for (message, answer) in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        by_number.entry(&message["metadata"]["messageNumber"]).or_default().push(&answer.body["data"]);
    }
    for (number, copies) in by_number {
        let ingested = copies.iter().filter(|data| data["status"] == "ingested").count();
        let duplicate = copies.iter().filter(|data| data["status"] == "duplicate").count();
        assert_eq!((ingested, duplicate), (1, 1), "{number}: {copies:?}");
        assert_eq!(copies[0]["event_id"], copies[1]["event_id"], "{number}");
    }
    service.settles(&messages).await;

    // Once the broker has forgotten the ids, repeats are stored again: with no id at all it is the same.
    let jetstream = service.broker().jetstream().await;
    publish(&jetstream, &scattered(&messages)).await;
    assert_eq!(count(&jetstream, "ROCKETS").await, 600);
    all_is_applied(&jetstream).await;
    assert_eq!(service.rocket(&flight.channel).await, expected(&messages));
    assert_eq!(count(&jetstream, "ROCKETS_DLQ").await, 0);
}

#[tokio::test]
async fn what_waits_is_counted_and_shown() {
    let service = TestService::start().await;
    let flight = Flight::new();
    let messages = flight.climb(20);
    let (late, early): (Vec<_>, Vec<_>) = messages
        .iter()
        .cloned()
        .partition(|message| [2, 5, 9].contains(&message["metadata"]["messageNumber"].as_u64().unwrap()));
    let mut sent = early;
    for message in &sent {
        service.ingest.ingest(message).await;
    }
    service.settles(&sent).await;
    for message in late {
        service.ingest.ingest(&message).await;
        sent.push(message);
        service.settles(&sent).await;
    }
}

#[tokio::test]
async fn a_request_id_is_in_the_log_of_every_process_up_to_the_state() {
    let service = TestService::split().await;
    let flight = Flight::new();
    for (message, id) in [(flight.launched(1), "request-of-1"), (flight.slower(3, 1), "request-of-3")] {
        let request = service.ingest.request(Method::POST, "/messages").header("Request-Id", id).json(&message);
        let answer = service.ingest.answer(request).await;
        assert_eq!((answer.status, &answer.headers["request-id"]), (200, &id.parse().unwrap()));
        assert_eq!(answer.body["request_id"], id);
    }
    let [ingest, track, _] = &service.programs[..] else { panic!() };
    for (program, id, what) in [
        (ingest, "request-of-1", "stored"),
        (ingest, "request-of-3", "stored"),
        (track, "request-of-1", "message applied"),
        (track, "request-of-3", "message is pending behind a gap"),
    ] {
        let says = |line: &Value| line["request_id"] == id && line["message"] == what;
        eventually(&format!("a line {what:?} with {id}"), async || program.log_lines().iter().any(says).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn two_trackers_at_once_count_nothing_twice() {
    let broker = Broker::start().await;
    init(&broker).await;
    let start = |role| Program::of(&[role]).broker(&broker).start();
    let mut programs: Vec<_> = ["track", "track", "ingest", "query"].map(start).into();
    for program in &mut programs {
        program.ready().await;
    }
    let (ingest, query) = (programs[2].client().await, programs[3].client().await);
    load::is_verified(load::launch(&ingest, &query, 5_000)).await;

    let jetstream = broker.jetstream().await;
    all_is_applied(&jetstream).await;
    let dead_letters = dead_letters(&jetstream).await;
    let mut sequences: Vec<_> = dead_letters.iter().map(|dead_letter| dead_letter.header("Rockets-Sequence")).collect();
    sequences.sort_unstable();
    sequences.dedup();
    assert!(!dead_letters.is_empty());
    assert_eq!(sequences.len(), dead_letters.len());
}
