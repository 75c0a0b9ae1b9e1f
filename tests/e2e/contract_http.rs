//! The contract of HTTP as such: the envelope of every answer, paths and methods, health.

use serde_json::json;

use super::contract_service::{Service, addr};
use super::harness::{Broker, Program, becomes, service};
use super::raw_http::{Connection, get, ingest, launch, new_channel, request, request_bytes};

#[tokio::test]
async fn every_path_says_which_methods_it_has() {
    let service = Service::start().await;
    let addr = service.addr();
    let one = format!("/rockets/{}", new_channel());
    let [history, skip] = ["history", "skip"].map(|what| format!("{one}/{what}"));
    let rows = [
        ("/messages", "POST", &["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"][..]),
        ("/rockets", "GET, HEAD", &["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        (&one, "GET, HEAD", &["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        (&history, "GET, HEAD", &["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        (&skip, "POST", &["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        ("/events/1", "GET, HEAD", &["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        ("/gaps", "GET, HEAD", &["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        ("/dead-letters", "GET, HEAD", &["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        ("/dead-letters/1/replay", "POST", &["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        ("/health", "GET, HEAD", &["POST", "DELETE"]),
        ("/livez", "GET, HEAD", &["POST", "DELETE"]),
        ("/readyz", "GET, HEAD", &["POST", "DELETE"]),
    ];
    for (path, allow, methods) in rows {
        for method in methods {
            let reply = request(addr, method, path, "", "").await;
            assert_eq!((reply.status, reply.header("allow")), (405, Some(allow)), "{method} {path}");
            if *method != "HEAD" {
                assert_eq!(reply.error(405), format!("method not allowed, use {allow}"));
            }
        }
    }
    // A body that nobody asked for is no reason to go without an answer.
    assert_eq!(request(addr, "PUT", "/messages", "", launch(&new_channel())).await.status, 405);
    assert_eq!(request(addr, "POST", "/rockets", "", launch(&new_channel())).await.status, 405);
    assert_eq!(service.stored().await, 0);
}

#[tokio::test]
async fn an_unknown_path_is_a_404_in_the_envelope() {
    let service = Service::start().await;
    let more = format!("/rockets/{}/more", new_channel());
    let longest = format!("/{}", "x".repeat(8_000));
    for target in [
        "/nowhere",
        "/Messages",
        "/messages/1",
        "//messages",
        "/rockets/a/b",
        &more,
        "/health/x",
        "/..",
        "/%2e",
        &longest,
    ] {
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(request(service.addr(), method, target, "", "").await.error(404), "path not found", "{target}");
        }
    }
    assert_eq!(request(service.addr(), "GET", "/nowhere?sortBy=type", "", "x").await.error(404), "path not found");
}

#[tokio::test]
async fn odd_requests_leave_the_service_well() {
    let service = Service::start().await;
    let addr = service.addr();
    // The form that proxies take names a host of no interest.
    assert_eq!(get(addr, "http://elsewhere/rockets?limit=1").await.data(), json!([]));
    for (method, target) in [("OPTIONS", "*"), ("CONNECT", "rockets:8088"), ("GET", "*")] {
        let mut connection = Connection::open(addr).await;
        connection.send(request_bytes(method, target, "", "")).await;
        if let Some(reply) = connection.try_reply(true).await {
            assert!((400..500).contains(&reply.status), "{method} {target}: {reply:?}");
        }
    }
    let many = "X-Header: x\r\n".repeat(10_000);
    let long = format!("X-Header: {}\r\n", "x".repeat(1_000_000));
    for bytes in [
        b"\r\n\r\nnonsense\r\n\r\n".to_vec(),
        b"GET /rockets\r\n\r\n".to_vec(),
        b"GET /rockets HTTP/2.0\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        request_bytes("GET", "/rockets", &many, ""),
        request_bytes("GET", "/rockets", &long, ""),
        request_bytes("POST", "/messages", "Content-Length: 5\r\nContent-Length: 6\r\n", ""),
        request_bytes("POST", "/messages", "Transfer-Encoding: chunked\r\n", "")
            .into_iter()
            .chain(*b"zz\r\n")
            .collect(),
    ] {
        let mut connection = Connection::open(addr).await;
        let _ = connection.try_send(bytes).await;
        // An answer of some kind, or none: but the connection does not hang.
        connection.rest().await;
    }
    assert_eq!(get(addr, "/health").await.status, 200);
    assert_eq!(service.stored().await, 0);
}

#[tokio::test]
async fn health_says_how_it_is() {
    let mut service = Service::start().await;
    let addr = service.addr();
    let channel = new_channel();
    ingest(addr, launch(&channel)).await;
    service.until_at(&channel, 1).await;
    let well = json!({"status": "OK", "service": "rockets-backend"});
    assert_eq!(get(addr, "/health").await.data(), well);
    assert_eq!(get(addr, "/livez").await.data(), well);
    let ready = json!({"status": "ready", "roles": {"ingest": "ready", "query": "ready", "track": "ready"}});
    assert_eq!(get(addr, "/readyz").await.data(), ready);

    service.broker_goes().await;
    assert_eq!(get(addr, "/livez").await.data(), well, "the process runs");
    let away = "the broker is not available";
    let error = format!("ingest: {away}, query: the view is stale, track: {away}");
    let unwell = get(addr, "/health").await;
    assert_eq!((unwell.error(503), unwell.header("retry-after")), (error.clone(), Some("1")));
    let problems = json!([away, "the view is stale"]);
    let told = json!({"status": "unavailable", "service": "rockets-backend", "problems": problems});
    assert_eq!(unwell.envelope()["data"], told);
    let unready = get(addr, "/readyz").await;
    assert_eq!((unready.error(503), unready.header("retry-after")), (error, Some("1")));
    let roles = json!({"ingest": away, "query": "the view is stale", "track": away});
    assert_eq!(unready.envelope()["data"], json!({"status": "unready", "roles": roles, "problems": problems}));
    let rocket = get(addr, &format!("/rockets/{channel}")).await.data();
    assert_eq!((get(addr, "/rockets").await.data(), &rocket["id"]), (json!([rocket]), &json!(channel)), "still read");
    assert_eq!(get(addr, &format!("/rockets/{}", new_channel())).await.error(404), "rocket not found");

    service.broker_comes_back().await;
    service.until_healthy().await;
    becomes("/readyz", 200, async || get(addr, "/readyz").await.status).await;
    becomes("/readyz to say ready again", ready, async || get(addr, "/readyz").await.data()).await;
}

#[tokio::test]
async fn each_role_answers_only_for_itself() {
    let mut broker = Broker::start().await;
    service::init(&broker).await;
    let start = |role| Program::of(&[role]).broker(&broker).start();
    let (mut ingest_role, mut track, mut query) = (start("ingest"), start("track"), start("query"));
    for program in [&mut ingest_role, &mut track, &mut query] {
        program.ready().await;
    }
    let (ingest_at, track_at, query_at) =
        (addr(&mut ingest_role).await, addr(&mut track).await, addr(&mut query).await);
    let channel = new_channel();
    ingest(ingest_at, launch(&channel)).await;
    let target = format!("/rockets/{channel}");
    becomes("the rocket", 200, async || get(query_at, &target).await.status).await;
    for (at, path) in
        [(ingest_at, "/rockets"), (track_at, "/rockets"), (track_at, "/messages"), (query_at, "/messages")]
    {
        assert_eq!(get(at, path).await.error(404), "path not found");
    }
    assert_eq!(get(query_at, "/readyz").await.data(), json!({"status": "ready", "roles": {"query": "ready"}}));

    broker.kill();
    for at in [ingest_at, track_at, query_at] {
        becomes("/health", 503, async || get(at, "/health").await.status).await;
        assert_eq!(get(at, "/readyz").await.status, 503);
    }
    assert_eq!(get(query_at, "/readyz").await.error(503), "query: the view is stale");
    assert_eq!(get(query_at, &target).await.status, 200, "rockets are still read");
}

#[tokio::test]
async fn a_log_line_has_the_request_s_id_up_to_the_state_change() {
    let broker = Broker::start().await;
    service::init(&broker).await;
    let start = |role| Program::of(&[role]).broker(&broker).rust_log("rockets=debug").start();
    let (mut ingest_role, mut track) = (start("ingest"), start("track"));
    track.ready().await;
    ingest_role.ready().await;
    let at = addr(&mut ingest_role).await;
    let reply = request(at, "POST", "/messages", "Request-Id: trail-7\r\n", launch(&new_channel())).await;
    assert_eq!(reply.data()["status"], "ingested");
    for program in [&ingest_role, &track] {
        becomes("a line with the request's id", true, async || {
            program.log_lines().iter().any(|line| line["request_id"] == "trail-7")
        })
        .await;
    }
}
