//! Serves connections: counted, bounded in all and by address, and drained at the end.
//!
//! warp's own server has none of this (no header deadline, a drain without an end, a panic that ends the connection
//! without a word), so its filters are served by this loop. The caller owns the ports and the shutdown. What one connection
//! may do is said in [`mod@super::connection`].

use std::convert::Infallible;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;
use tracing::Instrument as _;
use warp::filters::BoxedFilter;

use super::asker::Asker;
use super::browsers::{self, Guard};
use super::peers::{Counted, Peers};
use super::pieces::Body;
use super::route::Head;
use super::tls::Tls;
use super::{Answer, Door, RequestId, Routes, Side, connection, trace};
use crate::auth::Auth;
use crate::logging::limited;
use crate::metrics::HttpMetrics;
use crate::traces::{Trace, Traces};

/// Requests in hand at once.
const REQUESTS_MAX: usize = 2_048;
/// After how long a connection ends behind its next answer.
const AGE_MAX: Duration = Duration::from_secs(270);
/// What is answered however many requests are in hand: whoever asks wants to know just that.
const ALWAYS_ANSWERED: [&str; 3] = ["/livez", "/readyz", "/health"];
/// Pause after a failed accept: the process may have run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long requests in hand may take when serving ends; what is then still open is cut off.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(8);

/// Where requests come in.
pub struct Ports {
    /// Where connections are accepted.
    pub listeners: Vec<TcpListener>,
    /// With what they are encrypted, if they are.
    pub tls: Option<Arc<Tls>>,
}

/// How many connections and requests there may be at once, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In all. Further ones wait to be accepted: a sender may open one for each message, and is not refused.
    pub connections: usize,
    /// Of one address. Further ones are closed at once.
    pub connections_per_address: usize,
    /// Requests in hand. Further ones are 503. Those that have their answer and read it are none of them.
    pub requests: usize,
    /// After how long, or up to a fifth more, a connection ends behind its next answer, so that load spreads over processes that
    /// have come since.
    pub age: Duration,
}

impl Bounds {
    /// Bounds with so many connections.
    pub fn new(connections: usize, connections_per_address: usize) -> Self {
        Self { connections, connections_per_address, requests: REQUESTS_MAX, age: AGE_MAX }
    }
}

/// Where requests come in, and what is asked of those who bring them.
pub struct Entrance {
    /// Where everybody asks.
    pub public: Ports,
    /// Where operators ask, if that is elsewhere.
    pub operators: Option<Ports>,
    /// The keys.
    pub auth: Auth,
}

/// What is served.
#[derive(Clone)]
pub struct Site {
    /// What answers them, by their routes.
    filter: BoxedFilter<(Answer,)>,
    /// What counts the requests.
    pub metrics: HttpMetrics,
    /// Whose requests are answered.
    pub guard: Guard,
    /// Where the spans of requests begin.
    pub traces: Traces,
    /// Who is let in.
    pub door: Door,
    /// How much of it there may be at once.
    pub bounds: Bounds,
    /// When whoever asks had better ask another process the next time.
    pub leaving: CancellationToken,
    /// Requests in hand.
    in_hand: Arc<Semaphore>,
}

impl Site {
    /// A site of these routes.
    pub fn new(
        routes: Routes,
        metrics: HttpMetrics,
        guard: Guard,
        door: Door,
        traces: Traces,
        bounds: Bounds,
        leaving: CancellationToken,
    ) -> Self {
        routes.patterns().for_each(|pattern| metrics.know(pattern));
        let (filter, in_hand) = (routes.filter(), Arc::new(Semaphore::new(bounds.requests)));
        Self { filter, metrics, guard, traces, door, bounds, leaving, in_hand }
    }

    /// The same at one of several addresses.
    fn at(&self, side: Side) -> Self {
        Self { door: Door { side, ..self.door.clone() }, ..self.clone() }
    }
}

/// Serves wherever requests come in.
pub async fn serve_all(entrance: Entrance, site: Site, shutdown: CancellationToken) {
    match entrance.operators {
        Some(operators) => {
            let at_public = serve(entrance.public, site.at(Side::Public), shutdown.clone());
            tokio::join!(at_public, serve(operators, site.at(Side::Operators), shutdown));
        }
        None => serve(entrance.public, site, shutdown).await,
    }
}

