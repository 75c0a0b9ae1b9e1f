//! `rockets trim`: what was applied and is old goes from the log, and nothing else changes.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::harness::stream::{all_is_applied, count, publish, publish_bytes, records};
use super::harness::{Broker, ChannelLog, Client, Flight, Program, TestService, becomes};

/// Trims everything that is older than the last message of now, and gives what the program says.
async fn trim_older_than(broker: &Broker, age: Duration, more: &[&str]) -> String {
    let keep = format!("{}ms", age.as_millis());
    let arguments = [&["trim", "--keep", &keep, "--yes"], more].concat();
    Program::of(&arguments).broker(broker).ends().await.says(0).to_owned()
}

/// How long ago an event was stored.
async fn age_of(client: &Client, event: u64) -> Duration {
    let event = client.event(event).await.unwrap();
    let stored = OffsetDateTime::parse(event["received_at"].as_str().unwrap(), &Rfc3339).unwrap();
    SystemTime::now().duration_since(stored.into()).unwrap()
}

/// Time between what is trimmed and what stays: longer than a clock is wrong by.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(2_500)).await;
}

async fn post_all(client: &Client, messages: &[Value]) -> Vec<u64> {
    let mut events = Vec::new();
    for message in messages {
        events.push(client.ingest(message).await);
    }
    events
}

/// A rocket with an old part (1 to 20; 7 a dead letter, 9 skipped, a late 9 behind it), and a young one (21 to 30).
async fn old_and_young(service: &mut TestService) -> (Flight, Vec<u64>, Vec<u64>) {
    let (client, flight) = (service.ingest.clone(), Flight::new());
    let mut messages = flight.climb(30);
    messages[6] = flight.launched(7);
    let young = messages.split_off(20);
    let late = messages.remove(8);
    let mut old = post_all(&client, &messages).await;
    let waits = async || client.rocket(&flight.channel).await.unwrap()["pendingMessages"].clone();
    becomes("what waits", json!(11), waits).await;
    old.push(client.skip(&flight.channel, &json!({ "up_to": 9, "reason": "radio lost" })).await.ingested());
    becomes("what waits", json!(0), waits).await;
    old.push(client.ingest(&late).await);
    let dead_letters = async || client.dead_letters_of(&flight.channel).await.len();
    becomes("the dead letters", 2, dead_letters).await;
    a_while().await;
    let young = post_all(&client, &young).await;
    let last = async || client.rocket(&flight.channel).await.unwrap()["lastMessageNumber"].clone();
    becomes("the last number", json!(30), last).await;
    all_is_applied(&service.broker().jetstream().await).await;
    (flight, old, young)
}

#[tokio::test]
async fn what_is_old_goes_and_nothing_else_changes() {
    let mut service = TestService::start().await;
    let (flight, old, young) = old_and_young(&mut service).await;
    let client = service.query.clone();
    let broker = service.broker.as_ref().unwrap();
    let jetstream = broker.jetstream().await;
    let path = format!("/rockets/{}/history", flight.channel);
    let (rocket, rows) = (client.rocket(&flight.channel).await, client.list(&path).await);
    let (before, stored) = (records(&jetstream).await, count(&jetstream, "ROCKETS").await);
    // Time goes on while a command starts: the age is asked again for each.
    let age = async || age_of(&client, young[0]).await + Duration::from_secs(1);

    let said = trim_older_than(broker, age().await, &["--dry-run"]).await;
    assert!(said.contains(&format!("{} messages of", old.len())) && said.contains("would be removed"), "{said}");
    assert_eq!(count(&jetstream, "ROCKETS").await, stored, "a dry run removes nothing");
    assert_eq!(count(&jetstream, "ROCKETS_CHECKPOINTS").await, 0);
    let said = trim_older_than(broker, age().await, &[]).await;
    assert!(said.contains(&flight.channel) && said.contains(&format!("{} messages of", old.len())), "{said}");
    assert_eq!(count(&jetstream, "ROCKETS").await, stored - old.len() as u64);

    assert!(records(&jetstream).await == before, "a record was changed");
    assert_eq!(client.rocket(&flight.channel).await, rocket);
    for (mode, code) in [("--check", 0), ("--apply", 0)] {
        Program::of(&["rebuild", mode]).broker(broker).ends().await.says(code);
    }
    for event in &old {
        let answer = client.get(&format!("/events/{event}")).await;
        assert_eq!(answer.error(410), format!("event {event} was trimmed"));
    }
    assert_eq!(client.event(young[0]).await.unwrap()["status"], "processed");
    let never = client.get(&format!("/events/{}", young[9] + 1_000)).await;
    assert_eq!(never.error(404), "event not found");

    let answer = client.get(&path).await;
    assert_eq!(answer.body["trimmed_through"], 20, "{answer:?}");
    assert_eq!(answer.body["data"], json!(rows[..10]), "the rows behind it are as they were");
    for order in ["asc", "desc"] {
        assert_eq!(client.pages(&format!("{path}?order={order}"), 3).await.len(), 10);
    }
    let at = async |at: &str| client.get(&format!("{path}?at={at}")).await;
    assert_eq!(at("19").await.error(410), "number 19 was trimmed");
    let then = |row: &Value| row["rocket"]["currentSpeed"].clone();
    assert_eq!(at("20").await.body["data"]["currentSpeed"], then(&rows[10]));
    assert_eq!(at("25").await.body["data"]["currentSpeed"], then(&rows[5]));
    assert!(at("1970-01-01T00:00:00Z").await.error(410).contains("was trimmed"));

    // What was there before changes nothing when it comes again, and what is new goes on.
    let late = flight.faster(3, 1_000_000);
    let again = client.ingest(&late).await;
    assert_eq!(client.settled(again).await["status"], "duplicate");
    assert_eq!(client.rocket(&flight.channel).await, rocket);
    client.ingest(&flight.faster(31, 5)).await;
    let speed = rocket.unwrap()["currentSpeed"].as_i64().unwrap() + 5;
    becomes("the speed", json!(speed), async || client.rocket(&flight.channel).await.unwrap()["currentSpeed"].clone())
        .await;
}

