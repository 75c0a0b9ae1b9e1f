//! A store that is full: new messages are refused, nothing is lost, and all goes on once there is room.

use async_nats::jetstream;
use futures_util::TryStreamExt as _;

use serde_json::Value;

use super::harness::service::settles;
use super::harness::stream::{all_is_applied, count, dead_letters};
use super::harness::{Broker, Flight, Program, TestService, eventually};

/// Lets a stream have so many messages and no more; -1 for any number.
async fn limit(jetstream: &jetstream::Context, stream: &str, messages_max: i64) {
    let config = jetstream.get_stream(stream).await.unwrap().cached_info().config.clone();
    jetstream.update_stream(jetstream::stream::Config { max_messages: messages_max, ..config }).await.unwrap();
}

#[tokio::test]
async fn a_full_stream_refuses_messages_until_there_is_room() {
    let mut service = TestService::start().await;
    let messages = Flight::new().climb(4);
    service.ingest.ingest(&messages[0]).await;
    let jetstream = service.broker().jetstream().await;
    limit(&jetstream, "ROCKETS", 2).await;
    service.ingest.ingest(&messages[1]).await;
    let answer = service.post(&messages[2]).await;
    assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true), "{answer:?}");
    // A repeat of what is stored needs no room.
    assert_eq!(service.post(&messages[1]).await.body["data"]["status"], "duplicate");
    service.settles(&messages[..2]).await;

    limit(&jetstream, "ROCKETS", -1).await;
    for message in &messages[2..] {
        service.ingest.ingest(message).await;
    }
    service.settles(&messages).await;
}

#[tokio::test]
async fn a_full_bucket_makes_new_rockets_wait_until_there_is_room() {
    let mut service = TestService::start().await;
    let (known, new) = (Flight::new().climb(3), Flight::new().climb(3));
    service.ingest.ingest(&known[0]).await;
    service.settles(&known[..1]).await;
    let jetstream = service.broker().jetstream().await;
    limit(&jetstream, "KV_rockets", 1).await;
    for message in &new {
        service.ingest.ingest(message).await;
    }
    let log = async || service.programs[0].log().contains("the store is full").then_some(());
    eventually("the log says so", log).await;

    limit(&jetstream, "KV_rockets", -1).await;
    for message in &known[1..] {
        service.ingest.ingest(message).await;
    }
    service.settles(&new).await;
    service.settles(&known).await;
    all_is_applied(&jetstream).await;
}

#[tokio::test]
async fn refused_messages_wait_for_room_among_the_dead_letters() {
    let mut service = TestService::start().await;
    let (flight, other) = (Flight::new(), Flight::new());
    let jetstream = service.broker().jetstream().await;
    limit(&jetstream, "ROCKETS_DLQ", 1).await;
    let messages: Vec<_> = (1..=4).map(|number| flight.launched(number)).collect();
    for message in &messages {
        service.ingest.ingest(message).await;
    }
    let log = async || service.programs[0].log().contains("the store is full").then_some(());
    eventually("the log says so", log).await;
    // One rocket's trouble.
    let others = other.climb(3);
    for message in &others {
        service.ingest.ingest(message).await;
    }
    service.settles(&others).await;

    limit(&jetstream, "ROCKETS_DLQ", -1).await;
    service.settles(&messages).await;
    all_is_applied(&jetstream).await;
    assert_eq!(dead_letters(&jetstream).await.len(), 3);
    assert_eq!(count(&jetstream, "ROCKETS").await, 7);
}

