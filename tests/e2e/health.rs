//! `/readyz` and `/health`: what keeps a role from its work is named, and is over without a restart.

use async_nats::jetstream;
use serde_json::{Value, json};

use super::harness::service::init;
use super::harness::stream::all_is_applied;
use super::harness::{Client, Flight, Program, TestService, becomes, eventually};

/// Lets a stream have so many messages and no more; -1 for any number.
async fn limit(jetstream: &jetstream::Context, stream: &str, messages_max: i64) {
    let config = jetstream.get_stream(stream).await.unwrap().cached_info().config.clone();
    jetstream.update_stream(jetstream::stream::Config { max_messages: messages_max, ..config }).await.unwrap();
}

/// Waits until a process cannot do its work for this reason among others, and says so in every way.
async fn cannot_work(client: &Client, problem: &str) {
    let told = |answer: &Value| answer["data"]["problems"].as_array().is_some_and(|all| all.contains(&json!(problem)));
    eventually(&format!("/readyz says {problem:?}"), async || {
        let [ready, health] = [client.get("/readyz").await, client.get("/health").await];
        (ready.status == 503 && health.status == 503 && told(&ready.body) && told(&health.body)).then(|| {
            assert_eq!(ready.body["data"]["status"], "unready");
            assert!(!ready.error(503).is_empty() && !health.error(503).is_empty());
        })
    })
    .await;
}

/// Waits until a process does its work, although this is wrong.
async fn is_degraded(client: &Client, problem: &str) {
    becomes("/readyz", (200, json!("degraded"), json!([problem])), async || {
        let answer = client.get("/readyz").await;
        (answer.status, answer.body["data"]["status"].clone(), answer.body["data"]["problems"].clone())
    })
    .await;
    assert_eq!(client.get("/health").await.status, 200);
}

/// Waits until a process does its work, whatever else is wrong.
async fn works(client: &Client) {
    becomes("/readyz", 200, async || client.get("/readyz").await.status).await;
}

