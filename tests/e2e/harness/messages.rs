//! What rockets send, and what must become of it: written down here a second time, from the contract alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// One rocket that sends messages.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Its channel.
    pub channel: String,
}

impl Flight {
    /// A rocket on a channel that nobody has used.
    pub fn new() -> Self {
        Self { channel: uuid::Uuid::new_v4().to_string() }
    }

    /// A rocket on such a channel, of this partition of 16.
    pub fn of_partition(partition: u32) -> Self {
        let mut flights = std::iter::repeat_with(Self::new);
        flights.find(|flight| flight.partition() == partition).unwrap()
    }

    /// Its partition of 16, as the broker reckons it.
    pub fn partition(&self) -> u32 {
        let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
        self.channel.bytes().fold(2_166_136_261, hash) % 16
    }

    /// A message of any type.
    pub fn message(&self, number: u64, message_type: &str, message: Value) -> Value {
        json!({
            "metadata": {
                "channel": self.channel,
                "messageNumber": number,
                "messageTime": message_time(number),
                "messageType": message_type,
            },
            "message": message,
        })
    }

    /// `RocketLaunched`, as it mostly is.
    pub fn launched(&self, number: u64) -> Value {
        let message = json!({ "type": "Falcon-9", "launchSpeed": 500, "mission": "ARTEMIS" });
        self.message(number, "RocketLaunched", message)
    }

    /// `RocketSpeedIncreased`.
    pub fn faster(&self, number: u64, by: i64) -> Value {
        self.message(number, "RocketSpeedIncreased", json!({ "by": by }))
    }

    /// `RocketSpeedDecreased`.
    pub fn slower(&self, number: u64, by: i64) -> Value {
        self.message(number, "RocketSpeedDecreased", json!({ "by": by }))
    }

    /// `RocketMissionChanged`.
    pub fn mission(&self, number: u64, mission: &str) -> Value {
        self.message(number, "RocketMissionChanged", json!({ "newMission": mission }))
    }

    /// `RocketExploded`.
    pub fn exploded(&self, number: u64, reason: &str) -> Value {
        self.message(number, "RocketExploded", json!({ "reason": reason }))
    }

    /// A skip, as it lies in the stream.
    pub fn skipped(&self, up_to: u64, reason: &str) -> Value {
        self.message(up_to, "MessagesSkipped", json!({ "reason": reason }))
    }

    /// A launch and speed changes, `1..=count`.
    pub fn climb(&self, count: u64) -> Vec<Value> {
        let rest = (2..=count).map(|number| match number % 5 {
            0 => self.mission(number, &format!("MISSION-{number}")),
            1 => self.slower(number, 3),
            _ => self.faster(number, i64::try_from(number % 7).unwrap()),
        });
        std::iter::once(self.launched(1)).chain(rest).collect()
    }
}

/// The subject on which a message is published by those who know NATS.
pub fn subject(message: &Value) -> String {
    format!("rockets.{}", message["metadata"]["channel"].as_str().unwrap())
}

/// The message's number.
pub fn number_of(message: &Value) -> u64 {
    message["metadata"]["messageNumber"].as_u64().unwrap()
}

/// The message time of a number, different for each.
pub fn message_time(number: u64) -> String {
    let (day, second) = (1 + number / 86_400, number % 86_400);
    format!("2022-02-{day:02}T{:02}:{:02}:{:02}.5+01:00", second / 3_600, second / 60 % 60, second % 60)
}

/// What `GET /rockets/{channel}` must say once these messages of one channel have arrived, in whatever order and however
/// often; none where nothing is launched.
pub fn expected(messages: &[Value]) -> Option<Value> {
    let by_number: BTreeMap<u64, &Value> = messages.iter().rev().map(|message| (number_of(message), message)).collect();
    let mut rocket: Option<Value> = None;
    let mut last = (0, &Value::Null);
    for number in 1.. {
        let Some(message) = by_number.get(&number) else { break };
        last = (number, &message["metadata"]["messageTime"]);
        apply(&mut rocket, message);
    }
    let mut rocket = rocket?;
    rocket["lastMessageNumber"] = last.0.into();
    rocket["lastMessageTime"] = last.1.clone();
    rocket["pendingMessages"] = by_number.range(last.0 + 1..).count().into();
    Some(rocket)
}

/// One message in its turn; one that makes no sense changes nothing. Tells whether it makes sense.
pub fn apply(rocket: &mut Option<Value>, message: &Value) -> bool {
    let (metadata, payload) = (&message["metadata"], &message["message"]);
    let (kind, time) = (metadata["messageType"].as_str().unwrap(), metadata["messageTime"].clone());
    let Some(rocket) = rocket else {
        if kind == "RocketLaunched" {
            *rocket = Some(json!({
                "id": metadata["channel"].as_str().unwrap().to_lowercase(),
                "type": payload["type"],
                "currentSpeed": payload["launchSpeed"],
                "mission": payload["mission"],
                "status": "active",
                "launchTime": time,
                "lastUpdated": time,
            }));
        }
        return kind == "RocketLaunched";
    };
    let speed = rocket["currentSpeed"].as_i64().unwrap();
    let by = payload["by"].as_i64().unwrap_or_default();
    match kind {
        _ if kind == "RocketLaunched" || rocket["status"] == "exploded" => return false,
        "RocketSpeedIncreased" => match speed.checked_add(by) {
            Some(speed) => rocket["currentSpeed"] = speed.into(),
            None => return false,
        },
        "RocketSpeedDecreased" => rocket["currentSpeed"] = (speed - by).max(0).into(),
        "RocketMissionChanged" => rocket["mission"] = payload["newMission"].clone(),
        "RocketExploded" => {
            rocket["status"] = "exploded".into();
            rocket["explosionReason"] = payload["reason"].clone();
            rocket["currentSpeed"] = 0.into();
        }
        _ => panic!("{kind}"),
    }
    rocket["lastUpdated"] = time;
    true
}

/// The same messages far out of order, always in the same way.
pub fn scattered(messages: &[Value]) -> Vec<Value> {
    let count = messages.len();
    let stride = [7_919, 104_729].into_iter().find(|stride| !count.is_multiple_of(*stride)).unwrap();
    (0..count).map(|place| messages[place * stride % count].clone()).collect()
}
