//! `GET /events/{id}`: what became of one message, and when that can be relied on.

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;

use super::harness::stream::{publish, publish_bytes};
use super::harness::{Broker, Client, Flight, PATIENCE, Program, TestService, becomes, eventually, pick};

const FIELDS: [&str; 8] =
    ["channel", "error_message", "id", "message_number", "message_type", "processed_at", "received_at", "status"];

fn time(text: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(text.as_str().unwrap(), &Rfc3339).unwrap()
}

/// Fails unless an event has the contract's fields and these values, in the order channel, number, type, status.
fn assert_event(event: &Value, id: u64, says: Value) {
    let fields = event.as_object().unwrap().keys().map(String::as_str).filter(|name| *name != "waiting_for");
    assert!(fields.eq(FIELDS), "{event}");
    assert_eq!(event["id"], id, "{event}");
    assert_eq!(pick(event, ["channel", "message_number", "message_type", "status"]), says, "{event}");
    assert!(time(&event["received_at"]) <= OffsetDateTime::now_utc(), "{event}");
    let status = event["status"].as_str().unwrap();
    if status == "processed" || status == "failed" {
        assert!(time(&event["processed_at"]) >= time(&event["received_at"]), "{event}");
    } else if status == "pending" {
        assert!(event["processed_at"].is_null(), "{event}");
    }
    assert_eq!(event["error_message"].as_str().is_some_and(|text| !text.is_empty()), status == "failed", "{event}");
}

