//! One reader of the stream: what it has, and what comes next for it.
//!
//! It has everything up to a revision, and asks the view for what came after. That is sent whole before it asks again, in
//! pieces of bounded size; then it waits for the view to move on. So a reader that takes its time is sent fewer and newer
//! states, and a reader that comes back says its last id and goes on from there, as if it had been slow.
//!
//! With a filter it also has to learn of rockets that are not in the list any more. Which ones it was sent is not kept: it is
//! told of each that is not in the list and may have been since the reader knew the whole of it ([`Reader::known`]). So one
//! that comes back may be told of rockets that it has never seen, once each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::super::feed::LiveView;
use super::super::view::Position;
use super::super::view::changes::{Change, Part};
use super::frame::{Frames, opening};
use super::places::Place;
use super::request::{LiveRequest, Since};

/// Time between two looks at a view that goes on changing. What changes after a quiet time is sent at once.
const PACE: Duration = Duration::from_millis(50);
/// The same of all readers together: each look is a write on a connection, and many readers must not take the processor from
/// those who send messages. From 250 readers on each of them looks less often.
const PACE_OF_ALL: Duration = Duration::from_micros(200);
/// A piece ends with the event that makes it as large as this, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// How long a revision is waited for that the view does not have: another process may be ahead by some milliseconds.
const AHEAD_MAX: Duration = Duration::from_secs(2);

/// One reader.
pub struct Reader {
    live: Arc<LiveView>,
    asked: LiveRequest,
    /// Everything up to here was sent.
    position: Position,
    /// At which revision every rocket had been sent as it was then, so that nobody needs to be told what left the list
    /// before. None for one who came with a position: what it knew there, it knows itself.
    known: Option<u64>,
    /// Whether everything has been sent that was there when it was asked for.
    is_synced: bool,
    /// Whether there was more at the last look than was taken.
    has_more: bool,
    /// Whether there is a pulse that was not sent.
    has_pulse: bool,
    /// Events that come before anything else.
    first: Frames,
    /// Not before then the view is looked at again.
    next_look: Instant,
    changes: watch::Receiver<u64>,
    pulses: watch::Receiver<Option<Arc<str>>>,
    place: Place,
}

impl Reader {
    /// A reader that is where it says to be; at the beginning, where nobody can tell where that is.
    pub async fn new(
        live: Arc<LiveView>,
        asked: LiveRequest,
        pulses: watch::Receiver<Option<Arc<str>>>,
        place: Place,
    ) -> Self {
        if let Since::Position(since) = &asked.since
            && since.epoch == live.view.position().epoch
        {
            let _ = timeout(AHEAD_MAX, live.reached(since.revision)).await;
        }
        let (changes, position) = (live.follow(), live.view.position());
        let mut reader = Self {
            live,
            asked,
            known: Some(position.revision),
            position: Position { revision: 0, ..position.clone() },
            is_synced: false,
            has_more: true,
            has_pulse: true,
            first: Frames::default(),
            next_look: Instant::now(),
            changes,
            pulses,
            place,
        };
        match &reader.asked.since {
            Since::Nothing => {}
            Since::Position(since) if since.epoch == position.epoch && since.revision <= position.revision => {
                (reader.known, reader.position) = (None, since.clone());
            }
            Since::Position(_) | Since::Unknown => reader.reset("nobody can tell what changed since then"),
        }
        reader
    }

    /// What it is sent, in pieces, until the process closes. Its place is free when that is dropped.
    pub fn into_stream(self, closing: CancellationToken) -> impl Stream<Item = Bytes> {
        stream::unfold((self, closing, Some(opening())), |(mut reader, closing, first)| async move {
            let piece = match first {
                Some(opening) => opening,
                None => closing.run_until_cancelled(reader.next()).await?,
            };
            Some((piece, (reader, closing, None)))
        })
    }

    /// The next piece.
    pub async fn next(&mut self) -> Bytes {
        loop {
            let mut frames = std::mem::take(&mut self.first);
            self.pulse(&mut frames);
            if self.has_more {
                self.look(&mut frames);
            }
            if !frames.is_empty() {
                return frames.into_bytes();
            }
            if self.has_more {
                yield_now().await;
                continue;
            }
            tokio::select! {
                Ok(()) = self.pulses.changed() => self.has_pulse = true,
                () = moved_on(&mut self.changes, self.next_look) => self.has_more = true,
            }
        }
    }

    /// Goes back to the beginning.
    fn reset(&mut self, reason: &str) {
        let position = self.live.view.position();
        (self.known, self.is_synced, self.has_more) = (Some(position.revision), false, true);
        self.position = Position { revision: 0, ..position };
        self.first.reset(&self.position, reason);
    }

    fn pulse(&mut self, frames: &mut Frames) {
        if (std::mem::take(&mut self.has_pulse) || self.pulses.has_changed().unwrap_or(false))
            && let Some(json) = self.pulses.borrow_and_update().as_deref()
        {
            frames.pulse(&self.position, json);
        }
    }

    /// Takes some of what has changed.
    fn look(&mut self, frames: &mut Frames) {
        // What changes from here on wakes it again.
        self.changes.mark_unchanged();
        let Some(part) = self.live.view.changes(&self.position, self.asked.channel.as_ref()) else {
            self.reset("the rockets were loaded again");
            return frames.append(std::mem::take(&mut self.first));
        };
        let Part { changes, through, is_end } = part;
        for change in changes {
            self.position.revision = change.revision;
            self.put(frames, &change);
            if frames.len() >= PIECE_BYTES {
                return;
            }
        }
        (self.position.revision, self.has_more) = (through, !is_end);
        if is_end {
            self.has_it_all(frames);
        }
    }

    fn put(&self, frames: &mut Frames, change: &Change) {
        match change.entry.as_deref().filter(|entry| self.asked.filter.matches(entry)) {
            Some(entry) => frames.rocket(&self.position, entry),
            None if self.may_be_held(change) => frames.gone(&self.position, change),
            None => {}
        }
    }

    /// Whether the reader may have a rocket that is not in its list now: because it was in there since all of it was known.
    fn may_be_held(&self, change: &Change) -> bool {
        let since = if self.asked.filter.depends_on_speed() { change.revision } else { change.alike_since };
        self.known.is_none_or(|known| since > known)
    }

    fn has_it_all(&mut self, frames: &mut Frames) {
        self.known = Some(self.position.revision);
        self.next_look = Instant::now() + pace(self.place.readers());
        if !std::mem::replace(&mut self.is_synced, true) {
            frames.synced(&self.position);
        }
    }
}

/// Time between two looks of one of so many readers.
fn pace(readers: usize) -> Duration {
    PACE.max(PACE_OF_ALL * u32::try_from(readers).unwrap_or(u32::MAX))
}

/// Waits until the view has moved on and may be looked at again.
async fn moved_on(changes: &mut watch::Receiver<u64>, next_look: Instant) {
    // In this order: a change that was noticed must not be forgotten when this is not waited for to the end.
    sleep_until(next_look).await;
    // Its sender is the view's, which the reader holds: it does not end.
    let _ = changes.changed().await;
}

#[cfg(test)]
mod tests;
