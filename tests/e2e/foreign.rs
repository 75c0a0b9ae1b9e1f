//! What comes from where it should not: pages of other origins, names that are not ours, other protocols, bodies in other
//! codings, and requests in requests.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::net::TcpStream;

use super::contract_service::{Service, addr};
use super::harness::{Broker, Program, eventually};
use super::raw_http::{Connection, get, launch, new_channel, post, request, request_bytes};

async fn status_with(service: &Service, method: &str, target: &str, headers: &str) -> u16 {
    let body = if method == "POST" { launch(&new_channel()) } else { String::new() };
    request(service.addr(), method, target, headers, body).await.status
}

#[tokio::test]
async fn pages_of_other_origins_may_not_write() {
    let service = Service::start().await;
    for (method, target, headers, expected) in [
        ("POST", "/messages", "Sec-Fetch-Site: cross-site\r\nContent-Type: text/plain\r\n", 403),
        ("POST", "/messages", "Origin: https://evil.example\r\n", 403),
        ("DELETE", "/dead-letters/1", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("POST", "/dead-letters/1/replay", "Origin: null\r\n", 403),
        ("POST", "/messages", "Sec-Fetch-Site: same-origin\r\nOrigin: http://localhost\r\n", 200),
        ("GET", "/rockets", "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.example\r\n", 200),
    ] {
        assert_eq!(status_with(&service, method, target, headers).await, expected, "{method} {target} {headers}");
    }
    assert_eq!(service.stored().await, 1);
}

#[tokio::test]
async fn a_host_is_named_and_is_this_one() {
    let service = Service::start().await;
    for (host, expected) in [
        ("Host: 127.0.0.1:8088\r\n", 200),
        ("Host: [::1]\r\n", 200),
        ("Host: evil.example\r\n", 403),
        ("", 400),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
    ] {
        let mut connection = Connection::open(service.addr()).await;
        connection.send(format!("GET /rockets HTTP/1.1\r\n{host}\r\n")).await;
        let reply = connection.reply().await;
        assert_eq!(reply.status, expected, "{host}");
        reply.envelope();
    }
}

#[tokio::test]
async fn answers_say_what_a_browser_may_make_of_them() {
    let service = Service::start().await;
    let policy = "default-src 'none'; frame-ancestors 'none'";
    for (target, expected_policy, kept) in [
        ("/rockets", policy, "no-cache"),
        ("/health", policy, "no-store"),
        ("/nowhere", policy, "no-store"),
        ("/metrics", policy, "no-store"),
        ("/openapi.json", "default-src 'none'", "no-cache"),
    ] {
        let reply = get(service.addr(), target).await;
        assert_eq!(reply.header("content-security-policy"), Some(expected_policy), "{target}");
        assert_eq!(reply.header("cache-control"), Some(kept), "{target}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{target}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{target}");
    }
}

#[tokio::test]
async fn other_protocols_are_named_in_the_log() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let addr = addr(&mut up).await;
    for (bytes, protocol) in
        [(&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "TLS"), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2")]
    {
        let mut connection = Connection::open(addr).await;
        let _ = connection.try_send(bytes).await;
        let is_named = || up.log_lines().iter().any(|line| line["protocol"] == protocol);
        eventually(protocol, async || is_named().then_some(())).await;
    }
}

#[tokio::test]
async fn a_request_in_a_request_is_not_answered() {
    let service = Service::start().await;
    let head = "POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";
    let hidden = "0\r\n\r\nGET /gaps HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut connection = Connection::open(service.addr()).await;
    connection.send(format!("{head}{hidden}")).await;
    let answers = String::from_utf8(connection.rest().await).unwrap();
    assert_eq!((answers.matches("HTTP/1.1 ").count(), answers.matches("HTTP/1.1 400").count()), (1, 1), "{answers}");
}

#[tokio::test]
async fn a_path_may_be_written_in_percents() {
    let service = Service::start().await;
    let channel = new_channel();
    post(service.addr(), launch(&channel)).await.data();
    service.until_at(&channel, 1).await;
    let target = format!("/%72ockets/{}", channel.replace('-', "%2D"));
    assert_eq!(get(service.addr(), &target).await.data()["id"], channel.as_str());
    assert_eq!(get(service.addr(), &format!("/rockets%2F{channel}")).await.error(404), "path not found");
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_body_is_utf8_and_may_be_packed_with_gzip() {
    let service = Service::start().await;
    let body = launch(&new_channel());
    let coded = async |coding: &str, body: &[u8]| {
        request(service.addr(), "POST", "/messages", &format!("Content-Encoding: {coding}\r\n"), body).await
    };
    let event = coded("gzip", &packed(body.as_bytes())).await.data()["event_id"].as_u64().unwrap();
    assert_eq!(service.message(event).await.payload, body.as_bytes(), "it is stored as it is");
    assert_eq!(coded("gzip", &packed(&[b' '; 10_000_000])).await.error(413), "body: must be at most 65536 bytes");
    assert_eq!(coded("gzip", body.as_bytes()).await.status, 400);
    let unknown = coded("br", body.as_bytes()).await;
    assert_eq!((unknown.status, unknown.header("accept-encoding")), (415, Some("gzip")));

    let utf16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (body, said) in [
        ([b"\xEF\xBB\xBF", body.as_bytes()].concat(), "body: begins with a byte order mark; must be UTF-8 without one"),
        ([b"\xFF\xFE", &utf16[..]].concat(), "body: is UTF-16 or UTF-32; must be UTF-8"),
        (utf16, "body: is UTF-16 or UTF-32; must be UTF-8"),
        (body.replace("ARTEMIS", "\u{1}").into_bytes().iter().map(|byte| byte | 0x80).collect(), "body: is not UTF-8"),
    ] {
        assert_eq!(post(service.addr(), body).await.error(400), said);
    }
}

#[tokio::test]
async fn who_waits_for_continue_is_told_at_once_that_it_is_too_much() {
    let service = Service::start().await;
    let mut connection = Connection::open(service.addr()).await;
    let head = "POST /messages HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n";
    connection.send(head).await;
    assert_eq!(connection.reply().await.error(413), "body: must be at most 4194304 bytes");
}

#[tokio::test]
async fn localhost_is_both_of_its_addresses() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).env("ROCKETS_HTTP__ADDR", "localhost:0").start();
    let first = addr(&mut up).await;
    assert_eq!(get(first, "/livez").await.status, 200);
    assert!(!up.log().contains("whoever reaches this address"));
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("half skipped: this machine has no IPv6");
        return;
    }
    let other = format!("[::1]:{}", first.port()).parse().unwrap();
    assert!(TcpStream::connect(other).await.is_ok());
    assert_eq!(get(other, "/livez").await.status, 200);
}

#[tokio::test]
async fn an_open_address_is_told_of_once() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).env("ROCKETS_HTTP__ADDR", "0.0.0.0:0").start();
    let addr = addr(&mut up).await;
    let mut connection = Connection::open(([127, 0, 0, 1], addr.port()).into()).await;
    connection
        .send(String::from_utf8(request_bytes("GET", "/livez", "", "")).unwrap().replace("localhost", "a.b"))
        .await;
    assert_eq!(connection.reply().await.status, 200, "any name is answered to");
    assert_eq!(up.log().matches("whoever reaches this address").count(), 1);
    let mut track = Program::of(&["track"]).broker(&broker).env("ROCKETS_HTTP__ADDR", "0.0.0.0:0").start();
    track.ready().await;
    assert!(!track.log().contains("whoever reaches this address"), "nobody can have it change anything");
}
