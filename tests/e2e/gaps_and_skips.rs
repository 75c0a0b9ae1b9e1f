//! Gaps as an operator sees them, and skips: what opens the way, what does not, and what comes too late.

use async_nats::jetstream;
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::harness::service::init;
use super::harness::stream::all_is_applied;
use super::harness::{Broker, ChannelLog, Client, Flight, Program, TestService, becomes, pick};

const UNKNOWN_TYPE: &str = "failed to process message: unknown message type";

fn instant(text: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(text.as_str().unwrap(), &Rfc3339).unwrap()
}

/// Channel, missing number, how many wait, and since when, of each gap.
async fn gaps(client: &Client) -> Vec<(String, u64, u64, OffsetDateTime)> {
    let row = |row: &Value| {
        let channel = row["channel"].as_str().unwrap().to_owned();
        let [missing, pending] = ["waiting_for", "pending_messages"].map(|field| row[field].as_u64().unwrap());
        assert_eq!(row.as_object().unwrap().len(), 4, "{row}");
        (channel, missing, pending, instant(&row["since"]))
    };
    client.list("/gaps").await.iter().map(row).collect()
}

#[tokio::test]
async fn gaps_are_listed_oldest_first() {
    let service = TestService::start().await;
    let client = &service.ingest;
    assert_eq!(gaps(client).await, []);
    let flights = [(); 4].map(|()| Flight::new());
    let [whole, unlaunched, several, backwards] = &flights;
    for message in whole.climb(3) {
        client.ingest(&message).await;
    }
    let received = async |id: u64| instant(&client.event(id).await.unwrap()["received_at"]);
    client.ingest(&several.launched(1)).await;
    let first = client.ingest(&unlaunched.faster(2, 1)).await;
    let second = client.ingest(&several.faster(3, 1)).await;
    let third = client.ingest(&backwards.faster(9, 1)).await;
    client.ingest(&backwards.faster(8, 1)).await;
    let fourth = client.ingest(&several.faster(5, 1)).await;
    let row = async |flight: &Flight, missing: u64, pending: u64, since: u64| {
        (flight.channel.clone(), missing, pending, received(since).await)
    };
    let of_unlaunched = row(unlaunched, 1, 1, first).await;
    let of_backwards = row(backwards, 1, 2, third).await;
    let expected = vec![of_unlaunched.clone(), row(several, 2, 2, second).await, of_backwards.clone()];
    becomes("the gaps", expected.clone(), async || gaps(client).await).await;
    for limit in 1..=4 {
        let pages = client.pages("/gaps", limit).await;
        let channels = pages.iter().map(|row| row["channel"].as_str().unwrap());
        assert!(channels.eq(expected.iter().map(|(channel, ..)| channel.as_str())), "by {limit}: {pages:?}");
    }
    // Behind the first gap that closes there is a younger one.
    client.ingest(&several.faster(2, 1)).await;
    let expected = vec![of_unlaunched, of_backwards, row(several, 4, 1, fourth).await];
    becomes("the gaps", expected, async || gaps(client).await).await;
    for message in [several.faster(4, 1), unlaunched.launched(1)] {
        client.ingest(&message).await;
    }
    becomes("the gaps", vec![row(backwards, 1, 2, third).await], async || gaps(client).await).await;
    for wrong in ["limit=0", "limit=1001", "cursor=garbage", "order=asc"] {
        let answer = client.get(&format!("/gaps?{wrong}")).await;
        assert!(answer.error(400).starts_with(wrong.split('=').next().unwrap()), "{answer:?}");
    }
}

fn skip(up_to: u64) -> Value {
    json!({ "up_to": up_to, "reason": "radio lost" })
}

