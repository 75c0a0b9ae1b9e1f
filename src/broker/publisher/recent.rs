//! Which messages were stored lately, by their ids: one that comes again would have a whole group refused.
//!
//! It is a guess that only decides which way a message goes: whether it is a repeat is always the broker's to say. What
//! was stored may be gone with the end of the log, and what is not known here may have been stored by another process.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::broker::topology::DUPLICATE_WINDOW;

/// Ids of one generation: with two of them some 10 MB.
const IDS_MAX: usize = 200_000;

/// The ids of what was stored lately.
pub struct Recent(Option<Mutex<Ids>>);

/// Ids in two generations, of which the older one goes when the newer one is full or as old as the window in which the
/// broker recognises a repeat.
struct Ids {
    newer: HashSet<u64>,
    older: HashSet<u64>,
    since: Instant,
    hasher: RandomState,
}

impl Recent {
    /// Nothing was stored yet; where nobody wants to know, nothing is ever noted.
    pub fn new(is_wanted: bool) -> Self {
        Self(is_wanted.then(|| Mutex::new(Ids::new(Instant::now()))))
    }

    /// Notes that a message with this id is stored.
    pub fn note(&self, id: &str, now: Instant) {
        if let Some(ids) = &self.0 {
            ids.lock().unwrap_or_else(PoisonError::into_inner).note(id, now);
        }
    }

    /// Whether one is, as far as is known.
    pub fn has(&self, id: &str) -> bool {
        self.0.as_ref().is_some_and(|ids| ids.lock().unwrap_or_else(PoisonError::into_inner).has(id))
    }
}

impl Ids {
    fn new(now: Instant) -> Self {
        Self { newer: HashSet::new(), older: HashSet::new(), since: now, hasher: RandomState::new() }
    }

    fn note(&mut self, id: &str, now: Instant) {
        if self.newer.len() >= IDS_MAX || now - self.since >= DUPLICATE_WINDOW {
            self.older = std::mem::take(&mut self.newer);
            self.since = now;
        }
        self.newer.insert(self.hasher.hash_one(id));
    }

    fn has(&self, id: &str) -> bool {
        let id = self.hasher.hash_one(id);
        self.newer.contains(&id) || self.older.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_a_window_at_least_and_two_at_most() {
        let begin = Instant::now();
        let mut recent = Ids::new(begin);
        recent.note("a", begin);
        assert!(recent.has("a") && !recent.has("b"));
        recent.note("b", begin + DUPLICATE_WINDOW);
        assert!(recent.has("a") && recent.has("b"));
        recent.note("c", begin + DUPLICATE_WINDOW * 2);
        assert!(!recent.has("a") && recent.has("b") && recent.has("c"));
    }

    #[test]
    fn ids_are_bounded() {
        let begin = Instant::now();
        let mut recent = Ids::new(begin);
        (0..3 * IDS_MAX).for_each(|id| recent.note(&id.to_string(), begin));
        assert!(recent.newer.len() + recent.older.len() <= 2 * IDS_MAX);
        assert!(recent.has(&(3 * IDS_MAX - 1).to_string()) && !recent.has("0"));
    }
}
