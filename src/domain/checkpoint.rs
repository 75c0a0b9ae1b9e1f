//! A checkpoint: a channel's record after one of its numbers, from where a reading of the log can go on instead of from
//! the beginning.
//!
//! It is made only of an unbroken reading ([`super::Replay`]), so it knows exactly where in the log it goes on: whatever that
//! reading has not seen lies behind its end. It is right for as long as no later correction is of a number
//! that it is past; a reading that meets one takes an older checkpoint, or the log's beginning. A skip never makes one
//! wrong: it covers only numbers that have not arrived, and here all of them have.
//!
//! A lost checkpoint is no loss, but for the one with which a log was trimmed: that one is the beginning of what is left.

use super::{Arrival, Event, MessageNumber, Record, Sequence};

/// A channel's record after one of its numbers, and where the log goes on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The record: nothing is pending in it, and the last override is the last one that the reading has seen.
    pub record: Record,
    /// No message with a higher number lies before this sequence.
    pub from: Sequence,
    /// The last of the channel's messages that the reading has seen.
    pub seen: Event,
    /// Whether the log was trimmed up to its number: there is nothing to go back to.
    pub is_trimmed: bool,
    /// Its place among the checkpoints, once it is stored.
    pub place: Option<u64>,
}

impl Checkpoint {
    /// The number after which it stands.
    pub fn through(&self) -> Option<MessageNumber> {
        self.record.applied_through()
    }

    /// Whether a message makes it wrong: a correction that it does not know of a number that it is past. What was
    /// trimmed cannot be corrected.
    pub fn is_made_wrong_by<S>(&self, arrival: &Arrival<S>) -> bool {
        let is_new = arrival.corrects && Some(arrival.sequence) > self.record.last_override;
        !self.is_trimmed && is_new && self.record.is_through(arrival.message.number)
    }
}

/// Of the checkpoints of a channel those from which a reading may begin, the best one last: the last with which the log was
/// trimmed, and what comes behind it.
pub fn usable(mut checkpoints: Vec<Checkpoint>) -> Vec<Checkpoint> {
    checkpoints.sort_by_key(|checkpoint| (checkpoint.through(), checkpoint.is_trimmed, checkpoint.place));
    let trimmed = checkpoints.iter().rposition(|checkpoint| checkpoint.is_trimmed);
    checkpoints.split_off(trimmed.unwrap_or(0))
}

/// Up to which number the log was trimmed, by what [`usable`] gives.
pub fn trimmed_through(usable: &[Checkpoint]) -> Option<MessageNumber> {
    usable.first().filter(|first| first.is_trimmed).and_then(Checkpoint::through)
}

#[cfg(test)]
mod tests {
    use super::super::testing::message;
    use super::super::{Kind, StoredAt};
    use super::*;

    fn checkpoint(through: u64, is_trimmed: bool, place: u64) -> Checkpoint {
        let mut record = Record { last_override: Some(Sequence(40)), ..Record::default() };
        for number in 1..=through {
            let _ = record.place(&message(number, Kind::SpeedIncreased(1)));
        }
        Checkpoint { record, from: Sequence(50), seen: Event::default(), is_trimmed, place: Some(place) }
    }

    #[test]
    fn what_lies_before_the_last_trimming_is_of_no_use() {
        let all = [(30, false, 5), (10, true, 2), (20, true, 4), (10, false, 1), (20, false, 3)];
        let (of, number) = (|it: &Checkpoint| (it.through(), it.place), MessageNumber::new);
        let usable = usable(all.map(|(through, is_trimmed, place)| checkpoint(through, is_trimmed, place)).into());
        assert_eq!(usable.iter().map(of).collect::<Vec<_>>(), [(number(20), Some(4)), (number(30), Some(5))]);
        assert_eq!((trimmed_through(&usable), trimmed_through(&usable[1..])), (number(20), None));
    }

    #[test]
    fn only_a_new_correction_of_what_was_passed_makes_one_wrong() {
        let of = |number, corrects, sequence| Arrival {
            sequence: Sequence(sequence),
            stored_at: StoredAt(0),
            message: message(number, Kind::SpeedIncreased(1)),
            corrects,
            stored: (),
        };
        for (number, corrects, sequence, expected) in [
            (9, true, 41, true),
            (10, true, 99, true),
            (11, true, 41, false),
            (9, true, 40, false),
            (9, false, 41, false),
        ] {
            let arrival = of(number, corrects, sequence);
            assert_eq!(checkpoint(10, false, 1).is_made_wrong_by(&arrival), expected, "{number} {corrects} {sequence}");
            assert!(!checkpoint(10, true, 1).is_made_wrong_by(&arrival));
        }
    }
}
