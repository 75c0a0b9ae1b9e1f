//! Traces: one leads from a request to the record that it changed, through every process; and whatever becomes of them, nothing
//! else changes.

use async_nats::HeaderMap;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::client::Answer;
use super::harness::collector::Span;
use super::harness::messages::subject;
use super::harness::program::Start;
use super::harness::service::{init, settles};
use super::harness::stream::{all_is_applied, count, dead_letters, lose_records, records};
use super::harness::{Broker, Client, Collector, Flight, Program, TestService, eventually, free_port};

/// The span of a caller.
const CALLER: &str = "00f067aa0ba902b7";

/// A trace of its own, by a number.
fn trace(number: u64) -> String {
    format!("4bf92f3577b34da6a3ce{number:012x}")
}

fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{CALLER}-01")
}

/// With its spans sent there, soon after they end.
fn sending(start: Start, collector: &Collector) -> Start {
    start.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()).env("OTEL_BSP_SCHEDULE_DELAY", "50")
}

/// A request as a part of a trace.
async fn traced(client: &Client, path: &str, body: &Value, trace: &str) -> Answer {
    let request = client.request(Method::POST, path).json(body).header("tracestate", "shop=1");
    client.answer(request.header("traceparent", traceparent(trace))).await
}

/// The program with one role, which sends its spans there.
fn role(name: &str, broker: &Broker, collector: &Collector) -> Program {
    sending(Program::of(&[name]).broker(broker), collector).rust_log("rockets=debug").start()
}

/// The headers of a message of the log.
async fn headers(broker: &Broker, sequence: u64) -> HeaderMap {
    let stream = broker.jetstream().await.get_stream("ROCKETS").await.unwrap();
    stream.get_raw_message(sequence).await.unwrap().headers
}

#[tokio::test]
async fn one_trace_leads_from_the_request_to_the_record() {
    let (broker, collector) = (Broker::start().await, Collector::start().await);
    init(&broker).await;
    let (mut ingest, mut track) = (role("ingest", &broker, &collector), role("track", &broker, &collector));
    let (client, flight, trace) = (ingest.ready().await, Flight::new(), trace(1));
    track.ready().await;
    let event = traced(&client, "/messages", &flight.launched(1), &trace).await.ingested();

    let request = collector.named(&trace, "POST /messages").await;
    let publish = collector.named(&trace, "publish rockets.{channel}").await;
    let process = collector.named(&trace, "process ROCKETS").await;
    let write = collector.named(&trace, "write rockets").await;
    let spans = [&request, &publish, &process, &write];
    assert_eq!(spans.map(|span| &*span.parent), [CALLER, &request.id, &publish.id, &process.id]);
    assert_eq!(spans.map(|span| span.kind), [2, 4, 5, 3]);
    assert_eq!(spans.map(|span| &*span.process["rockets.roles"]), ["ingest", "ingest", "track", "track"]);
    assert!(spans.iter().all(|span| span.process["service.name"] == "rockets"));
    let said = |span: &Span, key: &str| span.attributes[key].clone();
    assert_eq!([said(&request, "http.route"), said(&request, "http.response.status_code")], ["/messages", "200"]);
    assert_eq!(said(&publish, "messaging.destination.name"), format!("rockets.{}", flight.channel));
    assert_eq!(said(&publish, "rockets.event_id"), event.to_string());
    assert_eq!(said(&process, "messaging.batch.message_count"), "1");
    assert_eq!(said(&process, "messaging.consumer.group.name"), format!("rockets-p{:02}", flight.partition()));
    assert_eq!([said(&write, "rockets.channel"), said(&write, "rockets.applied")], [flight.channel.as_str(), "1"]);

    let stored = headers(&broker, event).await;
    let header = |name: &str| stored.get(name).map(|value| value.as_str().to_owned());
    assert_eq!(header("traceparent"), Some(format!("00-{trace}-{}-01", publish.id)));
    assert_eq!(header("tracestate").as_deref(), Some("shop=1"));
    for (program, line) in [(&ingest, "stored"), (&track, "message applied")] {
        let said =
            eventually(line, async || program.log_lines().into_iter().find(|said| said["message"] == line)).await;
        assert_eq!(said["trace_id"], trace.as_str());
    }
}

#[tokio::test]
async fn a_batch_is_linked_to_the_traces_of_its_messages() {
    let (broker, collector) = (Broker::start().await, Collector::start().await);
    init(&broker).await;
    let mut ingest = role("ingest", &broker, &collector);
    let (client, flight) = (ingest.ready().await, Flight::new());
    for (number, message) in (1..).zip(flight.climb(30)) {
        traced(&client, "/messages", &message, &trace(number)).await.ingested();
    }
    let _track = role("track", &broker, &collector);
    let batch =
        collector.span("a batch of several", |span| span.name == "process ROCKETS" && span.links.len() > 1).await;
    assert_eq!(
        (batch.parent.as_str(), batch.attributes["messaging.batch.message_count"].parse()),
        ("", Ok(batch.links.len()))
    );
    for (trace, id) in &batch.links {
        assert_eq!(&collector.named(trace, "publish rockets.{channel}").await.id, id);
    }
    let write = collector.named(&batch.trace, "write rockets").await;
    assert_eq!((&write.parent, &write.links), (&batch.id, &batch.links));
}

