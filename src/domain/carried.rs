//! Fields of a stored record that this version does not know. A newer one wrote them; they are carried along, so that two
//! versions can write the same records while one takes the place of the other.

use serde_json::{Map, Value};

/// Longest text of such fields that is carried along, in bytes. A record with more takes a newer program.
pub const TEXT_MAX: usize = 1024;
/// The field with an object of its own.
const ROCKET: &str = "rocket";

/// Fields that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    of_record: Map<String, Value>,
    of_rocket: Map<String, Value>,
}

impl Carried {
    /// Takes out of a record's JSON what is none of these fields; nothing where it is no object.
    pub(super) fn take_out(record: &mut Value, known: &[&str], known_of_rocket: &[&str]) -> Option<Self> {
        let record = record.as_object_mut()?;
        let of_rocket = record.get_mut(ROCKET).and_then(Value::as_object_mut);
        let of_rocket = of_rocket.map_or_else(Map::new, |rocket| unknown(rocket, known_of_rocket));
        Some(Self { of_record: unknown(record, known), of_rocket })
    }

    /// Puts them back into a record's stored form. What belongs to a rocket goes with the rocket.
    pub fn put_into(&self, record: &[u8]) -> Vec<u8> {
        let mut record: Value = serde_json::from_slice(record).unwrap_or_default();
        if let Some(fields) = record.as_object_mut() {
            fields.extend(self.of_record.clone());
        }
        if let Some(fields) = record.get_mut(ROCKET).and_then(Value::as_object_mut) {
            fields.extend(self.of_rocket.clone());
        }
        serde_json::to_vec(&record).unwrap_or_default()
    }

    /// The length of their text, in bytes.
    pub(super) fn len(&self) -> usize {
        let text = |fields: &Map<String, Value>| serde_json::to_vec(fields).unwrap_or_default().len();
        text(&self.of_record) + text(&self.of_rocket)
    }
}

fn unknown(object: &mut Map<String, Value>, known: &[&str]) -> Map<String, Value> {
    let (known, unknown) = std::mem::take(object).into_iter().partition(|(name, _)| known.contains(&name.as_str()));
    *object = known;
    unknown
}
