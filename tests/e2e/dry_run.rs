//! What something would do is told before it is done: by the rules of the act itself, with the same numbers, and nothing
//! happens.

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{ChannelLog, Client, Flight, Program, TestService, pick};

/// What is told of an act that is asked about and not done.
async fn told(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Value {
    let request = client.request(method, &format!("{path}?dry_run=true"));
    let answer = client.answer(body.into_iter().fold(request, |request, body| request.json(body))).await;
    assert_eq!((answer.status, &answer.body["data"]["status"]), (200, &json!("dry_run")), "{answer:?}");
    assert!(answer.body["data"]["effect"].as_str().is_some_and(|effect| effect.ends_with('.')), "{answer:?}");
    answer.body["data"].clone()
}

#[tokio::test]
async fn a_skip_is_told_and_does_what_was_told() {
    let service = TestService::start().await;
    let client = &service.ingest;
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in [1, 4, 5, 9, 20].map(|number| match number {
        1 => flight.launched(1),
        number => flight.faster(number, 1),
    }) {
        log.post(client, &message).await;
    }
    log.rocket_holds(client).await;
    let (path, body) = (format!("/rockets/{}/skip", flight.channel), json!({ "up_to": 7, "reason": "radio lost" }));
    let effect = told(client, Method::POST, &path, Some(&body)).await;
    let numbers = ["first", "up_to", "skipped", "applied", "applied_through", "waiting_for"];
    assert_eq!(pick(&effect, numbers), json!([2, 7, 4, 2, 7, 8]), "{effect}");
    log.rocket_holds(client).await;
    let event = client.skip(&flight.channel, &body).await.ingested();
    assert_eq!(client.settled(event).await["status"], "processed");
    let rocket = client.rocket(&flight.channel).await.unwrap();
    assert_eq!(pick(&rocket, ["lastMessageNumber", "pendingMessages"]), json!([7, 2]));
    let passed = client.answer(client.request(Method::POST, &format!("{path}?dry_run=true")).json(&body)).await;
    assert!(passed.error(409).contains("has been passed already"), "{passed:?}");
    for wrong in ["dry_run=1", "dryrun=true", "dry_run=true&dry_run=true"] {
        let answer = client.answer(client.request(Method::POST, &format!("{path}?{wrong}")).json(&body)).await;
        assert!(answer.error(400).starts_with(wrong.split('=').next().unwrap()), "{answer:?}");
    }
}

#[tokio::test]
async fn a_replay_and_a_drop_are_told_and_leave_the_dead_letter() {
    let mut service = TestService::start().await;
    let (client, flight) = (service.ingest.clone(), Flight::new());
    let mut log = ChannelLog::new(&flight.channel);
    for message in [flight.launched(1), flight.launched(2), flight.faster(3, 1)] {
        log.post(&client, &message).await;
    }
    log.holds(&client).await;
    let dead_letter = client.dead_letters_of(&flight.channel).await.remove(0);
    let id = &dead_letter["id"];
    let path = format!("/dead-letters/{id}");
    let corrected = flight.faster(2, 40);
    let effect = told(&client, Method::POST, &format!("{path}/replay"), Some(&corrected)).await;
    assert_eq!(pick(&effect, ["message_number", "correction"]), json!([2, true]), "{effect}");
    let wrong = client.request(Method::POST, &format!("{path}/replay?dry_run=true")).json(&json!({}));
    assert_eq!(client.answer(wrong).await.error(400), "metadata: is missing");
    let effect = told(&client, Method::DELETE, &path, None).await;
    assert_eq!(pick(&effect, ["reason", "message_number"]), json!(["refused", 2]), "{effect}");
    let broker = service.broker();
    let dry = async |args: &[&str]| {
        let ended = Program::of(&[args, &["--dry-run"]].concat()).broker(broker).ends().await;
        ended.says(0).to_owned()
    };
    let id_text = id.to_string();
    assert_eq!(dry(&["dlq", "drop", &id_text]).await.trim(), effect["effect"].as_str().unwrap());
    assert!(dry(&["dlq", "replay", &id_text]).await.contains("takes the place of number 2"));
    assert_eq!(dry(&["dlq", "replay", "--all"]).await, "1 dead letters are replayed as they are.\n");
    assert_eq!(dry(&["dlq", "drop", "--all"]).await, "1 dead letters are removed for good.\n");
    log.holds(&client).await;
    let event = log.replay(&client, &dead_letter, Some(&corrected)).await;
    let effect = told(&client, Method::POST, &format!("{path}/replay"), Some(&corrected)).await;
    assert_eq!(effect["replayed_as"], event, "{effect}");
    log.holds(&client).await;
    let gone = client.answer(client.request(Method::DELETE, &format!("{path}?dry_run=true"))).await;
    assert_eq!(gone.error(404), "dead letter not found");
}
