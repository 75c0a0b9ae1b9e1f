//! `rockets rebuild`: the bucket against what the stream says, and made again from it.

use std::collections::BTreeMap;

use async_nats::jetstream;
use serde_json::{Value, json};

use super::harness::program::{Ended, Start};
use super::harness::stream::{all_is_applied, count, lose_records, publish, publish_bytes, records};
use super::harness::trackers::Trackers;
use super::harness::{Broker, Client, Flight, Program, TestService, becomes, eventually, load};

/// Rockets of the large bucket.
const ROCKETS: usize = 10_000;

fn rebuild(broker: &Broker, arguments: &[&str]) -> Start {
    Program::of(&[&["rebuild"], arguments].concat()).broker(broker)
}

async fn runs(broker: &Broker, arguments: &[&str]) -> Ended {
    rebuild(broker, arguments).ends().await
}

/// The lines of an output that name a channel.
fn lines_of<'a>(output: &'a str, channel: &str) -> Vec<&'a str> {
    output.lines().filter(|line| line.contains(channel)).collect()
}

#[tokio::test]
async fn a_bucket_is_found_to_be_right_also_while_it_changes() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.ready().await;
    runs(&broker, &["--check"]).await.says(0);
    let mut launch = load::launch(&client, &client, 10_000);
    let mut checks = 0;
    while launch.try_exit().is_none() || checks == 0 {
        runs(&broker, &["--check"]).await.says(0);
        checks += 1;
    }
    load::is_verified(launch).await;
    all_is_applied(&broker.jetstream().await).await;
    let before = records(&broker.jetstream().await).await;
    for arguments in [&["--check"][..], &["--apply"], &["--check"]] {
        runs(&broker, arguments).await.says(0);
    }
    assert!(records(&broker.jetstream().await).await == before, "a bucket that was right was changed");
    for wrong in [&["--channel", "x"][..], &["--check", "--channel", "not-a-uuid"], &["--nonsense"], &["stray"]] {
        assert!(!runs(&broker, wrong).await.fails(2).is_empty(), "{wrong:?}");
    }
}

#[tokio::test]
async fn what_was_tampered_with_is_told_field_by_field_and_repaired() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.ready().await;
    let flights = [(); 4].map(|()| Flight::new());
    let jetstream = broker.jetstream().await;
    for flight in &flights {
        publish(&jetstream, &flight.climb(9)).await;
    }
    all_is_applied(&jetstream).await;
    let good = records(&jetstream).await;
    let right = async |flight: &Flight| client.rocket(&flight.channel).await.unwrap();
    let rockets = [right(&flights[0]).await, right(&flights[1]).await];

    let [two_fields, gone, garbage, untouched] = &flights;
    let mut record: Value = serde_json::from_slice(&good[&two_fields.channel]).unwrap();
    record["rocket"]["speed"] = 77_777.into();
    record["rocket"]["mission"] = "FORGED".into();
    let put = async |flight: &Flight, bytes: Vec<u8>| {
        publish_bytes(&jetstream, &format!("$KV.rockets.{}", flight.channel), bytes).await
    };
    put(two_fields, record.to_string().into_bytes()).await;
    put(garbage, b"{\"garbage\":".to_vec()).await;
    jetstream.get_key_value("rockets").await.unwrap().delete(&gone.channel).await.unwrap();

    let check = runs(&broker, &["--check"]).await;
    let output = check.says(1);
    let json = runs(&broker, &["--check", "--json"]).await;
    let rows: Vec<Value> = json.says(1).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [rows @ .., summary] = &rows[..] else { panic!("{json:?}") };
    let said = |row: &Value| format!("{} {}", row["channel"].as_str().unwrap(), row["difference"].as_str().unwrap());
    assert_eq!(rows.iter().map(said).collect::<Vec<_>>(), output.lines().collect::<Vec<_>>()[..rows.len()]);
    assert!(summary["different"].as_u64() > Some(0) && summary["repaired"] == 0, "{summary}");
    let told = lines_of(output, &two_fields.channel);
    assert_eq!(told.len(), 2, "{output}");
    for (field, is, should_be) in [
        ("speed", "77777", rockets[0]["currentSpeed"].to_string()),
        ("mission", "FORGED", rockets[0]["mission"].as_str().unwrap().to_owned()),
    ] {
        let says = |line: &&&str| [field, is, &should_be].iter().all(|word| line.contains(word));
        assert!(told.iter().any(|line| says(&line)), "{field}: {told:?}");
    }
    for other in [gone, garbage] {
        assert!(!lines_of(output, &other.channel).is_empty(), "{output}");
    }
    assert_eq!(lines_of(output, &untouched.channel), Vec::<&str>::new());
    let changed = records(&jetstream).await;
    assert_ne!(changed[&two_fields.channel], good[&two_fields.channel], "a check changes nothing");

    runs(&broker, &["--check", "--channel", &untouched.channel]).await.says(0);
    runs(&broker, &["--check", "--channel", &two_fields.channel]).await.says(1);
    runs(&broker, &["--apply", "--channel", &gone.channel]).await.says(0);
    let after = records(&jetstream).await;
    assert_eq!(after.get(&gone.channel), good.get(&gone.channel));
    assert_eq!(after[&two_fields.channel], changed[&two_fields.channel], "only that channel");
    becomes("the rocket that was gone", Some(rockets[1].clone()), async || client.rocket(&gone.channel).await).await;

    runs(&broker, &["--apply"]).await.says(0);
    assert!(records(&jetstream).await == good, "not all is as it was");
    runs(&broker, &["--check"]).await.says(0);
    becomes("the rocket", Some(rockets[0].clone()), async || client.rocket(&two_fields.channel).await).await;
}

