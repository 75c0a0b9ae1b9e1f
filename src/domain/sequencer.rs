//! The order of one channel: takes whatever has arrived, in any order and any number of times, and applies each number
//! exactly once, in order.
//!
//! The same functions serve a batch of fresh messages, the messages that waited behind a gap, a correction, a rebuild
//! and a rocket's history; only where the messages come from differs, and which [`Overrides`] are known. Taking up a message
//! again changes nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::bounds::{self, bounds};
use super::{Arrival, MessageNumber, Overrides, Record, Refusal, Sequence};

/// Messages of one channel that wait and are still in memory, by number. A hint: the stream has them all.
pub type Buffer<S> = BTreeMap<MessageNumber, Arc<Arrival<S>>>;

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was applied and changed the rocket.
    Applied,
    /// It took its number and changed nothing, because it makes no sense in the rocket's state.
    Refused(Refusal),
    /// Its number was taken already.
    Duplicate,
    /// Its number had been skipped.
    SkippedLate,
    /// Its number was taken or skipped; the record does not remember which of the two.
    Unjudged,
    /// A lower number is missing: it waits.
    Pending,
}

/// What took one number of the channel, or several in a row.
#[derive(Debug)]
pub enum Advance<S> {
    /// A message, which may have been refused there.
    Message(Arc<Arrival<S>>, Result<(), Refusal>),
    /// Numbers that an operator has skipped.
    Skipped {
        /// The lowest.
        first: MessageNumber,
        /// The highest.
        last: MessageNumber,
        /// Where the skip lies in the stream.
        by: Sequence,
    },
}

impl<S> From<Advance<S>> for Option<(Arc<Arrival<S>>, Verdict)> {
    fn from(advance: Advance<S>) -> Self {
        match advance {
            Advance::Message(arrival, Ok(())) => Some((arrival, Verdict::Applied)),
            Advance::Message(arrival, Err(refusal)) => Some((arrival, Verdict::Refused(refusal))),
            Advance::Skipped { .. } => None,
        }
    }
}

/// Applies plain messages of one channel: changes the record and tells what became of each message that came in, and of
/// each one that had waited in the buffer and could be applied now.
///
/// Of two messages with one number the one with the lower stream sequence is taken. Corrections and skips are not applied
/// here: what they mean takes a reading of the whole channel. The message of `stop_at` is not applied: it waits.
pub fn apply_batch<S>(
    record: &mut Record,
    buffer: &mut Buffer<S>,
    arrivals: &[Arc<Arrival<S>>],
    stop_at: Option<MessageNumber>,
) -> Vec<(Arc<Arrival<S>>, Verdict)> {
    let no_overrides = Overrides::none();
    arrivals.iter().for_each(|arrival| buffer_message(buffer, arrival, record, &no_overrides));
    forget_applied(record, buffer);
    let take = |next| if Some(next) == stop_at { None } else { buffer.remove(&next) };
    let advances = apply_in_order(record, take, &no_overrides);
    let mut verdicts: Vec<_> = advances.into_iter().filter_map(Option::from).collect();
    let applied: HashSet<_> = verdicts.iter().map(|(arrival, _)| arrival.sequence).collect();
    for arrival in arrivals {
        let (number, sequence) = (arrival.message.number, arrival.sequence);
        if !record.is_through(number) {
            record.pending.insert(number, sequence);
            verdicts.push((arrival.clone(), Verdict::Pending));
        } else if !applied.contains(&sequence) {
            verdicts.push((arrival.clone(), verdict_of_taken(record, number)));
        }
    }
    verdicts
}

fn verdict_of_taken(record: &Record, number: MessageNumber) -> Verdict {
    match record.skipped.contains(number) {
        Some(true) => Verdict::SkippedLate,
        Some(false) => Verdict::Duplicate,
        None => Verdict::Unjudged,
    }
}

/// Adds a message to those in memory if it may take the place of its number, unless the number was applied or skipped; of
/// two copies the first one in the stream.
pub fn buffer_message<S>(buffer: &mut Buffer<S>, arrival: &Arc<Arrival<S>>, record: &Record, overrides: &Overrides) {
    let number = arrival.message.number;
    if record.is_through(number) || !counts(arrival, overrides) {
        return;
    }
    let held = buffer.entry(number).or_insert_with(|| arrival.clone());
    if arrival.sequence < held.sequence {
        *held = arrival.clone();
    }
}

/// Whether a message may take the place of its number: the correction that counts, else any copy, unless the number is
/// skipped.
pub fn counts<S>(arrival: &Arrival<S>, overrides: &Overrides) -> bool {
    let number = arrival.message.number;
    match overrides.correction_of(number) {
        Some(correction) => correction == arrival.sequence,
        None => !arrival.corrects && overrides.skipped_from(number).is_none(),
    }
}