#[tokio::test]
async fn an_event_says_what_became_of_its_message() {
    let mut service = TestService::start().await;
    let client = service.ingest.clone();
    let flight = Flight::new();
    let [launch, refused, waits] = [flight.launched(1), flight.launched(2), flight.faster(5, 7)];
    let ids = [client.ingest(&launch).await, client.ingest(&refused).await, client.ingest(&waits).await];
    let rows = [("RocketLaunched", "processed"), ("RocketLaunched", "failed"), ("RocketSpeedIncreased", "pending")];
    for ((id, number), (message_type, status)) in ids.into_iter().zip([1, 2, 5]).zip(rows) {
        becomes("the status", Some(status.to_owned()), async || client.status(id).await).await;
        let says = json!([flight.channel, number, message_type, status]);
        assert_event(&client.event(id).await.unwrap(), id, says);
    }
    becomes("the number that is missing", json!(3), async || client.event(ids[2]).await.unwrap()["waiting_for"].take())
        .await;

    // Whoever waits for what others wait for is told so at once: twenty such waits have the time of six.
    let waits_in_vain = async {
        for _ in 0..20 {
            let event = client.get(&format!("/events/{}?wait=9999ms", ids[2])).await.body["data"].take();
            assert_eq!((&event["status"], &event["waiting_for"]), (&"pending".into(), &3.into()), "{event}");
        }
    };
    timeout(PATIENCE, waits_in_vain).await.expect("an answer at once");

    // A copy of what is pending, and a copy of what is past, stored as if the window of the broker's ids were over.
    let jetstream = service.broker().jetstream().await;
    let [copy_of_waiting, copy_of_passed] = publish(&jetstream, &[waits, launch]).await[..] else { panic!() };
    assert_eq!(client.settled(copy_of_passed).await["status"], "duplicate");
    assert_eq!(client.status(copy_of_waiting).await.unwrap(), "pending");
    for message in [flight.faster(4, 1), flight.faster(3, 1)] {
        client.ingest(&message).await;
    }
    for (id, status) in [(ids[2], "processed"), (copy_of_waiting, "duplicate"), (copy_of_passed, "duplicate")] {
        let number = if id == copy_of_passed { 1 } else { 5 };
        let message_type = if id == copy_of_passed { "RocketLaunched" } else { "RocketSpeedIncreased" };
        let event = client.settled(id).await;
        assert_event(&event, id, json!([flight.channel, number, message_type, status]));
        assert!(event["waiting_for"].is_null(), "{event}");
    }

    // What is no message has little to say.
    for (token, channel) in [(&*flight.channel, Some(&flight.channel)), ("not-a-uuid", None)] {
        let id = publish_bytes(&jetstream, &format!("rockets.{token}"), b"garbage".to_vec()).await;
        assert_event(&client.settled(id).await, id, json!([channel, null, null, "failed"]));
    }
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told() {
    let service = TestService::start().await;
    let client = service.ingest.clone();
    let id = client.ingest(&Flight::new().launched(1)).await;
    client.settled(id).await;
    for unknown in [0, id + 1, id + 1_000_000, i64::MAX as u64] {
        let answer = client.get(&format!("/events/{unknown}")).await;
        assert_eq!(answer.error(404), "event not found", "{unknown}");
    }
    assert_eq!(client.get(&format!("/events/{}?wait=1ms", id + 1)).await.error(404), "event not found");
    for wrong in ["x", "-1", "+1", "1.0", "1e3", "1x", "9223372036854775808", "99999999999999999999999999"] {
        let answer = client.get(&format!("/events/{wrong}")).await;
        assert_eq!(answer.error(400), format!("invalid event ID: {wrong}"));
    }
    for good in ["1ms", "500ms", "5s", "10s", "10000ms"] {
        let answer = client.get(&format!("/events/{id}?wait={good}")).await;
        assert_eq!((answer.status, &answer.body["data"]["status"]), (200, &"processed".into()), "{good}");
    }
    for wrong in ["", "5", "x", "s", "-1s", "11s", "10001ms", "1h", "99999999999999999999s", "5s5"] {
        let answer = client.get(&format!("/events/{id}?wait={wrong}")).await;
        assert!(answer.error(400).starts_with("wait"), "{wrong}: {answer:?}");
    }
    let path = format!("/events/{id}");
    let head = client.answer(client.request(Method::HEAD, &path)).await;
    assert_eq!((head.status, head.body), (200, Value::Null));
}

/// Sends a message, waits for its event, and looks at its rocket once.
async fn reads_own_write(ingest: &Client, query: &Client, message: Value) {
    let id = ingest.ingest(&message).await;
    let event = query.settled(id).await;
    assert_eq!(event["status"], "processed", "{event}");
    let rocket = query.rocket(event["channel"].as_str().unwrap()).await;
    let seen = rocket.as_ref().and_then(|rocket| rocket["lastMessageNumber"].as_u64());
    assert!(seen >= event["message_number"].as_u64(), "{event} is not in {rocket:?}");
}

#[tokio::test]
async fn an_event_that_is_told_is_seen_in_its_rocket() {
    for service in [TestService::start().await, TestService::split().await] {
        let runs = (0..8).map(async |_| {
            for message in Flight::new().climb(30) {
                reads_own_write(&service.ingest, &service.query, message).await;
            }
        });
        join_all(runs).await;

        // Out of order: of all that wait each one is seen when it is told, too.
        let flight = Flight::new();
        let mut late_first = flight.climb(60);
        late_first.reverse();
        let count = late_first.len();
        let sends = stream::iter(late_first).map(async |message| service.ingest.ingest(&message).await);
        let ids: Vec<_> = sends.buffered(4).collect().await;
        let looks = ids.iter().map(async |id| {
            let event = service.query.settled(*id).await;
            let rocket = service.query.rocket(&flight.channel).await.expect("it is launched");
            let [seen, told] = [&rocket["lastMessageNumber"], &event["message_number"]].map(|number| number.as_u64());
            assert!(event["status"] == "processed" && seen >= told, "{event} is not in {rocket}");
        });
        assert_eq!(join_all(looks).await.len(), count);
    }
}

#[tokio::test]
async fn without_a_tracker_events_are_pending_until_one_comes() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up", "--roles", "ingest,query"]).broker(&broker).start();
    let client = up.ready().await;
    let flight = Flight::new();
    let mut ids = Vec::new();
    for message in [flight.launched(1), flight.faster(2, 1), flight.faster(4, 1)] {
        ids.push((client.ingest(&message).await, message));
    }
    for (id, message) in &ids {
        let event = client.get(&format!("/events/{id}?wait=100ms")).await.body["data"].take();
        let metadata = &message["metadata"];
        let says = json!([metadata["channel"], metadata["messageNumber"], metadata["messageType"], "pending"]);
        assert_event(&event, *id, says);
    }
    // One that is asked for while it waits is told as soon as there is something to tell.
    let path = format!("/events/{}?wait=9s", ids[1].0);
    let waited = eventually("an event told to one who waits", async || {
        let event = client.get(&path).await.body["data"].take();
        (event["status"] == "processed").then_some(())
    });
    let track = async {
        let mut track = Program::of(&["track"]).broker(&broker).start();
        track.ready().await;
        track
    };
    let (_track, ()) = tokio::join!(track, waited);
    becomes("what waits", json!(3), async || client.event(ids[2].0).await.unwrap()["waiting_for"].take()).await;
}
