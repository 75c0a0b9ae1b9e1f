//! Bounds that the simulation makes small, so that what lies beyond them happens in most of its schedules. Everywhere else
//! they are what their names say.
//!
//! Code that runs only beyond a bound says so ([`beyond`]). The simulation counts in how many of its schedules that
//! happens; in the program it costs nothing.

use super::{outcome, parked, skipped};

/// Bounds of one channel.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Text of the ranges that a record lists, in bytes.
    pub parked_text: usize,
    /// Text of the ranges of skipped numbers that a record lists, in bytes.
    pub skipped_text: usize,
    /// Messages that are placed in one go, and that a record may owe.
    pub placed: usize,
}

/// Those that count.
pub const FULL: Bounds =
    Bounds { parked_text: parked::TEXT_MAX, skipped_text: skipped::TEXT_MAX, placed: outcome::OWED_MAX };

/// The bounds.
#[cfg(not(test))]
pub fn bounds() -> Bounds {
    FULL
}

/// Marks what happens only beyond a bound.
#[cfg(not(test))]
pub fn beyond(_what: &'static str) {}

#[cfg(test)]
pub use small::{beyond, bounds, set, take_beyond};

#[cfg(test)]
mod small {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;

    use super::{Bounds, FULL};

    thread_local! {
        static BOUNDS: Cell<Bounds> = const { Cell::new(FULL) };
        static BEYOND: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
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
    pub fn beyond(what: &'static str) {
        BEYOND.with_borrow_mut(|beyond| beyond.insert(what));
    }

    /// What happened beyond a bound on this thread since this was asked last.
    pub fn take_beyond() -> BTreeSet<&'static str> {
        BEYOND.take()
    }
}