/// What another tracker has applied need not be kept.
fn forget_applied<S>(record: &Record, buffer: &mut Buffer<S>) {
    while let Some(first) = buffer.first_entry()
        && record.is_through(*first.key())
    {
        first.remove();
    }
}

/// Applies everything whose turn it is, at most as many messages as a record may have unreported; the rest waits for the next
/// time. `take` gives the message of a number.
pub fn apply_in_order<S>(
    record: &mut Record,
    mut take: impl FnMut(MessageNumber) -> Option<Arc<Arrival<S>>>,
    overrides: &Overrides,
) -> Vec<Advance<S>> {
    let (mut advances, advances_max) = (Vec::new(), bounds().applied_at_once);
    while advances.len() < advances_max
        && let Some(next) = record.next_number()
    {
        if let Some(range) = overrides.skipped_from(next) {
            record.skip(range.last, &range.skip.time);
            advances.push(Advance::Skipped { first: next, last: range.last, by: range.sequence });
            continue;
        }
        // Where corrections wait, one that waited may be a message whose place another one is to take.
        if record.corrections_wait && record.pending.contains(next) {
            break;
        }
        let Some(arrival) = take(next) else { break };
        let verdict = record.place(&arrival.message);
        advances.push(Advance::Message(arrival, verdict));
    }
    if advances.len() == advances_max {
        bounds::reached("as much is applied at once as may be");
    }
    advances
}

