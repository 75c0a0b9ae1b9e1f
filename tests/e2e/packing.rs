//! Answers are packed as their clients ask for it. That what comes is right is seen by the browser and by schemathesis, which
//! both unpack it.

use super::contract_service::Service;
use super::raw_http::{get, request};

const LONG: &str = "/page/base.css";

#[tokio::test]
async fn a_long_answer_is_packed_as_its_client_asks() {
    let service = Service::start().await;
    let whole = get(service.addr(), LONG).await;
    assert_eq!((whole.header("content-encoding"), whole.header("vary")), (None, Some("accept-encoding")));
    for (accepted, expected) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("gzip;q=0.5, br;q=0.9", Some("br")),
        ("gzip, br;q=0.1", Some("gzip")),
        ("gzip;q=0", None),
        ("identity", None),
        ("lzw", None),
        ("", None),
    ] {
        let reply = request(service.addr(), "GET", LONG, &format!("Accept-Encoding: {accepted}\r\n"), "").await;
        assert_eq!((reply.status, reply.header("content-encoding")), (200, expected), "{accepted}");
        assert_eq!(reply.body.len() < whole.body.len(), expected.is_some(), "{accepted}");
        assert_eq!(reply.header("etag"), whole.header("etag"), "{accepted}");
    }
}

#[tokio::test]
async fn what_is_short_is_not() {
    let service = Service::start().await;
    for path in ["/health", "/rockets", "/nothing"] {
        let reply = request(service.addr(), "GET", path, "Accept-Encoding: gzip, br\r\n", "").await;
        assert_eq!(reply.header("content-encoding"), None, "{path}");
    }
    let tag = get(service.addr(), LONG).await.header("etag").unwrap().to_owned();
    let headers = format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n");
    let reply = request(service.addr(), "GET", LONG, &headers, "").await;
    assert_eq!((reply.status, reply.header("content-encoding"), reply.body.len()), (304, None, 0));
}
