//! What every rocket must finally be, computed from the messages while they are generated.
//!
//! Written from the contract alone and sharing nothing with the service: a mistake would have to be made twice, in two
//! ways of thinking, to go unnoticed. It sees each message once, in the order of its channel; copies, disorder and
//! retries happen behind its back, because they must make no difference.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::expected::Expected;
use super::message::Message;

/// The expected states of all channels.
///
/// What was lost at the end of a channel is as if it had never been: nothing that was sent waits for it. A channel
/// that was lost as a whole is not expected at all.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    channels: BTreeMap<Uuid, Channel>,
    lost: u64,
}

#[derive(Debug, Default)]
struct Channel {
    expected: Expected,
    gaps: Vec<Gap>,
}

/// Lost numbers in a row, with one that was sent behind them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gap {
    /// The lowest of them.
    pub(super) first: u64,
    /// The highest of them.
    pub(super) last: u64,
}

impl Oracle {
    /// Counts a message that was lost on the radio. When a later one of its channel is sent, its number counts as
    /// skipped, for somebody has to do that before the service can go on.
    pub(super) fn lose(&mut self) {
        self.lost += 1;
    }

    /// How many messages were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes the next message of its channel that was not lost into account.
    pub(super) fn observe(&mut self, message: &Message) {
        let channel = self.channels.entry(message.channel).or_default();
        let first = channel.expected.last_number + 1;
        if first < message.number {
            channel.gaps.push(Gap { first, last: message.number - 1 });
        }
        channel.expected.observe(message);
    }

    /// All channels with what is expected of them.
    pub(super) fn channels(&self) -> impl Iterator<Item = (Uuid, Expected)> {
        self.channels.iter().map(|(id, channel)| (*id, channel.expected.clone()))
    }

    /// How many messages the service has to apply, as far as that can be seen: where there is a rocket.
    pub(super) fn messages(&self) -> u64 {
        let launched = self.channels.values().filter(|channel| channel.expected.is_launched());
        launched.map(|channel| channel.expected.last_number).sum()
    }

    /// The gaps of each channel that has some, from the lowest.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (Uuid, &[Gap])> {
        let with_gaps = self.channels.iter().filter(|(_, channel)| !channel.gaps.is_empty());
        with_gaps.map(|(id, channel)| (*id, channel.gaps.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Event;
    use super::*;

    /// What the oracle knows of a channel of so many messages, of which these were lost.
    fn channel(length: u64, lost: &[u64]) -> Oracle {
        let mut oracle = Oracle::default();
        for number in 1..=length {
            let event = match number {
                1 => Event::Launched { rocket_type: "T".into(), speed: 500, mission: "M".into() },
                _ => Event::SpeedIncreased { by: 1 },
            };
            if lost.contains(&number) {
                oracle.lose();
            } else {
                oracle.observe(&Message {
                    channel: Uuid::nil(),
                    upper_case: false,
                    number,
                    time: format!("t{number}"),
                    event,
                });
            }
        }
        oracle
    }

    fn check(length: u64, lost: &[u64], expected: &[(u64, u64)]) {
        let oracle = channel(length, lost);
        let gaps: Vec<_> = oracle.gaps().flat_map(|(_, gaps)| gaps).map(|gap| (gap.first, gap.last)).collect();
        assert_eq!((gaps.as_slice(), oracle.lost()), (expected, lost.len() as u64), "{lost:?} of {length}");
    }

    #[test]
    fn gaps_are_what_was_lost_below_something_that_was_sent() {
        check(9, &[], &[]);
        check(9, &[4], &[(4, 4)]);
        check(9, &[1, 2, 4, 6, 7], &[(1, 2), (4, 4), (6, 7)]);
        check(9, &[5, 8, 9], &[(5, 5)]);
        check(9, &[1, 2, 3, 4, 5, 6, 7, 8], &[(1, 8)]);
        check(2, &[1, 2], &[]);
    }

    #[test]
    fn what_was_lost_at_the_end_is_not_expected() {
        let (_, expected) = channel(9, &[2, 3, 8, 9]).channels().next().unwrap();
        assert_eq!(expected.last_number, 7);
        assert_eq!(channel(2, &[1, 2]).channels().count(), 0);
    }
}
