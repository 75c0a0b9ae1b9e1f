//! A rocket as clients see it: the JSON of `GET /rockets`, written straight from an entry of the view.
//!
//! The JSON that rockets send ([`crate::domain::wire`]) and the stored one ([`crate::domain::record`]) are other types
//! on purpose: each is a promise to somebody else, and they change for different reasons.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantArray, VariantNames};
use utoipa::ToSchema;

use super::view::Entry;
use crate::domain::{Channel, Status};

/// A rocket as its messages have made it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Rocket)]
pub struct PublicRocket<'a> {
    /// Its channel.
    #[schema(value_type = Uuid)]
    id: Channel,
    /// What it is.
    #[schema(examples("Falcon-9"))]
    r#type: &'a str,
    /// Its speed now, in the unit in which it sends it.
    #[schema(minimum = 0)]
    current_speed: i64,
    /// What it flies for.
    #[schema(examples("ARTEMIS"))]
    mission: &'a str,
    status: PublicStatus,
    /// Why it exploded; there only if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    explosion_reason: Option<&'a str>,
    /// The message time of its launch, as it was sent.
    #[schema(format = DateTime)]
    launch_time: &'a str,
    /// The message time of the last message that changed it, as it was sent.
    #[schema(format = DateTime)]
    last_updated: &'a str,
    /// The last number that was applied, refused ones included.
    #[schema(minimum = 1)]
    last_message_number: u64,
    /// The message time of that number, as it was sent.
    #[schema(format = DateTime)]
    last_message_time: &'a str,
    /// How many later numbers wait behind a gap.
    pending_messages: u64,
}

/// A rocket's status without its reason. Orders as the names do.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    VariantArray,
    VariantNames,
    ToSchema,
)]
#[schema(as = RocketStatus)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PublicStatus {
    /// It flies.
    Active,
    /// It is gone.
    Exploded,
}

impl From<&Status> for PublicStatus {
    fn from(status: &Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Exploded { .. } => Self::Exploded,
        }
    }
}

impl Entry {
    /// Its public JSON, written once for all who follow.
    pub fn public_json(&self) -> &str {
        // Strings and numbers: this cannot fail.
        self.json.get_or(|| serde_json::to_string(&PublicRocket::from(self)).unwrap_or_default())
    }
}

impl<'a> From<&'a Entry> for PublicRocket<'a> {
    fn from(entry: &'a Entry) -> Self {
        let rocket = &entry.rocket;
        let explosion_reason = match &rocket.status {
            Status::Active => None,
            Status::Exploded { reason } => Some(reason.as_str()),
        };
        Self {
            id: entry.channel,
            r#type: &rocket.rocket_type,
            current_speed: rocket.speed,
            mission: &rocket.mission,
            status: PublicStatus::from(&rocket.status),
            explosion_reason,
            launch_time: rocket.launch_time.as_str(),
            last_updated: rocket.last_updated.as_str(),
            last_message_number: entry.last.number.get(),
            last_message_time: entry.last.time.as_str(),
            pending_messages: entry.pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Sample, channel};
    use super::super::view::View;
    use super::*;
    use crate::domain::{MessageNumber, Sequence};

    fn json(entry: &Entry) -> String {
        serde_json::to_string(&PublicRocket::from(entry)).unwrap()
    }

    #[test]
    fn an_active_rocket_has_no_reason() {
        let view = View::default();
        let mut record = Sample { times: [0, 1, 2], ..Sample::new(1) }.record();
        for number in [5, 6, 9] {
            record.pending.insert(MessageNumber::new(number).unwrap(), Sequence(number));
        }
        view.apply(Some(channel(1)), Some(record), 1);
        let expected = r#"{"id":"193270a9-c9cf-404a-8f83-000000000001","type":"Falcon-9","currentSpeed":500,"mission":"ARTEMIS","status":"active","launchTime":"2022-02-02T19:39:05.5+01:00","lastUpdated":"2022-02-02T18:39:05.500Z","lastMessageNumber":1,"lastMessageTime":"2022-02-02T18:39:06Z","pendingMessages":3}"#;
        let entry = view.get(&channel(1)).unwrap();
        assert_eq!((json(&entry), entry.public_json(), entry.public_json()), (expected.into(), expected, expected));
    }

    #[test]
    fn an_exploded_rocket_says_why() {
        let entry = Sample { speed: 0, exploded: true, ..Sample::new(1) }.entry();
        let json = json(&entry);
        assert!(json.contains(r#""status":"exploded","explosionReason":"FUEL","launchTime""#), "{json}");
    }

    #[test]
    fn a_status_orders_as_its_name() {
        assert!(
            <PublicStatus as VariantArray>::VARIANTS.is_sorted()
                && <PublicStatus as VariantNames>::VARIANTS.is_sorted()
        );
    }
}
