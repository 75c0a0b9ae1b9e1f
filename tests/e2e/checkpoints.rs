//! Checkpoints: a long channel is read from the last one that serves, and what it tells is the same as from the beginning.

use serde_json::{Value, json};

use super::harness::stream::{all_is_applied, count, publish};
use super::harness::{ChannelLog, Flight, TestService, eventually};

/// More numbers than lie between two checkpoints.
const NUMBERS: u64 = 10_200;

#[tokio::test]
async fn a_long_channel_is_read_from_its_last_checkpoint() {
    let mut service = TestService::start().await;
    let (client, jetstream) = (service.query.clone(), service.broker().jetstream().await);
    let flight = Flight::new();
    let (mut log, messages) = (ChannelLog::new(&flight.channel), flight.climb(NUMBERS));
    for (event, message) in publish(&jetstream, &messages).await.into_iter().zip(&messages) {
        log.message(event, message);
    }
    all_is_applied(&jetstream).await;
    let checkpoints = async || count(&jetstream, "ROCKETS_CHECKPOINTS").await;
    eventually("a checkpoint", async || (checkpoints().await > 0).then_some(())).await;
    let path = format!("/rockets/{}/history", flight.channel);
    let places = log.places();
    let speed_at = |number: u64| places[&number].row["rocket"]["currentSpeed"].clone();
    let at = async |number: u64| client.get(&format!("{path}?at={number}")).await.body["data"]["currentSpeed"].clone();
    let newest = client.list(&path).await;
    assert_eq!((newest.len(), &newest[0]["message_number"]), (100, &json!(NUMBERS)));
    for number in [1, 100, NUMBERS - 250, NUMBERS - 1, NUMBERS] {
        assert_eq!(at(number).await, speed_at(number), "at {number}");
    }
    log.history_holds(&client).await;

    // Without what lies before the checkpoint, what lies behind it is reported all the same.
    let subject = format!("checkpoints.{}.passed", flight.channel);
    let checkpoint = jetstream
        .get_stream("ROCKETS_CHECKPOINTS")
        .await
        .unwrap()
        .get_last_raw_message_by_subject(&subject)
        .await
        .unwrap();
    let said = |name: &str| checkpoint.headers.get(name).unwrap().as_str().parse::<u64>().unwrap();
    let (through, from, seen) = (said("Rockets-Through"), said("Rockets-From"), said("Rockets-Seen"));
    // The newest page, of any length, lies behind it.
    assert!((4_000..=seen - 1_000).contains(&through) && from == through + 1, "{through} {from} {seen}");
    jetstream.get_stream("ROCKETS").await.unwrap().purge().sequence(from).await.unwrap();
    let behind = NUMBERS.min(through + 50);
    assert_eq!(at(behind).await, speed_at(behind));
    for more in flight.climb(NUMBERS + 300).iter().skip(NUMBERS as usize) {
        let event = client.ingest(more).await;
        log.message(event, more);
    }
    log.rocket_holds(&client).await;
    let last: Vec<Value> = client.list(&path).await;
    let places = log.places();
    for row in last {
        let number = row["message_number"].as_u64().unwrap();
        assert_eq!(row["rocket"]["currentSpeed"], places[&number].row["rocket"]["currentSpeed"], "{row}");
    }
}