#[tokio::test]
async fn a_log_that_has_come_to_its_bound_refuses_messages_until_it_is_trimmed() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).env("ROCKETS_STREAM__LOG_MAX_BYTES", "1MiB").start();
    let client = up.ready().await;
    let messages = Flight::new().climb(40);
    let large = |message: &Value| {
        let mut message = message.clone();
        message["pad"] = "x".repeat(60_000).into();
        message
    };
    let mut stored = 0;
    let refused = loop {
        let answer = client.post(&large(&messages[stored])).await;
        if answer.status != 200 {
            break answer;
        }
        stored += 1;
    };
    assert!((10..20).contains(&stored), "{stored} messages of 60 kB are in 1 MiB");
    assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (503, true), "{refused:?}");
    settles(&client, &messages[..stored]).await;
    let unready = eventually("it says that it is full", async || {
        let answer = client.get("/readyz").await;
        (answer.status == 503).then_some(answer.body.to_string())
    });
    assert!(unready.await.contains("stream ROCKETS"));

    Program::of(&["trim", "--keep", "0s", "--yes"]).broker(&broker).ends().await.says(0);
    eventually("there is room", async || (client.post(&large(&messages[stored])).await.status == 200).then_some(()))
        .await;
    up.ready().await;
    settles(&client, &messages[..=stored]).await;
}

#[tokio::test]
async fn outcomes_that_have_no_room_are_reported_once_there_is_some() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).env("ROCKETS_STREAM__OUTCOMES_MAX_BYTES", "1MiB").start();
    let client = up.ready().await;
    let jetstream = broker.jetstream().await;
    let fill = async || jetstream.publish("forgotten.999999", vec![b'x'; 60_000].into()).await.unwrap().await;
    while fill().await.is_ok() {}
    // What is left is too little for this, and not for an outcome.
    let fill = async || jetstream.publish("forgotten.999999", vec![b'x'; 100].into()).await.unwrap().await;
    while fill().await.is_ok() {}
    let messages = Flight::new().climb(3);
    let mut events = Vec::new();
    for message in &messages {
        events.push(client.ingest(message).await);
    }
    settles(&client, &messages).await;
    let stream = jetstream.get_stream("ROCKETS_OUTCOMES").await.unwrap();
    stream.purge().filter("forgotten.999999").await.unwrap();
    for event in events {
        assert_eq!(client.settled(event).await["status"], "processed");
    }
    all_is_applied(&jetstream).await;
    up.ready().await;
}

/// How many deliveries are unacknowledged, of all partitions.
async fn unacknowledged(jetstream: &jetstream::Context) -> usize {
    let stream = jetstream.get_stream("ROCKETS").await.unwrap();
    let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
    consumers.iter().map(|consumer| consumer.num_ack_pending).sum()
}

#[tokio::test]
async fn a_rocket_without_room_for_its_dead_letter_keeps_one_message_however_many_come_after_it() {
    const ROCKETS: usize = 10;
    const MESSAGES: u64 = 60;
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    limit(&jetstream, "ROCKETS_DLQ", 1).await;
    service.ingest.ingest(&Flight::new().launched(2)).await;
    let flights: Vec<_> = (0..=ROCKETS).map(|_| Flight::new()).collect();
    let messages = |flight: &Flight| {
        let mut messages = flight.climb(MESSAGES);
        messages[1] = flight.launched(2);
        messages
    };
    let all: Vec<_> = flights.iter().map(messages).collect();
    for number in 0..MESSAGES as usize {
        for messages in &all {
            service.ingest.ingest(&messages[number]).await;
        }
    }
    // Everything is stored but for what waits for room, so that the rest is acknowledged; nothing of it holds others up.
    let bound = 2 * ROCKETS;
    let is_bounded = async || Some(unacknowledged(&jetstream).await).filter(|count| (1..=bound).contains(count));
    eventually("few messages are unacknowledged", is_bounded).await;
    let other = Flight::new().climb(3);
    for message in &other {
        service.ingest.ingest(message).await;
    }
    service.settles(&other).await;
    assert!(unacknowledged(&jetstream).await <= bound);
    let unready = async || Some(service.ingest.get("/readyz").await).filter(|answer| answer.status == 503);
    let problems = eventually("/readyz says so", unready).await.body["data"]["problems"].to_string();
    assert!(problems.contains("dead letters"), "{problems}");

    limit(&jetstream, "ROCKETS_DLQ", -1).await;
    for messages in &all {
        service.settles(messages).await;
    }
    all_is_applied(&jetstream).await;
}
