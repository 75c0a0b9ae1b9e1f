//! What every rocket must finally be, computed from the messages while they are generated: the fold of its messages, in
//! order.
//!
//! Written from the contract alone and sharing nothing with the service: a mistake would have to be made twice, in two
//! ways of thinking, to go unnoticed. It sees each message once, in the order of its channel; copies, disorder and
//! retries happen behind its back, because they must make no difference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

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

    /// Puts a correction in the place of what stands at its number, and replays its channel.
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

/// What is expected of one channel.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Expected {
    /// The highest number; all below it have been passed as well.
    pub(super) last_number: u64,
    last_time: String,
    /// The rocket, once a launch has made one.
    rocket: Option<ExpectedRocket>,
}

#[derive(Debug, Clone, PartialEq)]
struct ExpectedRocket {
    rocket_type: String,
    speed: i64,
    mission: String,
    explosion_reason: Option<String>,
    launch_time: String,
    last_updated: String,
}

impl Expected {
    /// Whether the channel has a rocket at all: without a launch it must be unknown to the service.
    pub(super) fn is_launched(&self) -> bool {
        self.rocket.is_some()
    }

    /// The public fields of the rocket in the order of the contract, each with its value or none where it must be
    /// absent. Without a rocket there are no fields.
    pub(super) fn fields(&self, channel: Uuid) -> Vec<(&'static str, Option<Value>)> {
        let Some(rocket) = &self.rocket else { return Vec::new() };
        let status = if rocket.explosion_reason.is_some() { "exploded" } else { "active" };
        vec![
            ("id", Some(json!(channel.to_string()))),
            ("type", Some(json!(rocket.rocket_type))),
            ("currentSpeed", Some(json!(rocket.speed))),
            ("mission", Some(json!(rocket.mission))),
            ("status", Some(json!(status))),
            ("explosionReason", rocket.explosion_reason.as_ref().map(|reason| json!(reason))),
            ("launchTime", Some(json!(rocket.launch_time))),
            ("lastUpdated", Some(json!(rocket.last_updated))),
            ("lastMessageNumber", Some(json!(self.last_number))),
            ("lastMessageTime", Some(json!(self.last_time))),
            ("pendingMessages", Some(json!(0))),
        ]
    }

    /// Folds the next message in, and says whether it made sense. Numbers between the last one and this one are skipped:
    /// they take their places without effect.
    pub(super) fn observe(&mut self, message: &Message) -> bool {
        debug_assert!(message.number > self.last_number, "a channel's messages are folded in order");
        self.last_number = message.number;
        self.last_time.clone_from(&message.time);
        match (&mut self.rocket, &message.event) {
            (None, Event::Launched { rocket_type, speed, mission }) => {
                self.rocket = Some(ExpectedRocket {
                    rocket_type: rocket_type.clone(),
                    speed: *speed,
                    mission: mission.clone(),
                    explosion_reason: None,
                    launch_time: message.time.clone(),
                    last_updated: message.time.clone(),
                });
                true
            }
            (None, _) | (Some(_), Event::Launched { .. }) => false,
            (Some(rocket), event) => rocket.change(event, &message.time),
        }
    }
}

impl ExpectedRocket {
    /// Whether the event changed the rocket. An explosion is final: nothing changes an exploded rocket.
    fn change(&mut self, event: &Event, time: &str) -> bool {
        let is_change = self.explosion_reason.is_none() && self.try_event(event);
        if is_change {
            time.clone_into(&mut self.last_updated);
        }
        is_change
    }

    /// Whether the event made sense, and so happened. Speeds are added in 128 bits: what 63 bits cannot hold is refused.
    fn try_event(&mut self, event: &Event) -> bool {
        match event {
            Event::SpeedIncreased { by } => return self.try_speed(i128::from(self.speed) + i128::from(*by)),
            Event::SpeedDecreased { by } => return self.try_speed((i128::from(self.speed) - i128::from(*by)).max(0)),
            Event::MissionChanged { mission } => self.mission.clone_from(mission),
            Event::Exploded { reason } => {
                self.explosion_reason = Some(reason.clone());
                self.speed = 0;
            }
            Event::Launched { .. } => return false,
        }
        true
    }

