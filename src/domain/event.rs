//! Which message is meant when something is stored about one: its sequence, and when it was stored there.
//!
//! The sequence alone is not enough. Sequences are used again when the stream lost its end (a power cut, a restored backup) or
//! was made again; what was stored about the message that lay there before says nothing of the one that lies there now.

use std::fmt;

use ::time::OffsetDateTime;

use super::Sequence;

/// When the broker stored a message, in milliseconds since 1970 (UTC). Finer digits are cut off: between the loss of a
/// message and the next one at its sequence lies the start of a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredAt(pub i64);

/// A message that was stored: its sequence and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event {
    /// Its sequence, which is its event id.
    pub sequence: Sequence,
    /// When it was stored there.
    pub stored_at: StoredAt,
}

impl Event {
    /// The message that was stored at this sequence at this time.
    pub fn new(sequence: Sequence, time: OffsetDateTime) -> Self {
        Self { sequence, stored_at: time.into() }
    }
}

impl From<OffsetDateTime> for StoredAt {
    fn from(time: OffsetDateTime) -> Self {
        let milliseconds = time.unix_timestamp_nanos().div_euclid(1_000_000);
        Self(i64::try_from(milliseconds).unwrap_or_default())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sequence.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_cut_off_to_its_millisecond() {
        for (nanoseconds, expected) in
            [(0, 0), (999_999, 0), (1_000_000, 1), (-1, -1), (1_700_000_000_123_456_789, 1_700_000_000_123)]
        {
            let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap();
            assert_eq!(StoredAt::from(time), StoredAt(expected), "{nanoseconds}");
        }
    }
}
