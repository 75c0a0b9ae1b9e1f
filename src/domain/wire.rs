//! The JSON that rockets send, read into a [`Message`] or refused with the name of the field that is wrong.
//!
//! The bytes themselves are stored as they came; this only looks at them. The stored JSON ([`super::record`]) and the
//! public JSON (`query`) are other types: each is a promise to somebody else.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed as _, Deserializer, MapAccess, Visitor};

use super::strict_json::{Checked, Object, ObjectSeed, Slot};
use super::{Channel, Kind, Message, MessageNumber, MessageTime, Skip};

/// Longest string of a payload, in characters (code points).
pub const STRING_CHARS_MAX: usize = 255;

const METADATA: [&str; 4] = ["channel", "messageNumber", "messageTime", "messageType"];
const PAYLOAD: [&str; 6] = ["type", "launchSpeed", "mission", "by", "newMission", "reason"];

type Payload<'a> = [Slot<'a>; PAYLOAD.len()];

/// Why bytes are no message, in words for whoever sent them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAMessage {
    /// One field is wrong; `field` is its path.
    #[error("{field}: {problem}")]
    Field {
        /// Path of the field, such as `metadata.channel`; `body` is the whole.
        field: &'static str,
        /// What is wrong, and what it should be.
        problem: String,
    },
    /// `metadata.messageType` is none that we know.
    #[error("failed to process message: unknown message type")]
    UnknownType,
}

impl NotAMessage {
    /// The paths that [`Self::path`] may give.
    pub const PATHS: [&str; 14] = [
        "body",
        "metadata",
        "metadata.channel",
        "metadata.messageNumber",
        "metadata.messageTime",
        "metadata.messageType",
        "message",
        "message.type",
        "message.launchSpeed",
        "message.mission",
        "message.by",
        "message.newMission",
        "message.reason",
        "other",
    ];

    /// The path of the field that is wrong.
    pub fn path(&self) -> &'static str {
        match self {
            Self::Field { field, .. } => Self::PATHS.into_iter().find(|path| path == field).unwrap_or("other"),
            Self::UnknownType => "metadata.messageType",
        }
    }

    fn field(field: &'static str, problem: impl fmt::Display) -> Self {
        Self::Field { field, problem: problem.to_string() }
    }
}

/// What a stored body may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// What a rocket sends.
    Message(Message),
    /// What an operator stores; rockets cannot send it.
    Skip(Skip),
}

/// Reads one message as rockets send it. Of several wrong fields the first one in the contract's order is named, whatever
/// their order in the text.
pub fn read(body: &[u8]) -> Result<Message, NotAMessage> {
    let Head { channel, number, time, kind, message } = head(body)?;
    Ok(Message { channel, number, time, kind: kind_of(kind, message)? })
}

/// Reads what may lie in the stream: a message or a skip.
pub fn read_stored(body: &[u8]) -> Result<Body, NotAMessage> {
    let Head { channel, number, time, kind, message } = head(body)?;
    if kind != Slot::Text(Skip::NAME.into()) {
        return Ok(Body::Message(Message { channel, number, time, kind: kind_of(kind, message)? }));
    }
    let [.., reason] = message.fields("message")?;
    Ok(Body::Skip(Skip { channel, up_to: number, time, reason: reason.words("message.reason")? }))
}

/// A skip in the form in which [`read_stored`] reads it.
pub fn write_skip(skip: &Skip) -> Vec<u8> {
    let Skip { channel, up_to, time, reason } = skip;
    let body = serde_json::json!({
        "metadata": {
            "channel": channel.to_string(),
            "messageNumber": up_to.get(),
            "messageTime": time.as_str(),
            "messageType": Skip::NAME,
        },
        "message": { "reason": reason },
    });
    body.to_string().into_bytes()
}

/// What an operator says over HTTP when numbers are to be skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkipRequest {
    /// The highest number that is skipped, unless it has arrived.
    pub up_to: MessageNumber,
    /// Why.
    pub reason: String,
}