/// Waits until a process does its work, and nothing is wrong.
async fn is_ready(client: &Client) {
    becomes("/readyz", (200, json!("ready"), Value::Null), async || {
        let answer = client.get("/readyz").await;
        (answer.status, answer.body["data"]["status"].clone(), answer.body["data"]["problems"].clone())
    })
    .await;
    assert_eq!(client.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_full_stream_keeps_the_ingress_from_its_work_until_there_is_room() {
    let mut service = TestService::split().await;
    let track = service.programs[1].client().await;
    let messages = Flight::new().climb(3);
    service.ingest.ingest(&messages[0]).await;
    let jetstream = service.broker().jetstream().await;
    limit(&jetstream, "ROCKETS", 1).await;
    // Before anybody has tried.
    cannot_work(&service.ingest, "stream ROCKETS is full: 1 of 1 messages").await;
    service.post(&messages[1]).await.error(503);
    is_ready(&service.query).await;
    is_degraded(&track, "stream ROCKETS is full: 1 of 1 messages").await;

    limit(&jetstream, "ROCKETS", -1).await;
    // Nobody sends to it meanwhile.
    is_ready(&service.ingest).await;
    for message in &messages[1..] {
        service.ingest.ingest(message).await;
    }
    service.settles(&messages).await;
}

#[tokio::test]
async fn a_publish_that_failed_counts_until_the_stream_is_reached() {
    let mut service = TestService::split().await;
    let messages = Flight::new().climb(2);
    service.ingest.ingest(&messages[0]).await;
    let jetstream = service.broker().jetstream().await;
    let config = jetstream.get_stream("ROCKETS").await.unwrap().cached_info().config.clone();
    // What is published comes to nobody, though the stream is there and has room.
    let elsewhere = jetstream::stream::Config { subjects: vec!["elsewhere.*".into()], ..config.clone() };
    jetstream.update_stream(jetstream::stream::Config { subject_transform: None, ..elsewhere }).await.unwrap();
    service.post(&messages[1]).await.error(503);
    let why = "messages cannot be stored in stream ROCKETS: the broker did not take it";
    cannot_work(&service.ingest, why).await;
    let problems = || async { service.ingest.get("/readyz").await.body["data"]["problems"].clone() };
    let differs = |problems: &Value| problems.to_string().contains("stream ROCKETS is set up otherwise");
    eventually("both are told", async || Some(problems().await).filter(|it| differs(it))).await;
    assert!(problems().await.to_string().contains(why), "what the stream says of itself proves nothing");

    jetstream.update_stream(config).await.unwrap();
    is_ready(&service.ingest).await;
    assert_eq!(jetstream.get_stream("ROCKETS").await.unwrap().cached_info().state.messages, 1, "nothing was stored");
    service.ingest.ingest(&messages[1]).await;
    service.settles(&messages).await;
}

#[tokio::test]
async fn dead_letters_and_outcomes_that_cannot_be_stored_keep_the_tracker_from_its_work() {
    for (stream, problem) in [
        ("ROCKETS_DLQ", "stream ROCKETS_DLQ is full: 1 of 1 messages"),
        ("ROCKETS_OUTCOMES", "stream ROCKETS_OUTCOMES is full: 1 of 1 messages"),
    ] {
        let mut service = TestService::split().await;
        let track = service.programs[1].client().await;
        let jetstream = service.broker().jetstream().await;
        let flight = Flight::new();
        let messages = [flight.launched(1), flight.launched(2), flight.launched(3)];
        limit(&jetstream, stream, 1).await;
        for message in &messages {
            service.ingest.ingest(message).await;
        }
        cannot_work(&track, problem).await;
        is_ready(&service.ingest).await;
        is_ready(&service.query).await;
        limit(&jetstream, stream, -1).await;
        is_ready(&track).await;
        service.settles(&messages).await;
        all_is_applied(&jetstream).await;
    }
}

#[tokio::test]
async fn a_tracker_that_stores_nothing_for_long_says_so() {
    let mut service = TestService::start().await;
    let (known, new) = (Flight::new().climb(1), Flight::new().climb(3));
    service.ingest.ingest(&known[0]).await;
    service.settles(&known).await;
    let jetstream = service.broker().jetstream().await;
    limit(&jetstream, "KV_rockets", 1).await;
    for message in &new {
        service.ingest.ingest(message).await;
    }
    cannot_work(&service.ingest, "records cannot be stored in bucket rockets (stream KV_rockets): the store is full")
        .await;
    let problems = service.ingest.get("/readyz").await.body["data"]["problems"].clone();
    let full = json!("bucket rockets (stream KV_rockets) is full: 1 of 1 messages");
    assert!(problems.as_array().unwrap().contains(&full), "{problems}");
    limit(&jetstream, "KV_rockets", -1).await;
    is_ready(&service.ingest).await;
    service.settles(&new).await;
}

#[tokio::test]
async fn what_is_deleted_is_waited_for_until_it_is_made_again() {
    let mut service = TestService::split().await;
    let (ingest, query) = (service.ingest.clone(), service.query.clone());
    let track = service.programs[1].client().await;
    let flight = Flight::new();
    let messages = flight.climb(5);
    ingest.ingest(&messages[0]).await;
    service.settles(&messages[..1]).await;
    let jetstream = service.broker().jetstream().await;

    let durable = format!("rockets-p{:02}", flight.partition());
    jetstream.delete_consumer_from_stream(&durable, "ROCKETS").await.unwrap();
    cannot_work(&track, &format!("durable {durable} is missing: run `rockets init`")).await;
    is_ready(&ingest).await;
    is_ready(&query).await;
    ingest.ingest(&messages[1]).await;
    init(service.broker()).await;
    is_ready(&track).await;
    service.settles(&messages[..2]).await;

    jetstream.delete_stream("ROCKETS").await.unwrap();
    let missing = "stream ROCKETS is missing: run `rockets init`";
    for client in [&ingest, &track] {
        cannot_work(client, missing).await;
    }
    // Rockets are still told.
    is_degraded(&query, missing).await;
    init(service.broker()).await;
    // The bucket knows of more than the new log has, which stops nothing.
    for client in [&ingest, &track, &query] {
        works(client).await;
    }
    ingest.ingest(&messages[2]).await;
    service.settles(&messages[..3]).await;

    jetstream.delete_stream("KV_rockets").await.unwrap();
    for client in [&track, &query] {
        cannot_work(client, "bucket rockets (stream KV_rockets) is missing: run `rockets init`").await;
    }
    is_ready(&ingest).await;
    init(service.broker()).await;
    for client in [&track, &query] {
        works(client).await;
    }
    let new = Flight::new().climb(2);
    for message in &new {
        ingest.ingest(message).await;
    }
    service.settles(&new).await;
    for client in [&ingest, &track, &query] {
        is_ready(client).await;
    }
    assert_eq!(service.programs.iter_mut().find_map(Program::try_exit), None, "nothing was started again");
}

#[tokio::test]
async fn what_is_set_up_otherwise_is_told_field_by_field() {
    let mut service = TestService::split().await;
    let track = service.programs[1].client().await;
    let jetstream = service.broker().jetstream().await;
    let stream = jetstream.get_stream("ROCKETS").await.unwrap();
    let mut config = stream.get_consumer::<jetstream::consumer::pull::Config>("rockets-p03").await.unwrap();
    let mut changed = config.info().await.unwrap().config.clone();
    changed.max_ack_pending = 7;
    changed.description = Some("an operator's own".into());
    jetstream.create_consumer_on_stream(changed, "ROCKETS").await.unwrap();
    let field = "durable rockets-p03 is set up otherwise: run `rockets init` (max_ack_pending: is 7, should be 65536)";
    cannot_work(&track, field).await;
    is_ready(&service.ingest).await;
    is_ready(&service.query).await;
    init(service.broker()).await;
    is_ready(&track).await;
}

#[tokio::test]
async fn serving_goes_on_for_a_while_after_the_process_has_said_that_it_ends() {
    let mut service = TestService::start().await;
    let broker = service.broker();
    let mut up = Program::of(&["up"]).broker(broker).env("ROCKETS_HTTP__DRAIN_DELAY", "8s").start();
    let client = up.ready().await;
    let messages = Flight::new().climb(2);
    client.ingest(&messages[0]).await;
    up.send_term();
    let unready = async || Some(client.get("/readyz").await).filter(|answer| answer.status == 503);
    let answer = eventually("/readyz says that it ends", unready).await;
    assert_eq!(answer.error(503), "the process is shutting down");
    assert_eq!(answer.body["data"]["problems"], json!(["the process is shutting down"]));
    assert_eq!(client.get("/health").await.status, 200);
    // A load balancer that has not looked yet still sends.
    client.ingest(&messages[1]).await;
    client.settled(2).await;
    assert_eq!(up.exit().await.code(), Some(0));
    assert!(client.try_get("/livez").await.is_none());
    service.settles(&messages).await;
}
