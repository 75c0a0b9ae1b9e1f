//! What every rocket must finally be, computed from the messages while they are generated.
//!
//! Written from the contract alone and sharing nothing with the service: a mistake would have to be made twice, in two
//! ways of thinking, to go unnoticed. It sees each message once, in the order of its channel; copies, disorder and
//! retries happen behind its back, because they must make no difference.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::expected::Expected;
use super::message::{Event, Message};

/// The message time of every correction: like no other, so that it shows whether it was taken over.
const CORRECTION_TIME: &str = "2022-03-03T03:03:03.030+03:00";
/// The speed of a launch that is a correction.
const CORRECTED_SPEED: i64 = 1_000;

/// The expected states of all channels.
///
/// What was lost at the end of a channel is as if it had never been: nothing that was sent waits for it. A channel
/// that was lost as a whole is not expected at all.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    channels: BTreeMap<Uuid, Channel>,
    lost: u64,
    keeps_messages: bool,
}

#[derive(Debug, Default)]
struct Channel {
    expected: Expected,
    gaps: Vec<Gap>,
    /// What stands at each number, when messages are kept.
    messages: BTreeMap<u64, Message>,
    /// The numbers at which a correction stands.
    corrected: BTreeSet<u64>,
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
    /// An oracle that keeps every message, for corrections: only from the messages can a channel be replayed. Every
    /// other one keeps nothing but the rockets and the gaps.
    pub(super) fn with_messages() -> Oracle {
        Oracle { keeps_messages: true, ..Oracle::default() }
    }

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
        if self.keeps_messages {
            channel.messages.insert(message.number, message.clone());
        }
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

    /// A corrected message for each channel that still has something to correct, in the order of the channels: at the
    /// lowest number that is refused and has no correction yet.
    pub(super) fn corrections(&self) -> impl Iterator<Item = Message> {
        self.channels.values().filter_map(Channel::correction)
    }

    /// Puts a correction in the place of what stands at its number, and folds its channel anew.
    pub(super) fn correct(&mut self, correction: Message) {
        if let Some(channel) = self.channels.get_mut(&correction.channel) {
            channel.corrected.insert(correction.number);
            channel.messages.insert(correction.number, correction);
            channel.expected = channel.messages.values().fold(Expected::default(), |mut expected, message| {
                expected.observe(message);
                expected
            });
        }
    }
}

impl Channel {
    fn correction(&self) -> Option<Message> {
        let mut before = Expected::default();
        for message in self.messages.values() {
            let is_launched = before.is_launched();
            if !before.observe(message) && !self.corrected.contains(&message.number) {
                return Some(corrected(message, is_launched));
            }
        }
        None
    }
}

/// What the message should rather have said: a launch where there was none, otherwise a mission. After an explosion
/// that is refused as well, and must change nothing but the message time of its number.
fn corrected(message: &Message, is_launched: bool) -> Message {
    let mission = format!("CORRECTION-{}", message.number);
    let event = match is_launched {
        true => Event::MissionChanged { mission },
        false => Event::Launched { rocket_type: "Corrected".to_owned(), speed: CORRECTED_SPEED, mission },
    };
    Message { event, time: CORRECTION_TIME.to_owned(), upper_case: false, ..*message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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

    /// An oracle with this one channel, message n of which has the time `tn`.
    fn kept(events: &[(u64, Event)]) -> Oracle {
        let mut oracle = Oracle::with_messages();
        for (number, event) in events {
            let (number, time, event) = (*number, format!("t{number}"), event.clone());
            oracle.observe(&Message { channel: Uuid::nil(), upper_case: true, number, time, event });
        }
        oracle
    }

    fn launched(speed: i64) -> Event {
        Event::Launched { rocket_type: "T".into(), speed, mission: "M".into() }
    }

    fn check_field(oracle: &Oracle, field: &str, expected: Value) {
        let (channel, state) = oracle.channels().next().unwrap();
        let value = state.fields(channel).into_iter().find(|(name, _)| *name == field).unwrap().1;
        assert_eq!(value, Some(expected), "{field}");
    }

    #[test]
    fn a_correction_stands_in_the_place_of_what_was_refused() {
        let up = |by| Event::SpeedIncreased { by };
        let mut oracle = kept(&[(1, launched(5)), (2, launched(7)), (4, up(1)), (5, launched(9))]);
        let correction = oracle.corrections().next().unwrap();
        let expected = Event::MissionChanged { mission: "CORRECTION-2".into() };
        assert_eq!((correction.number, &correction.event), (2, &expected));
        oracle.correct(correction);
        check_field(&oracle, "mission", json!("CORRECTION-2"));
        check_field(&oracle, "currentSpeed", json!(6));
        check_field(&oracle, "lastUpdated", json!("t4"));
        let last = oracle.corrections().next().unwrap();
        assert_eq!(last.number, 5);
        oracle.correct(last);
        check_field(&oracle, "lastUpdated", json!(CORRECTION_TIME));
        check_field(&oracle, "lastMessageTime", json!(CORRECTION_TIME));
        check_field(&oracle, "lastMessageNumber", json!(5));
        assert_eq!(oracle.corrections().count(), 0);
    }

    #[test]
    fn a_launch_is_the_correction_where_there_was_none() {
        let up = |by| Event::SpeedIncreased { by };
        let mut oracle = kept(&[(3, up(1)), (4, up(2)), (6, launched(9))]);
        let correction = oracle.corrections().next().unwrap();
        assert_eq!((correction.number, correction.upper_case), (3, false));
        oracle.correct(correction);
        check_field(&oracle, "type", json!("Corrected"));
        check_field(&oracle, "currentSpeed", json!(CORRECTED_SPEED + 2));
        let next = oracle.corrections().next().unwrap();
        assert_eq!(next.number, 6, "the launch that came later makes no sense any more");
    }

    #[test]
    fn a_correction_that_is_refused_is_not_made_twice() {
        let mut oracle = kept(&[(1, launched(5)), (2, Event::Exploded { reason: "R".into() }), (3, launched(9))]);
        let correction = oracle.corrections().next().unwrap();
        oracle.correct(correction);
        check_field(&oracle, "mission", json!("M"));
        check_field(&oracle, "lastUpdated", json!("t2"));
        check_field(&oracle, "lastMessageTime", json!(CORRECTION_TIME));
        assert_eq!(oracle.corrections().count(), 0);
    }

    #[test]
    fn without_messages_nothing_is_corrected() {
        assert_eq!(channel(9, &[1]).corrections().count(), 0);
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
