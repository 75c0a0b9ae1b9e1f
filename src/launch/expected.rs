//! What one rocket must finally be: the fold of its messages, in order.
//!
//! Written from the contract alone and sharing nothing with the service: a mistake would have to be made twice, in two
//! ways of thinking, to go unnoticed. Which message stands at which number is for the oracle to say.

use serde_json::{Value, json};
use uuid::Uuid;

use super::message::{Event, Message};

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
    use super::*;

    fn launched(speed: i64) -> Event {
        Event::Launched { rocket_type: "T".into(), speed, mission: "M".into() }
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
