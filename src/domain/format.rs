//! Versions of what is stored, so that programs of two versions can work beside each other while one takes the place of the
//! other.
//!
//! A field that is new in a record, and that an older program may carry along without a look, needs no new format
//! ([`super::carried`]). Anything else that an older program must not judge does: a record that is made otherwise, a type of
//! message that it does not know. An older program then sets the whole channel aside ([`Aside`]): its messages wait for a
//! program that knows the format.

use super::Sequence;

/// The format in which this version writes.
const FORMAT: u32 = 1;

/// The newest format that this process knows, which is the one in which it writes.
#[cfg(not(feature = "fail-points"))]
pub fn newest() -> u32 {
    FORMAT
}

#[cfg(feature = "fail-points")]
pub use newer::{newest, set_newest};

/// A test may make a process one of a newer version.
#[cfg(feature = "fail-points")]
mod newer {
    use std::sync::atomic::{AtomicU32, Ordering};

    static NEWEST: AtomicU32 = AtomicU32::new(super::FORMAT);

    /// The newest format that this process knows, which is the one in which it writes.
    pub fn newest() -> u32 {
        NEWEST.load(Ordering::Relaxed)
    }

    /// Has the process know a newer one.
    pub fn set_newest(format: u32) {
        NEWEST.store(format, Ordering::Relaxed);
    }
}

/// Messages of a channel that were acknowledged and not judged, because that takes a newer program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aside {
    /// The format that a program must know to judge them.
    pub format: u32,
    /// The first of them, which is never acknowledged: it comes again and again, until a program knows the format.
    pub first: Sequence,
    /// The last of them.
    pub last: Sequence,
}

impl Aside {
    /// The same with one more message, which takes this format.
    pub fn with(self, format: u32, message: Sequence) -> Self {
        Self { format: self.format.max(format), first: self.first.min(message), last: self.last.max(message) }
    }

    /// Whether it takes a newer program than this one.
    pub fn is_newer(&self) -> bool {
        self.format > newest()
    }

    /// The text of it in a record's header: `2 17 40`.
    pub fn to_text(self) -> String {
        format!("{} {} {}", self.format, self.first, self.last)
    }

    /// Reads the text; none if nobody here wrote it.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let aside = Self {
            format: parts.next()?.parse().ok()?,
            first: Sequence(parts.next()?.parse().ok()?),
            last: Sequence(parts.next()?.parse().ok()?),
        };
        (parts.next().is_none() && aside.first <= aside.last).then_some(aside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_grows_and_is_read_as_it_was_written() {
        let aside = Aside { format: 2, first: Sequence(17), last: Sequence(17) };
        let more = aside.with(3, Sequence(40)).with(1, Sequence(12));
        assert_eq!(more, Aside { format: 3, first: Sequence(12), last: Sequence(40) });
        assert_eq!((more.to_text().as_str(), Aside::from_text("3 12 40")), ("3 12 40", Some(more)));
        for foreign in ["", "3", "3 12", "3 12 40 1", "3 41 40", "x 1 2", "3  12 40", "-1 1 2"] {
            assert_eq!(Aside::from_text(foreign), None, "{foreign}");
        }
    }
}
