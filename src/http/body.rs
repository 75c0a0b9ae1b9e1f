//! The body of a request, within bounds of size and time, and unpacked where it comes packed.

use std::io::Read as _;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures_util::{Stream, StreamExt as _};
use headers::{ContentLength, ContentType, Expect, HeaderMapExt as _, Mime};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};
use warp::http::HeaderMap;
use warp::http::header::CONTENT_ENCODING;

use super::Answer;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(15);
/// How much of a body that is too large is read and thrown away, so that its sender gets to see the answer.
const THROWN_AWAY_BYTES_MAX: usize = 1024 * 1024;
/// From so many bytes on a body is a large one, of which only so many are read at once, each of which waits so long for that:
/// with what is packed and what is unpacked of each they take 130 MB at most.
const LARGE_BYTES: usize = 64 * 1024;
const LARGE_BODIES_MAX: usize = 16;
const SHARE_WAIT_MAX: Duration = Duration::from_secs(2);
/// How much larger than what is in it a packed body may be: what cannot be packed grows a little.
const PACKING_BYTES_MAX: usize = 1024;

const NOT_GZIP: &str = "body: is not gzip, which Content-Encoding says it is";

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
}

/// What a body is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Whatever is no list.
    One,
    /// A JSON array.
    Array,
    /// A JSON value on each line.
    Lines,
}

/// How many bytes a body may have once it is unpacked.
#[derive(Clone, Copy, Debug)]
pub struct BodyBounds {
    /// One that is no list.
    pub one: usize,
    /// A list.
    pub list: usize,
}

/// A body, unpacked.
pub struct Received {
    /// What it is made of.
    pub form: Form,
    /// What is in it.
    pub bytes: Bytes,
    /// Its share of the memory for large ones, if it is one.
    _share: Option<SemaphorePermit<'static>>,
}

impl Form {
    /// What the headers say of it. Of what is no list they may say anything.
    fn said_in(headers: &HeaderMap) -> Self {
        let is_lines = |content_type: ContentType| Mime::from(content_type).essence_str() == "application/x-ndjson";
        if headers.typed_get().is_some_and(is_lines) { Self::Lines } else { Self::One }
    }

    /// The same once its beginning is there.
    fn beginning_with(self, begin: &[u8]) -> Self {
        let is_array = begin.trim_ascii_start().first() == Some(&b'[');
        if self == Self::One && is_array { Self::Array } else { self }
    }
}

impl BodyBounds {
    fn of(self, form: Form) -> usize {
        match form {
            Form::One => self.one,
            Form::Array | Form::Lines => self.list,
        }
    }
}

/// Reads a body within these bounds, or tells the answer to give instead.
pub async fn read<B: Buf>(
    headers: &HeaderMap,
    chunks: impl Stream<Item = Result<B, warp::Error>>,
    bounds: BodyBounds,
) -> Result<Received, Answer> {
    match Coding::of(headers).map_err(|other| Answer::unknown_coding(&other))? {
        Coding::Plain => read_plain(headers, chunks, bounds).await,
        Coding::Gzip => {
            // Of what it is made shows only when it is unpacked.
            let packed = BodyBounds { list: bounds.list + PACKING_BYTES_MAX, one: bounds.list + PACKING_BYTES_MAX };
            let Received { bytes: packed, mut _share, .. } = read_plain(headers, chunks, packed).await?;
            let unpacked = |bytes_max| unpacked(&packed, bytes_max).ok_or_else(|| Answer::bad_request(NOT_GZIP));
            let mut bytes = unpacked(bounds.list.min(LARGE_BYTES))?;
            if bytes.len() > LARGE_BYTES {
                if _share.is_none() {
                    _share = Some(share_of_memory().await?);
                }
                bytes = unpacked(bounds.list)?;
            }
            let form = Form::said_in(headers).beginning_with(&bytes);
            let bytes_max = bounds.of(form);
            if bytes.len() > bytes_max {
                Err(Answer::too_large(bytes_max))
            } else {
                Ok(Received { form, bytes, _share })
            }
        }
    }
}

