//! Whether a fold may take the place of a record: only if nothing that it needed was missing from the log. Messages may have
//! been trimmed, or lost with a block or a backup; what they did is in the record, and nothing else knows it.
//!
//! A number of which no message is there looks like one that never arrived. So a fold is refused that comes less far than
//! the record, that takes an applied number for a skipped one although no message of it was seen behind the skip, or that
//! does not know of a number that waits.
//!
//! Deliberately not here: whether everything was read that the log has ([`crate::replay`]).

use super::{MessageNumber, Overrides, Record};

/// What a fold lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortfall {
    /// It stops before a number that the record has applied.
    #[error("the log does not reach back far enough: message number {0} was applied and is not there any more")]
    Applied(MessageNumber),
    /// A number that the record says to wait was not seen.
    #[error("the log does not reach back far enough: message number {0} is pending and is not there any more")]
    Pending(MessageNumber),
    /// What is to be changed was trimmed.
    #[error("the log does not reach back far enough: message numbers up to {0} were trimmed")]
    Trimmed(MessageNumber),
}

/// Where a fold began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// With the record: what that has applied stays. (A fold from a checkpoint is one of the log.)
    Record,
    /// At the beginning of the log.
    Log {
        /// Whether nothing was ever removed from the log.
        is_whole: bool,
    },
}

/// What a fold with these overrides lacks to take the place of a record; nothing if it may.
pub fn shortfall(written: &Record, folded: &Record, overrides: &Overrides, base: Base) -> Option<Shortfall> {
    let stops_early = folded.next_number().filter(|next| written.is_through(*next)).map(Shortfall::Applied);
    let lost = stops_early.or_else(|| taken_for_skipped(written, overrides, base).map(Shortfall::Applied));
    lost.or_else(|| forgotten(written, folded, overrides).map(Shortfall::Pending))
}

/// The first number that was applied and would be skipped although no message of it was seen. What the record does not
/// remember is taken for applied, unless the log is whole.
fn taken_for_skipped(written: &Record, overrides: &Overrides, base: Base) -> Option<MessageNumber> {
    let Base::Log { is_whole } = base else { return None };
    let last = last_of(written)?;
    let was_applied = |number: &MessageNumber| match written.skipped.contains(*number) {
        Some(skipped) => !skipped,
        None => !is_whole,
    };
    overrides.skipped_and_unseen(last).flat_map(|(first, last)| first_outside(written, first, last)).find(was_applied)
}

/// Of a range of numbers those that decide: its first, and the first behind each skipped range of the record in it.
fn first_outside(written: &Record, first: MessageNumber, last: MessageNumber) -> impl Iterator<Item = MessageNumber> {
    let ends = written.skipped.ranges().iter().filter_map(|(_, end)| end.next());
    let unlisted = written.skipped.unlisted().and_then(MessageNumber::next);
    let decides = ends.chain(unlisted).filter(move |number| first < *number && *number <= last);
    std::iter::once(first).chain(decides.collect::<Vec<_>>())
}

/// The first number that waits by the record, and neither waits nor has its place in the fold because of a message.
fn forgotten(written: &Record, folded: &Record, overrides: &Overrides) -> Option<MessageNumber> {
    let all_listed = folded.pending.overflow().is_none();
    written.pending.ranges().iter().find_map(|range| {
        let behind = folded.next_number().map_or(range.last, |next| next.max(range.first));
        let is_lost = all_listed && behind <= range.last && !folded.pending.contains_all(behind, range.last);
        let lost = || folded.pending.first_missing(behind, range.last);
        if is_lost { lost() } else { overrides.first_unseen(range.first, range.last.min(last_of(folded)?)) }
    })
}

