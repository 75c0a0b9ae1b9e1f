//! Corrections: a message that stands in the place of one that was refused, skipped or applied, as if it had come first.

use async_nats::jetstream;
use futures_util::future::join;
use serde_json::{Value, json};

use super::harness::messages::scattered;
use super::harness::stream::{all_is_applied, publish_bytes};
use super::harness::{ChannelLog, Client, Flight, TestService, becomes};

/// The dead letter of a number.
async fn dead_letter_of(client: &Client, flight: &Flight, number: u64) -> Value {
    let dead_letters = client.dead_letters_of(&flight.channel).await;
    dead_letters
        .into_iter()
        .find(|dead_letter| dead_letter["message_number"] == number)
        .expect("a dead letter of this number")
}

/// A dead letter of no number: with another body it becomes a message of any.
async fn letter_of_garbage(client: &Client, jetstream: &jetstream::Context, flight: &Flight) -> Value {
    let event = publish_bytes(jetstream, &format!("rockets.{}", flight.channel), b"garbage".to_vec()).await;
    assert_eq!(client.settled(event).await["status"], "failed");
    let dead_letters = client.dead_letters_of(&flight.channel).await;
    dead_letters.into_iter().find(|dead_letter| dead_letter["event_id"] == event).expect("a dead letter of this event")
}

#[tokio::test]
async fn a_corrected_launch_makes_everything_after_it_valid() {
    let service = TestService::split().await;
    let (ingest, query) = (&service.ingest, &service.query);
    let flight = Flight::new();
    let mut messages = flight.climb(40);
    messages[0] = flight.faster(1, 1);
    messages.push(flight.faster(42, 1));
    let mut log = ChannelLog::new(&flight.channel);
    for message in &messages {
        log.post(ingest, message).await;
    }
    log.holds(query).await;
    assert_eq!(log.dead_letters().len(), 40);
    log.replay(query, &dead_letter_of(query, &flight, 1).await, Some(&flight.launched(1))).await;
    log.holds(query).await;
    // The refused launch keeps its status; all others are processed, and the last one waits still.
    let statuses: Vec<_> = log.statuses().into_values().collect();
    assert_eq!((statuses[0], statuses[40], statuses[41]), ("failed", "pending", "processed"));
    assert!(statuses[1..40].iter().all(|status| *status == "processed"), "{statuses:?}");
    assert_eq!(query.dead_letters_of(&flight.channel).await, Vec::<Value>::new());
    log.post(ingest, &flight.faster(41, 1)).await;
    log.holds(query).await;
}

#[tokio::test]
async fn a_correction_can_make_later_messages_refusals_and_another_one_undo_it() {
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    let client = &service.ingest;
    let flight = Flight::new();
    let mut messages = flight.climb(30);
    messages[9] = flight.launched(10);
    messages[19] = flight.exploded(20, "FUEL");
    messages.truncate(25);
    let mut log = ChannelLog::new(&flight.channel);
    for message in &messages {
        log.post(client, message).await;
    }
    log.holds(client).await;
    assert_eq!(log.dead_letters().len(), 6);
    // The second launch was an explosion: all after it is refused, and the explosion at 20 is a second one.
    log.replay(client, &dead_letter_of(client, &flight, 10).await, Some(&flight.exploded(10, "EARLY"))).await;
    log.holds(client).await;
    assert_eq!(log.dead_letters().len(), 15);
    let rocket = client.rocket(&flight.channel).await.unwrap();
    assert_eq!([&rocket["status"], &rocket["explosionReason"]], ["exploded", "EARLY"]);
    // What was applied is corrected through any letter of the channel: now it was a change of mission.
    let dead_letter = letter_of_garbage(client, &jetstream, &flight).await;
    log.replay(client, &dead_letter, Some(&flight.mission(10, "RESCUE"))).await;
    log.holds(client).await;
    assert_eq!(log.dead_letters().len(), 5);
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["explosionReason"], "FUEL");
    // And the explosion at 20 never was one: what was refused behind it applies, and needs no letter.
    let dead_letter = letter_of_garbage(client, &jetstream, &flight).await;
    log.replay(client, &dead_letter, Some(&flight.mission(20, "ON"))).await;
    log.holds(client).await;
    assert_eq!(client.dead_letters_of(&flight.channel).await, Vec::<Value>::new());
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["status"], "active");
}

#[tokio::test]
async fn what_was_skipped_can_be_corrected() {
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    let client = &service.ingest;
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in [flight.faster(3, 10), flight.faster(4, 100), flight.faster(6, 1_000)] {
        log.post(client, &message).await;
    }
    becomes("the gap", 1, async || client.list("/gaps").await.len()).await;
    log.skip(client, &jetstream, 5).await;
    log.holds(client).await;
    assert_eq!(log.dead_letters().len(), 3, "all is refused without a launch");
    // The launch arrives after all, is kept as skipped, and is applied when it is sent again.
    for message in [flight.launched(1), flight.faster(5, 10_000)] {
        log.post(client, &message).await;
        log.holds(client).await;
    }
    for number in [1, 5] {
        let dead_letter = dead_letter_of(client, &flight, number).await;
        assert_eq!(dead_letter["reason"], "skipped");
        log.replay(client, &dead_letter, None).await;
        log.holds(client).await;
    }
    assert_eq!(client.dead_letters_of(&flight.channel).await, Vec::<Value>::new());
    let rocket = client.rocket(&flight.channel).await.unwrap();
    assert_eq!((&rocket["currentSpeed"], &rocket["lastMessageNumber"]), (&11_610.into(), &6.into()));
}

