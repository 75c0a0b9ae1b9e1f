//! The contract of `POST /messages`, over real connections.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::contract_service::Service;
use super::raw_http::{
    Connection, get, ingest, launch, message, message_at, new_channel, post, request, request_bytes,
};

/// When the field's sender gives up waiting for an answer: every answer has to come before.
const SENDER_PATIENCE: Duration = Duration::from_secs(10);

/// Largest body, in bytes, as the contract has it.
const BODY_MAX: usize = 64 * 1024;

const CHANNEL: &str = "193270A9-c9cf-404a-8f83-838e71d9ae67";

fn good() -> String {
    format!(
        r#"{{"metadata":{{"channel":"{CHANNEL}","messageNumber":1,"messageTime":"2022-02-02T19:39:05.86337+01:00","messageType":"RocketLaunched"}},"message":{{"type":"Falcon-9","launchSpeed":500,"mission":"ARTEMIS"}}}}"#
    )
}

fn of_type(message_type: &str, payload: &str) -> String {
    let launched = r#"{"type":"Falcon-9","launchSpeed":500,"mission":"ARTEMIS"}"#;
    good().replace("RocketLaunched", message_type).replace(launched, payload)
}

const NOT_A_UUID: &str = "metadata.channel: must be a UUID such as 193270a9-c9cf-404a-8f83-838e71d9ae67";
const NOT_A_NUMBER: &str = "metadata.messageNumber: must be an integer from 1 to 9223372036854775807";
const NOT_A_TIME: &str = "metadata.messageTime: must be an RFC 3339 time such as 2022-02-02T19:39:05.86337+01:00";
const UNKNOWN_TYPE: &str = "failed to process message: unknown message type";
const NO_SPEED: &str = "message.launchSpeed: must be an integer from 1 to 9223372036854775807";
const NO_DELTA: &str = "message.by: must be an integer from 0 to 9223372036854775807";