/// A share of the memory for large bodies.
async fn share_of_memory() -> Result<SemaphorePermit<'static>, Answer> {
    static SHARES: Semaphore = Semaphore::const_new(LARGE_BODIES_MAX);
    match timeout(SHARE_WAIT_MAX, SHARES.acquire()).await {
        Ok(Ok(share)) => Ok(share),
        _ => Err(Answer::unavailable("too many large bodies are in hand, send it again")),
    }
}

impl Coding {
    /// The coding, or the name of one that is not read.
    fn of(headers: &HeaderMap) -> Result<Self, String> {
        let codings: Vec<_> =
            headers.get_all(CONTENT_ENCODING).iter().map(|coding| String::from_utf8_lossy(coding.as_bytes())).collect();
        match codings.join(",").trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            other => Err(other.to_owned()),
        }
    }
}

async fn read_plain<B: Buf>(
    headers: &HeaderMap,
    chunks: impl Stream<Item = Result<B, warp::Error>>,
    bounds: BodyBounds,
) -> Result<Received, Answer> {
    let declared = headers.typed_get::<ContentLength>().map_or(0, |length| length.0);
    // Whoever waits to be told whether to go on is told not to, by not being asked for the rest.
    let is_read_on = headers.typed_get::<Expect>().is_none();
    let thrown_away_max = if is_read_on { THROWN_AWAY_BYTES_MAX } else { 0 };
    if declared > (bounds.list + thrown_away_max) as u64 {
        return Err(Answer::too_large(bounds.list));
    }
    let deadline = Instant::now() + BODY_DEADLINE;
    let mut chunks = std::pin::pin!(chunks);
    let (mut form, mut share) = (Form::said_in(headers), None);
    let (mut body, mut length) = (BytesMut::new(), 0);
    while length <= bounds.of(form) + thrown_away_max {
        let chunk = timeout_at(deadline, chunks.next()).await.map_err(|_| Answer::request_timeout())?;
        let mut chunk = match chunk {
            None => break,
            Some(chunk) => chunk.map_err(|_| Answer::bad_request("body: ended early"))?,
        };
        length += chunk.remaining();
        form = form.beginning_with(if body.trim_ascii_start().is_empty() { chunk.chunk() } else { &body });
        if length > LARGE_BYTES && length <= bounds.of(form) && share.is_none() {
            share = Some(share_of_memory().await?);
        }
        if length <= bounds.of(form) {
            body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        }
    }
    let bytes_max = bounds.of(form);
    if length > bytes_max {
        Err(Answer::too_large(bytes_max))
    } else {
        Ok(Received { form, bytes: body.freeze(), _share: share })
    }
}

