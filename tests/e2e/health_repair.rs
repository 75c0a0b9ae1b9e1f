//! `rockets up` makes again what somebody has deleted while it runs, and everything goes on.

use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use serde_json::Value;

use super::harness::service::settles;
use super::harness::stream::all_is_applied;
use super::harness::{Flight, Program, TestService, eventually};

/// The lines in which it says that it has made these objects again.
fn made(up: &Program, object: &str) -> usize {
    let made = |line: &Value| {
        line["message"] == "made again what was missing at the broker"
            && line["objects"].as_str().unwrap().split(", ").any(|made| made == object)
    };
    up.log_lines().iter().filter(|line| made(line)).count()
}

async fn makes(service: &TestService, object: &str) {
    let up = &service.programs[0];
    eventually(&format!("it makes {object}"), async || (made(up, object) > 0).then_some(())).await;
    eventually("all is well again", async || {
        (service.query.get("/readyz").await.body["data"]["status"] == "ready").then_some(())
    })
    .await;
}

async fn stores(service: &TestService, messages: &[Value]) {
    for message in messages {
        eventually("the message is stored", async || (service.post(message).await.status == 200).then_some(())).await;
    }
}

#[tokio::test]
async fn a_durable_that_was_deleted() {
    let mut service = TestService::start().await;
    let flight = Flight::new();
    let messages = flight.climb(6);
    stores(&service, &messages[..3]).await;
    service.settles(&messages[..3]).await;
    let jetstream = service.broker().jetstream().await;
    let durable = format!("rockets-p{:02}", flight.partition());
    jetstream.delete_consumer_from_stream(&durable, "ROCKETS").await.unwrap();
    stores(&service, &messages[3..]).await;
    service.settles(&messages).await;
    makes(&service, &format!("durable {durable}")).await;
    all_is_applied(&jetstream).await;
    // All came again, and changed nothing.
    for event in 1..=6 {
        assert_eq!(service.query.status(event).await.as_deref(), Some("processed"), "event {event}");
    }
}

#[tokio::test]
async fn a_log_that_was_deleted() {
    let mut service = TestService::start().await;
    let (known, new) = (Flight::new().climb(4), Flight::new().climb(4));
    stores(&service, &known[..3]).await;
    service.settles(&known[..3]).await;
    let jetstream = service.broker().jetstream().await;
    jetstream.delete_stream("ROCKETS").await.unwrap();
    // What is known of a rocket is not in the log alone.
    stores(&service, &known[3..]).await;
    stores(&service, &new).await;
    service.settles(&known).await;
    service.settles(&new).await;
    makes(&service, "stream ROCKETS").await;
    all_is_applied(&jetstream).await;
}

#[tokio::test]
async fn a_bucket_that_was_deleted_is_filled_from_the_log() {
    let mut service = TestService::start().await;
    let (idle, known, new) = (Flight::new().climb(3), Flight::new().climb(6), Flight::new().climb(3));
    stores(&service, &idle).await;
    stores(&service, &known[..4]).await;
    service.settles(&idle).await;
    service.settles(&known[..4]).await;
    let jetstream = service.broker().jetstream().await;
    jetstream.delete_stream("KV_rockets").await.unwrap();
    stores(&service, &known[4..]).await;
    stores(&service, &new).await;
    makes(&service, "stream KV_rockets").await;
    for messages in [&known, &new, &idle] {
        service.settles(messages).await;
    }
    all_is_applied(&jetstream).await;
    eventually("it says that it has filled the bucket", async || {
        service.programs[0].log().contains("filled the new bucket from the log").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bucket_that_was_deleted_before_it_started_is_filled_too() {
    let mut service = TestService::start().await;
    let messages = Flight::new().climb(5);
    stores(&service, &messages[..3]).await;
    service.settles(&messages[..3]).await;
    assert!(service.programs[0].term().await.success());
    service.broker().jetstream().await.delete_stream("KV_rockets").await.unwrap();
    let mut up = Program::of(&["up"]).broker(service.broker()).start();
    let client = up.ready().await;
    settles(&client, &messages[..3]).await;
    for message in &messages[3..] {
        client.ingest(message).await;
    }
    settles(&client, &messages).await;
}

#[tokio::test]
async fn all_that_was_deleted_at_its_own_broker() {
    let service = TestService::embedded().await;
    let url = service.data.as_ref().unwrap().broker_url();
    let jetstream = jetstream::new(async_nats::connect(url).await.unwrap());
    let (gone, new) = (Flight::new().climb(3), Flight::new().climb(3));
    stores(&service, &gone).await;
    service.settles(&gone).await;
    for stream in ["ROCKETS", "ROCKETS_DLQ", "ROCKETS_OUTCOMES", "KV_rockets"] {
        jetstream.delete_stream(stream).await.unwrap();
    }
    for stream in ["ROCKETS", "ROCKETS_DLQ", "ROCKETS_OUTCOMES", "KV_rockets"] {
        makes(&service, &format!("stream {stream}")).await;
    }
    // The same rocket as well: what the trackers remember of it is not true any more.
    stores(&service, &new).await;
    stores(&service, &gone).await;
    service.settles(&new).await;
    service.settles(&gone).await;
    assert_eq!(service.query.rockets().await.len(), 2);
}

#[tokio::test]
async fn nothing_is_made_while_a_stream_is_being_restored() {
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    let config = jetstream.get_stream("ROCKETS_DLQ").await.unwrap().cached_info().config.clone();
    let mut restoring: Config = config.clone();
    restoring.metadata.insert("rockets.restoring".into(), "somebody".into());
    jetstream.update_stream(restoring).await.unwrap();
    eventually("/readyz says so", async || {
        let answer = service.query.get("/readyz").await;
        let problems = answer.body["data"]["problems"].to_string();
        (answer.status == 503 && problems.contains("stream ROCKETS_DLQ is being restored")).then_some(())
    })
    .await;
    jetstream.delete_stream("ROCKETS_OUTCOMES").await.unwrap();
    eventually("it says why it does not make it", async || {
        service.programs[0].log().contains("is what a restore that was not finished left behind").then_some(())
    })
    .await;
    assert!(jetstream.get_stream("ROCKETS_OUTCOMES").await.is_err(), "it was made");
    jetstream.update_stream(config).await.unwrap();
    makes(&service, "stream ROCKETS_OUTCOMES").await;
}
