//! An answer that has no end: a stream of server-sent events. What the events are is the role's business.

use bytes::Bytes;
use futures_util::Stream;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::pieces::{Body, Pieces};

/// Tells proxies such as nginx to pass on what comes at once.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A stream of events that has not begun.
#[derive(Clone, Debug)]
pub struct Events(Pieces);

impl Events {
    /// Events as they stand on the wire, in pieces of any size.
    pub fn new(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Pieces::new(pieces))
    }

    pub(super) fn into_body(self) -> Body {
        self.0.into_body()
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