#[tokio::test]
async fn a_skip_and_a_correction_are_followed_through_their_replays() {
    let (broker, collector) = (Broker::start().await, Collector::start().await);
    let mut up = sending(Program::of(&["up"]).broker(&broker), &collector).start();
    let (client, flight) = (up.ready().await, Flight::new());
    client.ingest(&flight.launched(1)).await;
    client.ingest(&flight.launched(2)).await;
    client.ingest(&flight.faster(4, 1)).await;
    // So that what follows is a batch of its own.
    let jetstream = broker.jetstream().await;
    all_is_applied(&jetstream).await;
    let skip = json!({ "up_to": 3, "reason": "lost" });
    traced(&client, &format!("/rockets/{}/skip", flight.channel), &skip, &trace(1)).await.ingested();
    all_is_applied(&jetstream).await;
    let refused = &client.dead_letters_of(&flight.channel).await[0]["id"];
    let path = format!("/dead-letters/{refused}/replay");
    traced(&client, &path, &flight.faster(2, 7), &trace(2)).await.ingested();

    for (trace, route) in [(trace(1), "POST /rockets/:/skip"), (trace(2), "POST /dead-letters/:/replay")] {
        let mut parent = collector.named(&trace, route).await;
        for name in ["publish rockets.{channel}", "process ROCKETS", "replay rockets", "write rockets"] {
            let span = collector.named(&trace, name).await;
            assert_eq!((&span.parent, span.name.as_str()), (&parent.id, name));
            parent = span;
        }
        assert_eq!(parent.attributes["rockets.channel"], flight.channel);
    }
}

#[tokio::test]
async fn what_is_not_traced_leaves_no_header() {
    let (mut off, collector) = (TestService::start().await, Collector::start().await);
    let (flight, never) = (Flight::new(), trace(1));
    traced(&off.ingest, "/messages", &flight.launched(1), &never).await.ingested();

    let broker = off.broker();
    let start = sending(Program::of(&["ingest"]).broker(broker), &collector);
    let mut ingest = start.env("OTEL_TRACES_SAMPLER", "parentbased_always_off").start();
    let client = ingest.ready().await;
    client.ingest(&flight.faster(2, 1)).await;
    for (number, traceparent) in (3..).zip([format!("00-{never}-{CALLER}-00"), "nonsense".into(), never.clone()]) {
        let request = client.request(Method::POST, "/messages").json(&flight.faster(number, 1));
        client.answer(request.header("traceparent", traceparent).header("tracestate", "a=1")).await.ingested();
    }
    for sequence in 1..=5 {
        let headers = headers(broker, sequence).await;
        assert!(headers.get("traceparent").or(headers.get("tracestate")).is_none(), "{sequence}: {headers:?}");
    }
    traced(&client, "/messages", &flight.faster(6, 1), &trace(2)).await.ingested();
    collector.named(&trace(2), "POST /messages").await;
    assert_eq!(collector.trace(&never).len(), 0);
    settles(&off.query, &[vec![flight.launched(1)], (2..=6).map(|number| flight.faster(number, 1)).collect()].concat())
        .await;
}

#[tokio::test]
async fn a_trace_changes_nothing_else() {
    let (broker, collector) = (Broker::start().await, Collector::start().await);
    let mut up = sending(Program::of(&["up"]).broker(&broker), &collector).start();
    let (client, flight) = (up.ready().await, Flight::new());
    let mut messages = flight.climb(4);
    messages[2] = flight.launched(3);
    for (number, message) in (1..).zip(&messages) {
        let event = traced(&client, "/messages", message, &trace(number)).await.ingested();
        let again = traced(&client, "/messages", message, &trace(100 + number)).await;
        let repeated = &again.body["data"];
        assert_eq!((&repeated["status"], &repeated["event_id"]), (&json!("duplicate"), &json!(event)));
    }
    // What outsiders write is read as strictly: nonsense is not there, and what reads is no more than a trace.
    let jetstream = broker.jetstream().await;
    for (number, traceparent, tracestate) in
        [(5, traceparent(&trace(5)), "=,"), (6, "00-x-y-01".repeat(99), "a=\u{e9}")]
    {
        let message = flight.faster(number, 1);
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", &*traceparent);
        headers.insert("tracestate", tracestate);
        let payload = message.to_string().into();
        jetstream.publish_with_headers(subject(&message), headers, payload).await.unwrap().await.unwrap();
        messages.push(message);
    }
    settles(&client, &messages).await;
    all_is_applied(&jetstream).await;
    // Alone, or with the one behind it.
    let follows = |span: &Span| span.trace == trace(5) || span.links.iter().any(|(linked, _)| *linked == trace(5));
    collector.span("the batch of 5", |span| span.name == "process ROCKETS" && follows(span)).await;

    let refused = &dead_letters(&jetstream).await[0];
    let publish = collector.named(&trace(3), "publish rockets.{channel}").await;
    assert_eq!(refused.header("traceparent"), format!("00-{}-{}-01", trace(3), publish.id));
    assert_eq!(refused.header("tracestate"), "shop=1");
    assert_eq!(count(&jetstream, "ROCKETS").await, 6);

    // The same records from the log, byte for byte, and the same log from a backup.
    assert_eq!(up.term().await.code(), Some(0));
    let (before, folder, other) = (records(&jetstream).await, TempDir::new().unwrap(), Broker::start().await);
    lose_records(&broker).await;
    Program::of(&["rebuild", "--apply"]).broker(&broker).ends().await.says(0);
    assert_eq!(records(&jetstream).await, before);
    let folder = folder.path().join("backup").to_str().unwrap().to_owned();
    Program::of(&["backup", &folder]).broker(&broker).ends().await.says(0);
    Program::of(&["restore", &folder]).broker(&other).ends().await.says(0);
    for sequence in 1..=6 {
        assert_eq!(headers(&other, sequence).await, headers(&broker, sequence).await);
    }
}