/// Answers requests until the shutdown, then those that are in hand.
async fn serve(ports: Ports, site: Site, shutdown: CancellationToken) {
    let Ports { listeners, tls } = ports;
    let (bounds, site, mut connections) = (site.bounds, Arc::new(site), JoinSet::new());
    let (slots, peers) = (Arc::new(Semaphore::new(bounds.connections)), Peers::new(bounds.connections_per_address));
    let mut renewing = pin!(keep_up(tls.as_deref()));
    loop {
        let (stream, slot, counted) = tokio::select! {
            () = shutdown.cancelled() => break,
            never = &mut renewing => match never {},
            accepted = accept(&listeners, &slots, &peers) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let served = connection::serve(stream, site.clone(), tls.clone(), shutdown.clone());
        connections.spawn(async move {
            served.await;
            drop((slot, counted));
        });
    }
    drop(listeners);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_DEADLINE, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were still open at the end of the drain");
    }
}

async fn keep_up(tls: Option<&Tls>) -> Infallible {
    match tls {
        Some(tls) => tls.keep_up().await,
        None => pending().await,
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listeners: &[TcpListener],
    slots: &Arc<Semaphore>,
    peers: &Arc<Peers>,
) -> (TcpStream, OwnedSemaphorePermit, Counted) {
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return pending().await };
        let stream = match accept_any(listeners).await {
            Ok((stream, peer)) => admitted(peers, peer.ip()).map(|counted| (stream, counted)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                None
            }
        };
        if let Some((stream, counted)) = stream {
            connection::prepare(&stream);
            return (stream, slot, counted);
        }
    }
}

fn admitted(peers: &Arc<Peers>, peer: IpAddr) -> Option<Counted> {
    let counted = peers.count(peer);
    if counted.is_none() {
        limited!(warn, %peer, "an address has too many connections (http.connections_per_address)");
    }
    counted
}

