//! A log of which an operator, or a lost block, has taken what was applied: rockets stay what they are, gaps can still be
//! closed, and what cannot be done any more is said.

use async_nats::jetstream;
use serde_json::{Value, json};

use super::harness::stream::{all_is_applied, records};
use super::harness::{Broker, Client, Flight, Program, becomes};

const OUT_OF_REACH: &str = "the log does not reach back far enough: message number";

/// A rocket with the numbers 1 to 9 applied and 11 and 12 waiting, and where its messages lie.
async fn rocket_behind_a_gap(client: &Client) -> (Flight, Vec<u64>) {
    let flight = Flight::new();
    let mut events = Vec::new();
    for message in flight.climb(12).iter().filter(|message| message["metadata"]["messageNumber"] != 10) {
        events.push(client.ingest(message).await);
    }
    (flight, events)
}

async fn purge_before(jetstream: &jetstream::Context, sequence: u64) {
    jetstream.get_stream("ROCKETS").await.unwrap().purge().sequence(sequence).await.unwrap();
}

async fn delete(jetstream: &jetstream::Context, sequence: u64) {
    assert!(jetstream.get_stream("ROCKETS").await.unwrap().delete_message(sequence).await.unwrap());
}

/// What a rocket says of itself, but for how many wait.
async fn seen(client: &Client, flight: &Flight) -> Value {
    client.rocket(&flight.channel).await.unwrap()
}

#[tokio::test]
async fn a_skip_on_a_trimmed_log_loses_nothing() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.ready().await;
    let jetstream = broker.jetstream().await;
    let (purged, events) = rocket_behind_a_gap(&client).await;
    all_is_applied(&jetstream).await;
    purge_before(&jetstream, events[9]).await;
    let (deleted, more) = rocket_behind_a_gap(&client).await;
    all_is_applied(&jetstream).await;
    delete(&jetstream, more[4]).await;
    for flight in [&purged, &deleted] {
        let before = seen(&client, flight).await;
        assert_eq!((&before["lastMessageNumber"], &before["pendingMessages"]), (&json!(9), &json!(2)));
        let skip = client.skip(&flight.channel, &json!({ "up_to": 10, "reason": "radio lost" })).await.ingested();
        assert_eq!(client.settled(skip).await["status"], "processed");
        let after = seen(&client, flight).await;
        assert_eq!((&after["lastMessageNumber"], &after["pendingMessages"]), (&json!(12), &json!(0)));
        let whole = Flight::new();
        for message in whole.climb(12).iter().filter(|message| message["metadata"]["messageNumber"] != 10) {
            client.ingest(message).await;
        }
        client.skip(&whole.channel, &json!({ "up_to": 10, "reason": "radio lost" })).await.ingested();
        let speed = async || seen(&client, &whole).await["currentSpeed"].clone();
        becomes("the speed of one that lost nothing", after["currentSpeed"].clone(), speed).await;
        assert_eq!(client.dead_letters_of(&flight.channel).await, Vec::<Value>::new());
    }
}

#[tokio::test]
async fn a_rebuild_leaves_what_the_log_cannot_tell_and_says_so() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.ready().await;
    let jetstream = broker.jetstream().await;
    let (flight, events) = rocket_behind_a_gap(&client).await;
    all_is_applied(&jetstream).await;
    purge_before(&jetstream, events[6]).await;
    let before = records(&jetstream).await;
    for arguments in [["rebuild", "--check"], ["rebuild", "--apply"]] {
        let ended = Program::of(&arguments).broker(&broker).ends().await;
        let output = ended.says(1);
        let line = output.lines().find(|line| line.contains(&flight.channel)).expect("a line that names the channel");
        assert!(line.contains(&format!("{OUT_OF_REACH} 1 was applied")), "{line}");
    }
    assert!(records(&jetstream).await == before, "a record was changed");
}

#[tokio::test]
async fn a_correction_of_what_is_gone_fails_and_changes_nothing() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.ready().await;
    let jetstream = broker.jetstream().await;
    let (flight, events) = rocket_behind_a_gap(&client).await;
    let refused = Flight { channel: flight.channel.clone() };
    all_is_applied(&jetstream).await;
    client.ingest(&refused.launched(13)).await;
    client.ingest(&flight.faster(10, 1)).await;
    let dead_letters = async || client.dead_letters_of(&flight.channel).await.len();
    becomes("the dead letters", 1, dead_letters).await;
    all_is_applied(&jetstream).await;
    purge_before(&jetstream, events[3]).await;
    let before = (records(&jetstream).await, seen(&client, &flight).await);
    let dead_letter = client.dead_letters_of(&flight.channel).await.remove(0);
    let event = client.replay(&dead_letter["id"], Some(&flight.faster(2, 1_000))).await.ingested();
    let settled = client.settled(event).await;
    assert_eq!(settled["status"], "failed", "{settled}");
    assert!(settled["error_message"].as_str().unwrap().starts_with(OUT_OF_REACH), "{settled}");
    assert!((records(&jetstream).await, seen(&client, &flight).await) == before, "something was changed");
}
