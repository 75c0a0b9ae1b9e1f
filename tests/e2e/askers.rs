//! Clients that ask for something long and leave: nobody works for them any more, and the next one has their turn.
//!
//! The broker is far away here, so that a channel of some thousand messages takes long to read.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::stream::{all_is_applied, count, publish};
use super::harness::{Broker, Client, Flight, Program, eventually};
use super::proxy::{Line, Proxy};
use super::raw_http::{Connection, get};

/// How late each piece comes from the broker. A page of a channel is some thirty of them.
const LATE: Duration = Duration::from_millis(3);
/// Numbers of the long channel: thirty pages.
const NUMBERS: u64 = 30_000;
/// Numbers of a channel with a gap before each message: more gaps than a record lists, so that the log is read for whether
/// the last number has arrived: sixteen pages, which two who ask at once read in some three seconds.
const GAPPY_NUMBERS: u64 = 32_000;

/// A query process to which the broker is far away, and its client.
struct Far {
    broker: Broker,
    proxy: Proxy,
    query: Program,
    client: Client,
    _track: Program,
}

impl Far {
    async fn start() -> Self {
        let broker = Broker::start().await;
        let mut track = Program::of(&["up", "--roles", "track"]).broker(&broker).start();
        track.ready().await;
        let proxy = Proxy::to(broker.port()).await;
        let mut query = Program::of(&["query"]).env("ROCKETS_NATS__URL", &proxy.url()).start();
        let client = query.ready().await;
        Self { broker, proxy, query, client, _track: track }
    }

    /// Stores messages, and waits until they are applied and seen.
    async fn store(&self, flight: &Flight, messages: &[Value]) {
        let jetstream = self.broker.jetstream().await;
        publish(&jetstream, messages).await;
        all_is_applied(&jetstream).await;
        eventually("the rocket is seen", async || self.client.rocket(&flight.channel).await).await;
    }

    /// A client that asks so, and leaves when it is dropped.
    async fn asks(&mut self, request: &str) -> Connection {
        let addr: SocketAddr = self.query.addr().await.parse().unwrap();
        let mut client = Connection::open(addr).await;
        client.send(request).await;
        client
    }
}

#[tokio::test]
async fn histories_for_those_who_left_keep_nobody_from_theirs() {
    let mut far = Far::start().await;
    let (long, short) = (Flight::new(), Flight::new());
    far.store(&long, &long.climb(NUMBERS)).await;
    far.store(&short, &short.climb(3)).await;
    far.proxy.set(Line::Slow(LATE));
    let path = format!("/rockets/{}/history?order=asc", long.channel);
    let asked = Instant::now();
    assert_eq!(far.client.get(&path).await.status, 200);
    let alone = asked.elapsed();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(far.asks(&request).await);
    }
    let (client, path) = (far.client.clone(), format!("/rockets/{}/history", short.channel));
    let history = async |status| Some(client.get(&path).await).filter(|answer| answer.status == status);
    eventually("all turns are taken", async || history(503).await).await;
    drop(clients);
    let left = Instant::now();
    let answer = eventually("a history", async || history(200).await).await;
    let after = left.elapsed();
    assert_eq!(answer.body["data"].as_array().map(Vec::len), Some(3));
    // Whoever still worked for those who have left had four of them in hand, which share one line to the broker.
    assert!(after < 2 * alone, "it has waited for {after:?}, where one history takes {alone:?}");
}

#[tokio::test]
async fn who_left_waits_for_no_event() {
    let broker = Broker::start().await;
    // Without a tracker an event stays what it is.
    let mut up = Program::of(&["up", "--roles", "ingest,query"]).broker(&broker).start();
    let client = up.ready().await;
    let event = client.ingest(&Flight::new().launched(1)).await;
    let addr: SocketAddr = up.addr().await.parse().unwrap();
    let mut asker = Connection::open(addr).await;
    asker.send(format!("GET /events/{event}?wait=10s HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    drop(asker);
    eventually("one who left is counted", async || has_left(addr, "events/:").await).await;
}

/// Something, once one has left who had asked at this route.
async fn has_left(addr: SocketAddr, route: &str) -> Option<()> {
    let metrics = String::from_utf8(get(addr, "/metrics").await.body).unwrap();
    let route = format!("route=\"{route}\"");
    let is_of = |line: &str| ["requests_total", &route, "408"].iter().all(|part| line.contains(part));
    metrics.lines().any(is_of).then_some(())
}

#[tokio::test]
async fn what_is_not_begun_for_one_who_left_is_not_done() {
    let mut far = Far::start().await;
    let flight = Flight::new();
    far.store(&flight, &[flight.launched(1), flight.launched(2), flight.launched(3)]).await;
    let jetstream = far.broker.jetstream().await;
    let dead_letters = eventually("dead letters", async || {
        Some(far.client.dead_letters_of(&flight.channel).await).filter(|dead_letters| dead_letters.len() == 2)
    })
    .await;
    let [replayed, dropped] = [0, 1].map(|at| dead_letters[at]["id"].clone());
    let addr: SocketAddr = far.query.addr().await.parse().unwrap();
    // A replay asks three things before it stores one, each for a second here: in between it is noticed that somebody has left.
    far.proxy.set(Line::Slow(Duration::from_millis(500)));
    drop(far.asks(&format!("POST /dead-letters/{replayed}/replay HTTP/1.1\r\nhost: localhost\r\n\r\n")).await);
    eventually("one who left is counted", async || has_left(addr, "dead-letters/:/replay").await).await;
    far.proxy.set(Line::Open);
    let event = far.client.replay(&dropped, None).await.ingested();
    assert_eq!(event, 4, "the first one was not stored");
    assert_eq!(count(&jetstream, "ROCKETS").await, 4);
}

#[tokio::test]
async fn a_skip_of_one_who_left_is_dropped() {
    let mut far = Far::start().await;
    let (gappy, other, numbers) = (Flight::new(), Flight::new(), GAPPY_NUMBERS);
    let jetstream = far.broker.jetstream().await;
    for flight in [&gappy, &other] {
        let messages: Vec<_> = (1..=numbers / 2).map(|step| flight.faster(2 * step, 1)).collect();
        publish(&jetstream, &messages).await;
    }
    all_is_applied(&jetstream).await;
    far.proxy.set(Line::Slow(LATE));
    let skip = json!({ "up_to": numbers, "reason": "radio lost" });
    let body = skip.to_string();
    let head =
        format!("POST /rockets/{}/skip HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}", gappy.channel, body.len());
    drop(far.asks(&format!("{head}\r\n\r\n{body}")).await);
    // One like it, begun later, for somebody who stays: when that is decided, the other would be too.
    let stays = async || Some(far.client.skip(&other.channel, &skip).await).filter(|answer| answer.status == 200);
    let event = eventually("a skip of one who stays", stays).await.ingested();
    let answer = far.client.skip(&gappy.channel, &skip).await;
    assert_eq!(answer.ingested(), event + 1, "it is not the duplicate of one that was dropped");
}