/// What is in a packed body, if it is one. Of more than may be in it, one byte more.
fn unpacked(packed: &[u8], bytes_max: usize) -> Option<Bytes> {
    let mut body = Vec::new();
    MultiGzDecoder::new(packed).take(bytes_max as u64 + 1).read_to_end(&mut body).ok()?;
    Some(body.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use warp::http::header::{CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue};
    use warp::http::{Response, StatusCode};

    use super::super::RequestId;
    use super::*;

    const BYTES_MAX: usize = 100;
    const BOUNDS: BodyBounds = BodyBounds { one: BYTES_MAX, list: BYTES_MAX };

    async fn read_with(headers: &[(HeaderName, &str)], chunks: Vec<Vec<u8>>) -> Result<Bytes, Answer> {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
        let chunks = chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk)));
        read(&headers, futures_util::stream::iter(chunks), BOUNDS).await.map(|received| received.bytes)
    }

    async fn read_chunks(sizes: &[usize]) -> Result<Bytes, Answer> {
        read_with(&[], sizes.iter().map(|size| vec![b'x'; *size]).collect()).await
    }

    async fn read_coded(coding: &str, body: Vec<u8>) -> Result<Bytes, Answer> {
        read_with(&[(CONTENT_ENCODING, coding)], vec![body]).await
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size_and_time() {
        assert_eq!(read_chunks(&[]).await.unwrap().len(), 0);
        assert_eq!(read_chunks(&[60, 40]).await.unwrap().len(), 100);
        for sizes in [&[60, 41][..], &[101], &[5_000_000], &[100, 2_000_000, 7]] {
            assert_eq!(read_chunks(sizes).await.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
        let endless = futures_util::stream::pending::<Result<Bytes, warp::Error>>();
        let late = read(&HeaderMap::new(), endless, BOUNDS).await.err().unwrap();
        assert_eq!(late.status(), StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn whoever_waits_to_be_told_to_go_on_is_not_when_it_is_too_much() {
        let endless = || futures_util::stream::pending::<Result<Bytes, warp::Error>>();
        for (length, expects) in [("101", true), ("5000000", true), ("5000000", false)] {
            let length = (CONTENT_LENGTH, HeaderValue::from_static(length));
            let expect = (EXPECT, HeaderValue::from_static("100-continue"));
            let headers = [length].into_iter().chain(expects.then_some(expect)).collect();
            let refused = read(&headers, endless(), BOUNDS).await.err().unwrap();
            assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
    }

    #[tokio::test]
    async fn what_is_packed_is_unpacked_within_the_bound() {
        let noise: Vec<u8> = (0..BYTES_MAX as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for body in [&b""[..], b"{}", &[b'x'; BYTES_MAX], &noise] {
            assert_eq!(read_coded("gzip", packed(body)).await.unwrap(), body);
        }
        let two = [packed(b"a"), packed(b"b")].concat();
        assert_eq!(read_coded("X-GZip", two).await.unwrap(), &b"ab"[..]);
        for bomb in [vec![0; BYTES_MAX + 1], vec![0; 1_000_000]] {
            let refused = read_coded("gzip", packed(&bomb)).await.unwrap_err();
            assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
        for broken in [b"{}".to_vec(), packed(b"{}")[..12].to_vec()] {
            assert_eq!(read_coded("gzip", broken).await.unwrap_err().status(), StatusCode::BAD_REQUEST);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_may_be_larger_and_only_so_many_are_read_at_once() {
        let bounds = BodyBounds { one: LARGE_BYTES, list: 2 * LARGE_BYTES };
        let read = async |begin: &str, length: usize| {
            let body = [begin.as_bytes(), &vec![b' '; length - begin.len()]].concat();
            // In pieces, the first of which may not tell yet what it is.
            let chunks: Vec<_> = body.chunks(1_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            read(&HeaderMap::new(), futures_util::stream::iter(chunks), bounds).await
        };
        for (begin, length, expected) in [
            ("{", LARGE_BYTES, Ok(Form::One)),
            ("{", LARGE_BYTES + 1, Err(413)),
            (&*format!("{:2000}[", ""), 2 * LARGE_BYTES, Ok(Form::Array)),
            ("[", 2 * LARGE_BYTES + 1, Err(413)),
        ] {
            let found = read(begin, length).await.map(|received| received.form);
            assert_eq!(found.map_err(|refused| refused.status().as_u16()), expected, "{length}");
        }
        let mut in_hand = Vec::new();
        for _ in 0..LARGE_BODIES_MAX {
            in_hand.push(read("[", 2 * LARGE_BYTES).await.unwrap());
        }
        assert_eq!(read("[", 2 * LARGE_BYTES).await.err().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(read("[", LARGE_BYTES).await.is_ok(), "one that is not large needs no share");
        in_hand.pop();
        assert!(read("[", 2 * LARGE_BYTES).await.is_ok());
    }

    #[tokio::test]
    async fn another_coding_is_told_which_one_is_read() {
        assert_eq!(read_coded("identity", b"{}".to_vec()).await.unwrap(), "{}");
        for coding in ["br", "deflate", "gzip, gzip", "zstd"] {
            let refused = read_coded(coding, b"{}".to_vec()).await.unwrap_err();
            let response: Response<_> = refused.into_response(&RequestId::of(&HeaderMap::new()));
            assert_eq!(
                (response.status().as_u16(), &response.headers()["accept-encoding"]),
                (415, &"gzip".parse().unwrap())
            );
        }
    }
}
