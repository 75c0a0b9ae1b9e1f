//! Two versions of the service beside each other, as in a rolling upgrade: what an older program does not know it neither
//! judges nor loses, and nobody else waits for it.

use async_nats::{HeaderMap, jetstream};
use bytes::Bytes;
use serde_json::{Value, json};

use super::harness::messages::subject;
use super::harness::service::init;
use super::harness::stream::{all_is_applied, records, unacknowledged};
use super::harness::{Broker, Client, Flight, Program, becomes};

/// A tracker of a newer version.
fn newer_tracker(broker: &Broker) -> Program {
    Program::of(&["track"]).broker(broker).env("TEST_FORMAT", "2").start()
}

/// Stores a message that takes a program which knows format 2, as a newer ingress would.
async fn publish_newer(jetstream: &jetstream::Context, message: &Value) -> u64 {
    let mut headers = HeaderMap::new();
    headers.insert("Rockets-Format", "2");
    let body = Bytes::from(message.to_string());
    jetstream.publish_with_headers(subject(message), headers, body).await.unwrap().await.unwrap().sequence
}

async fn last_number(client: &Client, flight: &Flight) -> Value {
    client.rocket(&flight.channel).await.map_or(Value::Null, |mut rocket| rocket["lastMessageNumber"].take())
}

async fn applies(client: &Client, flight: &Flight, number: u64) {
    becomes("the last number", json!(number), async || last_number(client, flight).await).await;
}

#[tokio::test]
async fn an_older_tracker_sets_aside_what_takes_a_newer_one() {
    let broker = Broker::start().await;
    init(&broker).await;
    let jetstream = broker.jetstream().await;
    let mut query = Program::of(&["up", "--roles", "ingest,query"]).broker(&broker).env("TEST_FORMAT", "2").start();
    let client = query.ready().await;
    let mut older = Program::of(&["track"]).broker(&broker).start();
    let older_client = older.ready().await;
    let [flight, other] = [Flight::of_partition(3), Flight::of_partition(3)];
    client.ingest(&flight.launched(1)).await;
    applies(&client, &flight, 1).await;

    // A type of message that the older one would judge wrongly.
    let newer = publish_newer(&jetstream, &flight.faster(2, 1)).await;
    for number in 3..=200 {
        client.ingest(&flight.faster(number, 1)).await;
    }
    client.ingest(&other.launched(1)).await;
    applies(&client, &other, 1).await;
    becomes("what is not acknowledged", 1, async || unacknowledged(&jetstream).await).await;
    assert_eq!(
        (last_number(&client, &flight).await, client.dead_letters_of(&flight.channel).await.len()),
        (json!(1), 0)
    );
    assert_ne!(client.status(newer).await.as_deref(), Some("failed"));
    let ready = older_client.get("/readyz").await;
    let problems = ready.body["data"]["problems"].to_string();
    assert!(ready.status == 200 && problems.contains(&flight.channel) && problems.contains("format 2"), "{ready:?}");
    assert_eq!(older.log().matches("waits for a program that knows its format").count(), 1);

    // A newer one comes, and the older one goes: all of it is applied, in its order.
    let mut tracker = newer_tracker(&broker);
    tracker.ready().await;
    older.kill();
    applies(&client, &flight, 200).await;
    all_is_applied(&jetstream).await;
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["currentSpeed"], 500 + 199);

    // Its records are the older one's to leave alone when it comes back, and it loses nothing of what comes meanwhile.
    tracker.kill();
    let mut older = Program::of(&["track"]).broker(&broker).start();
    older.ready().await;
    for number in 201..=300 {
        client.ingest(&flight.faster(number, 1)).await;
    }
    let third = Flight::of_partition(3);
    client.ingest(&third.launched(1)).await;
    applies(&client, &third, 1).await;
    becomes("what is not acknowledged", 1, async || unacknowledged(&jetstream).await).await;
    assert_eq!(last_number(&client, &flight).await, 200);
    let mut tracker = newer_tracker(&broker);
    tracker.ready().await;
    older.kill();
    applies(&client, &flight, 300).await;
    all_is_applied(&jetstream).await;
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["currentSpeed"], 500 + 299);
}

#[tokio::test]
async fn a_field_that_a_newer_version_added_is_carried_along() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.ready().await;
    let jetstream = broker.jetstream().await;
    let flight = Flight::new();
    client.ingest(&flight.launched(1)).await;
    applies(&client, &flight, 1).await;
    all_is_applied(&jetstream).await;
    let mut record: Value = serde_json::from_slice(&records(&jetstream).await[&flight.channel]).unwrap();
    record["crew"] = json!(["a"]);
    record["rocket"]["fuel"] = json!({ "left": 3 });
    let bucket = jetstream.get_key_value("rockets").await.unwrap();
    bucket.put(&flight.channel, record.to_string().into()).await.unwrap();
    client.ingest(&flight.faster(2, 1)).await;
    applies(&client, &flight, 2).await;
    let record: Value = serde_json::from_slice(&records(&jetstream).await[&flight.channel]).unwrap();
    assert_eq!((&record["crew"], &record["rocket"]["fuel"]), (&json!(["a"]), &json!({ "left": 3 })));
    assert_eq!(record["rocket"]["speed"], 501);
}
