//! The program dies as by `kill -9` at each place where it matters, and the next one finishes what it left.
#![cfg(feature = "fail-points")]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use reqwest::Method;
use serde_json::Value;

use super::harness::messages::scattered;
use super::harness::program::{Program, Start};
use super::harness::service::settles;
use super::harness::stream::{all_is_applied, count, dead_letters, publish_bytes};
use super::harness::{Broker, ChannelLog, Flight, becomes};

/// What lies in the stream when the trackers start.
struct Work {
    flights: Vec<ChannelLog>,
    /// Channel and number of each message that makes no sense.
    refused: BTreeSet<(String, u64)>,
    malformed: Vec<u64>,
}

/// The work of a tracker in all its kinds: order and disorder, refusals, no messages at all, and a gap behind which more
/// waits than is kept in memory.
async fn work(broker: &Broker) -> Work {
    let jetstream = broker.jetstream().await;
    let (mut flights, mut refused, mut malformed) = (Vec::new(), BTreeSet::new(), Vec::new());
    for _ in 0..6 {
        let flight = Flight::new();
        let mut messages = flight.climb(30);
        messages[9] = flight.launched(10);
        messages[19] = flight.exploded(20, "x");
        let (mut log, copies) = (ChannelLog::new(&flight.channel), scattered(&messages));
        log.publish(&jetstream, &messages).await;
        log.publish(&jetstream, &copies).await;
        // The tenth makes no sense, and nothing does after the explosion.
        refused.extend([10].into_iter().chain(21..=30).map(|number| (flight.channel.clone(), number)));
        malformed.push(publish_bytes(&jetstream, &format!("rockets.{}", flight.channel), b"x".to_vec()).await);
        flights.push(log);
    }
    let flight = Flight::new();
    let messages = flight.climb(4_000);
    let mut log = ChannelLog::new(&flight.channel);
    log.publish(&jetstream, &messages[1..]).await;
    log.publish(&jetstream, &messages[..1]).await;
    flights.push(log);
    Work { flights, refused, malformed }
}

/// The dead letters that there must be, and nothing but copies of them.
async fn assert_dead(jetstream: &jetstream::Context, refused: &BTreeSet<(String, u64)>, malformed: &[u64]) {
    let (mut told, mut told_malformed) = (BTreeSet::new(), Vec::new());
    for dead_letter in dead_letters(jetstream).await {
        match serde_json::from_slice::<Value>(&dead_letter.payload) {
            Err(_) => told_malformed.push(dead_letter.header("Rockets-Sequence").parse::<u64>().unwrap()),
            Ok(message) => {
                let metadata = &message["metadata"];
                let channel = metadata["channel"].as_str().unwrap().to_owned();
                told.insert((channel, metadata["messageNumber"].as_u64().unwrap()));
            }
        }
    }
    told_malformed.sort_unstable();
    assert_eq!((&told, told_malformed.as_slice()), (refused, malformed));
}

fn up(broker: &Broker) -> Start {
    Program::of(&["up"]).broker(broker).env("ROCKETS_TRACK__ACK_WAIT", "1s")
}

/// Dies at each of these points in turn, on one store, and then finishes.
async fn dies_and_finishes(points: &[&str]) {
    let broker = Broker::start().await;
    // Makes the broker's objects.
    up(&broker).start().ready().await;
    let work = work(&broker).await;
    for point in points {
        let died = up(&broker).fail_point(point).start().exit().await;
        assert_eq!(died.signal(), Some(6), "{point}: {died}");
    }
    finishes(&broker, work).await;
}

/// The next one finishes what is left.
async fn finishes(broker: &Broker, Work { flights, refused, malformed }: Work) {
    let mut last = up(broker).start();
    let client = last.ready().await;
    let (jetstream, (long, copied)) = (broker.jetstream().await, flights.split_last().unwrap());
    for log in &flights {
        log.rocket_holds(&client).await;
    }
    all_is_applied(&jetstream).await;
    long.events_hold(&client).await;
    for log in copied {
        log.each_number_is_told_once(&client).await;
    }
    for event in &malformed {
        becomes("a malformed event", Some("failed".to_owned()), async || client.status(*event).await).await;
    }
    assert_dead(&jetstream, &refused, &malformed).await;
}

#[tokio::test]
async fn between_the_record_and_its_outcomes() {
    dies_and_finishes(&["track.record-written:1"]).await;
    dies_and_finishes(&["track.record-written:5"]).await;
}

#[tokio::test]
async fn in_the_middle_of_a_group_of_records() {
    for point in ["group.sent:1", "group.stored:1"] {
        let broker = Broker::start().await;
        up(&broker).start().ready().await;
        let work = work(&broker).await;
        let grouping = up(&broker).env("ROCKETS_TRACK__GROUP_COMMIT", "on");
        let mut dying = grouping.fail_point(point).start();
        // Whether two records wait at the same time is chance: if they never do, it dies of this.
        let deadline = Instant::now() + Duration::from_secs(10);
        while dying.try_exit().is_none() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        dying.kill();
        finishes(&broker, work).await;
    }
}

#[tokio::test]
async fn between_the_outcomes_and_the_acknowledgement() {
    dies_and_finishes(&["track.outcomes-reported:1"]).await;
    dies_and_finishes(&["track.outcomes-reported:3"]).await;
    dies_and_finishes(&["track.before-acknowledging:1"]).await;
}

#[tokio::test]
async fn between_the_dead_letters_and_the_record() {
    dies_and_finishes(&["track.dead-letters-stored:1"]).await;
    dies_and_finishes(&["track.dead-letters-stored:4"]).await;
}

#[tokio::test]
async fn in_the_middle_of_a_drain() {
    dies_and_finishes(&["track.drain-step:1"]).await;
    dies_and_finishes(&["track.drain-step:3"]).await;
}

#[tokio::test]
async fn again_and_again() {
    dies_and_finishes(&[
        "track.before-acknowledging:1",
        "track.record-written:2",
        "track.dead-letters-stored:1",
        "track.record-written:1",
        "track.drain-step:2",
        "track.drain-step:1",
    ])
    .await;
}

#[tokio::test]
async fn between_the_store_and_the_answer() {
    let broker = Broker::start().await;
    let flight = Flight::new();
    let messages = flight.climb(10);
    let mut rest = messages.iter();
    for _ in 0..2 {
        let mut up = up(&broker).fail_point("ingest.stored:3").start();
        let client = up.ready().await;
        for message in rest.by_ref() {
            let request = client.request(Method::POST, "/messages").json(message);
            if client.try_answer(request).await.is_err() {
                break;
            }
        }
        assert_eq!(up.exit().await.signal(), Some(6));
    }
    // Those without an answer are sent again, as by every sender, and are recognised.
    let mut up = up(&broker).start();
    let client = up.ready().await;
    for (message, status) in messages.iter().zip(["duplicate"; 6].into_iter().chain(["ingested"; 4])) {
        assert_eq!(client.post(message).await.body["data"]["status"], status, "{message}");
    }
    settles(&client, &messages).await;
    assert_eq!(count(&broker.jetstream().await, "ROCKETS").await, 10);
}