/// Many rockets of every kind: whole ones, ones that wait, refused, skipped and corrected ones, and no messages at all.
async fn many(broker: &Broker, client: &Client) {
    let jetstream = broker.jetstream().await;
    let mut messages = Vec::with_capacity(ROCKETS * 3);
    let mut eventful = Vec::new();
    for rocket in 0..ROCKETS {
        let flight = Flight::new();
        let mut own = flight.climb(3);
        match rocket % 10 {
            1 => own[1] = flight.faster(7, 1),
            2 => own[0] = flight.exploded(1, "FUEL"),
            3 => own[2] = flight.launched(3),
            4 => own[1] = flight.exploded(2, "FUEL"),
            _ => {}
        }
        messages.extend(own);
        if rocket < 100 {
            eventful.push(flight);
        }
    }
    publish(&jetstream, &messages).await;
    publish_bytes(&jetstream, "rockets.not-a-uuid", b"garbage".to_vec()).await;
    all_is_applied(&jetstream).await;
    for (index, flight) in eventful.iter().enumerate() {
        let skip = json!({ "up_to": 6, "reason": "radio lost" });
        match index % 10 {
            1 => drop(client.skip(&flight.channel, &skip).await.ingested()),
            2 | 3 => {
                let dead_letters = client.dead_letters_of(&flight.channel).await;
                let first = dead_letters.last().unwrap();
                let number = first["message_number"].as_u64().unwrap();
                let mended = if number == 1 { flight.launched(1) } else { flight.faster(number, 1_000) };
                client.replay(&first["id"], Some(&mended)).await.ingested();
            }
            _ => {}
        }
    }
    all_is_applied(&jetstream).await;
}

async fn assert_same(jetstream: &jetstream::Context, good: &BTreeMap<String, Vec<u8>>) {
    let now = records(jetstream).await;
    assert_eq!(now.len(), good.len());
    for (channel, record) in good {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(now.get(channel).map(|bytes| text(bytes)), Some(text(record)), "{channel}");
    }
}

