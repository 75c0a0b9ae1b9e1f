//! A body that is written piece by piece, so that nobody holds all of it.
//!
//! A piece is asked for when the one before has been taken: whoever reads slowly is asked less often, and nothing is kept
//! for them here.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;

/// The body of any answer.
pub type Body = Either<Full<Bytes>, StreamBody<Frames>>;

type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// Pieces of a body that has not begun. Whoever takes them first has them.
#[derive(Clone)]
pub struct Pieces(Arc<Mutex<Option<Frames>>>);

impl Pieces {
    /// Pieces of any size.
    pub fn new(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::pin(pieces.map(|piece| Ok(Frame::data(piece))))))))
    }

    /// The body; an empty one where it was taken before.
    pub(super) fn into_body(self) -> Body {
        Either::Right(StreamBody::new(self.into_frames()))
    }

    /// The body between a beginning and an end.
    pub(super) fn into_body_between(self, head: Bytes, tail: Bytes) -> Body {
        let [head, tail] = [head, tail].map(|bytes| stream::iter([Ok(Frame::data(bytes))]));
        Either::Right(StreamBody::new(Box::pin(head.chain(self.into_frames()).chain(tail))))
    }

    fn into_frames(self) -> Frames {
        let frames = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        frames.unwrap_or_else(|| Box::pin(stream::empty()))
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pieces")
    }
}