/// What is put in the place of something in the good message, and the error that it causes.
fn wrong_bodies() -> Vec<(String, String)> {
    let replaced = [
        // The channel.
        (CHANNEL, "nope", NOT_A_UUID),
        (CHANNEL, "", NOT_A_UUID),
        (CHANNEL, "193270a9c9cf404a8f83838e71d9ae67", NOT_A_UUID),
        (CHANNEL, "{193270a9-c9cf-404a-8f83-838e71d9ae67}", NOT_A_UUID),
        (CHANNEL, "urn:uuid:193270a9-c9cf-404a-8f83-838e71d9ae67", NOT_A_UUID),
        (CHANNEL, "193270a9-c9cf-404a-8f83-838e71d9ae6g", NOT_A_UUID),
        (CHANNEL, " 193270a9-c9cf-404a-8f83-838e71d9ae67", NOT_A_UUID),
        (r#""channel":"193270A9-c9cf-404a-8f83-838e71d9ae67","#, "", "metadata.channel: is missing"),
        (r#""channel":"193270A9-c9cf-404a-8f83-838e71d9ae67""#, r#""channel":null"#, NOT_A_UUID),
        (r#""channel""#, r#""channel":7,"channel""#, "metadata.channel: is given twice"),
        // The number.
        (r#"Number":1"#, r#"Number":0"#, NOT_A_NUMBER),
        (r#"Number":1"#, r#"Number":-1"#, NOT_A_NUMBER),
        (r#"Number":1"#, r#"Number":9223372036854775808"#, NOT_A_NUMBER),
        (r#"Number":1"#, r#"Number":99999999999999999999999999999999999999999999"#, NOT_A_NUMBER),
        (r#"Number":1"#, r#"Number":1.0"#, NOT_A_NUMBER),
        (r#"Number":1"#, r#"Number":1e3"#, NOT_A_NUMBER),
        (r#"Number":1"#, r#"Number":"1""#, NOT_A_NUMBER),
        (r#"Number":1"#, r#"Number":true"#, NOT_A_NUMBER),
        (r#"Number":1"#, r#"Number":null"#, NOT_A_NUMBER),
        (r#""messageNumber":1,"#, "", "metadata.messageNumber: is missing"),
        (r#"Number":1"#, r#"Number":1,"messageNumber":1"#, "metadata.messageNumber: is given twice"),
        // The time.
        ("02T19", "02 19", NOT_A_TIME),
        ("+01:00", "", NOT_A_TIME),
        ("+01:00", "+0100", NOT_A_TIME),
        ("+01:00", "+24:00", NOT_A_TIME),
        ("2022-02-02", "2022-02-30", NOT_A_TIME),
        ("2022-02-02", "22-02-02", NOT_A_TIME),
        ("19:39:05", "24:39:05", NOT_A_TIME),
        ("19:39:05", "19:39:61", NOT_A_TIME),
        ("05.86337", "05.", NOT_A_TIME),
        ("2022-02-02T19:39:05.86337+01:00", "1643827145", NOT_A_TIME),
        (r#""2022-02-02T19:39:05.86337+01:00""#, "1643827145", NOT_A_TIME),
        (r#""messageTime":"2022-02-02T19:39:05.86337+01:00","#, "", "metadata.messageTime: is missing"),
        (r#""messageTime""#, r#""messageTime":"","messageTime""#, "metadata.messageTime: is given twice"),
        // The type.
        ("RocketLaunched", "RocketTeleported", UNKNOWN_TYPE),
        ("RocketLaunched", "rocketlaunched", UNKNOWN_TYPE),
        ("RocketLaunched", "MessagesSkipped", UNKNOWN_TYPE),
        ("RocketLaunched", "", UNKNOWN_TYPE),
        (r#""RocketLaunched""#, "7", UNKNOWN_TYPE),
        (r#","messageType":"RocketLaunched""#, "", UNKNOWN_TYPE),
        // The payload of a launch.
        (r#""type":"Falcon-9","#, "", "message.type: is missing"),
        ("Falcon-9", "", "message.type: must be a string of 1 to 255 characters"),
        (r#""Falcon-9""#, "9", "message.type: must be a string of 1 to 255 characters"),
        (r#""launchSpeed":500,"#, "", "message.launchSpeed: is missing"),
        (":500", ":0", NO_SPEED),
        (":500", ":-500", NO_SPEED),
        (":500", ":500.0", NO_SPEED),
        (":500", ":9223372036854775808", NO_SPEED),
        (":500", ":\"500\"", NO_SPEED),
        (r#","mission":"ARTEMIS""#, "", "message.mission: is missing"),
        ("ARTEMIS", "", "message.mission: must be a string of 1 to 255 characters"),
        (r#""mission""#, r#""mission":"x","mission""#, "message.mission: is given twice"),
        // Its parts.
        (r#","message":{"type":"Falcon-9","launchSpeed":500,"mission":"ARTEMIS"}"#, "", "message: is missing"),
        (r#""message":{"#, r#""message":[],"message":{"#, "message: is given twice"),
        (r#"{"type":"Falcon-9","launchSpeed":500,"mission":"ARTEMIS"}"#, "null", "message: must be a JSON object"),
        (r#""metadata":{"#, r#""metadata":{},"metadata":{"#, "metadata: is given twice"),
        (r#""metadata""#, r#""Metadata""#, "metadata: is missing"),
    ];
    let rows = replaced.into_iter().map(|(from, to, error)| {
        assert!(good().contains(from), "{from}");
        (good().replacen(from, to, 1), error.to_owned())
    });
    rows.chain(wrong_payloads()).chain(wrong_wholes()).collect()
}

fn wrong_payloads() -> Vec<(String, String)> {
    let words = |field: &str| format!("{field}: must be a string of 1 to 255 characters");
    let long = "é".repeat(256);
    let row = |message_type, payload: &str, error: &str| (of_type(message_type, payload), error.to_owned());
    let mut rows = vec![
        row("RocketMissionChanged", "{}", "message.newMission: is missing"),
        row("RocketMissionChanged", r#"{"mission":"x"}"#, "message.newMission: is missing"),
        row("RocketMissionChanged", r#"{"newMission":""}"#, &words("message.newMission")),
        row("RocketMissionChanged", r#"{"newMission":["x"]}"#, &words("message.newMission")),
        row("RocketMissionChanged", &format!(r#"{{"newMission":"{long}"}}"#), &words("message.newMission")),
        row("RocketExploded", "{}", "message.reason: is missing"),
        row("RocketExploded", r#"{"reason":""}"#, &words("message.reason")),
        row("RocketExploded", r#"{"reason":null}"#, &words("message.reason")),
        row("RocketExploded", &format!(r#"{{"reason":"{long}"}}"#), &words("message.reason")),
    ];
    for message_type in ["RocketSpeedIncreased", "RocketSpeedDecreased"] {
        rows.push(row(message_type, "{}", "message.by: is missing"));
        rows.push(row(message_type, r#"{"by":1,"by":2}"#, "message.by: is given twice"));
        for by in ["-1", "1.0", "1e3", "\"1\"", "null", "9223372036854775808", "[1]"] {
            rows.push(row(message_type, &format!(r#"{{"by":{by}}}"#), NO_DELTA));
        }
    }
    rows
}

fn wrong_wholes() -> Vec<(String, String)> {
    let row = |body: &str, error: &str| (body.to_owned(), error.to_owned());
    vec![
        row("[]", "body: must hold 1 to 1000 messages: there is none"),
        row("null", "body: must be a JSON object"),
        row("{}", "metadata: is missing"),
        row(r#"{"message":{}}"#, "metadata: is missing"),
        row(r#"{"metadata":7,"message":7}"#, "metadata: must be a JSON object"),
        row(r#"{"metadata":{},"message":7}"#, "metadata.channel: is missing"),
        // Of several wrong fields the first one in the table's order is named, wherever it stands.
        row(r#"{"message":{},"metadata":{"messageType":1,"messageTime":1,"messageNumber":0,"channel":0}}"#, NOT_A_UUID),
        row(
            &good().replace("Falcon-9", "").replace(":500", ":0").replace(r#"Number":1"#, r#"Number":0"#),
            NOT_A_NUMBER,
        ),
        row(&good().replace("ARTEMIS", "").replace(":500", ":0"), NO_SPEED),
    ]
}

#[tokio::test]
async fn each_wrong_message_is_a_400_that_names_the_field() {
    let service = Service::start().await;
    let mut connection = Connection::open(service.addr()).await;
    for (body, expected) in wrong_bodies() {
        connection.send(request_bytes("POST", "/messages", "", &body)).await;
        assert_eq!(connection.reply().await.error(400), expected, "{body}");
    }
    for body in ["", "{", "{} {}", "metadata=1", r#"{"metadata":{"x":1e999}}"#, "{\"a\":\"\u{1}\"}"] {
        connection.send(request_bytes("POST", "/messages", "Content-Type: text/plain\r\n", body)).await;
        let error = connection.reply().await.error(400);
        assert!(error.starts_with("body: must be JSON: "), "{body}: {error}");
    }
    let not_utf8 = good().replace("ARTEMIS", "X").into_bytes();
    let not_utf8: Vec<u8> = not_utf8.into_iter().map(|byte| if byte == b'X' { 0xff } else { byte }).collect();
    assert_eq!(post(service.addr(), not_utf8).await.error(400), "body: is not UTF-8");
    assert_eq!(service.stored().await, 0, "nothing of it was stored");
}

#[tokio::test]
async fn what_the_contract_allows_is_taken() {
    let service = Service::start().await;
    let widest = "é".repeat(255);
    let max = i64::MAX;
    let rows = [
        ("RocketLaunched", json!({"type": widest, "launchSpeed": 1, "mission": "\u{1}\u{1F680}"})),
        ("RocketLaunched", json!({"type": " ", "launchSpeed": max, "mission": "x", "extra": {"deep": [null]}})),
        ("RocketSpeedIncreased", json!({"by": 0, "launchSpeed": "of no meaning here"})),
        ("RocketSpeedDecreased", json!({"by": max})),
        ("RocketMissionChanged", json!({"newMission": widest})),
        ("RocketExploded", json!({"reason": "PRESSURE_VESSEL_FAILURE"})),
    ];
    for (message_type, payload) in &rows {
        ingest(service.addr(), message(&new_channel(), 1, message_type, payload)).await;
    }
    for number in [1, 2, i64::MAX as u64] {
        ingest(service.addr(), message(&new_channel(), number, "RocketSpeedIncreased", &json!({"by": 1}))).await;
    }
    for time in [
        "2022-02-02T19:39:05Z",
        "2022-02-02t19:39:05z",
        "2022-02-02T19:39:05.123456789123456789-00:00",
        "2024-02-29T23:59:59.9+23:59",
        "1990-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
    ] {
        let body = message_at(&new_channel(), 1, time, "RocketSpeedIncreased", &json!({"by": 1}));
        ingest(service.addr(), body).await;
    }
    let with_more =
        good().replacen('{', "\n{ \"version\": [1], ", 1).replace(r#""metadata":{"#, r#""metadata":{"x":1,"#);
    ingest(service.addr(), with_more).await;
}

#[tokio::test]
async fn a_content_type_is_not_asked_for() {
    let service = Service::start().await;
    for headers in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: text/plain; charset=latin1\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: \r\n",
        "Content-Type: nonsense\r\nAccept: text/html\r\n",
    ] {
        let reply = request(service.addr(), "POST", "/messages", headers, launch(&new_channel())).await;
        assert_eq!(reply.data()["status"], "ingested", "{headers}");
    }
}

/// A message of exactly this many bytes.
fn sized(bytes: usize) -> String {
    let channel = new_channel();
    let empty = message(&channel, 1, "RocketSpeedIncreased", &json!({"by": 1, "filling": ""}));
    let filling = "x".repeat(bytes - empty.len());
    message(&channel, 1, "RocketSpeedIncreased", &json!({"by": 1, "filling": filling}))
}

/// A body in chunks, as HTTP has it.
fn chunked(body: &str) -> Vec<u8> {
    let head = "POST /messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let chunks = body.as_bytes().chunks(10_000).map(|chunk| {
        let chunk = std::str::from_utf8(chunk).unwrap();
        format!("{:x}\r\n{chunk}\r\n", chunk.len())
    });
    (head + &chunks.collect::<String>() + "0\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_body_has_at_most_64_kib() {
    let service = Service::start().await;
    let largest = "body: must be at most 65536 bytes";
    ingest(service.addr(), sized(BODY_MAX)).await;
    assert_eq!(post(service.addr(), sized(BODY_MAX + 1)).await.error(413), largest);

    let mut connection = Connection::open(service.addr()).await;
    connection.send(chunked(&sized(BODY_MAX))).await;
    assert_eq!(connection.reply().await.data()["status"], "ingested");
    connection.send(chunked(&sized(BODY_MAX + 1))).await;
    assert_eq!(connection.reply().await.error(413), largest);

    // A modest rest is thrown away: the sender sees the answer, and may go on with the same connection.
    for bytes in [request_bytes("POST", "/messages", "", sized(BODY_MAX + 100_000)), chunked(&sized(200_000))] {
        let mut connection = Connection::open(service.addr()).await;
        connection.send(bytes).await;
        assert_eq!(connection.reply().await.error(413), largest);
        connection.send(request_bytes("POST", "/messages", "", launch(&new_channel()))).await;
        assert_eq!(connection.reply().await.data()["status"], "ingested");
    }
    assert_eq!(service.stored().await, 4);
}

#[tokio::test]
async fn a_huge_body_ends() {
    let service = Service::start().await;
    for head in ["Content-Length: 10000000000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut connection = Connection::open(service.addr()).await;
        connection.send(format!("POST /messages HTTP/1.1\r\nHost: localhost\r\n{head}\r\n")).await;
        let chunk = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
        let mut sent = 0;
        while sent < 100_000_000 && connection.try_send(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        assert!(sent < 100_000_000, "the service hangs up on a sender that does not end");
    }
    assert_eq!(service.stored().await, 0);
}

#[tokio::test]
async fn an_expected_continue_is_said() {
    let service = Service::start().await;
    let mut connection = Connection::open(service.addr()).await;
    let body = launch(&new_channel());
    let head = format!("Host: localhost\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n", body.len());
    connection.send(format!("POST /messages HTTP/1.1\r\n{head}")).await;
    assert_eq!(connection.reply_without_body().await.status, 100);
    connection.send(body).await;
    assert_eq!(connection.reply().await.data()["status"], "ingested");
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_event() {
    let service = Service::start().await;
    let channel = new_channel();
    let first = ingest(service.addr(), launch(&channel)).await;
    let other_body = message(&channel, 1, "RocketSpeedIncreased", &json!({"by": 1}));
    let again = json!({"status": "duplicate", "event_id": first});
    assert_eq!(post(service.addr(), launch(&channel)).await.data(), again);
    // Only the very same message is a repeat; another one with its number is stored, and judged there.
    let mut last = first;
    for body in
        [launch(&channel.to_uppercase()), other_body, message(&channel, 2, "RocketSpeedIncreased", &json!({"by": 1}))]
    {
        let next = ingest(service.addr(), body).await;
        assert!(next > last);
        last = next;
    }
    assert_eq!(post(service.addr(), launch(&channel)).await.data(), again);

    let racing = launch(&new_channel());
    let answers = join_all((0..16).map(|_| post(service.addr(), &racing))).await;
    let data: Vec<Value> = answers.iter().map(|reply| reply.data()).collect();
    assert_eq!(data.iter().filter(|data| data["status"] == "ingested").count(), 1, "{data:?}");
    assert!(data.iter().all(|repeat| repeat["event_id"] == data[0]["event_id"]), "{data:?}");
    assert_eq!(service.stored().await, 5);
}

#[tokio::test]
async fn the_stored_message_is_what_was_sent_and_nothing_else() {
    let service = Service::start().await;
    let channel = new_channel();
    // Spaces, order and escapes are the sender's.
    let body = launch(&channel.to_uppercase()).replace(":500", " :\t500").replace("ARTEMIS", "ART\\u0045MIS é");
    let hostile = "Nats-Rollup: all\r\nNats-TTL: 1s\r\nNats-Expected-Last-Sequence: 999\r\nNats-Msg-Id: mine\r\n\
                   Nats-Expected-Stream: OTHER\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: 1\r\n\
                   Nats-Schedule: @every 1s\r\nRockets-Request-Id: mine\r\nRockets-Reason: refused\r\n\
                   traceparent: x\r\nCookie: secret\r\nRequest-Id: request-7\r\n";
    let reply = request(service.addr(), "POST", "/messages", hostile, &body).await;
    assert_eq!((reply.data()["status"].as_str(), reply.request_id()), (Some("ingested"), "request-7".into()));

    let stored = service.message(reply.data()["event_id"].as_u64().unwrap()).await;
    assert_eq!(stored.payload, body.as_bytes(), "the bytes as they came");
    let subject: Vec<_> = stored.subject.split('.').collect();
    assert!(
        matches!(subject[..], ["rockets", partition, of] if partition.parse::<u16>().unwrap() < 16 && of == channel)
    );
    let mut headers: Vec<_> = stored.headers.iter().map(|(name, values)| (name.to_string(), values.len())).collect();
    headers.sort();
    let own = ["Nats-Expected-Stream", "Nats-Msg-Id", "Rockets-Request-Id"];
    assert_eq!(headers, own.map(|name| (name.to_owned(), 1)));
    let header = |name: &str| stored.headers.get(name).unwrap().as_str().to_owned();
    let id = header("Nats-Msg-Id");
    let digest = id.strip_prefix("1-").unwrap();
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(digest.len() == 22 && digest.bytes().all(is_base64url), "{id}");
    assert_eq!(header("Rockets-Request-Id"), "request-7");
    assert_eq!(header("Nats-Expected-Stream"), "ROCKETS");
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_replaced() {
    let service = Service::start().await;
    let longest = "x".repeat(128);
    for id in ["a", "my-request_7.~!\"<>{}", &longest] {
        for (method, target) in [("GET", "/rockets"), ("POST", "/messages"), ("GET", "/nowhere"), ("PUT", "/health")] {
            let reply = request(service.addr(), method, target, &format!("request-ID: {id}\r\n"), "").await;
            assert_eq!(reply.request_id(), id, "{method} {target}");
        }
    }
    let too_long = "x".repeat(129);
    for unusable in ["", "two words", "tab\there", "é", &too_long] {
        let reply = request(service.addr(), "GET", "/rockets", &format!("Request-Id: {unusable}\r\n"), "").await;
        let id = uuid::Uuid::parse_str(&reply.request_id()).expect("a UUID");
        assert_eq!(id.get_version_num(), 4);
    }
    let (first, second) = (get(service.addr(), "/rockets").await, get(service.addr(), "/rockets").await);
    assert_ne!(first.request_id(), second.request_id());
}

#[tokio::test]
async fn a_sender_that_hangs_up_does_not_undo_its_message() {
    let service = Service::start().await;
    for _ in 0..20 {
        let mut connection = Connection::open(service.addr()).await;
        connection.send(request_bytes("POST", "/messages", "", launch(&new_channel()))).await;
    }
    service.until_stored(20).await;
}

#[tokio::test]
async fn a_sender_that_closes_its_side_gets_its_answer() {
    let service = Service::start().await;
    for _ in 0..20 {
        let mut connection = Connection::open(service.addr()).await;
        connection.send(request_bytes("POST", "/messages", "", launch(&new_channel()))).await;
        connection.close_own_side().await;
        assert_eq!(connection.reply().await.data()["status"], "ingested");
        assert_eq!(connection.rest().await, b"");
    }
}

#[tokio::test]
async fn half_a_message_is_none() {
    let service = Service::start().await;
    let body = launch(&new_channel());
    let whole = request_bytes("POST", "/messages", "", &body);
    let mut connection = Connection::open(service.addr()).await;
    connection.send(&whole[..whole.len() - 1]).await;
    drop(connection);
    // A length that is too short makes the rest another request, which is none.
    let short =
        format!("POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len() - 1);
    let mut connection = Connection::open(service.addr()).await;
    connection.send(short).await;
    assert!(connection.reply().await.error(400).starts_with("body: must be JSON: "));
    connection.rest().await;
    ingest(service.addr(), launch(&new_channel())).await;
    assert_eq!(service.stored().await, 1);
}

#[tokio::test]
async fn a_slow_request_is_cut() {
    let service = Service::start().await;
    let addr = service.addr();
    let whole = request_bytes("POST", "/messages", "", launch(&new_channel()));
    let body_at = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let silent = || async { cut(addr, b"", b"").await };
    let ends = tokio::join!(
        silent(),
        cut(addr, &whole[..20], b"x"),
        cut(addr, &whole[..body_at], b""),
        cut(addr, &whole[..body_at + 10], b" "),
    );
    assert_eq!((ends.0.as_str(), ends.1.as_str()), ("", ""), "without a whole head there is nothing to answer");
    for answer in [ends.2, ends.3] {
        assert!(
            answer.starts_with("HTTP/1.1 408 ") && answer.contains(r#""error":"the request took too long"#),
            "{answer}"
        );
    }
    assert_eq!(service.stored().await, 0);
}

/// Sends the beginning of a request, then something again and again, and tells what came until the service hung up.
async fn cut(addr: SocketAddr, beginning: &[u8], again: &[u8]) -> String {
    let started = Instant::now();
    let mut connection = Connection::open(addr).await;
    connection.send(beginning).await;
    let mut rest = Vec::new();
    while !connection.rest_within(Duration::from_millis(500), &mut rest).await {
        let _ = connection.try_send(again).await;
        assert!(started.elapsed() < Duration::from_secs(60), "never cut");
    }
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn older_and_hastier_clients_are_answered() {
    let service = Service::start().await;
    let body = launch(&new_channel());

    let mut old = Connection::open(service.addr()).await;
    old.send(format!("POST /messages HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    let reply = old.reply().await;
    assert_eq!((reply.version.as_str(), reply.data()["status"].as_str()), ("HTTP/1.0", Some("ingested")));
    assert_eq!(old.rest().await, b"", "an old client reads to the end of the connection");

    let mut hasty = Connection::open(service.addr()).await;
    let channel = new_channel();
    let bodies = (1..=20).map(|number| message(&channel, number, "RocketSpeedIncreased", &json!({"by": 1})));
    let requests: Vec<u8> = bodies.flat_map(|body| request_bytes("POST", "/messages", "", body)).collect();
    hasty.send(requests).await;
    let mut events = Vec::new();
    for _ in 0..20 {
        events.push(hasty.reply().await.data()["event_id"].as_u64().unwrap());
    }
    assert!(events.is_sorted(), "in the order of the requests: {events:?}");

    hasty.send(request_bytes("GET", "/livez", "Connection: close\r\n", "")).await;
    assert_eq!(hasty.reply().await.status, 200);
    assert_eq!(hasty.rest().await, b"");
}

#[tokio::test]
async fn without_the_broker_a_message_is_a_503_at_once() {
    let mut service = Service::start().await;
    let (first, second) = (launch(&new_channel()), launch(&new_channel()));
    let event = ingest(service.addr(), &first).await;
    service.broker_is_killed();
    // The very first may still find out by itself; the contract gives it five seconds.
    let started = Instant::now();
    unavailable(&post(service.addr(), &second).await);
    assert!(started.elapsed() < SENDER_PATIENCE, "{:?}", started.elapsed());
    service.broker_goes().await;
    let started = Instant::now();
    for _ in 0..10 {
        unavailable(&post(service.addr(), &second).await);
    }
    // Ten that wait for the broker would take five times as long.
    assert!(started.elapsed() < SENDER_PATIENCE, "{:?}", started.elapsed());
    assert_eq!(post(service.addr(), "{}").await.error(400), "metadata: is missing", "what is wrong in itself says so");

    service.broker_comes_back().await;
    service.until_healthy().await;
    assert_eq!(post(service.addr(), &first).await.data(), json!({"status": "duplicate", "event_id": event}));
    let answer = post(service.addr(), &second).await.data();
    assert!(["ingested", "duplicate"].contains(&answer["status"].as_str().unwrap()), "{answer}");
}

#[tokio::test]
async fn with_a_broker_that_hangs_a_message_is_a_503_within_five_seconds() {
    let mut service = Service::start().await;
    let waiting = launch(&new_channel());
    ingest(service.addr(), launch(&new_channel())).await;
    service.broker_hangs(true);
    let started = Instant::now();
    unavailable(&post(service.addr(), &waiting).await);
    // Five, and something for a machine that is busy; the field's sender waits for ten.
    assert!(started.elapsed() < SENDER_PATIENCE, "{:?}", started.elapsed());
    service.broker_hangs(false);
    service.until_healthy().await;
    // It may have been stored or not: sent again, it is there once.
    let answer = post(service.addr(), &waiting).await.data();
    assert!(["ingested", "duplicate"].contains(&answer["status"].as_str().unwrap()), "{answer}");
    assert_eq!(service.stored().await, 2);
}

#[tokio::test]
async fn a_full_store_is_a_503() {
    let service = Service::start().await;
    ingest(service.addr(), launch(&new_channel())).await;
    service.limit_messages("ROCKETS", 1).await;
    unavailable(&post(service.addr(), launch(&new_channel())).await);
    service.limit_messages("ROCKETS", -1).await;
    ingest(service.addr(), launch(&new_channel())).await;
}

fn unavailable(reply: &super::raw_http::Reply) {
    assert_eq!(reply.error(503), "the message cannot be stored now, send it again");
    let seconds: u64 = reply.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=10).contains(&seconds));
}