/// The next connection at any of the ports. Both may be busy: neither is always asked first.
async fn accept_any(listeners: &[TcpListener]) -> std::io::Result<(TcpStream, SocketAddr)> {
    let begin = usize::from(uuid::Uuid::new_v4().as_bytes()[0]);
    std::future::poll_fn(|context| {
        let in_turn = (0..listeners.len()).map(|at| &listeners[(begin + at) % listeners.len()]);
        let mut accepted = in_turn.map(|listener| listener.poll_accept(context));
        accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// Answers one request in the envelope, whatever becomes of it.
pub(super) async fn answer(
    site: Arc<Site>,
    asker: Asker,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (begun, id) = (Instant::now(), RequestId::of(request.headers()));
    let cors = &site.guard.cors;
    let origin = cors.origin_of(&request);
    let mut traced = trace::begin(&site.traces, &request);
    let (method, path) = (request.method().clone(), request.uri().path());
    let span = tracing::debug_span!("request", request_id = %id, trace_id = traced.trace().id(), %method, path);
    let mut response = match cors.preflight(&request, &id) {
        Some(response) => response,
        None => {
            let answer = answered(&site, request, (&id, traced.trace(), asker)).instrument(span).await;
            site.metrics.answered(answer.route(), answer.status().as_u16(), begun.elapsed());
            trace::end(&mut traced, &method, &answer);
            answer.into_response(&id)
        }
    };
    let status = response.status();
    let headers = response.headers_mut();
    cors.allow(origin, headers);
    browsers::put_headers(status, headers);
    if site.leaving.is_cancelled() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn answered(site: &Site, request: Request<Incoming>, (id, trace, asker): (&RequestId, Trace, Asker)) -> Answer {
    if let Some(refusal) = site.guard.refusal(&request) {
        return refusal;
    }
    let in_hand = site.in_hand.try_acquire();
    if in_hand.is_err() && !ALWAYS_ANSWERED.contains(&request.uri().path()) {
        limited!(warn, "too many requests are in hand");
        return Answer::unavailable("too many requests are in hand, ask again");
    }
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let head = Head { method, uri, headers, id: id.clone(), trace, asker, door: site.door.clone() };
    AssertUnwindSafe(routed(site, head, body)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(request_id = %id, "a handler panicked");
        Answer::internal_error()
    })
}

/// All that the filter looks at is in the head, so that the request around it says nothing.
async fn routed(site: &Site, head: Head, body: Incoming) -> Answer {
    let mut request = Request::new(body);
    request.extensions_mut().insert(Arc::new(head));
    let mut service = warp::service(site.filter.clone());
    let mut response = pin!(service.call(request)).await.unwrap_or_else(|never| match never {});
    response.extensions_mut().remove::<Answer>().unwrap_or_else(Answer::internal_error)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::http::route::{self, any, get};
    use crate::http::{Access, Cors};

    /// What `/gate` waits for, and how it is known that somebody waits there.
    struct Gate {
        arrived: Semaphore,
        open: Semaphore,
    }

    /// A server with these bounds, which runs while the last of these is there.
    async fn server(bounds: Bounds) -> (SocketAddr, Arc<Gate>, JoinSet<()>) {
        let gate = Arc::new(Gate { arrived: Semaphore::new(0), open: Semaphore::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let at_once = |path| get(path, Access::Open, &(), async |(), _: route::Request| Ok(Answer::ok(&())));
        let waits = async |gate: Arc<Gate>, _: route::Request| {
            gate.arrived.add_permits(1);
            gate.open.acquire().await.unwrap().forget();
            Ok(Answer::ok(&()))
        };
        let routes = any(["livez", "readyz", "health", "else"].map(at_once));
        let routes = any([routes, get("gate", Access::Open, &gate, waits)]);
        let (guard, door, end) = (Guard::new(Cors::default(), false, &[]), Door::default(), CancellationToken::new());
        let site = Site::new(routes, HttpMetrics::default(), guard, door, Traces::default(), bounds, end.clone());
        let public = Ports { listeners: vec![listener], tls: None };
        let mut serving = JoinSet::new();
        serving.spawn(serve_all(Entrance { public, operators: None, auth: Auth::default() }, site, end));
        (addr, gate, serving)
    }

    async fn asks(addr: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        stream
    }

    /// The head of the next answer, in small letters.
    async fn head(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{:?}", String::from_utf8_lossy(&answer));
        }
        String::from_utf8(answer).unwrap().to_lowercase()
    }

    #[tokio::test]
    async fn requests_in_hand_are_bounded_and_whether_it_is_well_is_always_answered() {
        let (addr, gate, _serving) = server(Bounds { requests: 2, ..Bounds::new(64, 64) }).await;
        let status = async |path| head(&mut asks(addr, path).await).await[9..12].to_owned();
        let mut in_hand = [asks(addr, "/gate").await, asks(addr, "/gate").await];
        gate.arrived.acquire_many(2).await.unwrap().forget();
        let refused = head(&mut asks(addr, "/else").await).await;
        assert!(refused.starts_with("http/1.1 503 ") && refused.contains("\r\nretry-after: "), "{refused}");
        for path in ALWAYS_ANSWERED {
            assert_eq!(status(path).await, "200", "{path}");
        }
        gate.open.add_permits(2);
        for stream in &mut in_hand {
            assert!(head(stream).await.starts_with("http/1.1 200 "));
        }
        assert_eq!(status("/else").await, "200");
    }

    #[tokio::test]
    async fn an_old_connection_ends_behind_its_answer() {
        let age = Duration::from_millis(50);
        let (addr, gate, _serving) = server(Bounds { age, ..Bounds::new(64, 64) }).await;
        let mut busy = asks(addr, "/gate").await;
        let mut idle = asks(addr, "/else").await;
        assert!(head(&mut idle).await.starts_with("http/1.1 200 "));
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.unwrap();
        // Its age is behind it by now.
        sleep(2 * age).await;
        gate.open.add_permits(1);
        let answer = head(&mut busy).await;
        assert!(answer.starts_with("http/1.1 200 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
        busy.read_to_end(&mut rest).await.unwrap();
    }
}