#[tokio::test]
async fn of_two_corrections_of_one_number_the_later_one_counts() {
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    let client = &service.ingest;
    for _ in 0..10 {
        let flight = Flight::new();
        let mut log = ChannelLog::new(&flight.channel);
        for message in [flight.faster(1, 1), flight.faster(2, 10), flight.faster(3, 100)] {
            log.post(client, &message).await;
        }
        for id in log.statuses().into_keys() {
            assert_eq!(client.settled(id).await["status"], "failed");
        }
        let refused = dead_letter_of(client, &flight, 1).await;
        let malformed = letter_of_garbage(client, &jetstream, &flight).await;
        let launch = |speed: u64| {
            let payload = json!({ "type": "Starship", "launchSpeed": speed, "mission": "RESCUE" });
            flight.message(1, "RocketLaunched", payload)
        };
        let [one, other] = [launch(1_000), launch(2_000)];
        let (first, second) =
            join(client.replay(&refused["id"], Some(&one)), client.replay(&malformed["id"], Some(&other))).await;
        let (first, second) = (first.ingested(), second.ingested());
        log.correction(first, &one);
        log.correction(second, &other);
        log.rocket_holds(client).await;
        log.history_holds(client).await;
        assert_eq!(client.settled(first.max(second)).await["status"], "processed");
        // The other one may have been applied before, and have counted for a moment.
        let overtaken = client.settled(first.min(second)).await;
        assert!(["duplicate", "processed"].iter().any(|status| overtaken["status"] == *status), "{overtaken}");
        becomes("dead letters", Vec::new(), async || client.dead_letters_of(&flight.channel).await).await;
    }
}

#[tokio::test]
async fn a_long_channel_is_corrected_while_it_goes_on() {
    const BEFORE: u64 = 20_000;
    const MEANWHILE: u64 = 200;
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    let client = service.ingest.clone();
    let flight = Flight::new();
    let mut all = flight.climb(BEFORE + MEANWHILE);
    // One refusal near the beginning and one far behind it.
    all[9] = flight.launched(10);
    all[17_999] = flight.launched(18_000);
    let (before, meanwhile) = all.split_at(BEFORE as usize);
    let mut log = ChannelLog::new(&flight.channel);
    log.publish(&jetstream, before).await;
    all_is_applied(&jetstream).await;
    becomes("dead letters", 2, async || client.dead_letters_of(&flight.channel).await.len()).await;
    log.rocket_holds(&client).await;

    let dead_letter = dead_letter_of(&client, &flight, 10).await;
    let mended = flight.faster(10, 1_000_000);
    let goes_on = async {
        let mut sent = Vec::new();
        for message in scattered(meanwhile) {
            sent.push((client.ingest(&message).await, message));
        }
        sent
    };
    let (answer, sent) = join(client.replay(&dead_letter["id"], Some(&mended)), goes_on).await;
    log.correction(answer.ingested(), &mended);
    for (id, message) in &sent {
        log.message(*id, message);
    }
    log.rocket_holds(&client).await;
    log.history_holds(&client).await;
    for (id, _) in &sent {
        assert_eq!(client.settled(*id).await["status"], "processed");
    }
    // The other refusal is one still, with the dead letter that it had.
    let dead_letters = client.dead_letters_of(&flight.channel).await;
    let numbers: Vec<_> =
        dead_letters.iter().map(|dead_letter| dead_letter["message_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [18_000]);

    // Now the far end is turned into refusals, a dead letter each, and back.
    let explosion = flight.exploded(18_000, "FUEL");
    log.replay(&client, &dead_letters[0], Some(&explosion)).await;
    log.rocket_holds(&client).await;
    becomes("dead letters", (BEFORE + MEANWHILE - 18_000) as usize, async || {
        client.dead_letters_of(&flight.channel).await.len()
    })
    .await;
    let refused = dead_letter_of(&client, &flight, 19_999).await["event_id"].as_u64().unwrap();
    let dead_letter = letter_of_garbage(&client, &jetstream, &flight).await;
    log.replay(&client, &dead_letter, Some(&flight.mission(18_000, "RESCUE"))).await;
    log.rocket_holds(&client).await;
    log.history_holds(&client).await;
    becomes("dead letters", Vec::new(), async || client.dead_letters_of(&flight.channel).await).await;
    log.event_holds(&client, refused, "processed").await;
}
