//! Whether what is to be stored in one stream is stored: what the last attempts came to, and what was found since.
//!
//! Whoever stores notes each attempt; the monitor ([`super::objects::monitor`]) inspects the stream while the last one has
//! failed, because nobody may try again: nothing is sent to a process that is not ready. Nothing here talks to the
//! broker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::BrokerError;

/// How long the last failure counts where nothing that was found explains it, and nothing has proved it wrong: what the
/// broker says of a stream does not show a full disk, or a permission that is missing.
const UNEXPLAINED_MAX: Duration = Duration::from_secs(10);
/// Bytes that a message takes beside its payload: subject, headers, and what the server keeps of it.
const OVERHEAD_BYTES: u64 = 1_024;

/// What the last attempts to store in one stream came to. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Storing {
    failing: Arc<Mutex<Option<Failing>>>,
}

/// Attempts that failed, with no success since the first of them.
#[derive(Clone, Copy, Debug)]
struct Failing {
    first: Instant,
    last: Instant,
    why: &'static str,
    is_full: bool,
    /// Bytes that the last one needed.
    bytes: u64,
    /// Whether the stream was found to be missing or full since.
    explained: bool,
}

/// What was found of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Messages that it still takes.
    pub messages: u64,
    /// Bytes that it still takes.
    pub bytes: u64,
}

/// What is known of whether a message would be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The stream is there, and more is not known.
    None,
    /// A publish came to the stream, which refused it for the reason that it was made for.
    Reached,
    /// A publish did not come to the stream.
    NotReached,
}

impl Storing {
    /// Notes an attempt to store so many bytes.
    pub fn note<T>(&self, bytes: usize, attempt: &Result<T, BrokerError>) {
        let error = attempt.as_ref().map(drop);
        self.note_at(Instant::now(), bytes, error);
    }

    fn note_at(&self, now: Instant, bytes: usize, attempt: Result<(), &BrokerError>) {
        let (why, is_full) = match attempt {
            Ok(()) => return *self.failing() = None,
            Err(BrokerError::Full(_)) => ("the store is full", true),
            Err(BrokerError::Unavailable(_)) => ("the broker did not take it", false),
            Err(BrokerError::Misconfigured(_)) => ("the broker is not set up as it should be", false),
            // About this one message: nothing is wrong with the store.
            Err(
                BrokerError::Conflict
                | BrokerError::InFlight
                | BrokerError::NotThere
                | BrokerError::TooLarge(_)
                | BrokerError::Newer(_),
            ) => return,
        };
        let mut failing = self.failing();
        let first = failing.map_or(now, |failing| failing.first);
        *failing = Some(Failing { first, last: now, why, is_full, bytes: bytes as u64, explained: false });
    }

    /// Why the last attempt failed, if it did and nothing has shown since that the next one will not.
    pub fn fails(&self) -> Option<&'static str> {
        self.failing().map(|failing| failing.why)
    }

    /// The same where attempts have failed for so long, and the last one is not longer ago than that: it may be
    /// somebody else's to try again.
    pub fn has_failed_for(&self, time: Duration) -> Option<&'static str> {
        self.has_failed_at(Instant::now(), time)
    }

    fn has_failed_at(&self, now: Instant, time: Duration) -> Option<&'static str> {
        let failing = (*self.failing())?;
        (now - failing.first >= time && now - failing.last < time).then_some(failing.why)
    }

    /// Notes that the stream is not there.
    pub(super) fn found_missing(&self) {
        if let Some(failing) = &mut *self.failing() {
            failing.explained = true;
        }
    }

    /// Notes what room the stream has, and whether it can be reached.
    pub(super) fn found(&self, room: Room, proof: Proof) {
        self.found_at(Instant::now(), room, proof);
    }

    fn found_at(&self, now: Instant, room: Room, proof: Proof) {
        let mut guard = self.failing();
        let Some(failing) = &mut *guard else { return };
        if room.messages == 0 || room.bytes < failing.bytes + OVERHEAD_BYTES {
            failing.explained = true;
            return;
        }
        let is_proved = proof == Proof::Reached && !failing.is_full;
        let is_long_ago = now - failing.last >= UNEXPLAINED_MAX;
        if proof != Proof::NotReached && (failing.explained || is_proved || is_long_ago) {
            *guard = None;
        }
    }

    /// Nothing that can panic runs under the lock.
    fn failing(&self) -> MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: Room = Room { messages: u64::MAX, bytes: u64::MAX };
    const SECOND: Duration = Duration::from_secs(1);

    fn failed(error: &BrokerError) -> (Storing, Instant) {
        let (storing, now) = (Storing::default(), Instant::now());
        storing.note_at(now, 100, Err(error));
        (storing, now)
    }

    fn unavailable() -> BrokerError {
        BrokerError::Unavailable(String::new())
    }

    fn full() -> BrokerError {
        BrokerError::Full(String::new())
    }

    #[test]
    fn the_last_attempt_counts() {
        let (storing, _) = failed(&full());
        assert_eq!(storing.fails(), Some("the store is full"));
        storing.note(100, &Err::<(), _>(BrokerError::Conflict));
        assert!(storing.fails().is_some(), "a message that is not stored shows nothing");
        storing.note(100, &Ok(()));
        assert_eq!(storing.fails(), None);
    }

    #[test]
    fn a_publish_that_reaches_the_stream_proves_an_absence_over_but_no_room() {
        let rows = [
            (unavailable(), Proof::Reached, true),
            (unavailable(), Proof::NotReached, false),
            (unavailable(), Proof::None, false),
            (full(), Proof::Reached, false),
            (full(), Proof::None, false),
        ];
        for (error, proof, is_over) in rows {
            let (storing, now) = failed(&error);
            storing.found_at(now, MUCH, proof);
            assert_eq!(storing.fails().is_none(), is_over, "{error:?} {proof:?}");
        }
    }

    #[test]
    fn what_nothing_explains_counts_for_a_while() {
        for error in [unavailable(), full()] {
            let (storing, now) = failed(&error);
            storing.found_at(now + UNEXPLAINED_MAX - SECOND, MUCH, Proof::None);
            assert!(storing.fails().is_some());
            storing.found_at(now + UNEXPLAINED_MAX, MUCH, Proof::NotReached);
            assert!(storing.fails().is_some());
            storing.found_at(now + UNEXPLAINED_MAX, MUCH, Proof::None);
            assert_eq!(storing.fails(), None);
        }
    }

    #[test]
    fn a_cause_that_was_found_is_over_when_it_is_gone() {
        for cramped in [Room { messages: 0, ..MUCH }, Room { bytes: 1_000, ..MUCH }] {
            let (storing, now) = failed(&full());
            storing.found_at(now, cramped, Proof::Reached);
            assert!(storing.fails().is_some());
            storing.found_at(now, MUCH, Proof::None);
            assert_eq!(storing.fails(), None);
        }
        let (storing, now) = failed(&unavailable());
        storing.found_missing();
        storing.found_at(now, MUCH, Proof::None);
        assert_eq!(storing.fails(), None);
    }

    #[test]
    fn failing_for_long_is_known_while_somebody_tries() {
        let ((storing, now), time) = (failed(&unavailable()), 10 * SECOND);
        storing.note_at(now + 5 * SECOND, 100, Err(&unavailable()));
        assert_eq!(storing.has_failed_at(now + 9 * SECOND, time), None);
        assert!(storing.has_failed_at(now + time, time).is_some());
        assert_eq!(storing.has_failed_at(now + 15 * SECOND, time), None, "somebody else may have stored it");
    }
}
