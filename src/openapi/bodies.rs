//! The bodies that are sent to the service. They are described here and not derived: [`crate::domain::wire`] reads them field
//! by field, strictly, into types that have other shapes.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::schema::{OneOfBuilder, Schema};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::schemas::{number, one_of, time, uuid, words};

/// A message, as rockets send it.
pub struct MessageBody;

/// What an operator says of numbers that will not come.
pub struct SkipBody;

/// What a message of one type has.
type Payload = &'static [(&'static str, fn() -> ObjectBuilder, &'static str)];

/// What each type does, and what its messages have.
const TYPES: [(&str, &str, Payload); 5] = [
    (
        "RocketLaunched",
        "Creates the rocket.",
        &[
            ("type", words, "What the rocket is."),
            ("launchSpeed", || number(1), "Its speed at first."),
            ("mission", words, "What it flies for."),
        ],
    ),
    ("RocketSpeedIncreased", "Adds to the speed.", &[("by", || number(0), "How much.")]),
    ("RocketSpeedDecreased", "Takes from the speed, which ends at 0.", &[("by", || number(0), "How much.")]),
    ("RocketMissionChanged", "Replaces the mission.", &[("newMission", words, "What it flies for now.")]),
    ("RocketExploded", "Ends the rocket: its speed is 0 for good.", &[("reason", words, "Why.")]),
];

/// An example of a message.
pub fn message() -> Value {
    json!({
        "metadata": {
            "channel": "193270a9-c9cf-404a-8f83-838e71d9ae67",
            "messageNumber": 1,
            "messageTime": "2022-02-02T19:39:05.86337+01:00",
            "messageType": "RocketLaunched",
        },
        "message": { "type": "Falcon-9", "launchSpeed": 500, "mission": "ARTEMIS" },
    })
}

/// An example of a skip.
pub fn skip() -> Value {
    json!({ "up_to": 7, "reason": "radio lost" })
}

impl PartialSchema for MessageBody {
    fn schema() -> RefOr<Schema> {
        TYPES.iter().fold(OneOfBuilder::new(), |any, (name, ..)| any.item(Ref::from_schema_name(*name))).into()
    }
}

impl ToSchema for MessageBody {
    fn name() -> Cow<'static, str> {
        "Message".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas
            .extend(TYPES.iter().map(|(name, effect, payload)| ((*name).to_owned(), of_type(name, effect, payload))));
    }
}

impl PartialSchema for SkipBody {
    fn schema() -> RefOr<Schema> {
        let up_to = number(1).description(Some("The last number that is skipped, unless it has arrived."));
        let reason = words().description(Some("Why; it shows in the rocket's history."));
        required([("up_to", up_to), ("reason", reason)]).into()
    }
}

impl ToSchema for SkipBody {
    fn name() -> Cow<'static, str> {
        "Skip".into()
    }
}

fn of_type(name: &str, effect: &str, payload: Payload) -> RefOr<Schema> {
    let metadata = required([
        ("channel", uuid().description(Some("The rocket's id."))),
        ("messageNumber", number(1).description(Some("The message's place in the order of its channel."))),
        ("messageTime", time().description(Some("When it was sent; what is said of it is this very text."))),
        ("messageType", one_of(&[name])),
    ]);
    let message = required(payload.iter().map(|(name, schema, about)| (*name, schema().description(Some(*about)))));
    required([("metadata", metadata), ("message", message)]).description(Some(effect)).into()
}

/// An object that has these fields, and may have more.
fn required(fields: impl IntoIterator<Item = (&'static str, ObjectBuilder)>) -> ObjectBuilder {
    let with = |object: ObjectBuilder, (name, schema)| object.property(name, schema).required(name);
    fields.into_iter().fold(ObjectBuilder::new(), with)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::wire;

    #[test]
    fn the_examples_are_taken() {
        assert!(wire::read(message().to_string().as_bytes()).is_ok());
        assert!(wire::read_skip_request(skip().to_string().as_bytes()).is_ok());
    }

    #[test]
    fn the_types_are_those_that_are_read() {
        for (name, _, payload) in TYPES {
            let mut body = message();
            body["metadata"]["messageType"] = name.into();
            body["message"] = payload.iter().map(|(field, ..)| ((*field).to_owned(), value(field))).collect();
            assert!(wire::read(body.to_string().as_bytes()).is_ok(), "{name}");
            for (field, ..) in payload {
                let mut without = body.clone();
                without["message"].as_object_mut().unwrap().remove(*field);
                let error = wire::read(without.to_string().as_bytes()).unwrap_err().to_string();
                assert_eq!(error, format!("message.{field}: is missing"), "{name}");
            }
        }
    }

    fn value(field: &str) -> Value {
        if ["by", "launchSpeed"].contains(&field) { 1.into() } else { "a".into() }
    }
}
