//! Two messages with one number that say different things: neither is lost, and the one that came second says why it had no
//! effect. And dead letters that were stored once are stored once for all, also when everything is delivered again.

use async_nats::jetstream;
use serde_json::{Value, json};

use super::harness::stream::{all_is_applied, count, publish, publish_bytes};
use super::harness::{Broker, Client, Flight, Program, TestService, becomes, pick};

/// What is reported of an event that had no effect because another one has its number.
async fn is_conflict(client: &Client, event: u64, with: u64) -> Value {
    let told = client.settled(event).await;
    let expected = format!("event {with} has this message number and says something else");
    assert_eq!(pick(&told, ["status", "error_message"]), json!(["duplicate", expected]), "{told}");
    let channel = told["channel"].as_str().unwrap();
    let dead_letters = client.dead_letters_of(channel).await;
    let dead_letters: Vec<_> =
        dead_letters.into_iter().filter(|dead_letter| dead_letter["event_id"] == event).collect();
    let [dead_letter] = &dead_letters[..] else { panic!("not one dead letter of {event}: {dead_letters:?}") };
    assert_eq!(pick(dead_letter, ["reason", "error_message"]), json!(["conflict", expected]), "{dead_letter}");
    dead_letter.clone()
}

#[tokio::test]
async fn another_body_with_a_number_that_is_taken_is_a_dead_letter() {
    let service = TestService::start().await;
    let (client, flight) = (&service.ingest, Flight::new());
    let first = client.ingest(&flight.launched(1)).await;
    let second = client.ingest(&flight.faster(2, 10)).await;
    client.settled(second).await;
    // Applied, and waiting.
    let other = client.ingest(&flight.faster(2, 11)).await;
    let waits = client.ingest(&flight.faster(9, 1)).await;
    becomes("what waits", json!("pending"), async || client.status(waits).await.into()).await;
    let other_waits = client.ingest(&flight.faster(9, 2)).await;
    let dead_letter = is_conflict(client, other, second).await;
    is_conflict(client, other_waits, waits).await;
    assert_eq!(client.settled(first).await["status"], "processed");
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["currentSpeed"], 510);

    // Replayed, it takes the number.
    let replayed = client.replay(&dead_letter["id"], None).await.ingested();
    assert_eq!(client.settled(replayed).await["status"], "processed");
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["currentSpeed"], 511);
}

#[tokio::test]
async fn the_same_in_another_form_is_a_plain_duplicate() {
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    let (client, flight) = (service.ingest.clone(), Flight::new());
    let message = flight.launched(1);
    let first = client.ingest(&message).await;
    client.settled(first).await;
    let spaced = serde_json::to_string_pretty(&message).unwrap();
    let subject = format!("rockets.{}", flight.channel);
    let mut copies = publish(&jetstream, std::slice::from_ref(&message)).await;
    copies.push(publish_bytes(&jetstream, &subject, spaced.into_bytes()).await);
    for copy in copies {
        let told = client.settled(copy).await;
        assert_eq!(pick(&told, ["status", "error_message"]), json!(["duplicate", null]), "{told}");
    }
    assert_eq!(client.dead_letters_of(&flight.channel).await, Vec::<Value>::new());
}

/// Deletes all durables, forgets which dead letters there were, and starts `up` again: everything is delivered again.
async fn is_delivered_again(broker: &mut Broker, jetstream: &jetstream::Context) -> Program {
    let stream = jetstream.get_stream("ROCKETS").await.unwrap();
    for partition in 0..16 {
        stream.delete_consumer(&format!("rockets-p{partition:02}")).await.unwrap();
    }
    // After its window, and after a restart where they were dropped, the broker knows no id of them.
    broker.kill();
    broker.restart().await;
    Program::of(&["up"]).broker(broker).start()
}

#[tokio::test]
async fn what_was_dropped_is_no_dead_letter_again_when_all_is_delivered_again() {
    let mut broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.ready().await;
    let jetstream = broker.jetstream().await;
    let flight = Flight::new();
    client.ingest(&flight.launched(1)).await;
    client.ingest(&flight.faster(3, 1)).await;
    client.skip(&flight.channel, &json!({ "up_to": 2, "reason": "lost" })).await.ingested();
    becomes("the skip", json!(3), async || client.rocket(&flight.channel).await.unwrap()["lastMessageNumber"].take())
        .await;
    let late = client.ingest(&flight.faster(2, 1)).await;
    let other = client.ingest(&flight.faster(1, 3)).await;
    let malformed = publish_bytes(&jetstream, &format!("rockets.{}", flight.channel), b"garbage".to_vec()).await;
    for event in [late, other, malformed] {
        client.settled(event).await;
    }
    all_is_applied(&jetstream).await;
    let dead_letters = client.dead_letters_of(&flight.channel).await;
    assert_eq!(dead_letters.len(), 3, "{dead_letters:?}");
    for dead_letter in &dead_letters[1..] {
        assert_eq!(client.drop_dead_letter(&dead_letter["id"]).await.status, 200);
    }
    up.kill();
    let mut again = is_delivered_again(&mut broker, &jetstream).await;
    let client = again.ready().await;
    let jetstream = broker.jetstream().await;
    all_is_applied(&jetstream).await;
    assert_eq!(count(&jetstream, "ROCKETS_DLQ").await, 1, "{:?}", client.dead_letters_of(&flight.channel).await);
    assert_eq!(client.settled(other).await["status"], "duplicate");
}
