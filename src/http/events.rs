//! An answer that has no end: a stream of server-sent events, as a body that is written piece by piece.
//!
//! What the events are is the role's business. A piece is asked for when the one before has been taken, so that whoever
//! reads slowly is asked less often, and nothing is kept for them here.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

/// The body of any answer.
pub type Body = Either<Full<Bytes>, StreamBody<Frames>>;

type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// Tells proxies such as nginx to pass on what comes at once.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A stream of events that has not begun. Whoever takes it first has it.
#[derive(Clone)]
pub struct Events(Arc<Mutex<Option<Frames>>>);

impl Events {
    /// Events as they stand on the wire, in pieces of any size.
    pub fn new(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::pin(pieces.map(|piece| Ok(Frame::data(piece))))))))
    }

    /// The body; an empty one where it was taken before.
    pub(super) fn into_body(self) -> Body {
        let frames = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Either::Right(StreamBody::new(frames.unwrap_or_else(|| Box::pin(futures_util::stream::empty()))))
    }

    /// What they are, and that nobody on the way is to keep them back or change them.
    pub(super) fn put_headers(headers: &mut HeaderMap) {
        for (name, value) in
            [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache, no-transform"), (UNBUFFERED, "no")]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}
