//! `GET /rockets/{channel}/history`: every number with what became of it, and the rocket as it was.

use serde_json::{Value, json};

use super::harness::messages::message_time;
use super::harness::{ChannelLog, Client, Flight, TestService, becomes, pick};

/// A rocket without what depends on now.
fn then(mut rocket: Value) -> Value {
    rocket.as_object_mut().unwrap().remove("pendingMessages");
    rocket
}

/// A channel with everything in it: a launch that is late, refusals, skips, and corrections of each.
async fn eventful(service: &mut TestService) -> (Flight, ChannelLog) {
    let jetstream = service.broker().jetstream().await;
    let client = &service.ingest;
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    let mut messages = flight.climb(20);
    messages[0] = flight.faster(1, 1);
    messages[1] = flight.launched(2);
    messages[6] = flight.launched(7);
    messages[9] = flight.launched(10);
    for message in messages.iter().filter(|message| ![13, 14].map(Value::from).contains(number(message))) {
        log.post(client, message).await;
    }
    log.rocket_holds(client).await;
    log.skip(client, &jetstream, 14).await;
    log.holds(client).await;
    log.post(client, &messages[12]).await;
    log.holds(client).await;
    for (at, body) in [(10, Some(flight.faster(10, 4_000))), (13, None)] {
        let dead_letters = client.dead_letters_of(&flight.channel).await;
        let dead_letter = dead_letters.iter().find(|dead_letter| dead_letter["message_number"] == at).unwrap();
        log.replay(client, dead_letter, body.as_ref()).await;
        log.holds(client).await;
    }
    // One that waits has no place in the history yet.
    log.post(client, &flight.faster(22, 1)).await;
    log.holds(client).await;
    (flight, log)
}

fn number(message: &Value) -> &Value {
    &message["metadata"]["messageNumber"]
}

#[tokio::test]
async fn every_number_has_a_row_in_either_order_whole_and_in_pages() {
    let mut service = TestService::start().await;
    let (flight, _) = eventful(&mut service).await;
    let client = &service.query;
    let path = format!("/rockets/{}/history", flight.channel);
    let newest_first = client.list(&path).await;
    let numbers: Vec<_> = newest_first.iter().map(|row| row["message_number"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq((1..=20).rev()), "{numbers:?}");
    let row = |number: usize| &newest_first[20 - number];
    for (number, status) in
        [(1, "failed"), (2, "processed"), (7, "failed"), (10, "processed"), (13, "processed"), (14, "skipped")]
    {
        assert_eq!(row(number)["status"], status, "{}", row(number));
        assert_eq!(row(number)["corrects"].is_u64(), [10, 13].contains(&number), "{}", row(number));
    }
    assert_eq!(row(1)["rocket"], Value::Null, "nothing was launched yet");
    assert_eq!(row(2)["rocket"]["mission"], "ARTEMIS");
    let corrected = client.event(row(10)["corrects"].as_u64().unwrap()).await.unwrap();
    let says = pick(&corrected, ["message_number", "message_type", "status"]);
    assert_eq!(says, json!([10, "RocketLaunched", "failed"]), "it keeps its status");
    let skip = client.event(row(14)["event_id"].as_u64().unwrap()).await.unwrap();
    assert_eq!(skip["message_type"], "MessagesSkipped");

    let mut oldest_first = newest_first.clone();
    oldest_first.reverse();
    for limit in [1, 3, 19, 20, 21, 1_000] {
        assert_eq!(client.pages(&path, limit).await, newest_first, "by {limit}");
        assert_eq!(client.pages(&format!("{path}?order=desc"), limit).await, newest_first, "by {limit}");
        assert_eq!(client.pages(&format!("{path}?order=asc"), limit).await, oldest_first, "by {limit}");
    }
    let upper = format!("/rockets/{}/history", flight.channel.to_uppercase());
    assert_eq!(client.list(&upper).await, newest_first, "either case names it");
    for wrong in ["order=up", "limit=0", "limit=1001", "cursor=x", "sortBy=type"] {
        let answer = client.get(&format!("{path}?{wrong}")).await;
        assert!(answer.error(400).starts_with(wrong.split('=').next().unwrap()), "{answer:?}");
    }
    let answer = client.get("/rockets/7/history").await;
    assert!(answer.error(400).starts_with("channel: must be a UUID"), "{answer:?}");
    let unknown = format!("/rockets/{}/history", Flight::new().channel);
    assert_eq!(client.get(&unknown).await.error(404), "rocket not found");
    a_page_goes_on_where_it_was(client, &flight, &newest_first).await;
}

/// A cursor stays good while the channel goes on.
async fn a_page_goes_on_where_it_was(client: &Client, flight: &Flight, rows: &[Value]) {
    let path = format!("/rockets/{}/history", flight.channel);
    let first = client.get(&format!("{path}?limit=5")).await;
    assert_eq!(first.body["data"], json!(rows[..5]));
    client.ingest(&flight.faster(21, 1)).await;
    becomes("the history", 22, async || client.list(&path).await.len()).await;
    let cursor = first.body["next_cursor"].as_str().unwrap();
    assert_eq!(client.list(&format!("{path}?limit=15&cursor={cursor}")).await, rows[5..]);
}

#[tokio::test]
async fn a_rocket_is_shown_as_it_was() {
    let mut service = TestService::start().await;
    let (flight, log) = eventful(&mut service).await;
    let client = &service.query;
    let at = async |text: &str| client.get(&format!("/rockets/{}/history?at={text}", flight.channel)).await;
    let places = log.places();
    for (number, place) in &places {
        let answer = at(&number.to_string()).await;
        match place.row["rocket"].clone() {
            Value::Null => assert_eq!(answer.error(404), "rocket not found"),
            rocket => assert_eq!(then(answer.body["data"].clone()), rocket, "at {number}: {answer:?}"),
        }
    }
    let last = &places[&20].row["rocket"];
    for beyond in ["21", "22", "1000000", "9223372036854775807", "2100-01-01T00:00:00Z"] {
        assert_eq!(then(at(beyond).await.body["data"].clone()), *last, "at {beyond}");
    }
    for wrong in ["", "x", "-1", "1.5", "9223372036854775808", "2022-02-02", "2022-02-02%2000:00:00Z"] {
        let answer = at(wrong).await;
        assert!(answer.error(400).starts_with("at"), "{wrong}: {answer:?}");
    }

    // By message time, where all times rise with the numbers.
    let flight = Flight::new();
    let messages = flight.climb(20);
    let mut log = ChannelLog::new(&flight.channel);
    for message in &messages {
        log.post(client, message).await;
    }
    log.rocket_holds(client).await;
    let at = async |text: &str| client.get(&format!("/rockets/{}/history?at={text}", flight.channel)).await;
    assert_eq!(message_time(9), "2022-02-01T00:00:09.5+01:00");
    for (time, number) in [
        ("2022-02-01T00:00:09.5%2B01:00", 9),
        ("2022-01-31T23:00:09.5Z", 9),
        ("2022-01-31T23:00:10.499999999Z", 9),
        ("2022-01-31T23:00:10.5Z", 10),
        ("2022-01-31T23:00:01.5Z", 1),
        ("2022-01-31T23:00:20.5Z", 20),
        ("2030-01-31T23:00:20Z", 20),
    ] {
        let answer = at(time).await;
        assert_eq!(then(answer.body["data"].clone()), log.places()[&number].row["rocket"], "at {time}: {answer:?}");
    }
    for before in ["2022-01-31T23:00:01.499Z", "1970-01-01T00:00:00Z"] {
        assert_eq!(at(before).await.error(404), "rocket not found");
    }
}
