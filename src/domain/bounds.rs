//! Bounds that the simulation makes small, so that what lies beyond them happens in most of its schedules. Everywhere else
//! they are what their names say.

use super::{outcome, parked};

/// Bounds of one channel.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Text of the ranges that a record lists, in bytes.
    pub parked_text: usize,
    /// Messages that are placed in one go, and that a record may owe.
    pub placed: usize,
}

/// Those that count.
pub const FULL: Bounds = Bounds { parked_text: parked::TEXT_MAX, placed: outcome::OWED_MAX };

/// The bounds.
#[cfg(not(test))]
pub fn bounds() -> Bounds {
    FULL
}

#[cfg(test)]
pub use small::{bounds, set};

#[cfg(test)]
mod small {
    use std::cell::Cell;

    use super::{Bounds, FULL};

    thread_local! {
        static BOUNDS: Cell<Bounds> = const { Cell::new(FULL) };
    }

    /// The bounds on this thread.
    pub fn bounds() -> Bounds {
        BOUNDS.get()
    }

    /// Sets the bounds of this thread.
    pub fn set(bounds: Bounds) {
        BOUNDS.set(bounds);
    }
}
