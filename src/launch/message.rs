//! One generated message, and its form on the wire.
//!
//! This is the sender's own idea of a message, on purpose not the service's: were it shared, a mistake in it would
//! cancel itself out. It does not know what a message does to a rocket (that is the oracle's business).

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

/// A message as it was drawn, before it becomes JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// The rocket's radio channel, and so its id.
    pub(super) channel: Uuid,
    /// Whether the body says the channel in upper case, which is the same channel.
    pub(super) upper_case: bool,
    /// The place in its channel, from 1.
    pub(super) number: u64,
    /// The message time, in RFC 3339, exactly as it is sent.
    pub(super) time: String,
    /// What happened.
    pub(super) event: Event,
}

/// What a message says has happened to its rocket.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// `RocketLaunched`
    Launched { rocket_type: String, speed: i64, mission: String },
    /// `RocketSpeedIncreased`
    SpeedIncreased { by: i64 },
    /// `RocketSpeedDecreased`
    SpeedDecreased { by: i64 },
    /// `RocketMissionChanged`
    MissionChanged { mission: String },
    /// `RocketExploded`
    Exploded { reason: String },
}

impl Message {
    /// The body of the request that carries this message.
    pub(super) fn to_body(&self) -> Bytes {
        let (message_type, payload) = self.event.to_wire();
        let channel = self.channel.to_string();
        let body = json!({
            "metadata": {
                "channel": if self.upper_case { channel.to_uppercase() } else { channel },
                "messageNumber": self.number,
                "messageTime": self.time,
                "messageType": message_type,
            },
            "message": payload,
        });
        Bytes::from(body.to_string())
    }
}

impl Event {
    fn to_wire(&self) -> (&'static str, Value) {
        match self {
            Event::Launched { rocket_type, speed, mission } => {
                ("RocketLaunched", json!({ "type": rocket_type, "launchSpeed": speed, "mission": mission }))
            }
            Event::SpeedIncreased { by } => ("RocketSpeedIncreased", json!({ "by": by })),
            Event::SpeedDecreased { by } => ("RocketSpeedDecreased", json!({ "by": by })),
            Event::MissionChanged { mission } => ("RocketMissionChanged", json!({ "newMission": mission })),
            Event::Exploded { reason } => ("RocketExploded", json!({ "reason": reason })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: Event, expected_type: &str, expected_payload: Value) {
        let channel = Uuid::from_u128(0xabc);
        let message = Message { channel, upper_case: true, number: 7, time: "2022-02-02T19:39:05Z".into(), event };
        let body: Value = serde_json::from_slice(&message.to_body()).unwrap();
        let metadata = json!({
            "channel": "00000000-0000-0000-0000-000000000ABC",
            "messageNumber": 7,
            "messageTime": "2022-02-02T19:39:05Z",
            "messageType": expected_type,
        });
        assert_eq!(body, json!({ "metadata": metadata, "message": expected_payload }));
    }

    #[test]
    fn every_kind_has_the_contracts_form() {
        let launched = Event::Launched { rocket_type: "Falcon-9".into(), speed: 500, mission: "ARTEMIS".into() };
        let payload = json!({ "type": "Falcon-9", "launchSpeed": 500, "mission": "ARTEMIS" });
        check(launched, "RocketLaunched", payload);
        check(Event::SpeedIncreased { by: 3 }, "RocketSpeedIncreased", json!({ "by": 3 }));
        check(Event::SpeedDecreased { by: i64::MAX }, "RocketSpeedDecreased", json!({ "by": i64::MAX }));
        check(Event::MissionChanged { mission: "M".into() }, "RocketMissionChanged", json!({ "newMission": "M" }));
        check(Event::Exploded { reason: "R".into() }, "RocketExploded", json!({ "reason": "R" }));
    }
}