#[tokio::test]
async fn a_skip_that_cannot_be_is_refused_with_the_reason() {
    let service = TestService::start().await;
    let client = &service.ingest;
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in [flight.launched(1), flight.faster(2, 1), flight.faster(5, 1)] {
        log.post(client, &message).await;
    }
    log.rocket_holds(client).await;
    let path = format!("/rockets/{}/skip", flight.channel);
    for (body, field) in [
        ("", "body"),
        ("7", "body"),
        ("{", "body"),
        (r#"{"reason": "x"}"#, "up_to"),
        (r#"{"up_to": "4", "reason": "x"}"#, "up_to"),
        (r#"{"up_to": 4.0, "reason": "x"}"#, "up_to"),
        (r#"{"up_to": 0, "reason": "x"}"#, "up_to"),
        (r#"{"up_to": -4, "reason": "x"}"#, "up_to"),
        (r#"{"up_to": 9223372036854775808, "reason": "x"}"#, "up_to"),
        (r#"{"up_to": 4, "reason": ""}"#, "reason"),
        (r#"{"up_to": 4, "reason": 7}"#, "reason"),
        (r#"{"up_to": 4}"#, "reason"),
        (&json!({ "up_to": 4, "reason": "x".repeat(256) }).to_string(), "reason"),
    ] {
        let answer = client.answer(client.request(Method::POST, &path).body(body.to_owned())).await;
        assert!(answer.error(400).starts_with(field), "{body}: {answer:?}");
    }
    let answer = client.skip("not-a-uuid", &skip(4)).await;
    assert!(answer.error(400).starts_with("channel: must be a UUID"), "{answer:?}");
    assert!(!client.skip(&Flight::new().channel, &skip(4)).await.error(404).is_empty());
    for passed in [1, 2] {
        assert!(!client.skip(&flight.channel, &skip(passed)).await.error(409).is_empty());
    }
    for beyond in [6, i64::MAX as u64] {
        assert!(!client.skip(&flight.channel, &skip(beyond)).await.error(409).is_empty());
    }
    // What is said over HTTP to be a skip is a message of a type that nobody knows.
    assert_eq!(client.post(&flight.skipped(4, "x")).await.error(400), UNKNOWN_TYPE);
    // None of this was stored.
    log.holds(client).await;
    assert_eq!(log.post(client, &flight.faster(3, 1)).await, 4);
}

/// A service whose tracker can be stopped.
struct Stoppable {
    broker: Broker,
    jetstream: jetstream::Context,
    client: Client,
    _up: Program,
    track: Option<Program>,
}

impl Stoppable {
    async fn start() -> Self {
        let broker = Broker::start().await;
        init(&broker).await;
        let mut up = Program::of(&["up", "--roles", "ingest,query"]).broker(&broker).start();
        let (client, jetstream) = (up.ready().await, broker.jetstream().await);
        let mut service = Self { broker, jetstream, client, _up: up, track: None };
        service.tracks().await;
        service
    }

    async fn tracks(&mut self) {
        let mut track = Program::of(&["track"]).broker(&self.broker).start();
        track.ready().await;
        self.track = Some(track);
    }

    async fn tracks_no_more(&mut self) {
        all_is_applied(&self.jetstream).await;
        assert!(self.track.take().unwrap().term().await.success());
    }
}

#[tokio::test]
async fn a_skip_opens_the_way_to_what_waits() {
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    let client = &service.ingest;
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in [flight.launched(1), flight.faster(4, 10), flight.faster(7, 100), flight.mission(9, "LATE")] {
        log.post(client, &message).await;
    }
    log.rocket_holds(client).await;
    // One gap, then not all of the next one, then several at once.
    let first = log.skip(client, &jetstream, 3).await;
    log.holds(client).await;
    log.post(client, &flight.slower(11, 1)).await;
    log.skip(client, &jetstream, 5).await;
    log.holds(client).await;
    let last = log.skip(client, &jetstream, 10).await;
    log.holds(client).await;
    assert_eq!(gaps(client).await, []);
    let event = client.event(last).await.unwrap();
    let says = pick(&event, ["message_type", "message_number", "status", "error_message"]);
    assert_eq!(says, json!(["MessagesSkipped", 10, "processed", null]));
    // Said again it is too late.
    for up_to in [3, 10] {
        assert!(!client.skip(&flight.channel, &skip(up_to)).await.error(409).is_empty());
    }
    let row = &client.list(&format!("/rockets/{}/history?limit=1&order=asc", flight.channel)).await[0];
    assert_eq!((&row["message_number"], &row["status"]), (&1.into(), &"processed".into()));
    assert_ne!(first, last);

    // What comes too late is kept, and changes nothing.
    let late = log.post(client, &flight.faster(5, 1_000)).await;
    log.holds(client).await;
    let dead_letter = &client.dead_letters_of(&flight.channel).await[0];
    let says = pick(dead_letter, ["reason", "event_id", "message_number", "message_type", "attempts"]);
    assert_eq!(says, json!(["skipped", late, 5, "RocketSpeedIncreased", 1]));
    let error = |value: &Value| value["error_message"].as_str().unwrap().to_owned();
    assert_eq!(error(dead_letter), error(&client.event(late).await.unwrap()));
}

#[tokio::test]
async fn a_skip_of_the_launch_warns() {
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    let client = &service.ingest;
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in [flight.faster(2, 1), flight.launched(4), flight.faster(5, 1)] {
        log.post(client, &message).await;
    }
    becomes("what waits", vec![3], async || gaps(client).await.iter().map(|(_, _, pending, _)| *pending).collect())
        .await;
    let answer = client.skip(&flight.channel, &skip(1)).await;
    let id = answer.ingested();
    assert!(!answer.body["data"]["warning"].as_str().unwrap().is_empty(), "{answer:?}");
    let raw = jetstream.get_stream("ROCKETS").await.unwrap().get_raw_message(id).await.unwrap();
    let stored: Value = serde_json::from_slice(&raw.payload).unwrap();
    assert_eq!(stored["message"]["reason"], "radio lost");
    assert_eq!(stored["metadata"]["messageType"], "MessagesSkipped");
    log.skipped(id, 1, &stored["metadata"]["messageTime"]);
    log.holds(client).await;
    let answer = client.skip(&flight.channel, &skip(3)).await;
    assert!(answer.body["data"]["warning"].is_null(), "{answer:?}");
    let raw = jetstream.get_stream("ROCKETS").await.unwrap().get_raw_message(answer.ingested()).await.unwrap();
    let stored: Value = serde_json::from_slice(&raw.payload).unwrap();
    log.skipped(answer.ingested(), 3, &stored["metadata"]["messageTime"]);
    log.holds(client).await;
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["currentSpeed"], 501);
}

#[tokio::test]
async fn what_arrived_before_a_skip_is_not_skipped() {
    let mut service = Stoppable::start().await;
    let client = service.client.clone();
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in [flight.launched(1), flight.faster(8, 1)] {
        log.post(&client, &message).await;
    }
    log.rocket_holds(&client).await;
    service.tracks_no_more().await;
    // Stored and not applied yet, on either side of two skips. The second one reaches to what nobody has applied.
    log.post(&client, &flight.faster(3, 10)).await;
    log.post(&client, &flight.faster(12, 100)).await;
    let first = log.skip(&client, &service.jetstream, 5).await;
    log.post(&client, &flight.faster(4, 1_000)).await;
    log.post(&client, &flight.faster(6, 10_000)).await;
    let again = client.skip(&flight.channel, &skip(5)).await;
    let says = (&again.body["data"]["status"], &again.body["data"]["event_id"]);
    assert_eq!((again.status, says), (200, (&"duplicate".into(), &first.into())), "{again:?}");
    let second = log.skip(&client, &service.jetstream, 11).await;
    log.post(&client, &flight.faster(9, 1)).await;
    for id in [first, second] {
        assert_eq!(client.status(id).await.unwrap(), "pending");
    }
    service.tracks().await;
    log.holds(&client).await;
    let places = log.places();
    let statuses: Vec<_> = places.values().map(|place| place.row["status"].as_str().unwrap()).collect();
    let (p, s) = ("processed", "skipped");
    assert_eq!(statuses, [p, s, p, s, s, p, s, p, s, s, s, p]);
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["currentSpeed"], 500 + 1 + 10 + 100 + 10_000);
}

#[tokio::test]
async fn a_skip_that_was_overtaken_is_processed_and_skips_nothing() {
    let mut service = Stoppable::start().await;
    let client = service.client.clone();
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in [flight.launched(1), flight.faster(3, 1)] {
        log.post(&client, &message).await;
    }
    log.rocket_holds(&client).await;
    service.tracks_no_more().await;
    log.post(&client, &flight.faster(2, 10)).await;
    let overtaken = log.skip(&client, &service.jetstream, 2).await;
    service.tracks().await;
    log.holds(&client).await;
    assert_eq!(log.statuses()[&overtaken], "processed");
    assert_eq!(client.rocket(&flight.channel).await.unwrap()["currentSpeed"], 511);
    assert_eq!(client.dead_letters_of(&flight.channel).await, Vec::<Value>::new());
}