/// Reads `{"up_to": 7, "reason": "radio lost"}`, as strictly as a message.
pub fn read_skip_request(body: &[u8]) -> Result<SkipRequest, NotAMessage> {
    let json = |error: serde_json::Error| NotAMessage::field("body", not_json(body, &error));
    let mut text = serde_json::Deserializer::from_slice(body);
    let fields = ObjectSeed(["up_to", "reason"]).deserialize(&mut text).map_err(json)?;
    text.end().map_err(json)?;
    let [up_to, reason] = fields.fields("body")?;
    Ok(SkipRequest { up_to: number_of("up_to", up_to)?, reason: reason.words("reason")? })
}

/// What the number and the type of a message are, where its bytes have them, however wrong the rest of it is.
pub fn peek(body: &[u8]) -> (Option<MessageNumber>, Option<String>) {
    let Ok(Parts { metadata: Object::Fields([_, number, _, kind]), .. }) = serde_json::from_slice(body) else {
        return (None, None);
    };
    (number_of("", number).ok(), kind.words("").ok())
}

/// The fields that every message has, and what is to be read of the others.
struct Head<'a> {
    channel: Channel,
    number: MessageNumber,
    time: MessageTime,
    kind: Slot<'a>,
    message: Object<'a, { PAYLOAD.len() }>,
}

fn head(body: &[u8]) -> Result<Head<'_>, NotAMessage> {
    let body: Parts<'_> =
        serde_json::from_slice(body).map_err(|error| NotAMessage::field("body", not_json(body, &error)))?;
    let [channel, number, time, kind] = body.metadata.fields("metadata")?;
    let (channel, number, time) = (channel_of(channel)?, number_of("metadata.messageNumber", number)?, time_of(time)?);
    Ok(Head { channel, number, time, kind, message: body.message })
}

fn not_json(body: &[u8], error: &serde_json::Error) -> String {
    match not_utf8(body) {
        Some(problem) => problem.to_owned(),
        None if error.is_data() => NO_OBJECT.to_owned(),
        None => format!("must be JSON: {error}"),
    }
}

/// What a body is that is no text as JSON has it, for one that cannot be read.
fn not_utf8(body: &[u8]) -> Option<&'static str> {
    match body {
        [0xEF, 0xBB, 0xBF, ..] => Some("begins with a byte order mark; must be UTF-8 without one"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, _, ..] | [_, 0, ..] => Some("is UTF-16 or UTF-32; must be UTF-8"),
        _ => std::str::from_utf8(body).is_err().then_some("is not UTF-8"),
    }
}

fn channel_of(slot: Slot<'_>) -> Result<Channel, NotAMessage> {
    const FIELD: &str = "metadata.channel";
    Channel::parse(&slot.text(FIELD, Channel::MUST_BE)?).ok_or_else(|| NotAMessage::field(FIELD, Channel::MUST_BE))
}

fn number_of(field: &'static str, slot: Slot<'_>) -> Result<MessageNumber, NotAMessage> {
    let number = slot.integer(field, 1)?.unsigned_abs();
    MessageNumber::new(number).ok_or_else(|| NotAMessage::field(field, "is out of range"))
}

fn time_of(slot: Slot<'_>) -> Result<MessageTime, NotAMessage> {
    const FIELD: &str = "metadata.messageTime";
    let problem = "must be an RFC 3339 time such as 2022-02-02T19:39:05.86337+01:00";
    MessageTime::parse(&slot.text(FIELD, problem)?).ok_or_else(|| NotAMessage::field(FIELD, problem))
}