#[tokio::test]
async fn a_collector_that_is_away_costs_nothing_but_spans() {
    let (broker, port) = (Broker::start().await, free_port());
    let start = Program::of(&["up"]).broker(&broker).env("OTEL_BSP_SCHEDULE_DELAY", "20");
    let start = start.env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://127.0.0.1:{port}"));
    let mut up = start.env("OTEL_EXPORTER_OTLP_TIMEOUT", "100").env("OTEL_TRACES_SAMPLER", "always_on").start();
    let (client, flight) = (up.ready().await, Flight::new());
    let says = |text: &str| up.log_lines().iter().filter(|line| line["message"] == text).count();
    const AWAY: &str = "spans cannot be sent to the collector and are lost until it takes them";
    let messages = flight.climb(4_000);
    let mut sent = 0;
    let mut send = async || {
        client.ingest(&messages[sent]).await;
        sent += 1;
    };
    eventually("it says that the collector is away", async || {
        send().await;
        (says(AWAY) > 0).then_some(())
    })
    .await;
    for _ in 0..50 {
        send().await;
    }
    let collector = Collector::at(port).await;
    eventually("it says that the collector is back", async || {
        send().await;
        (says("the collector takes spans again") > 0).then_some(())
    })
    .await;
    assert_eq!(says(AWAY), 1);
    assert!(!collector.spans().is_empty());
    settles(&client, &messages[..sent]).await;
    drop(collector);
    assert_eq!(up.term().await.code(), Some(0));
}

#[tokio::test]
async fn a_collector_that_does_not_answer_holds_up_no_end() {
    // The system takes connections for it, and nobody reads them.
    let (broker, silent) = (Broker::start().await, std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let start = Program::of(&["up"]).broker(&broker).env("OTEL_BSP_SCHEDULE_DELAY", "20");
    let mut up = start.env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", silent.local_addr().unwrap())).start();
    let (client, messages) = (up.ready().await, Flight::new().climb(50));
    for (number, message) in (1..).zip(&messages) {
        traced(&client, "/messages", message, &trace(number)).await.ingested();
    }
    settles(&client, &messages).await;
    assert_eq!(up.term().await.code(), Some(0));
    assert!(up.log().contains("the last spans could not be sent in time"), "{}", up.log());
}

#[tokio::test]
async fn the_last_spans_are_sent_at_the_end() {
    let (broker, collector) = (Broker::start().await, Collector::start().await);
    let start = sending(Program::of(&["up"]).broker(&broker), &collector).env("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let mut up = start.env("OTEL_SERVICE_NAME", "fleet").start();
    let (client, flight, trace) = (up.ready().await, Flight::new(), trace(1));
    traced(&client, "/messages", &flight.launched(1), &trace).await.ingested();
    settles(&client, &[flight.launched(1)]).await;
    assert_eq!(collector.spans().len(), 0);
    assert_eq!(up.term().await.code(), Some(0));
    let mut names: Vec<_> = collector.trace(&trace).into_iter().map(|span| span.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["POST /messages", "process ROCKETS", "publish rockets.{channel}", "write rockets"]);
    assert!(collector.spans().iter().all(|span| span.process["service.name"] == "fleet"));
}

#[tokio::test]
async fn a_wrong_variable_is_told() {
    let start = |name, value| {
        let start = Program::of(&["track"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        start.env(name, value).ends()
    };
    for (name, value) in [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_TRACES_SAMPLER_ARG", "1%")] {
        let ended = start(name, value).await;
        assert!(ended.fails(2).contains(&format!("{name}: must be ")), "{ended:?}");
    }
}
