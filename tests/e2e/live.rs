//! `GET /rockets/live`: the rockets, and then each change, however often a reader stops and comes back, and that one who
//! does not read harms nobody.

use std::net::SocketAddr;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, IF_NONE_MATCH};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use super::harness::messages::expected;
use super::harness::service::init;
use super::harness::stream::publish;
use super::harness::{Client, Flight, Follower, Program, TestService, eventually};
use super::raw_http::{Connection, get, request};

/// Readers that there may be at once, as docs/api.md says.
const READERS_MAX: usize = 2_000;

async fn follow(client: &Client, query: &str) -> Follower {
    Follower::open(client, query, HeaderMap::new()).await
}

fn rocket_of(messages: &[Value]) -> Value {
    expected(messages).unwrap()
}

#[tokio::test]
async fn changes_come_while_messages_are_posted() {
    let service = TestService::start().await;
    let (flying, gone) = (Flight::new(), Flight::new());
    let packed = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"))]);
    let (mut all, mut active) =
        (Follower::open(&service.query, "", packed).await, follow(&service.query, "?status=active").await);
    let headers = all.headers();
    let of = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(of("content-type"), Some("text/event-stream"));
    assert_eq!((of("cache-control"), of("x-accel-buffering")), (Some("no-cache, no-transform"), Some("no")));
    assert!(of("request-id").is_some() && of("content-length").is_none() && of("content-encoding").is_none());
    all.until("synced").await;
    active.until("synced").await;
    let mut messages = gone.climb(3);
    for message in flying.climb(20).iter().chain(&messages) {
        service.ingest.ingest(message).await;
    }
    active.until_rocket(&rocket_of(&messages)).await;
    messages.push(gone.exploded(4, "FUEL"));
    service.ingest.ingest(&messages[3]).await;
    let flying = rocket_of(&flying.climb(20));
    for rocket in [&flying, &rocket_of(&messages)] {
        all.until_rocket(rocket).await;
    }
    active.until_it("gone", |data| *data == json!({ "id": gone.channel })).await;
    active.until_rocket(&flying).await;
    assert_eq!((all.rockets.len(), active.rockets.len()), (2, 1));
    let shown = service.rocket(flying["id"].as_str().unwrap()).await;
    assert_eq!(shown.as_ref(), active.rockets.values().next(), "as GET /rockets/{{channel}} has it");
    messages.push(gone.faster(7, 1));
    service.ingest.ingest(&messages[4]).await;
    let pulse = all.until_it("pulse", |pulse| pulse["gaps"] == 1).await.data;
    assert_eq!(pulse["by_status"], json!({ "active": 1, "exploded": 1 }));
    let known = ["rockets", "pending_messages", "stale", "freshness", "readers", "dead_letters"];
    assert_eq!(
        known.map(|name| pulse[name].clone()),
        [json!(2), json!(1), json!(false), json!("fresh"), json!(2), json!(0)]
    );
    let applied = all.until_it("pulse", |pulse| pulse["applied_per_second"].is_f64()).await.data;
    assert!(applied["ingested_per_second"].is_f64() && applied["revision"].is_string(), "{applied}");
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was_after_a_restart() {
    let mut service = TestService::start().await;
    let (first, second, third) = (Flight::new().climb(3), Flight::new().climb(2), Flight::new());
    for message in first.iter().chain(&second) {
        service.ingest.ingest(message).await;
    }
    let mut follower = follow(&service.query, "").await;
    follower.until("synced").await;
    follower.until_rocket(&rocket_of(&second)).await;
    let last = follower.last_id.clone();
    service.programs[0].kill();
    // The stream ends with the process.
    while follower.next().await.is_some() {}

    let mut up = Program::of(&["up"]).broker(service.broker()).start();
    let client = up.ready().await;
    client.ingest(&third.launched(1)).await;
    for since in [
        HeaderMap::new(),
        HeaderMap::from_iter([("last-event-id".parse().unwrap(), HeaderValue::from_str(&last).unwrap())]),
    ] {
        let query = if since.is_empty() { format!("?since={last}") } else { "?since=0.1".into() };
        let mut follower = Follower::open(&client, &query, since).await;
        follower.until_rocket(&rocket_of(&[third.launched(1)])).await;
        assert_eq!(follower.rockets.len(), 1, "only what is new: {:?}", follower.names);
        assert!(!follower.names.contains(&"reset".into()), "{:?}", follower.names);
    }
    let mut lost = follow(&client, "?since=0.1").await;
    assert_eq!(lost.until("reset").await.data["reason"], "nobody can tell what changed since then");
    lost.until("synced").await;
    assert_eq!(lost.rockets.len(), 3);
}

#[tokio::test]
async fn a_bucket_that_is_thrown_away_begins_again() {
    let mut service = TestService::split().await;
    let (gone, new) = (Flight::new().climb(3), Flight::new().climb(3));
    for message in &gone {
        service.ingest.ingest(message).await;
    }
    let mut follower = follow(&service.query, "").await;
    follower.until_rocket(&rocket_of(&gone)).await;
    let epoch = |follower: &Follower| follower.last_id.split_once('.').unwrap().0.to_owned();
    let before = epoch(&follower);
    service.broker().jetstream().await.delete_stream("KV_rockets").await.unwrap();
    init(service.broker()).await;
    follower.until("reset").await;
    follower.until("synced").await;
    assert_eq!((follower.rockets.len(), epoch(&follower) == before), (0, false));
    eventually("the view is fresh", async || {
        (service.query.get("/readyz").await.body["data"]["status"] == "ready").then_some(())
    })
    .await;
    for message in &new {
        service.ingest.ingest(message).await;
    }
    follower.until_rocket(&rocket_of(&new)).await;
}

#[tokio::test]
async fn a_list_says_from_where_on_it_can_be_followed() {
    let service = TestService::start().await;
    let (first, second) = (Flight::new().climb(3), Flight::new().climb(3));
    for message in &first {
        service.ingest.ingest(message).await;
    }
    service.settles(&first).await;
    let list = service.query.get("/rockets?limit=1").await;
    let revision = list.body["revision"].as_str().unwrap().to_owned();
    for message in &second {
        service.ingest.ingest(message).await;
    }
    service.settles(&second).await;
    let mut follower = follow(&service.query, &format!("?since={revision}")).await;
    follower.until("synced").await;
    assert_eq!(follower.rockets.into_values().collect::<Vec<_>>(), [rocket_of(&second)]);
    assert!(!follower.names.contains(&"reset".into()));
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let mut service = TestService::start().await;
    let (flight, addr) = (Flight::new(), address(&mut service).await);
    service.ingest.ingest(&flight.launched(1)).await;
    service.settles(&[flight.launched(1)]).await;
    let paths = [format!("/rockets/{}", flight.channel), "/rockets".into(), "/rockets?sortBy=speed&limit=1".into()];
    let mut tags = Vec::new();
    for path in &paths {
        let tag = get(addr, path).await.header("etag").unwrap().to_owned();
        assert!(tag.starts_with("W/\""), "{tag}");
        let headers = format!("If-None-Match: {tag}\r\nRequest-Id: mine\r\n");
        let reply = request(addr, "GET", path, &headers, "").await;
        assert_eq!((reply.status, reply.body.len(), reply.header("etag")), (304, 0, Some(&*tag)));
        assert_eq!(reply.header("request-id"), Some("mine"));
        tags.push(tag);
    }
    service.ingest.ingest(&flight.faster(2, 7)).await;
    service.settles(&[flight.launched(1), flight.faster(2, 7)]).await;
    for (path, tag) in paths.iter().zip(tags) {
        let client = &service.query;
        let asked = client.request(reqwest::Method::GET, path).header(IF_NONE_MATCH, &tag);
        let answer = client.answer(asked).await;
        assert_eq!((answer.status, answer.headers["etag"] == *tag), (200, false), "{path}");
    }
}

#[tokio::test]
async fn a_wrong_question_is_told_so() {
    let mut service = TestService::start().await;
    let addr = address(&mut service).await;
    let known = "is not a parameter of this route, which has channel, since, status, type, mission";
    for (query, expected) in [
        ("limit=1", format!("limit: {known}")),
        ("since=7", "since: must be the `revision` of a list, or the id of an event of this stream".into()),
        ("status=lost", "status: must be one of active, exploded".into()),
        ("channel=x", "channel: must be a UUID".into()),
    ] {
        let problem = get(addr, &format!("/rockets/live?{query}")).await.error(400);
        assert!(problem.starts_with(&expected), "{problem}");
    }
    let reply = request(addr, "POST", "/rockets/live", "", "").await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
}

async fn address(service: &mut TestService) -> SocketAddr {
    service.programs[0].addr().await.parse().unwrap()
}

/// A reader that has asked and takes nothing, with as little room for what comes as the system allows.
async fn stalled(addr: SocketAddr) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let stream = socket.connect(addr).await.unwrap();
    let ask = b"GET /rockets/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.writable().await.unwrap();
    assert_eq!(stream.try_write(ask).unwrap(), ask.len());
    stream
}

