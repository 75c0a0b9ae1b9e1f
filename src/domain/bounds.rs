//! Bounds that the simulation makes small, so that what lies beyond them happens in most of its schedules. Everywhere else
//! they are what their names say.
//!
//! Code that runs only beyond a bound says so ([`reached`]). The simulation counts in how many of its schedules that
//! happens; in the program it costs nothing.

use super::{outcome, pending, skipped};

/// Bounds of one channel.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Text of the ranges that a record lists, in bytes.
    pub pending_text: usize,
    /// Text of the ranges of skipped numbers that a record lists, in bytes.
    pub skipped_text: usize,
    /// Messages that are applied in one go, and that a record may have unreported.
    pub applied_at_once: usize,
}

/// The bounds of the program.
pub const FULL: Bounds = Bounds {
    pending_text: pending::TEXT_MAX,
    skipped_text: skipped::TEXT_MAX,
    applied_at_once: outcome::UNREPORTED_MAX,
};

/// The bounds that hold: in a test, those that it has set.
#[cfg(not(test))]
pub fn bounds() -> Bounds {
    FULL
}

/// Marks what happens only beyond a bound.
#[cfg(not(test))]
pub fn reached(_what: &'static str) {}

#[cfg(test)]
pub use small::{bounds, reached, set, take_reached};

#[cfg(test)]
mod small {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;

    use super::{Bounds, FULL};

    thread_local! {
        static BOUNDS: Cell<Bounds> = const { Cell::new(FULL) };
        static REACHED: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
    }

    /// The bounds on this thread.
    pub fn bounds() -> Bounds {
        BOUNDS.get()
    }

    /// Sets the bounds of this thread.
    pub fn set(bounds: Bounds) {
        BOUNDS.set(bounds);
    }

    /// Marks what happens only beyond a bound.
    pub fn reached(what: &'static str) {
        REACHED.with_borrow_mut(|beyond| beyond.insert(what));
    }

    /// What happened beyond a bound on this thread since this was asked last.
    pub fn take_reached() -> BTreeSet<&'static str> {
        REACHED.take()
    }
}
