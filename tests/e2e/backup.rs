//! A machine is lost with its store, and the service comes back from a backup of its streams: the README's way, step by step.

use super::harness::backup::Backup;
use super::harness::service::init;
use super::harness::stream::{is_taken_up, records};
use super::harness::{Broker, ChannelLog, Client, Flight, Program, eventually};

/// The streams in the order in which they are saved: what tells of events must not know of any that is not in ROCKETS.
const STREAMS: [&str; 3] = ["ROCKETS_OUTCOMES", "ROCKETS_DLQ", "ROCKETS"];

/// Whether an operator skips a number of this rocket.
fn is_skipped(rocket: usize) -> bool {
    rocket % 4 == 3
}

/// Rockets of every kind: usual ones, some with a refusal, some with a gap, some with a gap that was skipped.
async fn send(client: &Client, broker: &Broker) -> Vec<ChannelLog> {
    let mut logs = Vec::new();
    for rocket in 0..12 {
        let flight = Flight::new();
        let mut log = ChannelLog::new(&flight.channel);
        let mut messages = flight.climb(20);
        match rocket % 4 {
            1 => messages[9] = flight.launched(10),
            2 => drop(messages.remove(14)),
            3 => drop(messages.remove(9)),
            _ => {}
        }
        for message in &messages {
            log.post(client, message).await;
        }
        if is_skipped(rocket) {
            let waits = async || client.rocket(&flight.channel).await.filter(|rocket| rocket["pendingMessages"] == 10);
            eventually("it waits", waits).await;
            log.skip(client, &broker.jetstream().await, 10).await;
        }
        logs.push(log);
    }
    for log in &logs {
        log.holds(client).await;
    }
    is_taken_up(&broker.jetstream().await).await;
    logs
}

#[tokio::test]
async fn the_service_comes_back_from_a_backup() {
    comes_back_from(&STREAMS).await;
}

#[tokio::test]
async fn the_messages_alone_are_enough() {
    comes_back_from(&STREAMS[2..]).await;
}

async fn comes_back_from(streams: &[&str]) {
    let (lost, new) = (Broker::start().await, Broker::start().await);
    let mut up = Program::of(&["up"]).broker(&lost).start();
    let client = up.ready().await;
    let logs = send(&client, &lost).await;
    let records_before = records(&lost.jetstream().await).await;

    let mut backups = Vec::new();
    for stream in streams {
        backups.push(Backup::of(&lost.client().await, stream).await);
    }
    // What comes after the backup is lost with the machine.
    let late = Flight::new();
    client.ingest(&late.launched(1)).await;
    up.kill();
    drop(lost);

    for backup in &backups {
        backup.restore(&new.client().await).await;
    }
    init(&new).await;
    let rebuild = async |mode| Program::of(&["rebuild", mode]).broker(&new).ends().await;
    assert!(!rebuild("--check").await.fails(1).contains("panic"));
    rebuild("--apply").await.says(0);
    rebuild("--check").await.says(0);
    assert_eq!(records(&new.jetstream().await).await, records_before);

    let mut up = Program::of(&["up"]).broker(&new).start();
    let client = up.ready().await;
    for log in &logs {
        log.holds(&client).await;
    }
    assert_eq!(client.rocket(&late.channel).await, None);
    // Its sender has it still.
    let mut log = ChannelLog::new(&late.channel);
    log.post(&client, &late.launched(1)).await;
    log.holds(&client).await;
}