/// So many rockets that they do not fit into what lies between a process and a reader.
async fn with_many_rockets(service: &mut TestService) {
    let launches: Vec<_> = (0..4_000).map(|_| Flight::new().launched(1)).collect();
    publish(&service.broker().jetstream().await, &launches).await;
    let mut follower = follow(&service.query, "").await;
    while follower.rockets.len() < launches.len() {
        follower.until("rocket").await;
    }
}

#[tokio::test]
async fn one_who_does_not_read_is_cut() {
    let mut service = TestService::start().await;
    let addr = address(&mut service).await;
    with_many_rockets(&mut service).await;
    let mut watcher = follow(&service.query, "?status=exploded").await;
    let _stalled = stalled(addr).await;
    watcher.until_it("pulse", |pulse| pulse["readers"] == 2).await;
    // Nobody has hung up: the process has.
    watcher.until_it("pulse", |pulse| pulse["readers"] == 1).await;
}

#[tokio::test]
async fn it_ends_well_with_readers() {
    let mut service = TestService::start().await;
    let mut follower = follow(&service.query, "").await;
    follower.until("synced").await;
    assert_eq!(service.programs[0].term().await.code(), Some(0));
    assert!(follower.next().await.is_none_or(|event| event.name == "pulse"));
    let log = service.programs[0].log();
    assert!(!log.contains("connections were still open"), "one who reads holds up nobody: {log}");

    let mut service = TestService::start().await;
    let addr = address(&mut service).await;
    with_many_rockets(&mut service).await;
    let mut watcher = follow(&service.query, "").await;
    let _stalled = [stalled(addr).await, stalled(addr).await];
    watcher.until_it("pulse", |pulse| pulse["readers"] == 3).await;
    assert_eq!(service.programs[0].term().await.code(), Some(0));
}

#[tokio::test]
async fn there_are_so_many_readers_and_no_more() {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < 3 * READERS_MAX as u64) {
        eprintln!("skipped: this machine allows {:?} open files a process", limit.maximum);
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let mut service = TestService::start().await;
    let addr = address(&mut service).await;
    let mut readers = Vec::new();
    for _ in 0..READERS_MAX {
        let mut reader = Connection::open(addr).await;
        reader.send("GET /rockets/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(reader.reply_without_body().await.status, 200);
        readers.push(reader);
    }
    let refused = get(addr, "/rockets/live").await;
    assert_eq!(refused.error(503), "too many follow the rockets, ask again");
    assert!(refused.header("retry-after").is_some());
    // Others are served as ever, and a place that is given up is free again.
    assert_eq!(get(addr, "/rockets").await.status, 200);
    readers.truncate(READERS_MAX - 10);
    eventually("a free place", async || {
        let response = Follower::ask(&service.query, "", HeaderMap::new()).await;
        (response.status() == 200).then_some(())
    })
    .await;
}
