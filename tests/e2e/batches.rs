//! Many messages in one request: each is checked, stored and answered for itself.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::client::Answer;
use super::harness::messages::{number_of, scattered};
use super::harness::service::settles;
use super::harness::stream::count;
use super::harness::{Client, Flight, Program, TestService, eventually, pick};

const COUNTS: [&str; 4] = ["ingested", "duplicate", "rejected", "unavailable"];

fn lines(messages: &[Value]) -> String {
    messages.iter().map(|message| format!("{message}\r\n\n")).collect()
}

fn packed(body: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

async fn send(client: &Client, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
    let request = client.request(Method::POST, "/messages").body(body);
    client.answer(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

async fn send_array(client: &Client, messages: &[Value]) -> Answer {
    send(client, &[], Value::from(messages).to_string()).await
}

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson; charset=utf-8");

#[tokio::test]
async fn every_form_is_taken_and_each_message_answered_in_order() {
    let service = TestService::start().await;
    let client = &service.ingest;
    let mut stored = 0;
    for form in ["array", "lines", "packed array", "packed lines"] {
        let flight = Flight::new();
        let messages = scattered(&flight.climb(300));
        let (array, lines, gzip) =
            (Value::from(messages.as_slice()).to_string(), lines(&messages), ("content-encoding", "gzip"));
        let answer = match form {
            "array" => send(client, &[("content-type", "text/plain")], format!(" \n{array}")).await,
            "lines" => send(client, &[NDJSON], lines).await,
            "packed array" => send(client, &[gzip], packed(&array)).await,
            _ => send(client, &[NDJSON, gzip], packed(&lines)).await,
        };
        assert_eq!((answer.status, pick(&answer.body["data"], COUNTS)), (200, json!([300, 0, 0, 0])), "{form}");
        let results = answer.body["data"]["results"].as_array().unwrap();
        for (message, result) in messages.iter().zip(results) {
            let event = client.event(result["event_id"].as_u64().unwrap()).await.unwrap();
            assert_eq!(pick(&event, ["channel", "message_number"]), json!([flight.channel, number_of(message)]));
        }
        settles(client, &messages).await;
        stored += 300;
        assert_eq!(count(&service.broker.as_ref().unwrap().jetstream().await, "ROCKETS").await, stored, "{form}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_one_is_nothing_to_the_others() {
    let service = TestService::start().await;
    let client = &service.ingest;
    let flight = Flight::new();
    let mut wrong = flight.launched(4);
    wrong["metadata"]["channel"] = "nope".into();
    let mut long = flight.launched(5);
    long["message"]["more"] = "x".repeat(64 * 1024).into();
    let first = client.ingest(&flight.launched(1)).await;
    let batch =
        [flight.faster(2, 7), wrong, flight.launched(1), json!(7), long, flight.slower(3, 5), flight.faster(2, 7)];
    let answer = send_array(client, &batch).await;
    assert_eq!((answer.status, pick(&answer.body["data"], COUNTS)), (207, json!([2, 2, 3, 0])), "{answer:?}");
    let results = answer.body["data"]["results"].as_array().unwrap();
    let said: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(said, ["ingested", "rejected", "duplicate", "rejected", "rejected", "ingested", "duplicate"]);
    let errors: Vec<_> = [1, 3, 4].map(|at: usize| results[at]["error"].as_str().unwrap()).into();
    let not_a_uuid = "metadata.channel: must be a UUID such as 193270a9-c9cf-404a-8f83-838e71d9ae67";
    assert_eq!(errors, [not_a_uuid, "body: must be a JSON object", "body: must be at most 65536 bytes"]);
    assert_eq!((&results[2]["event_id"], &results[6]["event_id"]), (&first.into(), &results[0]["event_id"]));
    settles(client, &[flight.launched(1), flight.faster(2, 7), flight.slower(3, 5)]).await;
}

#[tokio::test]
async fn a_batch_has_messages_and_bounds() {
    let service = TestService::start().await;
    let client = &service.ingest;
    let flight = Flight::new();
    let many = flight.climb(1_001);
    let none = send_array(client, &[json!(7), flight.message(1, "RocketSang", json!({}))]).await;
    assert_eq!(none.error(400), "no message of the batch is one: body: must be a JSON object");
    assert_eq!(pick(&none.body["data"], COUNTS), json!([0, 0, 2, 0]));
    for (body, error) in [
        ("[]".to_owned(), "there is none"),
        (Value::from(many.as_slice()).to_string(), "there are more at line 1"),
        ("[{}, ".to_owned(), "EOF while parsing"),
        ("[{}] x".to_owned(), "trailing characters"),
    ] {
        let answer = send(client, &[], body).await;
        let expected = format!("body: must hold 1 to 1000 messages: {error}");
        assert!(answer.error(400).starts_with(&expected), "{answer:?}");
    }
    for (body, error) in
        [(String::new(), "there is none"), ("\n\n".to_owned(), "there is none"), (lines(&many), "there are more")]
    {
        let answer = send(client, &[NDJSON], body).await;
        assert_eq!(answer.error(400), format!("body: must hold 1 to 1000 messages: {error}"));
    }
    let too_large = format!("[{}]", " ".repeat(4 * 1024 * 1024));
    assert_eq!(send(client, &[], too_large.clone()).await.error(413), "body: must be at most 4194304 bytes");
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(send(client, &gzip, packed(&too_large)).await.error(413), "body: must be at most 4194304 bytes");
    // What is no list has the bound of one message.
    let one = format!("{{{}", " ".repeat(64 * 1024));
    assert_eq!(send(client, &[], one.clone()).await.error(413), "body: must be at most 65536 bytes");
    assert_eq!(send(client, &gzip, packed(&one)).await.error(413), "body: must be at most 65536 bytes");
    let thousand = send_array(client, &many[..1_000]).await;
    assert_eq!(pick(&thousand.body["data"], COUNTS), json!([1_000, 0, 0, 0]));
}

#[tokio::test]
async fn without_a_broker_each_is_unavailable_and_may_be_sent_again() {
    let mut service = TestService::start().await;
    let client = service.ingest.clone();
    let messages = Flight::new().climb(50);
    let stored = send_array(&client, &messages[..20]).await;
    assert_eq!(stored.status, 200, "{stored:?}");
    service.broker().freeze();
    let mixed = [&messages[..], &[json!({})]].concat();
    let unavailable = send_array(&client, &mixed).await;
    service.broker().thaw();
    assert_eq!(unavailable.error(503), "no message of the batch can be stored now, send it again");
    assert!(unavailable.headers.contains_key("retry-after"));
    assert_eq!(pick(&unavailable.body["data"], COUNTS), json!([0, 0, 1, 50]));
    let again = eventually("all of it is stored", async || {
        Some(send_array(&client, &messages).await).filter(|again| again.status == 200)
    });
    let again = again.await;
    let counts = &again.body["data"];
    assert_eq!(counts["ingested"].as_u64().unwrap() + counts["duplicate"].as_u64().unwrap(), 50);
    settles(&client, &messages).await;
    assert_eq!(count(&service.broker().jetstream().await, "ROCKETS").await, 50);
}

#[tokio::test]
async fn the_load_generator_sends_batches() {
    let service = TestService::start().await;
    let (url, base) = (service.ingest.url("/messages"), service.query.base().to_owned());
    let launch =
        ["launch", &url, "--batch", "100", "--max-messages", "3000", "--duplicates", "0.1", "--shuffle", "200"];
    let launch = [&launch[..], &["--hostile", "--verify", &base]].concat();
    let ended = Program::of(&launch).ends().await;
    assert!(ended.says(0).contains("rockets right"), "{}", ended.output);
}

/// Half of a batch was stored when the process died; what is sent again is stored once.
#[cfg(feature = "fail-points")]
#[tokio::test]
async fn a_batch_that_was_stored_in_part_may_be_sent_again() {
    use super::harness::Broker;

    let broker = Broker::start().await;
    Program::of(&["up"]).broker(&broker).start_and_ready().await;
    let (mut dying, client) =
        Program::of(&["up"]).broker(&broker).fail_point("ingest.stored:7").start_and_ready().await;
    let messages = Flight::new().climb(100);
    assert_eq!(send_array(&client, &messages[..6]).await.status, 200);
    let body = Value::from(messages.as_slice()).to_string();
    assert!(client.try_answer(client.request(Method::POST, "/messages").body(body)).await.is_err());
    dying.exit().await;
    let (_up, client) = Program::of(&["up"]).broker(&broker).start_and_ready().await;
    let again = send_array(&client, &messages).await;
    assert_eq!(again.status, 200, "{again:?}");
    settles(&client, &messages).await;
    assert_eq!(count(&broker.jetstream().await, "ROCKETS").await, 100);
}
