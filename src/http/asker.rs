//! Whoever waits for an answer, and whether they still do. The server reads nothing from a connection while a request is in
//! hand, so it would not notice that the other side has gone; here the socket itself is asked.
//!
//! A sender may say that it has nothing more to send and still wait, which looks the same as leaving. So work goes on for
//! a while after that ([`GRACE`]), and only what costs more than a look at the memory is ended at all.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::logging::limited;

/// How long is worked on for one who has nothing more to send, and may have left.
const GRACE: Duration = Duration::from_secs(2);
/// Pause before the socket is asked again where more was sent that is not read yet.
const PAUSE: Duration = Duration::from_millis(100);
/// The first byte of a handshake in TLS, and that of its version.
const TLS_HANDSHAKE: u8 = 22;
const TLS_MAJOR: u8 = 3;
/// What HTTP/2 begins with.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// A connection that can be asked whether the other side is there while the server has it.
pub(super) struct Connection {
    stream: Arc<TcpStream>,
    /// Nothing has been read yet, and the first that comes is to be HTTP.
    is_to_speak_http: bool,
}

/// The one who waits for an answer.
#[derive(Clone)]
pub struct Asker(Arc<TcpStream>);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Nobody waits for it any more.
    Left,
    /// It took too long.
    TookTooLong,
}

impl Connection {
    /// One on which HTTP is spoken as it is, or something around it.
    pub(super) fn new(stream: TcpStream, is_to_speak_http: bool) -> Self {
        Self { stream: Arc::new(stream), is_to_speak_http }
    }

    pub(super) fn asker(&self) -> Asker {
        Asker(self.stream.clone())
    }
}

impl Asker {
    /// Works for the asker: not for longer than this, and not on when they have left.
    pub async fn wait_for<T>(&self, deadline: Duration, work: impl Future<Output = T>) -> Result<T, Unanswered> {
        let done = self.while_there(timeout(deadline, work)).await.ok_or(Unanswered::Left)?;
        done.map_err(|_| Unanswered::TookTooLong)
    }

    /// Works for the asker as long as they are there.
    pub async fn while_there<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.has_left() => None,
        }
    }

    /// Has the system forget what it has not sent yet, once the connection ends: who does not read would keep it there.
    pub(super) fn give_up(&self) {
        let _ = socket2::SockRef::from(&*self.0).set_linger(Some(Duration::ZERO));
    }

    async fn has_left(&self) {
        self.has_nothing_to_send().await;
        sleep(GRACE).await;
    }

    async fn has_nothing_to_send(&self) {
        while let Ok(ready) = self.0.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            sleep(PAUSE).await;
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(_) => break,
            }
        }
        if mem::take(&mut self.is_to_speak_http) {
            log_foreign(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_write_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = socket2::SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write);
        // One that is closed already is shut down.
        Poll::Ready(done.or_else(|error| if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) }))
    }
}

/// Says what it is that speaks something else than HTTP/1.1 here, or its owner would look for long.
fn log_foreign(bytes: &[u8]) {
    if let Some(protocol) = foreign(bytes) {
        limited!(info, protocol, "somebody does not speak HTTP/1.1, which is what is spoken at this port");
    }
}

fn foreign(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [TLS_HANDSHAKE, TLS_MAJOR, ..] => Some("TLS"),
        _ if bytes.starts_with(HTTP2_PREFACE) => Some("HTTP/2"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn connected() -> (TcpStream, Asker) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Connection::new(listener.accept().await.unwrap().0, true).asker())
    }

    #[test]
    fn what_is_no_http_is_known() {
        assert_eq!(foreign(b"\x16\x03\x01\x02\x00\x01"), Some("TLS"));
        assert_eq!(foreign(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some("HTTP/2"));
        assert_eq!([&b"GET / HTTP/1.1\r\n"[..], b"", b"\x16", b"PRI"].map(foreign), [None; 4]);
    }

    #[tokio::test]
    async fn work_ends_when_nobody_waits_any_more() {
        let (client, asker) = connected().await;
        let work = asker.wait_for(LONG, std::future::pending::<()>());
        tokio::pin!(work);
        assert!(timeout(PAUSE, &mut work).await.is_err(), "somebody waits");
        drop(client);
        assert_eq!(work.await, Err(Unanswered::Left));
    }

    #[tokio::test]
    async fn who_only_has_nothing_more_to_send_is_answered() {
        let (mut client, asker) = connected().await;
        client.write_all(b"GET").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(asker.wait_for(LONG, sleep(2 * PAUSE)).await, Ok(()));
    }

    #[tokio::test]
    async fn work_has_a_deadline() {
        let (_client, asker) = connected().await;
        assert_eq!(asker.wait_for(PAUSE, std::future::pending::<()>()).await, Err(Unanswered::TookTooLong));
    }
}