#[tokio::test]
async fn what_waits_stays_and_what_is_kept_can_be_corrected() {
    let mut service = TestService::start().await;
    let client = service.ingest.clone();
    let jetstream = service.broker().jetstream().await;
    // 1 to 9 applied, 11 and 12 wait; 4 is a dead letter.
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    let mut messages = flight.climb(14);
    messages[3] = flight.launched(4);
    messages[12] = flight.launched(13);
    for message in messages.iter().take(12).filter(|message| message["metadata"]["messageNumber"] != 10) {
        log.post(&client, message).await;
    }
    log.rocket_holds(&client).await;
    all_is_applied(&jetstream).await;
    a_while().await;
    let gaps = client.list("/gaps").await;
    let said = trim_older_than(service.broker(), Duration::from_millis(700), &["--channel", &flight.channel]).await;
    assert!(said.contains("9 messages of"), "{said}");
    assert_eq!(client.list("/gaps").await, gaps);
    assert_eq!(
        trim_older_than(service.broker(), Duration::ZERO, &[]).await.lines().last(),
        Some("0 messages of 0 bytes removed")
    );

    let dead_letter = client.dead_letters_of(&flight.channel).await.remove(0);
    let answer = client.replay(&dead_letter["id"], Some(&flight.faster(4, 1))).await;
    assert!(answer.error(409).contains("number 4 was trimmed"), "{answer:?}");
    for number in [10, 13, 14] {
        log.post(&client, &messages[number - 1]).await;
    }
    log.rocket_holds(&client).await;
    let dead_letters = client.dead_letters_of(&flight.channel).await;
    let thirteen = dead_letters.iter().find(|dead_letter| dead_letter["message_number"] == 13).unwrap();
    log.replay(&client, thirteen, Some(&flight.faster(13, 1_000))).await;
    log.rocket_holds(&client).await;
    Program::of(&["rebuild", "--check"]).broker(service.broker()).ends().await.says(0);

    // The bucket is lost, and comes back from the checkpoint.
    let before = records(&jetstream).await;
    jetstream.delete_stream("KV_rockets").await.unwrap();
    Program::of(&["init"]).broker(service.broker()).ends().await.says(0);
    Program::of(&["rebuild", "--apply"]).broker(service.broker()).ends().await.says(0);
    assert!(records(&jetstream).await == before, "a record is another one");

    // An outsider's correction of what was trimmed fails, and stops nothing.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Rockets-Corrects", "2");
    let (subject, body) = (format!("rockets.{}", flight.channel), flight.faster(2, 1_000_000).to_string());
    let correction =
        jetstream.publish_with_headers(subject, headers, body.into()).await.unwrap().await.unwrap().sequence;
    let settled = client.settled(correction).await;
    assert_eq!(settled["status"], "failed", "{settled}");
    assert!(settled["error_message"].as_str().unwrap().ends_with("message numbers up to 9 were trimmed"), "{settled}");
    log.rocket_holds(&client).await;
    all_is_applied(&jetstream).await;
    Program::of(&["rebuild", "--check"]).broker(service.broker()).ends().await.says(0);
}

