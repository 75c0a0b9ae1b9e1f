//! Whoever waits for an answer, and whether they still do. The server reads nothing from a connection while a request is in
//! hand, so it would not notice that the other side has gone; here the socket itself is asked.
//!
//! A sender may say that it has nothing more to send and still wait, which looks the same as leaving. So work goes on for
//! a while after that ([`GRACE`]), and only what costs more than a look at the memory is ended at all.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long is worked on for one who has nothing more to send, and may have left.
const GRACE: Duration = Duration::from_secs(2);
/// Pause before the socket is asked again where more was sent that is not read yet.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes that are read at once.
const READ_BYTES: usize = 8 * 1024;

/// A connection that can be asked whether the other side is there while the server has it.
#[derive(Clone)]
pub(super) struct Connection(Arc<TcpStream>);

/// The one who waits for an answer.
#[derive(Clone)]
pub struct Asker(Connection);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Nobody waits for it any more.
    Left,
    /// It took too long.
    TookTooLong,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    pub(super) fn asker(&self) -> Asker {
        Asker(self.clone())
    }

    /// Waits until the other side sends nothing more.
    async fn is_read_to_the_end(&self) {
        while let Ok(ready) = self.0.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            sleep(PAUSE).await;
        }
    }
}

impl Asker {
    /// Works for the asker: not for longer than this, and not on when they have left.
    pub async fn wait_for<T>(&self, deadline: Duration, work: impl Future<Output = T>) -> Result<T, Unanswered> {
        tokio::select! {
            biased;
            done = timeout(deadline, work) => done.map_err(|_| Unanswered::TookTooLong),
            () = self.has_left() => Err(Unanswered::Left),
        }
    }

    async fn has_left(&self) {
        self.0.is_read_to_the_end().await;
        sleep(GRACE).await;
    }
}

impl Read for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ_BYTES];
        let room = buffer.remaining().min(READ_BYTES);
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(&mut bytes[..room]) {
                Ok(count) => {
                    buffer.put_slice(&bytes[..count]);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Write for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
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
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = socket2::SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write);
        // One that is closed already is shut down.
        Poll::Ready(done.or_else(|error| if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) }))
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
        (client, Connection::new(listener.accept().await.unwrap().0).asker())
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