fn last_of(record: &Record) -> Option<MessageNumber> {
    record.last.as_ref().map(|last| last.number)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::entry::ArrivedSkip;
    use super::super::testing::{channel, message};
    use super::super::{Arrival, Entry, Kind, MessageTime, OverrideIndex, Sequence, Skip, StoredAt};
    use super::*;

    fn number(number: u64) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    fn time() -> MessageTime {
        MessageTime::parse("2022-02-02T19:39:05Z").unwrap()
    }

    /// A record that has applied and skipped these numbers, in order, and says that others wait.
    fn record(applied: u64, skipped: Option<u64>, pending: &[u64]) -> Record {
        let mut record = Record::default();
        for at in 1..=applied {
            let _ = record.place(&message(at, Kind::SpeedIncreased(1)));
        }
        if let Some(last) = skipped {
            record.skip(number(last), &time());
        }
        pending.iter().for_each(|at| record.pending.insert(number(*at), Sequence(*at)));
        record
    }

    /// What a log of these messages, with a skip up to a number at its end, says.
    fn overrides(seen: &[u64], up_to: u64) -> Overrides {
        let mut index = OverrideIndex::default();
        for (at, sequence) in seen.iter().zip(1..) {
            let (message, sequence) = (message(*at, Kind::SpeedIncreased(1)), Sequence(sequence));
            index.see(&Entry::Message(Arc::new(Arrival {
                sequence,
                message,
                corrects: false,
                stored_at: StoredAt(0),
                stored: (),
            })));
        }
        let skip = Skip { channel: channel(), up_to: number(up_to), time: time(), reason: "lost".into() };
        index.see::<()>(&Entry::Skip(ArrivedSkip { sequence: Sequence(99), skip, stored_at: StoredAt(0) }));
        Overrides::all(&Arc::new(index))
    }

    #[test]
    fn each_way_to_be_incomplete_is_refused() {
        let applied = |at| Some(Shortfall::Applied(number(at)));
        let pending = |at| Some(Shortfall::Pending(number(at)));
        let rows = [
            ("all is there", record(4, None, &[6]), record(4, Some(6), &[]), overrides(&[1, 2, 3, 4, 6], 5), None),
            (
                "the head is gone, and would be skipped",
                record(4, None, &[6]),
                record(0, Some(6), &[]),
                overrides(&[3, 4, 6], 5),
                applied(1),
            ),
            (
                "one in the middle is gone",
                record(4, None, &[6]),
                record(0, Some(6), &[]),
                overrides(&[1, 2, 4, 6], 5),
                applied(3),
            ),
            ("the fold stops early", record(4, None, &[6]), record(2, None, &[]), overrides(&[1, 2], 1), applied(3)),
            ("the fold has nothing", record(4, None, &[]), record(0, None, &[]), overrides(&[], 1), applied(1)),
            (
                "what was skipped stays skipped",
                record(2, Some(4), &[6]),
                record(2, Some(6), &[]),
                overrides(&[1, 2, 6], 5),
                None,
            ),
            (
                "skipped, and one behind it is gone",
                record(2, Some(3), &[9]),
                record(2, Some(9), &[]),
                overrides(&[1, 2, 9], 8),
                None,
            ),
            (
                "what waits is gone",
                record(4, None, &[6, 7]),
                record(4, None, &[6]),
                overrides(&[1, 2, 3, 4, 6], 1),
                pending(7),
            ),
            (
                "what waits is gone and would be skipped",
                record(4, None, &[6, 7]),
                record(4, Some(7), &[]),
                overrides(&[1, 2, 3, 4, 7], 6),
                pending(6),
            ),
        ];
        for (why, written, folded, overrides, expected) in rows {
            assert_eq!(shortfall(&written, &folded, &overrides, Base::Log { is_whole: false }), expected, "{why}");
        }
    }

    #[test]
    fn a_fold_that_went_on_from_the_record_needs_what_waits_and_no_more() {
        let (written, overrides) = (record(4, None, &[6, 7]), overrides(&[6, 7], 5));
        assert_eq!(shortfall(&written, &record(4, Some(7), &[]), &overrides, Base::Record), None);
        let lost = shortfall(&written, &record(4, None, &[6]), &overrides, Base::Record);
        assert_eq!(lost, Some(Shortfall::Pending(number(7))));
    }

    #[test]
    fn behind_a_skipped_range_an_applied_number_is_found() {
        let mut written = record(2, Some(4), &[]);
        let _ = written.place(&message(5, Kind::SpeedIncreased(1)));
        let lost =
            shortfall(&written, &record(2, Some(7), &[]), &overrides(&[1, 2, 7], 6), Base::Log { is_whole: false });
        assert_eq!(lost, Some(Shortfall::Applied(number(5))));
    }

    #[test]
    fn what_a_record_does_not_remember_counts_as_skipped_only_where_nothing_was_ever_removed() {
        let mut written = Record::default();
        for at in 1..=1_000 {
            written.skip(number(2 * at - 1), &time());
            let _ = written.place(&message(2 * at, Kind::SpeedIncreased(1)));
        }
        let seen: Vec<_> = (1..=1_000).map(|at| 2 * at).collect();
        let (overrides, folded) = (overrides(&seen, 2_000), written.clone());
        assert_eq!(shortfall(&written, &folded, &overrides, Base::Log { is_whole: true }), None);
        assert_eq!(
            shortfall(&written, &folded, &overrides, Base::Log { is_whole: false }),
            Some(Shortfall::Applied(number(1)))
        );
    }
}
