//! `rockets forget`: nothing is left of a channel, which can begin again, whatever comes in meanwhile.

use std::cell::Cell;

use serde_json::{Value, json};

use super::harness::stream::{all_is_applied, count};
use super::harness::{Broker, ChannelLog, Client, Flight, Program, TestService, Trackers, becomes, eventually};

async fn forget(broker: &Broker, flight: &Flight) -> String {
    Program::of(&["forget", &flight.channel, "--yes"]).broker(broker).ends().await.says(0).to_owned()
}

/// Everything that can be asked for of a channel says that there is nothing.
async fn is_unknown(client: &Client, flight: &Flight, events: &[u64]) {
    let Flight { channel } = flight;
    becomes("the rocket", None, async || client.rocket(channel).await).await;
    assert_eq!(client.get(&format!("/rockets/{channel}/history")).await.error(404), "rocket not found");
    assert_eq!(client.dead_letters_of(channel).await, Vec::<Value>::new());
    let waits = async || client.list("/gaps").await.iter().filter(|gap| gap["channel"] == **channel).count();
    becomes("its gaps", 0, waits).await;
    for event in events {
        assert_eq!(client.get(&format!("/events/{event}")).await.error(404), "event not found");
    }
}

#[tokio::test]
async fn a_forgotten_channel_begins_again() {
    let mut service = TestService::start().await;
    let (client, jetstream) = (service.ingest.clone(), service.broker().jetstream().await);
    let (flight, other) = (Flight::new(), Flight::new());
    let other_event = client.ingest(&other.launched(1)).await;
    let mut messages = flight.climb(20);
    messages[4] = flight.launched(5);
    let mut events = Vec::new();
    for message in messages.iter().filter(|message| message["metadata"]["messageNumber"] != 18) {
        events.push(client.ingest(message).await);
    }
    let dead_letters = async || client.dead_letters_of(&flight.channel).await.len();
    becomes("the dead letters", 1, dead_letters).await;
    let waits = async || client.rocket(&flight.channel).await.unwrap()["pendingMessages"].clone();
    becomes("what waits", json!(2), waits).await;
    all_is_applied(&jetstream).await;

    let said = forget(service.broker(), &flight).await;
    assert!(said.contains("forgot 19 messages and 1 dead letters"), "{said}");
    is_unknown(&client, &flight, &events).await;
    assert_eq!(count(&jetstream, "ROCKETS").await, 1);
    assert_eq!(client.event(other_event).await.unwrap()["status"], "processed");
    Program::of(&["rebuild", "--check"]).broker(service.broker()).ends().await.says(0);
    let said = forget(service.broker(), &flight).await;
    assert!(said.contains("forgot 0 messages"), "{said}");

    // The very same message is recognised within the dedup window; others begin the second life.
    assert_eq!(client.post(&messages[0]).await.body["data"]["status"], "duplicate");
    let mut log = ChannelLog::new(&flight.channel);
    for number in [2, 3, 1, 5] {
        let message = if number == 1 {
            flight.message(1, "RocketLaunched", json!({"type": "T", "launchSpeed": 7, "mission": "AGAIN"}))
        } else {
            flight.faster(number, 1_000)
        };
        log.post(&client, &message).await;
    }
    log.holds(&client).await;
    all_is_applied(&jetstream).await;
    Program::of(&["rebuild", "--check"]).broker(service.broker()).ends().await.says(0);
}

#[tokio::test]
async fn a_channel_is_forgotten_while_its_messages_come_in() {
    let trackers = Trackers::start(2, "2s").await;
    let (client, query) = (&trackers.ingest, &trackers.query);
    let flight = Flight::new();
    for round in 0..3u64 {
        let over = Cell::new(false);
        // In the first round they are applied; in the others they are pending behind a gap, whichever life they are of.
        let messages = flight.climb(4_000).split_off(if round == 0 { 0 } else { 100 });
        let send = async {
            let mut sent = Vec::new();
            for mut message in messages {
                message["message"]["round"] = json!(round);
                sent.push(client.ingest(&message).await);
                if over.get() {
                    break;
                }
            }
            sent
        };
        let forget = async {
            let waits = |gap: &Value| gap["channel"] == *flight.channel && gap["pending_messages"].as_u64() > Some(20);
            eventually("it flies", async || match round {
                0 => query.rocket(&flight.channel).await.map(drop),
                _ => query.list("/gaps").await.iter().any(waits).then_some(()),
            })
            .await;
            forget(&trackers.broker, &flight).await;
            over.set(true);
        };
        let (sent, ()) = tokio::join!(send, forget);
        let mut left = Vec::new();
        for event in &sent {
            match query.get(&format!("/events/{event}")).await.status {
                404 => {}
                200 => left.push(*event),
                status => panic!("event {event}: {status}"),
            }
        }
        assert!(left.len() < sent.len(), "nothing was forgotten");
        all_is_applied(&trackers.broker.jetstream().await).await;
        Program::of(&["rebuild", "--check"]).broker(&trackers.broker).ends().await.says(0);
        for event in left {
            let event = query.event(event).await.unwrap();
            assert!(event["status"] == "pending" || event["status"] == "duplicate", "{event}");
        }
    }
    forget(&trackers.broker, &flight).await;
    let mut log = ChannelLog::new(&flight.channel);
    for number in 1..=20 {
        let mut message = flight.climb(20)[number - 1].clone();
        message["message"]["round"] = json!("last");
        log.post(client, &message).await;
    }
    log.rocket_holds(query).await;
    log.history_holds(query).await;
}

#[cfg(feature = "fail-points")]
#[tokio::test]
async fn a_channel_that_was_half_forgotten_waits_until_it_is_forgotten_again() {
    let mut service = TestService::start().await;
    let (client, jetstream) = (service.ingest.clone(), service.broker().jetstream().await);
    for point in ["forget.begun", "forget.messages-removed"] {
        let flight = Flight::new();
        let event = client.ingest(&flight.launched(1)).await;
        assert_eq!(client.settled(event).await["status"], "processed");
        let half = Program::of(&["forget", &flight.channel, "--yes"]).broker(service.broker()).fail_point(point);
        assert_eq!(half.ends().await.code, None, "{point}");
        client.ingest(&flight.faster(2, 1)).await;
        let check = Program::of(&["rebuild", "--check"]).broker(service.broker()).ends().await;
        assert!(check.says(1).contains("is being forgotten"), "{point}: {check:?}");
        forget(service.broker(), &flight).await;
        all_is_applied(&jetstream).await;
        let mut log = ChannelLog::new(&flight.channel);
        for message in flight.climb(4).iter_mut() {
            message["message"]["life"] = json!(2);
            log.post(&client, message).await;
        }
        log.holds(&client).await;
        Program::of(&["rebuild", "--check"]).broker(service.broker()).ends().await.says(0);
    }
}
