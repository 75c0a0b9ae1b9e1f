//! Messages that wait are stored together: each gets the answer that it would have got by itself, whatever happens to the
//! group that it is in.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::Value;

use super::harness::client::Answer;
use super::harness::messages::{number_of, scattered};
use super::harness::program::Start;
use super::harness::service::settles;
use super::harness::stream::count;
use super::harness::{Broker, Client, Flight, Program, eventually};

fn up(broker: &Broker) -> Start {
    Program::of(&["up"]).broker(broker).env("ROCKETS_INGEST__GROUP_COMMIT", "on")
}

/// Messages of several rockets, each of its own order.
fn flights() -> Vec<Vec<Value>> {
    (0..8).map(|_| scattered(&Flight::new().climb(40))).collect()
}

async fn post_all(client: &Client, messages: &[Value]) -> Vec<Answer> {
    join_all(messages.iter().map(|message| client.post(message))).await
}

fn status(answer: &Answer) -> &str {
    answer.body["data"]["status"].as_str().unwrap_or_default()
}

/// Each event is that of the message to which it was told.
async fn events_are_theirs(client: &Client, messages: &[Value], answers: &[Answer]) {
    for (message, answer) in messages.iter().zip(answers) {
        let event = client.event(answer.body["data"]["event_id"].as_u64().unwrap()).await.unwrap();
        assert_eq!(event["channel"], message["metadata"]["channel"]);
        assert_eq!(event["message_number"], number_of(message), "{event}");
    }
}

