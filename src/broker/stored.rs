//! A message as it lies in the stream, whichever way it came out of it.
//!
//! Outsiders publish what they like, subjects and headers too; what is taken over from those is bounded here.

use bytes::Bytes;
use opentelemetry::trace::SpanContext;
use time::OffsetDateTime;

use super::topology::{HEADER_ATTEMPTS, HEADER_CORRECTS, HEADER_FORMAT, HEADER_REQUEST_ID, channel_token};
use crate::domain::format::newest;
use crate::domain::{Entry, Event, Raw, Sequence};
use crate::traces::context::{CAUSE_BYTES_MAX, TRACEPARENT, TRACESTATE, read_sampled};
use crate::traces::{TraceId, trace_id};

/// Longest id of a request that is taken over from a message, in bytes; a longer one is as if there were none.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Longest header of a correction that is looked at, in bytes; a number has 19 digits at most.
const CORRECTS_BYTES_MAX: usize = 32;
/// Roughly what a message takes in memory beside its bytes.
const OVERHEAD_BYTES: usize = 512;
/// What the texts of a message take at most, however long its bytes are: three of 255 characters.
const TEXTS_BYTES_MAX: usize = 3 * 255 * 4;

/// A message as it lies in the stream.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its sequence.
    pub sequence: Sequence,
    /// The channel's token of its subject, as it is: outsiders publish what they like.
    pub channel_token: String,
    /// When it was stored.
    pub time: OffsetDateTime,
    /// The id of the request that brought it, if one did.
    pub request_id: Option<String>,
    /// What caused it, if that is traced.
    pub cause: Option<Box<SpanContext>>,
    /// What marks a correction, if it is marked as one.
    pub corrects: Option<String>,
    /// How many times it was tried before, as a dead letter that was replayed.
    pub attempts_before: u32,
    /// The format that it takes to judge it.
    pub format: u32,
    /// Its bytes.
    pub payload: Bytes,
}

/// Stored bytes that are neither a message nor an override of the channel in their subject.
#[derive(Debug)]
pub struct Malformed {
    /// The bytes.
    pub stored: Stored,
    /// What is wrong with them, in words.
    pub error: String,
}

impl Stored {
    /// Puts together what a message's carrier says of it. The bytes are copied: those of the carrier are a part of all
    /// that was read from the connection with them, and would keep it in memory.
    pub(super) fn of<'a>(
        sequence: Sequence,
        time: OffsetDateTime,
        subject: &str,
        header: impl Fn(&'static str) -> Option<&'a str>,
        payload: &[u8],
    ) -> Self {
        // One that is too long cannot be a number, and must not be taken for none.
        let corrects = |text: &'a str| text.get(..CORRECTS_BYTES_MAX).unwrap_or(text).to_owned();
        Self {
            sequence,
            channel_token: channel_token(subject).to_owned(),
            time,
            request_id: header(HEADER_REQUEST_ID).and_then(usable_request_id),
            cause: read_sampled(header(TRACEPARENT), || header(TRACESTATE)),
            corrects: header(HEADER_CORRECTS).map(corrects),
            attempts_before: header(HEADER_ATTEMPTS).and_then(|text| text.parse().ok()).unwrap_or(0),
            format: header(HEADER_FORMAT).map_or(1, |text| text.parse().unwrap_or(1)),
            payload: Bytes::copy_from_slice(payload),
        }
    }

    /// The format that it takes, if that is newer than those that this program knows.
    pub fn newer_format(&self) -> Option<u32> {
        Some(self.format).filter(|format| *format > newest())
    }

    /// Reads the bytes as a message or an override of the channel in their subject.
    pub fn read(self) -> Result<Entry<Self>, Box<Malformed>> {
        let read = match self.newer_format() {
            Some(format) => Err(format!("it takes a program that knows format {format}")),
            None => self.raw().read(|| self.clone()),
        };
        match read {
            Ok(entry) => Ok(entry),
            Err(error) => Err(Box::new(Malformed { stored: self, error })),
        }
    }

    /// The same, for whoever has no use for the bytes afterwards: what is kept beside the message is roughly what it takes
    /// in memory, in bytes.
    pub fn read_light(&self) -> Option<Entry<usize>> {
        if self.newer_format().is_some() {
            return None;
        }
        self.raw().read(|| self.payload.len().min(TEXTS_BYTES_MAX) + OVERHEAD_BYTES).ok()
    }

    /// How the trace is called that it is a part of.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.cause.as_deref().map(trace_id)
    }

    /// Its sequence and its time.
    pub fn event(&self) -> Event {
        Event::new(self.sequence, self.time)
    }

    fn raw(&self) -> Raw<'_> {
        let Self { sequence, channel_token, corrects, payload, .. } = self;
        let stored_at = self.time.into();
        Raw { sequence: *sequence, stored_at, channel_token, corrects: corrects.as_deref(), payload }
    }

    /// Roughly what it takes in memory, in bytes.
    pub fn size(&self) -> usize {
        self.payload.len() + OVERHEAD_BYTES + self.cause.as_ref().map_or(0, |_| CAUSE_BYTES_MAX)
    }
}

/// An id such as the ingress writes. An outsider may write anything there, and a dead letter must have room for it.
fn usable_request_id(id: &str) -> Option<String> {
    let usable = id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
    usable.then(|| id.to_owned())
}