    fn try_speed(&mut self, speed: i128) -> bool {
        match i64::try_from(speed) {
            Ok(speed) => {
                self.speed = speed;
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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

    fn check_gaps(length: u64, lost: &[u64], expected: &[(u64, u64)]) {
        let oracle = channel(length, lost);
        let gaps: Vec<_> = oracle.gaps().flat_map(|(_, gaps)| gaps).map(|gap| (gap.first, gap.last)).collect();
        assert_eq!((gaps.as_slice(), oracle.lost()), (expected, lost.len() as u64), "{lost:?} of {length}");
    }

    #[test]
    fn gaps_are_what_was_lost_below_something_that_was_sent() {
        check_gaps(9, &[], &[]);
        check_gaps(9, &[4], &[(4, 4)]);
        check_gaps(9, &[1, 2, 4, 6, 7], &[(1, 2), (4, 4), (6, 7)]);
        check_gaps(9, &[5, 8, 9], &[(5, 5)]);
        check_gaps(9, &[1, 2, 3, 4, 5, 6, 7, 8], &[(1, 8)]);
        check_gaps(2, &[1, 2], &[]);
    }

    #[test]
    fn what_was_lost_at_the_end_is_not_expected() {
        let (_, expected) = channel(9, &[2, 3, 8, 9]).channels().next().unwrap();
        assert_eq!(expected.last_number, 7);
        assert_eq!(channel(2, &[1, 2]).channels().count(), 0);
    }

    fn exploded(reason: &str) -> Event {
        Event::Exploded { reason: reason.into() }
    }

    /// Message n of the row has the time `tn`.
    fn fold(events: &[Event]) -> Expected {
        let mut expected = Expected::default();
        for (number, event) in (1..).zip(events) {
            let time = format!("t{number}");
            let channel = Uuid::nil();
            expected.observe(&Message { channel, upper_case: false, number, time, event: event.clone() });
        }
        expected
    }

    fn check(name: &str, events: &[Event], expected: Value) {
        let folded = fold(events);
        let fields = folded.fields(Uuid::nil());
        let shown: serde_json::Map<String, Value> = fields
            .into_iter()
            .filter(|(field, _)| !["id", "type", "lastMessageTime", "pendingMessages"].contains(field))
            .filter_map(|(field, value)| value.map(|value| (field.to_owned(), value)))
            .collect();
        assert_eq!(Value::Object(shown), expected, "{name}");
        assert_eq!(folded.last_time, format!("t{}", events.len()), "{name}");
    }

    fn active(speed: i64, mission: &str, launch: &str, updated: &str, last: u64) -> Value {
        json!({
            "currentSpeed": speed, "mission": mission, "status": "active",
            "launchTime": launch, "lastUpdated": updated, "lastMessageNumber": last,
        })
    }

    #[test]
    fn what_makes_sense_is_applied() {
        let (up, down) = (Event::SpeedIncreased { by: 70 }, Event::SpeedDecreased { by: 30 });
        let renamed = Event::MissionChanged { mission: "N".into() };
        check("a launch", &[launched(500)], active(500, "M", "t1", "t1", 1));
        check("speeds", &[launched(500), up, down.clone()], active(540, "M", "t1", "t3", 3));
        check("a mission", &[launched(500), renamed], active(500, "N", "t1", "t2", 2));
        check("below zero", &[launched(20), down], active(0, "M", "t1", "t2", 2));
        check("nothing", &[launched(20), Event::SpeedIncreased { by: 0 }], active(20, "M", "t1", "t2", 2));
    }

    #[test]
    fn what_makes_no_sense_only_takes_its_number() {
        let up = |by| Event::SpeedIncreased { by };
        check("a second launch", &[launched(500), launched(7)], active(500, "M", "t1", "t1", 2));
        check("an overflow", &[launched(i64::MAX), up(1)], active(i64::MAX, "M", "t1", "t1", 2));
        check("up to the limit", &[launched(1), up(i64::MAX - 1)], active(i64::MAX, "M", "t1", "t2", 2));
        check("before a launch", &[up(1), exploded("early"), launched(5)], active(5, "M", "t3", "t3", 3));
    }

    #[test]
    fn an_explosion_is_final() {
        let events =
            [launched(500), exploded("first"), Event::SpeedIncreased { by: 9 }, exploded("second"), launched(1)];
        let expected = json!({
            "currentSpeed": 0, "mission": "M", "status": "exploded", "explosionReason": "first",
            "launchTime": "t1", "lastUpdated": "t2", "lastMessageNumber": 5,
        });
        check("an explosion", &events, expected);
    }

    /// Folds only messages with these numbers, as if the others had been skipped.
    fn fold_with_gaps(events: &[(u64, Event)]) -> (Expected, Vec<bool>) {
        let mut expected = Expected::default();
        let message = |number, event| Message {
            channel: Uuid::nil(),
            upper_case: false,
            number,
            time: format!("t{number}"),
            event,
        };
        let made_sense = events.iter().map(|(number, event)| expected.observe(&message(*number, event.clone())));
        let made_sense = made_sense.collect();
        (expected, made_sense)
    }

    #[test]
    fn a_skipped_number_is_passed_without_effect() {
        let up = |by| Event::SpeedIncreased { by };
        let (expected, made_sense) = fold_with_gaps(&[(1, launched(5)), (4, up(1)), (5, up(1)), (9, launched(2))]);
        assert_eq!(made_sense, [true, true, true, false]);
        assert_eq!((expected.last_number, expected.last_time.as_str()), (9, "t9"));
        let rocket = expected.rocket.unwrap();
        assert_eq!((rocket.speed, rocket.last_updated.as_str()), (7, "t5"));
    }

    #[test]
    fn without_number_1_all_is_refused_until_a_launch_comes() {
        let up = |by| Event::SpeedIncreased { by };
        let (expected, made_sense) = fold_with_gaps(&[(2, up(1)), (3, exploded("early"))]);
        assert_eq!((made_sense, expected.is_launched(), expected.last_number), (vec![false, false], false, 3));
        let (expected, made_sense) = fold_with_gaps(&[(2, up(1)), (4, launched(7)), (5, up(1))]);
        assert_eq!((made_sense, expected.rocket.unwrap().speed), (vec![false, true, true], 8));
    }

    #[test]
    fn without_a_launch_there_is_no_rocket() {
        let expected = fold(&[exploded("early")]);
        assert!(!expected.is_launched() && expected.fields(Uuid::nil()).is_empty());
    }
}
