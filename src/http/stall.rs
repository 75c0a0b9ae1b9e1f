//! Cuts a connection whose other side takes nothing more of what is written, or next to nothing. The server asks nobody for the
//! next piece of a body while the one before lies there, so that only here it can be noticed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::{Sleep, sleep};

/// What has to be taken within the limit by one for whom writes wait, in bytes. Who takes a byte a second is no reader.
const TAKEN_BYTES_MIN: usize = 32 * 1024;

/// A connection on which writes that make no headway have a deadline.
pub(super) struct WriteDeadline<T> {
    inner: T,
    limit: Duration,
    /// What else there is to do when it is cut.
    cut: Box<dyn FnMut() + Send>,
    /// From the first write that waited on, until enough is taken.
    waiting: Option<Waiting>,
}

struct Waiting {
    deadline: Pin<Box<Sleep>>,
    taken_bytes: usize,
}

impl<T> WriteDeadline<T> {
    pub(super) fn new(inner: T, limit: Duration, cut: impl FnMut() + Send + 'static) -> Self {
        Self { inner, limit, cut: Box::new(cut), waiting: None }
    }

    /// What became of a write, unless writes have waited for too long.
    fn bounded(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            self.take(*written.as_ref().unwrap_or(&0));
            return Poll::Ready(written);
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Waiting { deadline: Box::pin(sleep(limit)), taken_bytes: 0 });
        waiting.deadline.as_mut().poll(context).map(|()| {
            (self.cut)();
            Err(io::ErrorKind::TimedOut.into())
        })
    }

    fn take(&mut self, bytes: usize) {
        if let Some(waiting) = &mut self.waiting {
            waiting.taken_bytes += bytes;
        }
        self.waiting.take_if(|waiting| waiting.taken_bytes >= TAKEN_BYTES_MIN);
    }
}

impl<T: Read + Unpin> Read for WriteDeadline<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for WriteDeadline<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.bounded(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.bounded(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        if flushed.is_pending() {
            return self.bounded(Poll::Pending, context).map_ok(|_| ());
        }
        // All that there was to be written is taken.
        self.waiting = None;
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const ROOM: usize = 8;

    fn connected() -> (WriteDeadline<TokioIo<DuplexStream>>, DuplexStream) {
        let (ours, theirs) = duplex(ROOM);
        (WriteDeadline::new(TokioIo::new(ours), LIMIT, || {}), theirs)
    }

    async fn write(connection: &mut WriteDeadline<TokioIo<DuplexStream>>) -> io::Result<usize> {
        poll_fn(|context| Pin::new(&mut *connection).poll_write(context, &[7; ROOM])).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut() {
        let (mut connection, _reader) = connected();
        assert_eq!(write(&mut connection).await.unwrap(), ROOM);
        assert!(timeout(LIMIT - Duration::from_secs(1), write(&mut connection)).await.is_err(), "there is time yet");
        // Whoever asks again has the deadline of the write that waits.
        let error = timeout(Duration::from_secs(2), write(&mut connection)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_next_to_nothing_is_cut_too() {
        let (mut connection, mut reader) = connected();
        assert_eq!(write(&mut connection).await.unwrap(), ROOM);
        let written = async { while write(&mut connection).await.is_ok() {} };
        let read = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                reader.read_u8().await.unwrap();
            }
        };
        tokio::select! {
            written = timeout(2 * LIMIT, written) => written.unwrap(),
            () = read => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_all_of_it_now_and_then_is_not() {
        let (mut connection, mut reader) = connected();
        assert_eq!(write(&mut connection).await.unwrap(), ROOM);
        for _ in 0..10 {
            let slowly = async {
                sleep(LIMIT / 2).await;
                reader.read_exact(&mut [0; ROOM]).await.unwrap()
            };
            let (written, _) = tokio::join!(write(&mut connection), slowly);
            assert_eq!(written.unwrap(), ROOM);
            poll_fn(|context| Pin::new(&mut connection).poll_flush(context)).await.unwrap();
        }
    }
}