/// Drops the messages with the highest numbers until the rest fits; returns the bytes that are left, and whether
/// any message was dropped.
pub fn trim<S>(buffer: &mut Buffer<S>, size: impl Fn(&S) -> usize, bytes_max: usize) -> (usize, bool) {
    let mut bytes = buffer.values().map(|arrival| size(&arrival.stored)).sum();
    let before = buffer.len();
    while bytes > bytes_max
        && let Some((_, arrival)) = buffer.pop_last()
    {
        bytes -= size(&arrival.stored);
    }
    (bytes, buffer.len() < before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::message;
    use super::super::{Kind, Message, StoredAt};
    use super::*;

    fn arrival(number: u64, sequence: u64) -> Arc<Arrival<()>> {
        let kind = match number {
            1 => Kind::Launched { rocket_type: "T".into(), speed: 500, mission: "M".into() },
            _ => Kind::SpeedIncreased(1),
        };
        let (sequence, stored_at) = (Sequence(sequence), StoredAt(0));
        Arc::new(Arrival { sequence, stored_at, message: message(number, kind), corrects: false, stored: () })
    }

    fn verdicts_of(record: &mut Record, buffer: &mut Buffer<()>, numbers: &[(u64, u64)]) -> Vec<(u64, Verdict)> {
        let arrivals: Vec<_> = numbers.iter().map(|&(number, sequence)| arrival(number, sequence)).collect();
        let mut verdicts: Vec<_> = apply_batch(record, buffer, &arrivals, None)
            .into_iter()
            .map(|(of, verdict)| (of.sequence.0, verdict))
            .collect();
        verdicts.sort_by_key(|(sequence, _)| *sequence);
        verdicts
    }

    #[test]
    fn every_message_gets_a_verdict() {
        use Verdict::{Applied, Duplicate, Pending};
        let (record, buffer) = (&mut Record::default(), &mut Buffer::new());
        assert_eq!(verdicts_of(record, buffer, &[(2, 1), (4, 2), (2, 3)]), [(1, Pending), (2, Pending), (3, Pending)]);
        assert_eq!(verdicts_of(record, buffer, &[(1, 4), (1, 5)]), [(1, Applied), (4, Applied), (5, Duplicate)]);
        assert_eq!(verdicts_of(record, buffer, &[(1, 4), (2, 3)]), [(3, Duplicate), (4, Duplicate)]);
        assert_eq!(verdicts_of(record, buffer, &[(3, 6)]), [(2, Applied), (6, Applied)]);
        assert_eq!((record.next_number(), record.pending.count(), buffer.len()), (MessageNumber::new(5), 0, 0));
    }

    #[test]
    fn the_first_copy_in_the_stream_counts() {
        let (record, buffer) = (&mut Record::default(), &mut Buffer::new());
        verdicts_of(record, buffer, &[(2, 9)]);
        verdicts_of(record, buffer, &[(2, 3)]);
        assert_eq!(verdicts_of(record, buffer, &[(1, 10)]), [(3, Verdict::Applied), (10, Verdict::Applied)]);
    }

    #[test]
    fn what_somebody_else_has_placed_leaves_memory() {
        let (record, buffer) = (&mut Record::default(), &mut Buffer::new());
        verdicts_of(&mut Record::default(), buffer, &[(2, 1), (3, 2), (5, 3)]);
        verdicts_of(record, &mut Buffer::new(), &[(2, 1), (3, 2), (1, 4)]);
        verdicts_of(record, buffer, &[(6, 5)]);
        assert_eq!(buffer.keys().map(|number| number.get()).collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn a_record_whose_messages_left_memory_says_that_it_could_move() {
        let (record, buffer) = (&mut Record::default(), &mut Buffer::new());
        verdicts_of(record, buffer, &[(2, 1), (3, 2)]);
        buffer.clear();
        verdicts_of(record, buffer, &[(1, 3)]);
        assert!(record.is_drainable());
        assert_eq!(record.pending.ranges()[0].sequence, Sequence(1));
        verdicts_of(record, buffer, &[(2, 1), (3, 2)]);
        assert!(!record.is_drainable());
    }

    /// Messages that make sense and messages that do not, numbered from 1.
    fn sequences() -> impl Strategy<Value = Vec<Message>> {
        let kind = prop_oneof![
            (1..1_000i64).prop_map(|speed| Kind::Launched { rocket_type: "T".into(), speed, mission: "M".into() }),
            (0..1_000i64).prop_map(Kind::SpeedIncreased),
            Just(Kind::SpeedIncreased(i64::MAX)),
            (0..1_000i64).prop_map(Kind::SpeedDecreased),
            "[a-c]{1,2}".prop_map(Kind::MissionChanged),
            Just(Kind::Exploded("R".into())),
        ];
        proptest::collection::vec(kind, 1..40)
            .prop_map(|kinds| kinds.into_iter().zip(1..).map(|(kind, number)| message(number, kind)).collect())
    }

    /// A sequence, the numbers of it in some order with copies (a number may be missing), and where batches are cut.
    fn deliveries() -> impl Strategy<Value = (Vec<Message>, Vec<usize>, Vec<(usize, bool)>)> {
        sequences().prop_flat_map(|messages| {
            let count = messages.len();
            let numbers = proptest::collection::vec(0..count, 0..2 * count);
            let cuts = proptest::collection::vec((1..8usize, any::<bool>()), 1..2 * count);
            (Just(messages), numbers, cuts)
        })
    }

    fn arrivals_of(messages: &[Message], order: &[usize]) -> Vec<Arc<Arrival<()>>> {
        let arrival = |(&at, sequence): (&usize, u64)| {
            Arc::new(Arrival {
                sequence: Sequence(sequence),
                stored_at: StoredAt(0),
                message: messages[at].clone(),
                corrects: false,
                stored: (),
            })
        };
        order.iter().zip(1..).map(arrival).collect()
    }

    /// What a tracker does: batch by batch; where memory was lost, what is pending is read again from the stream.
    fn in_batches(stream: &[Arc<Arrival<()>>], cuts: &[(usize, bool)]) -> Record {
        let (mut record, mut buffer) = (Record::default(), Buffer::new());
        let (mut at, mut cuts) = (0, cuts.iter().cycle());
        while at < stream.len() {
            let Some(&(length, forgets)) = cuts.next() else { break };
            let end = stream.len().min(at + length);
            if forgets {
                buffer.clear();
                record = Record::from_bytes(&record.to_bytes()).unwrap();
            }
            apply_batch(&mut record, &mut buffer, &stream[at..end], None);
            if record.is_drainable() {
                apply_batch(&mut record, &mut buffer, &stream[..end], None);
            }
            at = end;
        }
        record
    }

    proptest! {
        #[test]
        fn any_order_with_any_copies_in_any_batches_gives_one_record((messages, mut order, cuts) in deliveries()) {
            let stream = arrivals_of(&messages, &order);
            prop_assert_eq!(in_batches(&stream, &cuts), in_batches(&stream, &[(usize::MAX / 2, false)]));

            order.extend(0..messages.len());
            let complete = in_batches(&arrivals_of(&messages, &order), &cuts);
            let mut in_order = Record::default();
            for message in &messages {
                let _ = in_order.place(message);
            }
            prop_assert_eq!(complete, in_order);
        }

        #[test]
        fn taking_up_again_changes_nothing((messages, order, cuts) in deliveries()) {
            let stream = arrivals_of(&messages, &order);
            let record = in_batches(&stream, &cuts);
            let mut again = record.clone();
            let verdicts = apply_batch(&mut again, &mut Buffer::new(), &stream, None);
            prop_assert_eq!(again, record);
            prop_assert!(verdicts.iter().all(|(_, verdict)| matches!(verdict, Verdict::Duplicate | Verdict::Pending)));
        }
    }
}
