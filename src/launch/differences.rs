//! The comparison of one rocket, field by field: what it is with what it must be.

use std::fmt::{self, Display, Formatter};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::expected::Expected;
use super::text::printable;

/// What was found on the service for a channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// Nothing could be read yet, for this reason.
    Unreadable(String),
    /// There is no such rocket.
    Unknown,
    /// The rocket as the service shows it.
    Rocket(Map<String, Value>),
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    channel: Uuid,
    text: String,
}

impl Display for Difference {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.channel, printable(&self.text))
    }
}

impl Difference {
    /// Something that is not as it must be on this channel.
    pub(super) fn new(channel: Uuid, text: String) -> Difference {
        Difference { channel, text }
    }
}

impl Seen {
    /// Whether the service has applied everything, so that what was seen is final.
    pub(super) fn is_final(&self, expected: &Expected) -> bool {
        match self {
            Seen::Unreadable(_) => false,
            Seen::Unknown => !expected.is_launched(),
            Seen::Rocket(fields) => {
                self.last_number() >= expected.last_number && fields.get("pendingMessages") == Some(&Value::from(0))
            }
        }
    }

    /// The number up to which the service has applied the channel's messages, as far as it can be seen.
    pub(super) fn last_number(&self) -> u64 {
        match self {
            Seen::Rocket(fields) => fields.get("lastMessageNumber").and_then(Value::as_u64).unwrap_or(0),
            Seen::Unreadable(_) | Seen::Unknown => 0,
        }
    }

    /// Everything in which it differs from what is expected.
    pub(super) fn differences(&self, channel: Uuid, expected: &Expected) -> Vec<Difference> {
        let difference = |text: String| Difference::new(channel, text);
        match self {
            Seen::Unreadable(reason) => vec![difference(format!("cannot be compared: {reason}"))],
            Seen::Unknown if expected.is_launched() => vec![difference("is unknown, should be a rocket".into())],
            Seen::Unknown => Vec::new(),
            Seen::Rocket(_) if !expected.is_launched() => {
                vec![difference("is a rocket, should be unknown (no launch was sent)".into())]
            }
            Seen::Rocket(fields) => {
                let compared = expected.fields(channel).into_iter();
                compared.filter_map(|(name, value)| field_difference(fields, name, value)).map(difference).collect()
            }
        }
    }
}

fn field_difference(fields: &Map<String, Value>, name: &str, expected: Option<Value>) -> Option<String> {
    let actual = fields.get(name);
    if actual == expected.as_ref() {
        return None;
    }
    Some(format!("{name}: is {}, should be {}", shown(actual), shown(expected.as_ref())))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "absent".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use super::super::message::{Event, Message};
    use super::*;
    use serde_json::json;

    fn expected(events: Vec<Event>) -> Expected {
        let mut oracle = super::super::oracle::Oracle::default();
        for (number, event) in (1..).zip(events) {
            let time = "2022-02-02T19:39:05Z".to_owned();
            oracle.observe(&Message { channel: Uuid::nil(), upper_case: false, number, time, event });
        }
        oracle.channels().next().unwrap().1
    }

    fn launched() -> Expected {
        expected(vec![Event::Launched { rocket_type: "T".into(), speed: 500, mission: "M".into() }])
    }

    fn rocket(changes: Value) -> Seen {
        let mut fields = json!({
            "id": Uuid::nil().to_string(), "type": "T", "currentSpeed": 500, "mission": "M", "status": "active",
            "launchTime": "2022-02-02T19:39:05Z", "lastUpdated": "2022-02-02T19:39:05Z",
            "lastMessageNumber": 1, "lastMessageTime": "2022-02-02T19:39:05Z", "pendingMessages": 0,
        });
        for (name, value) in changes.as_object().unwrap() {
            fields[name] = value.clone();
        }
        Seen::Rocket(fields.as_object().unwrap().clone())
    }

    fn check(seen: &Seen, expected: &Expected, texts: &[&str]) {
        let found: Vec<String> =
            seen.differences(Uuid::nil(), expected).into_iter().map(|difference| difference.text).collect();
        assert_eq!(found, texts);
    }

    #[test]
    fn every_difference_is_named() {
        check(&rocket(json!({})), &launched(), &[]);
        check(&rocket(json!({ "more": 1 })), &launched(), &[]);
        check(&rocket(json!({ "currentSpeed": 600 })), &launched(), &["currentSpeed: is 600, should be 500"]);
        check(
            &rocket(json!({ "id": "A", "status": null })),
            &launched(),
            &[
                "id: is \"A\", should be \"00000000-0000-0000-0000-000000000000\"",
                "status: is null, should be \"active\"",
            ],
        );
        let reason = rocket(json!({ "explosionReason": "R" }));
        check(&reason, &launched(), &["explosionReason: is \"R\", should be absent"]);
        check(&Seen::Unknown, &launched(), &["is unknown, should be a rocket"]);
        check(&Seen::Unreadable("answer 503".into()), &launched(), &["cannot be compared: answer 503"]);
    }

    #[test]
    fn a_channel_without_a_launch_must_be_unknown() {
        let expected = expected(vec![Event::SpeedIncreased { by: 1 }]);
        check(&Seen::Unknown, &expected, &[]);
        check(&rocket(json!({})), &expected, &["is a rocket, should be unknown (no launch was sent)"]);
        assert!(Seen::Unknown.is_final(&expected));
    }

    #[test]
    fn a_rocket_is_final_once_everything_is_applied() {
        assert!(rocket(json!({})).is_final(&launched()));
        assert!(!rocket(json!({ "lastMessageNumber": 0 })).is_final(&launched()));
        assert!(!rocket(json!({ "pendingMessages": 2 })).is_final(&launched()));
        assert!(!Seen::Unknown.is_final(&launched()));
        assert!(!Seen::Unreadable(String::new()).is_final(&launched()));
    }

    #[test]
    fn a_hostile_value_cannot_reach_the_terminal() {
        let seen = rocket(json!({ "mission": "\u{9b}31m\u{1b}" }));
        let shown = seen.differences(Uuid::nil(), &launched())[0].to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}
