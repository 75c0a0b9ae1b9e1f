//! Serves connections: counted, bounded, with deadlines, and drained at the end.
//!
//! warp's own server has none of these (no header deadline, a drain without an end, a panic that ends the connection
//! without a word), so its filters are served by this loop. The caller owns the port and the shutdown.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::service_fn;
use tower_http::compression::Compression;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};
use tower_service::Service as _;
use tracing::Instrument as _;
use warp::Filter as _;
use warp::filters::BoxedFilter;

use super::asker::{Asker, Connection};
use super::events::Body;
use super::stall::WriteDeadline;
use super::{Address, Answer, Cors, Door, RequestId, Routes, trace};
use crate::auth::Auth;
use crate::metrics::HttpMetrics;
use crate::traces::Traces;

/// Connections at once. Further ones wait to be accepted: a sender may open one for each message, and is never refused.
const CONNECTIONS_MAX: usize = 4_096;
/// How long a request's headers may take to arrive; also how long a connection may be idle.
const HEADER_DEADLINE: Duration = Duration::from_secs(15);
/// Memory for what a connection has sent and nobody has taken yet, in bytes.
const CONNECTION_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long what was sent may go without being acknowledged by the other side, before the connection is given up.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// How long whoever is answered may take nothing of what is written, before the connection is given up.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Bytes of a connection that the system keeps and has not sent. So a reader that stalls is noticed before megabytes lie
/// there, and one that is slow makes room again soon.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// From how many bytes on an answer is packed, with what its client has named in `Accept-Encoding`. Events never are: they would
/// wait for each other.
const PACKED_FROM_BYTES: u16 = 1_024;
/// Pause after a failed accept: the process may have run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long requests in hand may take when serving ends; what is then still open is cut off.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(8);

/// Where requests come in, and what is asked of those who bring them.
pub struct Entrance {
    /// Where everybody asks.
    pub public: TcpListener,
    /// Where operators ask, if that is elsewhere.
    pub operators: Option<TcpListener>,
    /// The keys.
    pub auth: Auth,
}

/// What is served.
#[derive(Clone)]
pub struct Site {
    /// The routes.
    pub routes: Routes,
    /// What counts the requests.
    pub metrics: HttpMetrics,
    /// Which pages of other origins may call.
    pub cors: Cors,
    /// Where the spans of requests begin.
    pub traces: Traces,
    /// Who is let in.
    pub door: Door,
}

impl Site {
    /// The same at another address.
    fn at(&self, address: Address) -> Self {
        Self { door: Door { address, ..self.door.clone() }, ..self.clone() }
    }
}

/// Serves wherever requests come in.
pub async fn serve_all(entrance: Entrance, site: Site, shutdown: CancellationToken) {
    match entrance.operators {
        Some(operators) => {
            let at_public = serve(entrance.public, site.at(Address::Public), shutdown.clone());
            tokio::join!(at_public, serve(operators, site.at(Address::Operators), shutdown));
        }
        None => serve(entrance.public, site, shutdown).await,
    }
}

/// Answers requests until the shutdown, then those that are in hand.
async fn serve(listener: TcpListener, site: Site, shutdown: CancellationToken) {
    site.routes.patterns.iter().for_each(|pattern| site.metrics.know(pattern));
    let site = Arc::new(site);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (graceful, mut connections) = (GracefulShutdown::new(), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, slot) = accepted;
        let stream = Connection::new(stream);
        let service = service_fn({
            let (site, asker) = (site.clone(), stream.asker());
            move |request| answer(site.clone(), asker.clone(), request)
        });
        let service =
            Compression::new(service).compress_when(SizeAbove::new(PACKED_FROM_BYTES).and(NotForContentType::SSE));
        let stream = WriteDeadline::new(stream, STALL_MAX);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_DEADLINE)
            // A sender may say that it has nothing more to send (`nc -N`) and still wait for the answer.
            .half_close(true)
            .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
            .serve_connection(stream, TowerToHyperService::new(service));
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            // A connection that ends badly is its client's affair.
            let _ = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    if timeout(DRAIN_DEADLINE, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were still open at the end of the drain");
    }
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return std::future::pending().await };
        match listener.accept().await {
            Ok((stream, _)) => {
                prepare(&stream);
                return (stream, slot);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Options that make a connection quick, and bound how long a reader may stall. Without them it works as well.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        let socket = socket2::SockRef::from(stream);
        let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
        let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
    }
}

/// Answers one request in the envelope, whatever becomes of it.
async fn answer(site: Arc<Site>, asker: Asker, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let begun = Instant::now();
    request.extensions_mut().insert(asker);
    request.extensions_mut().insert(site.door.clone());
    let request_id = RequestId::of(request.headers());
    let origin = site.cors.origin_of(&request);
    let preflight = site.cors.preflight(&request, &request_id);
    let mut traced = trace::begin(&site.traces, &request);
    let (method, path) = (request.method().clone(), request.uri().path());
    let span = tracing::debug_span!("request", %request_id, trace_id = traced.trace().id(), %method, path);
    if !traced.is_none() {
        request.extensions_mut().insert(traced.trace());
    }
    let mut response = match preflight {
        Some(response) => response,
        None => {
            let routed = routed(site.routes.filter.clone(), request, request_id.clone());
            let answer = AssertUnwindSafe(routed).catch_unwind().instrument(span).await.unwrap_or_else(|_| {
                tracing::error!(%request_id, "a handler panicked");
                Answer::internal_error()
            });
            site.metrics.answered(answer.route(), answer.status().as_u16(), begun.elapsed());
            trace::end(&mut traced, &method, &answer);
            answer.into_response(&request_id)
        }
    };
    site.cors.allow(origin, response.headers_mut());
    Ok(response)
}

async fn routed(routes: BoxedFilter<(Answer,)>, mut request: Request<Incoming>, request_id: RequestId) -> Answer {
    // CONNECT names no path, and warp's filters take one for granted.
    if request.uri().path_and_query().is_none() {
        return Answer::not_found("path");
    }
    request.extensions_mut().insert(request_id);
    let mut service =
        warp::service(routes.or_else(|_| async { Ok::<_, warp::Rejection>((Answer::not_found("path"),)) }));
    let mut response = pin!(service.call(request)).await.unwrap_or_else(|never| match never {});
    response.extensions_mut().remove::<Answer>().unwrap_or_else(Answer::internal_error)
}