#[tokio::test]
async fn ten_thousand_records_made_again_are_the_same_bytes_also_after_a_kill() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.ready().await;
    many(&broker, &client).await;
    assert!(up.term().await.success());
    let jetstream = broker.jetstream().await;
    let good = records(&jetstream).await;
    assert_eq!(good.len(), ROCKETS);

    lose_records(&broker).await;
    let check = runs(&broker, &["--check"]).await;
    assert!(check.says(1).lines().count() >= ROCKETS, "each of them is missing");
    runs(&broker, &["--apply"]).await.says(0);
    assert_same(&jetstream, &good).await;

    let mut killed_in_the_middle = false;
    for _ in 0..5 {
        lose_records(&broker).await;
        let mut apply = rebuild(&broker, &["--apply"]).start();
        eventually("some records", async || (count(&jetstream, "KV_rockets").await > 0).then_some(())).await;
        apply.kill();
        let written = count(&jetstream, "KV_rockets").await;
        killed_in_the_middle |= written < ROCKETS as u64;
        runs(&broker, &["--apply"]).await.says(0);
        assert_same(&jetstream, &good).await;
        if killed_in_the_middle {
            break;
        }
    }
    assert!(killed_in_the_middle, "every kill came too late");
    runs(&broker, &["--check"]).await.says(0);

    // What stands on it goes on as if nothing had been.
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.ready().await;
    let flight = Flight::new();
    client.settled(client.ingest(&flight.launched(1)).await).await;
    assert_same(
        &jetstream,
        &[(flight.channel.clone(), records(&jetstream).await[&flight.channel].clone())]
            .into_iter()
            .chain(good)
            .collect(),
    )
    .await;
}

#[tokio::test]
async fn outcomes_that_were_lost_are_told_again() {
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    let flight = Flight::new();
    let mut messages = flight.climb(6);
    messages[3] = flight.launched(4);
    let mut events = Vec::new();
    for message in &messages {
        events.push(service.ingest.ingest(message).await);
    }
    service.settles(&messages).await;
    all_is_applied(&jetstream).await;
    let statuses = async || {
        let mut statuses = Vec::new();
        for event in &events {
            statuses.push(service.query.event(*event).await.unwrap()["status"].as_str().unwrap().to_owned());
        }
        statuses
    };
    let right = ["processed", "processed", "processed", "failed", "processed", "processed"].map(str::to_owned).to_vec();
    becomes("what became of them", right.clone(), statuses).await;
    jetstream.delete_stream("ROCKETS_OUTCOMES").await.unwrap();
    let is_there_again = async || jetstream.get_stream("ROCKETS_OUTCOMES").await.ok().map(drop);
    eventually("`up` makes the stream again", is_there_again).await;

    let broker = service.broker.as_ref().unwrap();
    let said = runs(broker, &["--apply"]).await;
    assert!(
        said.says(0).contains(&format!("{} outcomes: 6 messages had none, reported again", flight.channel)),
        "{said:?}"
    );
    becomes("what became of them", right, statuses).await;
    assert_eq!(count(&jetstream, "ROCKETS_DLQ").await, 1);
    assert!(!runs(broker, &["--apply"]).await.says(0).contains("told again"));
}

#[tokio::test]
async fn lost_outcomes_of_a_rocket_that_goes_on_are_told_again() {
    let mut service = Trackers::start(1, "5s").await;
    let (client, jetstream) = (service.ingest.clone(), service.broker.jetstream().await);
    let flight = Flight::new();
    let mut messages = flight.climb(7);
    messages[3] = flight.launched(4);
    let (last, late) = (messages.pop().unwrap(), messages.remove(4));
    let mut events = Vec::new();
    for message in &messages {
        events.push(client.ingest(message).await);
    }
    let rocket = async || service.query.rocket(&flight.channel).await.unwrap_or_default();
    becomes("what waits", json!(1), async || rocket().await["pendingMessages"].clone()).await;
    service.query.skip(&flight.channel, &json!({"up_to": 5, "reason": "lost"})).await;
    becomes("the last number", json!(6), async || rocket().await["lastMessageNumber"].clone()).await;
    events.push(client.ingest(&late).await);
    all_is_applied(&jetstream).await;

    // Nobody applies the last one, so that its record has not passed all that lies in the log.
    service.trackers.clear();
    events.push(client.ingest(&last).await);
    jetstream.delete_stream("ROCKETS_OUTCOMES").await.unwrap();
    Program::of(&["init"]).broker(&service.broker).ends().await.says(0);
    let said = runs(&service.broker, &["--apply"]).await;
    assert!(said.says(0).contains("outcomes: 6 messages had none, reported again"), "{said:?}");
    service.join().await;
    let right = ["processed", "processed", "processed", "failed", "processed", "failed", "processed"];
    for (event, status) in events.into_iter().zip(right) {
        assert_eq!(service.query.settled(event).await["status"], status, "event {event}");
    }
}