fn kind_of(slot: Slot<'_>, message: Object<'_, { PAYLOAD.len() }>) -> Result<Kind, NotAMessage> {
    let name = match slot {
        Slot::Text(name) => name,
        Slot::Twice => return Err(NotAMessage::field("metadata.messageType", TWICE)),
        _ => return Err(NotAMessage::UnknownType),
    };
    let payload: fn(Payload<'_>) -> Result<Kind, NotAMessage> = match &*name {
        "RocketLaunched" => launched,
        "RocketSpeedIncreased" => |payload| Ok(Kind::SpeedIncreased(by(payload)?)),
        "RocketSpeedDecreased" => |payload| Ok(Kind::SpeedDecreased(by(payload)?)),
        "RocketMissionChanged" => |[.., mission, _]| Ok(Kind::MissionChanged(mission.words("message.newMission")?)),
        "RocketExploded" => |[.., reason]| Ok(Kind::Exploded(reason.words("message.reason")?)),
        _ => return Err(NotAMessage::UnknownType),
    };
    payload(message.fields("message")?)
}

fn by([_, _, _, by, ..]: Payload<'_>) -> Result<i64, NotAMessage> {
    by.integer("message.by", 0)
}

fn launched([rocket_type, speed, mission, ..]: Payload<'_>) -> Result<Kind, NotAMessage> {
    Ok(Kind::Launched {
        rocket_type: rocket_type.words("message.type")?,
        speed: speed.integer("message.launchSpeed", 1)?,
        mission: mission.words("message.mission")?,
    })
}

const MISSING: &str = "is missing";
const TWICE: &str = "is given twice";
const NO_OBJECT: &str = "must be a JSON object";

impl<'a> Slot<'a> {
    fn text(self, field: &'static str, problem: &str) -> Result<Cow<'a, str>, NotAMessage> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Missing => Err(NotAMessage::field(field, MISSING)),
            Self::Twice => Err(NotAMessage::field(field, TWICE)),
            Self::Integer(_) | Self::Other => Err(NotAMessage::field(field, problem)),
        }
    }

    /// A string that says something and has an end.
    fn words(self, field: &'static str) -> Result<String, NotAMessage> {
        let has_an_end = |text: &str| text.len() <= STRING_CHARS_MAX || text.chars().nth(STRING_CHARS_MAX).is_none();
        match self {
            Self::Text(text) if !text.is_empty() && has_an_end(&text) => Ok(text.into_owned()),
            Self::Missing => Err(NotAMessage::field(field, MISSING)),
            Self::Twice => Err(NotAMessage::field(field, TWICE)),
            _ => Err(NotAMessage::field(field, format!("must be a string of 1 to {STRING_CHARS_MAX} characters"))),
        }
    }

    /// An integer of at least `min` that fits 63 bits.
    fn integer(self, field: &'static str, min: i64) -> Result<i64, NotAMessage> {
        let in_range = match self {
            Self::Integer(integer) => i64::try_from(integer).ok().filter(|integer| *integer >= min),
            Self::Missing => return Err(NotAMessage::field(field, MISSING)),
            Self::Twice => return Err(NotAMessage::field(field, TWICE)),
            Self::Text(_) | Self::Other => None,
        };
        in_range.ok_or_else(|| NotAMessage::field(field, format!("must be an integer from {min} to {}", i64::MAX)))
    }
}

impl<'a, const N: usize> Object<'a, N> {
    fn fields(self, field: &'static str) -> Result<[Slot<'a>; N], NotAMessage> {
        match self {
            Self::Fields(slots) => Ok(slots),
            Self::Missing => Err(NotAMessage::field(field, MISSING)),
            Self::Twice => Err(NotAMessage::field(field, TWICE)),
            Self::Other => Err(NotAMessage::field(field, NO_OBJECT)),
        }
    }
}

/// The two objects of a body.
struct Parts<'a> {
    metadata: Object<'a, { METADATA.len() }>,
    message: Object<'a, { PAYLOAD.len() }>,
}