/// How many messages were stored in groups.
fn grouped(up: &Program) -> u64 {
    let groups = up.log_lines().into_iter().filter(|line| line["message"] == "a group is stored");
    groups.map(|line| line["messages"].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn each_message_of_a_group_gets_its_own_answer() {
    let broker = Broker::start_syncing("always").await;
    let (up, client) = up(&broker).rust_log("rockets=debug").start_and_ready().await;
    let flights = flights();
    let messages: Vec<_> = flights.iter().flatten().cloned().collect();
    // All of them twice, at the same time: of two copies the second is a repeat of the first.
    let twice: Vec<_> = messages.iter().flat_map(|message| [message, message]).cloned().collect();
    let answers = post_all(&client, &twice).await;
    let mut events = BTreeSet::new();
    for copies in answers.chunks(2) {
        let mut said: Vec<_> = copies.iter().map(status).collect();
        said.sort_unstable();
        assert_eq!(said, ["duplicate", "ingested"], "{copies:?}");
        assert_eq!(copies[0].body["data"]["event_id"], copies[1].body["data"]["event_id"]);
        events.insert(copies[0].body["data"]["event_id"].as_u64().unwrap());
    }
    assert_eq!(events, (1..=messages.len() as u64).collect(), "each place in the log is one message's");
    events_are_theirs(&client, &twice, &answers).await;
    assert!(grouped(&up) > messages.len() as u64 / 4, "they are stored in groups");
    for messages in &flights {
        settles(&client, messages).await;
    }
}

#[tokio::test]
async fn a_repeat_in_a_group_is_one_and_the_others_are_none() {
    let broker = Broker::start_syncing("always").await;
    let (_up, client) = up(&broker).start_and_ready().await;
    let flights = flights();
    let messages: Vec<_> = flights.iter().flatten().cloned().collect();
    // Another process has stored a part of them.
    let (mut other, other_client) = up(&broker).start_and_ready().await;
    let earlier: Vec<_> = messages.iter().step_by(9).cloned().collect();
    let first = post_all(&other_client, &earlier).await;
    assert!(other.term().await.success());
    let answers = post_all(&client, &messages).await;
    for (at, answer) in answers.iter().enumerate() {
        match at % 9 {
            0 => {
                assert_eq!(status(answer), "duplicate", "{answer:?}");
                assert_eq!(answer.body["data"]["event_id"], first[at / 9].body["data"]["event_id"]);
            }
            _ => assert_eq!(status(answer), "ingested", "{answer:?}"),
        }
    }
    events_are_theirs(&client, &messages, &answers).await;
    assert_eq!(count(&broker.jetstream().await, "ROCKETS").await, messages.len() as u64);
}

#[tokio::test]
async fn a_group_that_the_broker_does_not_answer_is_answered_in_time_and_may_be_sent_again() {
    let broker = Broker::start_syncing("always").await;
    let (_up, client) = up(&broker).start_and_ready().await;
    let flights = flights();
    let messages: Vec<_> = flights.iter().flatten().cloned().collect();
    let (before, meanwhile) = messages.split_at(40);
    let mut answers = post_all(&client, before).await;
    broker.freeze();
    answers.extend(post_all(&client, meanwhile).await);
    broker.thaw();
    let said: BTreeSet<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(said, [200, 503].into());
    let again = eventually("all of it is stored", async || {
        let again = post_all(&client, &messages).await;
        again.iter().all(|answer| answer.status == 200).then_some(again)
    });
    let again = again.await;
    for (first, again) in answers.iter().zip(&again).filter(|(first, _)| first.status == 200) {
        assert_eq!(status(again), "duplicate");
        assert_eq!(first.body["data"]["event_id"], again.body["data"]["event_id"]);
    }
    events_are_theirs(&client, &messages, &again).await;
    assert_eq!(count(&broker.jetstream().await, "ROCKETS").await, messages.len() as u64);
    for messages in &flights {
        settles(&client, messages).await;
    }
}

#[tokio::test]
async fn singles_and_groups_store_the_same() {
    let messages: Vec<_> = flights().concat();
    let mut said = Vec::new();
    for mode in ["on", "off", "auto"] {
        let broker = Broker::start_syncing("always").await;
        let start = Program::of(&["up"]).broker(&broker).env("ROCKETS_INGEST__GROUP_COMMIT", mode);
        let (_up, client) = start.start_and_ready().await;
        let answers = post_all(&client, &messages).await;
        assert!(answers.iter().all(|answer| status(answer) == "ingested"), "{mode}");
        let rockets = eventually("all of it is applied", async || {
            let rockets = client.rockets().await;
            (rockets.iter().filter(|rocket| rocket["lastMessageNumber"] == 40).count() == 8).then_some(rockets)
        });
        said.push(rockets.await);
    }
    assert!(said.windows(2).all(|two| two[0] == two[1]), "{said:?}");
}

#[cfg(feature = "fail-points")]
mod deaths {
    use super::*;

    /// Dies there; what was not answered is sent again, and every message is stored once.
    async fn dies_and_is_sent_again(point: &str) {
        let broker = Broker::start_syncing("always").await;
        up(&broker).start_and_ready().await;
        let (mut dying, client) = up(&broker).fail_point(point).start_and_ready().await;
        let messages: Vec<_> = flights().concat();
        let first = join_all(messages.iter().map(|message| {
            let request = client.request(reqwest::Method::POST, "/messages").json(message);
            client.try_answer(request)
        }));
        let answered = first.await.iter().flatten().filter(|answer| answer.status == 200).count() as u64;
        dying.exit().await;
        let stored = count(&broker.jetstream().await, "ROCKETS").await;
        assert!(answered <= stored && stored < messages.len() as u64, "{answered} {stored}");
        let (_up, client) = up(&broker).start_and_ready().await;
        let again = post_all(&client, &messages).await;
        assert!(again.iter().all(|answer| answer.status == 200));
        events_are_theirs(&client, &messages, &again).await;
        assert_eq!(count(&broker.jetstream().await, "ROCKETS").await, messages.len() as u64);
        let repeats = again.iter().filter(|answer| status(answer) == "duplicate").count() as u64;
        assert_eq!(repeats, stored);
    }

    #[tokio::test]
    async fn a_group_that_was_sent_and_not_committed_is_not_stored() {
        dies_and_is_sent_again("group.sent:1").await;
    }

    #[tokio::test]
    async fn a_group_that_was_stored_and_not_answered_is_recognised() {
        dies_and_is_sent_again("group.stored:1").await;
    }
}
