//! The body of a request, within bounds of size and time.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::Answer;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How much of a body that is too large is read and thrown away, so that its sender gets to see the answer.
const THROWN_AWAY_BYTES_MAX: usize = 1024 * 1024;

/// Reads a body of at most `bytes_max`, or tells the answer to give instead.
pub async fn read<B: Buf>(
    chunks: impl Stream<Item = Result<B, warp::Error>>,
    bytes_max: usize,
) -> Result<Bytes, Answer> {
    let deadline = Instant::now() + BODY_DEADLINE;
    let mut chunks = std::pin::pin!(chunks);
    let (mut body, mut length) = (BytesMut::new(), 0);
    while length <= bytes_max + THROWN_AWAY_BYTES_MAX {
        let chunk = timeout_at(deadline, chunks.next()).await.map_err(|_| Answer::request_timeout())?;
        let mut chunk = match chunk {
            None => break,
            Some(chunk) => chunk.map_err(|_| Answer::bad_request("body: ended early"))?,
        };
        length += chunk.remaining();
        if length <= bytes_max {
            body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        }
    }
    if length > bytes_max { Err(Answer::too_large(bytes_max)) } else { Ok(body.freeze()) }
}

#[cfg(test)]
mod tests {
    use warp::http::StatusCode;

    use super::*;

    async fn read_chunks(sizes: &[usize]) -> Result<Bytes, Answer> {
        let chunks = sizes.iter().map(|size| Ok(Bytes::from(vec![b'x'; *size])));
        read(futures_util::stream::iter(chunks), 100).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size_and_time() {
        assert_eq!(read_chunks(&[]).await.unwrap().len(), 0);
        assert_eq!(read_chunks(&[60, 40]).await.unwrap().len(), 100);
        for sizes in [&[60, 41][..], &[101], &[5_000_000], &[100, 2_000_000, 7]] {
            assert_eq!(read_chunks(sizes).await.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
        let endless = futures_util::stream::pending::<Result<Bytes, warp::Error>>();
        assert_eq!(read(endless, 100).await.unwrap_err().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