impl<'de> serde::Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Parts<'de>, A::Error> {
        let mut body = Parts { metadata: Object::Missing, message: Object::Missing };
        while let Some(Slot::Text(name)) = object.next_key()? {
            match &*name {
                "metadata" => body.metadata.put(METADATA, &mut object)?,
                "message" => body.message.put(PAYLOAD, &mut object)?,
                _ => {
                    object.next_value::<Checked>()?;
                }
            }
        }
        Ok(body)
    }
}

impl<'de, const N: usize> Object<'de, N> {
    fn put<A: MapAccess<'de>>(&mut self, names: [&'static str; N], object: &mut A) -> Result<(), A::Error> {
        let value = object.next_value_seed(ObjectSeed(names))?;
        *self = if *self == Self::Missing { value } else { Self::Twice };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "193270A9-c9cf-404a-8f83-838e71d9ae67";

    fn body(message_type: &str, payload: &str) -> String {
        format!(
            r#"{{"metadata":{{"channel":"{CHANNEL}","messageNumber":7,"messageTime":"2022-02-02T19:39:05+01:00",
               "messageType":"{message_type}"}},"message":{payload}}}"#
        )
    }

    fn error(body: &str) -> String {
        read(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn every_type_is_read() {
        let text = |text: &str| text.to_owned();
        let launched = Kind::Launched { rocket_type: text("Falcon-9"), speed: 500, mission: text("ARTEMIS") };
        let rows = [
            ("RocketLaunched", r#"{"type":"Falcon-9","launchSpeed":500,"mission":"ARTEMIS"}"#, launched),
            ("RocketSpeedIncreased", r#"{"by":3000}"#, Kind::SpeedIncreased(3000)),
            ("RocketSpeedDecreased", r#"{"by":0,"launchSpeed":"extra"}"#, Kind::SpeedDecreased(0)),
            (
                "RocketMissionChanged",
                r#"{"newMission":"SHUTTLE \u00e9","x":[{}]}"#,
                Kind::MissionChanged(text("SHUTTLE é")),
            ),
            ("RocketExploded", r#"{"reason":"PRESSURE"}"#, Kind::Exploded(text("PRESSURE"))),
        ];
        for (name, payload, kind) in rows {
            let message = read(body(name, payload).as_bytes()).unwrap();
            assert_eq!(message.kind, kind);
            assert_eq!(message.kind.name(), name);
            assert_eq!((message.number.get(), message.channel.to_string()), (7, CHANNEL.to_lowercase()));
        }
    }

    #[test]
    fn a_skip_is_read_from_the_stream_and_not_from_rockets() {
        let text = body("MessagesSkipped", r#"{"reason":"radio lost"}"#);
        let Ok(Body::Skip(skip)) = read_stored(text.as_bytes()) else { panic!("{text}") };
        assert_eq!((skip.up_to.get(), skip.reason.as_str()), (7, "radio lost"));
        assert_eq!(read_stored(&write_skip(&skip)), Ok(Body::Skip(skip)));
        assert_eq!(error(&text), "failed to process message: unknown message type");
        let without = read_stored(body("MessagesSkipped", "{}").as_bytes());
        assert_eq!(without.unwrap_err().to_string(), "message.reason: is missing");
        let message = body("RocketExploded", r#"{"reason":"PRESSURE"}"#);
        assert_eq!(read_stored(message.as_bytes()).ok(), read(message.as_bytes()).ok().map(Body::Message));
    }

    #[test]
    fn what_an_operator_asks_to_skip_is_read_as_strictly() {
        let request = read_skip_request(br#" {"up_to": 7, "reason": "radio lost", "extra": [1]} "#).unwrap();
        assert_eq!((request.up_to.get(), request.reason.as_str()), (7, "radio lost"));
        let long = format!(r#"{{"up_to":7,"reason":"{}"}}"#, "é".repeat(STRING_CHARS_MAX + 1));
        let up_to = "up_to: must be an integer from 1 to 9223372036854775807";
        for (body, expected) in [
            (r#"{"up_to":0,"reason":"x"}"#, up_to),
            (r#"{"up_to":1.0,"reason":"x"}"#, up_to),
            (r#"{"up_to":"7"}"#, up_to),
            (r#"{"reason":"x"}"#, "up_to: is missing"),
            (r#"{"up_to":7,"up_to":7,"reason":"x"}"#, "up_to: is given twice"),
            (r#"{"up_to":7}"#, "reason: is missing"),
            (r#"{"up_to":7,"reason":""}"#, "reason: must be a string of 1 to 255 characters"),
            (&long, "reason: must be a string of 1 to 255 characters"),
            ("[7]", "body: must be a JSON object"),
            ("7", "body: must be a JSON object"),
        ] {
            assert_eq!(read_skip_request(body.as_bytes()).unwrap_err().to_string(), expected, "{body}");
        }
        for body in ["", "{", r#"{"up_to":7,"reason":"x"} {}"#, r#"{"up_to":7,"reason":"x","y":1e999}"#] {
            let problem = read_skip_request(body.as_bytes()).unwrap_err().to_string();
            assert!(problem.starts_with("body: must be JSON: "), "{problem}");
        }
    }

    #[test]
    fn a_glance_sees_what_there_is() {
        let seen = |body: &str| {
            let (number, kind) = peek(body.as_bytes());
            (number.map(MessageNumber::get), kind)
        };
        let kind = |name: &str| Some(name.to_owned());
        assert_eq!(seen(&body("RocketTeleported", "7")), (Some(7), kind("RocketTeleported")));
        assert_eq!(seen(r#"{"metadata":{"messageNumber":3,"messageType":3}}"#), (Some(3), None));
        assert_eq!(seen(r#"{"metadata":{"messageNumber":-3,"messageType":"x"}}"#), (None, kind("x")));
        let long = format!(r#"{{"metadata":{{"messageType":"{}"}}}}"#, "x".repeat(STRING_CHARS_MAX + 1));
        for text in ["garbage", "7", "{}", r#"{"metadata":7}"#, &long] {
            assert_eq!(seen(text), (None, None), "{text}");
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let good = body("RocketSpeedIncreased", r#"{"by":1}"#);
        let rows = [
            (CHANNEL, "nope", "metadata.channel: must be a UUID such as 193270a9-c9cf-404a-8f83-838e71d9ae67"),
            (
                r#""messageNumber":7"#,
                r#""messageNumber":0"#,
                "metadata.messageNumber: must be an integer from 1 to 9223372036854775807",
            ),
            (
                r#""messageNumber":7"#,
                r#""messageNumber":9223372036854775808"#,
                "metadata.messageNumber: must be an integer from 1 to 9223372036854775807",
            ),
            (
                r#""messageNumber":7"#,
                r#""messageNumber":1e3"#,
                "metadata.messageNumber: must be an integer from 1 to 9223372036854775807",
            ),
            (
                r#""messageNumber":7"#,
                r#""messageNumber":"7""#,
                "metadata.messageNumber: must be an integer from 1 to 9223372036854775807",
            ),
            (r#""messageNumber":7,"#, "", "metadata.messageNumber: is missing"),
            (
                r#""messageNumber":7"#,
                r#""messageNumber":7,"messageNumber":7"#,
                "metadata.messageNumber: is given twice",
            ),
            (
                "2022-02-02T",
                "2022-02-02 ",
                "metadata.messageTime: must be an RFC 3339 time such as 2022-02-02T19:39:05.86337+01:00",
            ),
            ("RocketSpeedIncreased", "RocketTeleported", "failed to process message: unknown message type"),
            (r#""RocketSpeedIncreased""#, "7", "failed to process message: unknown message type"),
            (r#"{"by":1}"#, r#"{"by":-1}"#, "message.by: must be an integer from 0 to 9223372036854775807"),
            (r#"{"by":1}"#, r#"{"by":-0}"#, "message.by: must be an integer from 0 to 9223372036854775807"),
            (r#"{"by":1}"#, r#"{"by":1,"by":1}"#, "message.by: is given twice"),
            (r#"{"by":1}"#, "{}", "message.by: is missing"),
            (r#"{"by":1}"#, "[1]", "message: must be a JSON object"),
            (r#"{"by":1}"#, r#"{"by":1},"message":{"by":1}"#, "message: is given twice"),
            (r#","message":{"by":1}"#, "", "message: is missing"),
        ];
        for (from, to, expected) in rows {
            assert_eq!(error(&good.replace(from, to)), expected, "{to}");
        }
    }

    #[test]
    fn strings_are_bounded_in_characters() {
        let mission =
            |characters| body("RocketMissionChanged", &format!(r#"{{"newMission":"{}"}}"#, "é".repeat(characters)));
        assert!(read(mission(STRING_CHARS_MAX).as_bytes()).is_ok());
        for characters in [0, STRING_CHARS_MAX + 1] {
            assert_eq!(error(&mission(characters)), "message.newMission: must be a string of 1 to 255 characters");
        }
    }

    #[test]
    fn the_first_wrong_field_in_the_contract_s_order_is_named() {
        let all_wrong = r#"{"message":7,"metadata":{"messageType":1,"messageTime":1,"messageNumber":0,"channel":0}}"#;
        assert!(error(all_wrong).starts_with("metadata.channel: "));
        assert_eq!(error(r#"{"message":{}}"#), "metadata: is missing");
        assert_eq!(error(r#"{"metadata":[]}"#), "metadata: must be a JSON object");
    }

    #[test]
    fn what_other_parsers_could_not_read_is_refused() {
        let with_extra = |extra: &[u8]| {
            let good = body("RocketSpeedIncreased", r#"{"by":1,"extra":EXTRA}"#);
            let at = good.find("EXTRA").unwrap();
            [&good.as_bytes()[..at], extra, &good.as_bytes()[at + 5..]].concat()
        };
        assert!(read(&with_extra(br#"[null,{"a":"b"}]"#)).is_ok());
        let deep = "[".repeat(200) + &"]".repeat(200);
        for extra in [&b"1e999"[..], br#""\ud800""#, b"01", b"\"\n\"", b"nul", deep.as_bytes()] {
            let problem = read(&with_extra(extra)).unwrap_err().to_string();
            assert!(problem.starts_with("body: must be JSON: "), "{problem}");
        }
        assert_eq!(read(&with_extra(b"\"\xff\"")).unwrap_err().to_string(), "body: is not UTF-8");
    }

    #[test]
    fn a_body_is_one_object() {
        for text in ["[]", "7", "null", "\"text\""] {
            assert_eq!(error(text), "body: must be a JSON object", "{text}");
        }
        for text in ["", "{", "{} {}"] {
            assert!(error(text).starts_with("body: must be JSON: "), "{text}");
        }
    }

    #[test]
    fn a_body_that_is_no_utf8_is_told_so() {
        for (bytes, expected) in [
            (&b"\xEF\xBB\xBF{}"[..], "body: begins with a byte order mark; must be UTF-8 without one"),
            (b"\xFF\xFE{\0}\0", "body: is UTF-16 or UTF-32; must be UTF-8"),
            (b"\xFE\xFF\0{\0}", "body: is UTF-16 or UTF-32; must be UTF-8"),
            (b"{\0}\0", "body: is UTF-16 or UTF-32; must be UTF-8"),
            (b"\0{\0}", "body: is UTF-16 or UTF-32; must be UTF-8"),
            (b"{\"\xFC\"}", "body: is not UTF-8"),
        ] {
            assert_eq!(read(bytes).unwrap_err().to_string(), expected, "{bytes:?}");
            assert_eq!(read_skip_request(bytes).unwrap_err().to_string(), expected, "{bytes:?}");
        }
    }
}
