//! The program dies as by `kill -9` around skips and corrections, and between a state and what is reported of it: the next
//! one finishes it, and no event goes without its outcome.
#![cfg(feature = "fail-points")]

use std::os::unix::process::ExitStatusExt as _;

use super::harness::program::{Program, Start};
use super::harness::stream::{all_is_applied, publish};
use super::harness::{Broker, ChannelLog, Flight, becomes};

fn up(broker: &Broker, roles: &str) -> Start {
    Program::of(&["up", "--roles", roles]).broker(broker).env("ROCKETS_TRACK__ACK_WAIT", "1s")
}

const ALL: &str = "ingest,track,query";

/// Dies at each of these points in turn, and then finishes.
async fn dies_and_finishes(broker: &Broker, points: &[&str], logs: &[ChannelLog]) {
    for point in points {
        let died = up(broker, ALL).fail_point(point).start().exit().await;
        assert_eq!(died.signal(), Some(6), "{point}: {died}");
    }
    let mut last = up(broker, ALL).start();
    let client = last.ready().await;
    for log in logs {
        log.holds(&client).await;
    }
    all_is_applied(&broker.jetstream().await).await;
}

/// Channels with an override each that no tracker has applied yet.
async fn overrides(broker: &Broker) -> Vec<ChannelLog> {
    let [unlaunched, exploded, skipped, waiting] = [(); 4].map(|()| Flight::new());
    let mut messages = [unlaunched.climb(30), exploded.climb(30), skipped.climb(30), waiting.climb(600)];
    messages[0][0] = unlaunched.faster(1, 1);
    messages[1][9] = exploded.launched(10);
    messages[1][19] = exploded.exploded(20, "FUEL");
    let second = messages[2].remove(1);
    let missing = messages[3].remove(1);
    let mut tracked = up(broker, ALL).start();
    let client = tracked.ready().await;
    let jetstream = broker.jetstream().await;
    let mut logs = Vec::new();
    for messages in &messages {
        let mut log = ChannelLog::new(messages[0]["metadata"]["channel"].as_str().unwrap());
        log.publish(&jetstream, messages).await;
        logs.push(log);
    }
    for log in &logs {
        log.holds(&client).await;
    }
    all_is_applied(&jetstream).await;
    assert!(tracked.term().await.success());

    let mut untracked = up(broker, "ingest,query").start();
    let client = untracked.ready().await;
    for (log, number, body) in [(0, 1, unlaunched.launched(1)), (1, 10, exploded.exploded(10, "EARLY"))] {
        let dead_letters = client.dead_letters_of(messages[log][0]["metadata"]["channel"].as_str().unwrap()).await;
        let dead_letter = dead_letters.iter().find(|dead_letter| dead_letter["message_number"] == number).unwrap();
        logs[log].replay(&client, dead_letter, Some(&body)).await;
    }
    logs[2].skip(&client, &jetstream, 2).await;
    logs[2].post(&client, &second).await;
    logs[3].post(&client, &missing).await;
    assert!(untracked.term().await.success());
    logs
}

#[tokio::test]
async fn an_override_is_finished_wherever_it_was_broken_off() {
    for points in [
        &["track.overrides-written:1"][..],
        &["track.outcomes-reported:1"],
        &["track.record-written:1"],
        &["track.record-written:3"],
        &["track.before-acknowledging:1"],
        &["track.overrides-written:1", "track.outcomes-reported:1", "track.before-acknowledging:1"],
    ] {
        let broker = Broker::start().await;
        let logs = overrides(&broker).await;
        dies_and_finishes(&broker, points, &logs).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_while_it_waited_is_reported_too() {
    // More than is kept in memory, and not.
    for (count, points) in [
        (300, &["track.record-written:1"][..]),
        (300, &["track.outcomes-reported:1"]),
        (4_000, &["track.record-written:1", "track.drain-step:1"]),
        (4_000, &["track.drain-step:2", "track.outcomes-reported:1"]),
    ] {
        let broker = Broker::start().await;
        let flight = Flight::new();
        let mut messages = flight.climb(count);
        for number in (50..count).step_by(50) {
            messages[number as usize - 1] = flight.launched(number);
        }
        let late = messages.remove(1);
        let mut log = ChannelLog::new(&flight.channel);
        let mut tracked = up(&broker, ALL).start();
        let client = tracked.ready().await;
        let jetstream = broker.jetstream().await;
        log.publish(&jetstream, &messages).await;
        all_is_applied(&jetstream).await;
        log.rocket_holds(&client).await;
        tracked.kill();
        let late_id = publish(&jetstream, std::slice::from_ref(&late)).await[0];
        log.message(late_id, &late);
        dies_and_finishes(&broker, points, &[log]).await;
    }
}

#[tokio::test]
async fn a_correction_of_a_long_channel_is_finished() {
    let broker = Broker::start().await;
    let flight = Flight::new();
    let mut messages = flight.climb(2_000);
    messages[0] = flight.faster(1, 1);
    let mut log = ChannelLog::new(&flight.channel);
    let mut tracked = up(&broker, ALL).start();
    let client = tracked.ready().await;
    let jetstream = broker.jetstream().await;
    log.publish(&jetstream, &messages).await;
    all_is_applied(&jetstream).await;
    becomes("dead letters", 2_000, async || client.dead_letters_of(&flight.channel).await.len()).await;
    tracked.kill();
    let mut untracked = up(&broker, "ingest,query").start();
    let client = untracked.ready().await;
    let dead_letters = client.dead_letters_of(&flight.channel).await;
    let dead_letter = dead_letters.iter().find(|dead_letter| dead_letter["message_number"] == 1).unwrap();
    log.replay(&client, dead_letter, Some(&flight.launched(1))).await;
    assert!(untracked.term().await.success());
    dies_and_finishes(&broker, &["track.overrides-written:1", "track.outcomes-reported:1"], &[log]).await;
}
