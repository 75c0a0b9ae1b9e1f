//! Whether the log has lost its end: something else that is stored knows of an event that the log does not have.
//!
//! A power cut at a broker that syncs rarely, half a restored backup or a stream that was made again take messages from the
//! log's end and leave the rest as it was. Sequences go on from where the log ends now. So two things give it away: an
//! event behind the log's end, and, where the log has grown again, another message at a sequence that is known
//! ([`super::Event`]).
//!
//! Deliberately not here: who knows of events, and how that is found out ([`crate::broker::lost_end`]).

use std::fmt;

use super::{Event, Sequence, StoredAt};

/// Who knows of an event, beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// What is reported of events.
    Outcomes,
    /// Where a reading can begin.
    Checkpoints,
    /// What is remembered of channels.
    Records,
}

/// An event that something beside the log knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its sequence.
    pub sequence: Sequence,
    /// When it was stored there, if that is known.
    pub stored_at: Option<StoredAt>,
    /// Who knows of it.
    pub by: Witness,
}

/// An event that is known and that the log does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostEnd {
    ends_at: Sequence,
    known: Known,
}

impl Known {
    /// An event of which sequence and time are known.
    pub fn of(Event { sequence, stored_at }: Event, by: Witness) -> Self {
        Self { sequence, stored_at: Some(stored_at), by }
    }

    /// The one that lies further back in the log. Of two at one place the first.
    pub fn or_later(self, other: Self) -> Self {
        if other.sequence > self.sequence { other } else { self }
    }
}

impl LostEnd {
    /// Judges a log that ends here by an event that is known, and by when the message was stored that lies at its sequence
    /// now, if one does. Where none does, it was trimmed or forgotten, and nothing is lost.
    pub fn judge(ends_at: Sequence, known: Known, there: Option<StoredAt>) -> Option<Self> {
        let is_another = there.zip(known.stored_at).is_some_and(|(there, known)| there != known);
        (known.sequence > ends_at || is_another).then_some(Self { ends_at, known })
    }

    /// Whether the log is still shorter than what is known; else it has grown again.
    pub fn is_short(&self) -> bool {
        self.known.sequence > self.ends_at
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outcomes => "outcomes",
            Self::Checkpoints => "checkpoints",
            Self::Records => "records",
        })
    }
}

/// What is to be said of a log, behind its name.
impl fmt::Display for LostEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { ends_at, known }, Known { sequence, by, .. }) = (self, self.known);
        match self.is_short() {
            true => write!(f, "has lost its end: it ends at event {ends_at}, and {by} know of event {sequence}"),
            false => write!(
                f,
                "had lost its end: event {} is another message than the one that {by} know of",
                known.sequence
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(sequence: u64, stored_at: Option<i64>) -> Known {
        Known { sequence: Sequence(sequence), stored_at: stored_at.map(StoredAt), by: Witness::Outcomes }
    }

    #[test]
    fn a_log_has_lost_its_end_where_it_lacks_what_is_known() {
        let short = Some("has lost its end: it ends at event 7, and outcomes know of event 9");
        let grown = Some("had lost its end: event 7 is another message than the one that outcomes know of");
        let rows = [
            ("it lies there", 7, known(7, Some(5)), Some(5), None),
            ("it was trimmed", 9, known(7, Some(5)), None, None),
            ("its time is not known", 7, known(7, None), Some(5), None),
            ("the log is shorter", 7, known(9, Some(5)), None, short),
            ("the log is shorter, by an event without a time", 7, known(9, None), None, short),
            ("the log has grown again", 9, known(7, Some(5)), Some(6), grown),
            (
                "the log is empty",
                0,
                known(1, None),
                None,
                Some("has lost its end: it ends at event 0, and outcomes know of event 1"),
            ),
        ];
        for (why, ends_at, known, there, expected) in rows {
            let lost = LostEnd::judge(Sequence(ends_at), known, there.map(StoredAt));
            assert_eq!(lost.map(|lost| lost.to_string()).as_deref(), expected, "{why}");
        }
    }

    #[test]
    fn what_lies_furthest_back_says_most() {
        let (five, nine) = (known(5, Some(1)), known(9, None));
        assert_eq!((five.or_later(nine), nine.or_later(five)), (nine, nine));
        assert_eq!(nine.or_later(known(9, Some(3))), nine);
    }
}
