//! What is not as it should be in a record, in words: field by field, named as in its stored form.

use serde_json::{Map, Value};

use crate::domain::{PendingRanges, Record};

/// Fields that depend on the order of arrival, once more waits than a record can list.
const PENDING_FIELDS: [&str; 2] = ["parked", "parkedBeyond"];

/// Whether two records say the same. Where one of them could not list all that waits, that is not compared.
pub fn agree(is: &Record, should_be: &Record) -> bool {
    if !is_partial(is, should_be) {
        return is == should_be;
    }
    let without = |record: &Record| Record { pending: PendingRanges::default(), ..record.clone() };
    without(is) == without(should_be)
}

/// `field: is X, should be Y` for each field that differs; if none of those that are compared does, for what is pending.
pub fn differences(is: &Record, should_be: &Record) -> Vec<String> {
    let [mut left, mut right] = [is, should_be].map(fields);
    let pending = PENDING_FIELDS.map(|name| said(name, left.get(name), right.get(name)));
    if is_partial(is, should_be) {
        for fields in [&mut left, &mut right] {
            fields.retain(|name, _| !PENDING_FIELDS.contains(&name.as_str()));
        }
    }
    let mut names: Vec<_> = left.keys().chain(right.keys()).cloned().collect();
    names.sort_unstable();
    names.dedup();
    let differs = |name: &String| left.get(name) != right.get(name);
    let said: Vec<_> =
        names.iter().filter(|name| differs(name)).map(|name| said(name, left.get(name), right.get(name))).collect();
    if said.is_empty() { pending[..1].to_vec() } else { said }
}

/// A record in one line, as it is stored.
pub fn in_words(record: &Record) -> String {
    String::from_utf8_lossy(&record.to_bytes()).into_owned()
}

fn is_partial(is: &Record, should_be: &Record) -> bool {
    is.pending.overflow().or(should_be.pending.overflow()).is_some()
}

/// The fields of the stored form; those of the rocket beside the others.
fn fields(record: &Record) -> Map<String, Value> {
    let stored = serde_json::from_slice(&record.to_bytes()).unwrap_or_default();
    let Value::Object(mut fields) = stored else { return Map::new() };
    if let Some(Value::Object(rocket)) = fields.get("rocket").cloned() {
        fields.remove("rocket");
        fields.extend(rocket.into_iter().map(|(name, value)| (format!("rocket.{name}"), value)));
    }
    fields
}

fn said(name: &str, is: Option<&Value>, should_be: Option<&Value>) -> String {
    let text = |value: Option<&Value>| value.map_or_else(|| "missing".to_owned(), Value::to_string);
    format!("{name}: is {}, should be {}", text(is), text(should_be))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Channel, Kind, Message, MessageNumber, MessageTime, Sequence};

    fn record(speed: i64) -> Record {
        let mut record = Record::default();
        let message = Message {
            channel: Channel::parse("193270a9-c9cf-404a-8f83-838e71d9ae67").unwrap(),
            number: MessageNumber::FIRST,
            time: MessageTime::parse("2022-02-02T19:39:05Z").unwrap(),
            kind: Kind::Launched { rocket_type: "T".into(), speed, mission: "M".into() },
        };
        record.place(&message).unwrap();
        record
    }

    #[test]
    fn each_field_is_named_as_it_is_stored() {
        let (is, mut should_be) = (record(500), record(501));
        should_be.last_override = Some(Sequence(7));
        let said = differences(&is, &should_be);
        assert_eq!(said, ["lastAct: is missing, should be 7", "rocket.speed: is 500, should be 501"]);
        assert!(agree(&is, &is) && !agree(&is, &should_be));
        assert!(differences(&Record::default(), &is).contains(&"lastMessageNumber: is 0, should be 1".to_owned()));
    }

    #[test]
    fn what_cannot_be_listed_as_a_whole_is_not_compared() {
        let (mut is, mut should_be) = (record(500), record(500));
        is.pending.insert(MessageNumber::new(3).unwrap(), Sequence(9));
        assert!(!agree(&is, &should_be));
        should_be.pending = PendingRanges::unknown_from(Sequence(1));
        assert!(agree(&is, &should_be));
        assert_eq!(differences(&is, &should_be), ["parked: is [[3,3,9]], should be []"]);
    }
}
