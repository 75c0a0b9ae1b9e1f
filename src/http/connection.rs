//! One connection, from its first byte to its last: with TLS or without, and with a bound on everything that it may take its
//! time with.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tower::service_fn;
use tower_http::compression::Compression;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

use super::asker::Connection;
use super::serve::{Site, answer};
use super::stall::WriteDeadline;
use super::tls::Tls;
use crate::logging::limited;

/// How long a request's head may take to arrive; also how long a connection may be idle, and how long a handshake may take.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Memory for what a connection has sent and nobody has taken yet, in bytes.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long what was sent may go without being acknowledged by the other side, before the connection is given up. The system
/// does that without a word to the other side, so whoever stalls is cut before.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(45);
/// How long whoever is answered may take next to nothing of what is written, before the connection is given up.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Bytes of a connection that the system keeps and has not sent. So a reader that stalls is noticed before megabytes lie
/// there, and one that is slow makes room again soon.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// From how many bytes on an answer is packed, with what its client has named in `Accept-Encoding`. Events never are: they would
/// wait for each other.
const PACKED_FROM_BYTES: u16 = 1_024;
/// Options that make a connection quick, and bound how long a reader may stall. Without them it works as well.
pub(super) fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        let socket = socket2::SockRef::from(stream);
        let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
        let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
    }
}

/// Answers what comes on a connection, until one side ends it or everything is closing.
pub(super) async fn serve(stream: TcpStream, site: Arc<Site>, tls: Option<Arc<Tls>>, closing: CancellationToken) {
    let connection = Connection::new(stream, tls.is_none());
    let (asker, age_max) = (connection.asker(), age_max(site.bounds.age));
    let Some(Some(stream)) = closing.run_until_cancelled(shaken_hands(connection, tls)).await else { return };
    let reader = asker.clone();
    let stream = WriteDeadline::new(TokioIo::new(stream), STALL_MAX, move || reader.give_up());
    // On the heap: below here it is moved several times.
    let service = service_fn(move |request| Box::pin(answer(site.clone(), asker.clone(), request)));
    let service =
        Compression::new(service).compress_when(SizeAbove::new(PACKED_FROM_BYTES).and(NotForContentType::SSE));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        // A sender may say that it has nothing more to send (`nc -N`) and still wait for the answer.
        .half_close(true)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(stream, TowerToHyperService::new(service));
    until_closed(connection, age_max, closing).await;
}

type Stream = Either<Connection, tokio_rustls::server::TlsStream<Connection>>;

async fn shaken_hands(connection: Connection, tls: Option<Arc<Tls>>) -> Option<Stream> {
    let Some(tls) = tls else { return Some(Either::Left(connection)) };
    match timeout(HEAD_DEADLINE, tls.acceptor().accept(connection)).await.ok()? {
        Ok(stream) => Some(Either::Right(stream)),
        Err(error) => {
            limited!(info, %error, "a connection did not come to speak TLS");
            None
        }
    }
}

/// A connection that ends badly is its client's affair.
async fn until_closed(connection: impl GracefulConnection, age_max: Duration, closing: CancellationToken) {
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(age_max) => {}
        () = closing.cancelled() => {}
    }
    // What is in hand is answered, however long it takes, and nothing more.
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Up to a fifth more, so that connections which began together do not end together.
fn age_max(age: Duration) -> Duration {
    age + (age / 5).mul_f64(f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / f64::from(u8::MAX))
}
