//! Clients that take more than their share: of connections, of time, of memory. The others do not notice, and in the end
//! the service is as it was.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;

use super::contract_service::{Service, addr};
use super::harness::stream::{all_is_applied, publish};
use super::harness::{Broker, Flight, Program, becomes, eventually};
use super::raw_http::{Connection, Reply, get, launch, new_channel, post, request, request_bytes};

/// As many as wait for a turn for some time, and some more.
const READERS: usize = 50;
/// A list of them does not fit into what the system keeps of a connection that nobody reads.
const ROCKETS: usize = 12_000;

async fn opened(addr: SocketAddr, count: usize, bytes: &str) -> Vec<Connection> {
    let open = async |_| {
        let mut connection = Connection::open(addr).await;
        connection.send(bytes).await;
        connection
    };
    join_all((0..count).map(open)).await
}

async fn are_hung_up(mut connections: Vec<Connection>) {
    join_all(connections.iter_mut().map(Connection::rest)).await;
}

#[tokio::test]
async fn who_says_nothing_is_hung_up_and_keeps_nobody_from_anything() {
    let service = Service::start().await;
    let mut silent = opened(service.addr(), 200, "").await;
    silent.extend(opened(service.addr(), 100, "POST /messages HTTP/1.1\r\nHost: localhost\r\n").await);
    assert_eq!(post(service.addr(), launch(&new_channel())).await.data()["status"], "ingested");
    are_hung_up(silent).await;
    assert_eq!(get(service.addr(), "/health").await.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let service = Service::start().await;
    let mut connection = Connection::open(service.addr()).await;
    let (head, begun) =
        ("POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n", "{\"metadata\"");
    connection.send(format!("{head}{begun}")).await;
    let dripping = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if connection.try_send(" ").await.is_err() {
                return;
            }
        }
    };
    // It drips on until nobody takes it; the answer may have been lost with the connection then.
    tokio::time::timeout(Duration::from_secs(60), dripping).await.expect("a hang-up in time");
    let mut connection = Connection::open(service.addr()).await;
    connection.send(format!("{head}{begun}")).await;
    assert_eq!(connection.reply().await.error(408), "the request took too long to arrive");
    assert_eq!(connection.rest().await, b"");
}

#[tokio::test]
async fn one_connection_may_ask_as_often_as_it_likes() {
    let service = Service::start().await;
    let mut connection = Connection::open(service.addr()).await;
    for _ in 0..3_000 {
        connection.send(request_bytes("GET", "/rockets?limit=1", "", "")).await;
        assert_eq!(connection.reply().await.status, 200);
    }
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).env("ROCKETS_HTTP__CONNECTIONS_PER_ADDRESS", "3").start();
    up.ready().await;
    let addr = addr(&mut up).await;
    let is_answered = async || {
        let mut connection = Connection::open(addr).await;
        let sent = connection.try_send(request_bytes("GET", "/livez", "Connection: close\r\n", "")).await;
        sent.is_ok() && connection.rest().await.starts_with(b"HTTP/1.1 200")
    };
    // What asked whether it is ready may still be connected.
    becomes("an answer", true, is_answered).await;
    let mut held = Vec::new();
    let refused = async || {
        held.push(Connection::open(addr).await);
        (!is_answered().await).then_some(())
    };
    eventually("one that is refused", refused).await;
    assert!(up.log().contains("an address has too many connections"));
    drop(held);
    becomes("an answer", true, is_answered).await;
}

#[tokio::test]
async fn lists_that_nobody_reads_cost_little_and_end() {
    let service = Service::start().await;
    let (addr, jetstream) = (service.addr(), service.jetstream());
    let rockets: Vec<_> = (0..ROCKETS).map(|_| Flight::new().launched(1)).collect();
    publish(jetstream, &rockets).await;
    all_is_applied(jetstream).await;
    let last = format!("/rockets/{}", rockets[ROCKETS - 1]["metadata"]["channel"].as_str().unwrap());
    becomes("all rockets", 200, async || get(addr, &last).await.status).await;
    let Some(before) = service.resident_bytes() else {
        eprintln!("not measured: there is no /proc here");
        return;
    };
    let list = String::from_utf8(request_bytes("GET", "/rockets", "", "")).unwrap();
    let readers = opened(addr, READERS, &list).await;
    let list = async |expected| {
        let mut connection = Connection::open(addr).await;
        connection.send(request_bytes("GET", "/rockets", "Connection: close\r\n", "")).await;
        let answer = connection.rest().await;
        let (head, body) = (String::from_utf8_lossy(&answer[..300]).to_lowercase(), answer.len());
        head.starts_with(expected).then_some((head, body))
    };
    let (head, _) = eventually("no turn is left", async || list("http/1.1 503").await).await;
    assert!(head.contains("retry-after: "), "{head}");
    let grown = service.resident_bytes().unwrap().saturating_sub(before);
    eprintln!("{READERS} readers of {ROCKETS} rockets: {} KiB more", grown / 1024);
    // Each list has some 3.5 MB.
    assert!(grown < 40_000_000, "{grown} bytes more");
    assert_eq!(get(addr, "/rockets?limit=100").await.status, 200, "pages need no turn");
    // Nobody has left: it is the service that ends them.
    let (_, bytes) = eventually("a turn", async || list("http/1.1 200").await).await;
    assert!(bytes > ROCKETS * 200, "{bytes} bytes");
    for reader in &readers {
        becomes("the end of one that does not read", true, async || reader.is_over().await).await;
    }
}

#[tokio::test]
async fn a_long_list_is_the_same_in_pieces() {
    let service = Service::start().await;
    let jetstream = service.jetstream();
    let rockets: Vec<_> = (0..1_500).map(|_| Flight::new().launched(1)).collect();
    publish(jetstream, &rockets).await;
    all_is_applied(jetstream).await;
    let whole = eventually("all rockets", async || {
        let answer = service.client().get("/rockets").await;
        (answer.body["data"].as_array().unwrap().len() == rockets.len()).then_some(answer)
    })
    .await;
    let tag = whole.headers["etag"].to_str().unwrap();
    let reply: Reply = request(service.addr(), "GET", "/rockets", &format!("If-None-Match: {tag}\r\n"), "").await;
    assert_eq!((reply.status, whole.body["revision"].is_string()), (304, true));
    let mut pages = Vec::new();
    let mut target = "/rockets?limit=700".to_owned();
    loop {
        let page = get(service.addr(), &target).await.envelope();
        pages.extend(page["data"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        target = format!("/rockets?limit=700&cursor={cursor}");
    }
    assert_eq!(whole.body["data"].as_array().unwrap(), &pages);
    let mut connection = Connection::open(service.addr()).await;
    connection.send(request_bytes("HEAD", "/rockets", "", "")).await;
    assert_eq!(connection.reply_without_body().await.status, 200);
    connection.send(request_bytes("GET", "/livez", "", "")).await;
    assert_eq!(connection.reply().await.status, 200, "the connection goes on");
}
