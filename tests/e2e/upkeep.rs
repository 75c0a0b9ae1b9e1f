//! What trackers do by themselves from time to time: trim the log and the dead letters, and skip what will not come.

use serde_json::{Value, json};

use super::harness::stream::count;
use super::harness::{Broker, Flight, Program, becomes};

#[tokio::test]
async fn the_log_keeps_what_it_is_told_to_keep() {
    let broker = Broker::start().await;
    let settings = [("ROCKETS_RETENTION__KEEP", "2s"), ("ROCKETS_RETENTION__DEAD_LETTERS", "2s")];
    let start = |settings: &[(&str, &str)]| {
        let up = Program::of(&["up"]).broker(&broker);
        settings.iter().fold(up, |up, (name, value)| up.env(name, value)).start()
    };
    let mut up = start(&settings);
    let client = up.ready().await;
    let (flight, jetstream) = (Flight::new(), broker.jetstream().await);
    let mut messages = flight.climb(30);
    messages[9] = flight.launched(10);
    for message in messages.iter().filter(|message| message["metadata"]["messageNumber"] != 28) {
        client.ingest(message).await;
    }
    let last = async || client.rocket(&flight.channel).await.map(|rocket| rocket["lastMessageNumber"].clone());
    becomes("the last number", Some(json!(27)), last).await;
    let waits = async || client.rocket(&flight.channel).await.unwrap()["pendingMessages"].clone();
    becomes("what waits", json!(2), waits).await;
    let rocket = client.rocket(&flight.channel).await;
    becomes("what the log keeps", 2, async || count(&jetstream, "ROCKETS").await).await;
    becomes("the dead letters", 0, async || count(&jetstream, "ROCKETS_DLQ").await).await;
    assert_eq!(client.rocket(&flight.channel).await, rocket);
    assert_eq!(client.list("/gaps").await[0]["waiting_for"], 28, "what waits stays");
}

#[tokio::test]
async fn what_does_not_arrive_in_time_is_skipped() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).env("ROCKETS_GAPS__SKIP_AFTER", "3s").start();
    let client = up.ready().await;
    let flight = Flight::new();
    for message in flight
        .climb(9)
        .iter()
        .filter(|message| ![3, 4, 8].map(Value::from).contains(&message["metadata"]["messageNumber"]))
    {
        client.ingest(message).await;
    }
    let gaps = async || client.list("/gaps").await.len();
    becomes("the gaps", 1, gaps).await;
    becomes("the gaps", 0, gaps).await;
    let rows = client.list(&format!("/rockets/{}/history?order=asc", flight.channel)).await;
    let skipped = |row: &&Value| row["status"] == "skipped";
    let numbers: Vec<_> = rows.iter().filter(skipped).map(|row| row["message_number"].clone()).collect();
    assert_eq!((rows.len(), numbers), (9, vec![json!(3), json!(4), json!(8)]));
    assert!(rows.iter().filter(skipped).all(|row| row["error_message"] == "not arrived within 3s"), "{rows:?}");
}