#[tokio::test]
async fn what_lies_behind_a_message_that_stays_goes_too() {
    let mut service = TestService::start().await;
    let (client, jetstream) = (service.ingest.clone(), service.broker().jetstream().await);
    let (waiting, flight) = (Flight::new(), Flight::new());
    client.ingest(&waiting.faster(2, 1)).await;
    publish(&jetstream, &flight.climb(1_100)).await;
    publish_bytes(&jetstream, &format!("rockets.{}", Flight::new().channel), b"garbage".to_vec()).await;
    let last = async || client.rocket(&flight.channel).await.map(|rocket| rocket["lastMessageNumber"].clone());
    becomes("the last number", Some(json!(1_100)), last).await;
    all_is_applied(&jetstream).await;
    let outcomes_of_the_first = async || {
        let outcomes = jetstream.get_stream("ROCKETS_OUTCOMES").await.unwrap();
        outcomes.get_last_raw_message_by_subject("outcomes.0").await.is_ok()
    };
    let said = trim_older_than(service.broker(), Duration::ZERO, &[]).await;
    assert!(said.contains("1101 messages of"), "{said}");
    assert_eq!((count(&jetstream, "ROCKETS").await, outcomes_of_the_first().await), (1, true));
    assert_eq!(client.list("/gaps").await.len(), 1);

    let skip = client.skip(&waiting.channel, &json!({ "up_to": 1, "reason": "radio lost" })).await.ingested();
    assert_eq!(client.settled(skip).await["status"], "processed");
    all_is_applied(&jetstream).await;
    trim_older_than(service.broker(), Duration::ZERO, &[]).await;
    assert_eq!((count(&jetstream, "ROCKETS").await, outcomes_of_the_first().await), (0, false));
    Program::of(&["rebuild", "--check"]).broker(service.broker()).ends().await.says(0);
    client.ingest(&flight.faster(1_101, 1)).await;
    becomes("the last number", Some(json!(1_101)), last).await;
}

#[cfg(feature = "fail-points")]
#[tokio::test]
async fn a_trim_that_was_broken_off_is_done_again() {
    for point in ["trim.checkpoints-stored", "trim.head-removed"] {
        let mut service = TestService::start().await;
        let (client, jetstream) = (service.ingest.clone(), service.broker().jetstream().await);
        let flights = [Flight::new(), Flight::new()];
        for number in 1..=10 {
            for (at, flight) in flights.iter().enumerate() {
                // The second one waits behind its gap, in between what goes.
                let number = if at == 1 && number > 4 { number + 1 } else { number };
                client.ingest(&flight.climb(11)[number - 1]).await;
            }
        }
        let waits = async || client.list("/gaps").await.first().map(|gap| gap["pending_messages"].clone());
        becomes("what waits", Some(json!(6)), waits).await;
        all_is_applied(&jetstream).await;
        let rockets = client.rockets().await;
        let trim = || Program::of(&["trim", "--keep", "0s", "--yes"]).broker(service.broker.as_ref().unwrap());
        assert_eq!(trim().fail_point(point).ends().await.code, None, "{point}");
        Program::of(&["rebuild", "--check"]).broker(service.broker.as_ref().unwrap()).ends().await.says(0);
        assert_eq!(client.rockets().await, rockets, "{point}");
        trim().ends().await.says(0);
        assert_eq!((count(&jetstream, "ROCKETS").await, client.rockets().await), (6, rockets), "{point}");
        for (at, flight) in flights.iter().enumerate() {
            let answer = client.get(&format!("/rockets/{}/history", flight.channel)).await;
            assert_eq!(answer.body["trimmed_through"], json!([10, 4][at]), "{point}: {answer:?}");
        }
        client.ingest(&flights[1].faster(5, 1)).await;
        becomes("the gaps", None, waits).await;
        Program::of(&["rebuild", "--check"]).broker(service.broker.as_ref().unwrap()).ends().await.says(0);
    }
}

/// What lies behind the number to which a channel was trimmed and is of an earlier number may be a copy, or a message that was
/// not acknowledged yet when the trim came by: without its outcome nobody can say which.
#[tokio::test]
async fn what_became_of_a_trimmed_number_is_not_guessed() {
    let mut service = TestService::start().await;
    let (flight, _, young) = old_and_young(&mut service).await;
    let client = service.query.clone();
    let broker = service.broker.as_ref().unwrap();
    let jetstream = broker.jetstream().await;
    trim_older_than(broker, age_of(&client, young[0]).await + Duration::from_secs(1), &[]).await;
    let copies = publish(&jetstream, &[flight.faster(3, 1), flight.faster(25, 1)]).await;
    for copy in &copies {
        becomes("a copy's status", Some("duplicate".to_owned()), async || client.status(*copy).await).await;
    }
    jetstream.get_stream("ROCKETS_OUTCOMES").await.unwrap().purge().await.unwrap();
    let answers = [
        client.try_get(&format!("/events/{}", copies[0])).await,
        client.try_get(&format!("/events/{}", copies[1])).await,
    ];
    assert_eq!(answers.map(|answer| answer.unwrap().status), [410, 200]);
}
