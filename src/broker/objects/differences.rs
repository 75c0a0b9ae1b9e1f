//! In which fields an object at the broker differs from what [`crate::broker::topology`] has, and what of it is an
//! operator's.
//!
//! Nothing here talks to the broker.

use std::collections::HashMap;
use std::fmt;

use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::stream;
use serde_json::{Map, Value};

/// Fields that are an operator's to set, or the server's to note.
const OPERATOR_FIELDS: [&str; 12] = [
    "description",
    BOUND,
    "max_msgs",
    "max_consumers",
    "placement",
    "compression",
    "consumer_limits",
    "first_seq",
    "template_owner",
    "sample_freq",
    "republish",
    "pause_until",
];
/// The field that says how many bytes there may be.
const BOUND: &str = "max_bytes";
/// The field that says how many copies there are.
const REPLICAS: &str = "num_replicas";

/// One field that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    field: String,
    is: Value,
    should_be: Value,
}

impl Difference {
    /// Another bound.
    pub(in crate::broker) fn of_bound(is: i64, should_be: i64) -> Self {
        Self { field: BOUND.to_owned(), is: is.into(), should_be: should_be.into() }
    }

    /// Whether it is the number of copies.
    pub fn is_of_replicas(&self) -> bool {
        self.field == REPLICAS
    }

    /// Where there are to be fewer copies than there are: how many there are, and how many there should be.
    pub(in crate::broker) fn fewer_replicas(&self) -> Option<(u64, u64)> {
        let (is, should_be) = (self.is.as_u64()?, self.should_be.as_u64()?);
        (self.is_of_replicas() && should_be < is).then_some((is, should_be))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: is {}, should be {}", self.field, self.is, self.should_be)
    }
}

/// What is to be set where what is there differs.
pub(in crate::broker) fn keeping_the_operators_fields(
    desired: stream::Config,
    found: stream::Config,
) -> stream::Config {
    stream::Config {
        description: found.description,
        max_bytes: found.max_bytes,
        max_messages: found.max_messages,
        max_consumers: found.max_consumers,
        placement: found.placement,
        compression: found.compression,
        consumer_limits: found.consumer_limits,
        republish: found.republish,
        metadata: keeping_others_metadata(desired.metadata, found.metadata),
        ..desired
    }
}

/// The same of a durable.
pub(in crate::broker) fn keeping_the_operators_fields_of_a_durable(
    desired: pull::Config,
    found: consumer::Config,
) -> pull::Config {
    pull::Config {
        description: found.description,
        sample_frequency: found.sample_frequency,
        pause_until: found.pause_until,
        metadata: keeping_others_metadata(desired.metadata, found.metadata),
        ..desired
    }
}

/// What others have noted stays, but for what the server notes by itself.
fn keeping_others_metadata(
    desired: HashMap<String, String>,
    found: HashMap<String, String>,
) -> HashMap<String, String> {
    let of_others = |(key, _): &(String, String)| !key.starts_with("rockets.") && !key.starts_with("_nats.");
    found.into_iter().filter(of_others).chain(desired).collect()
}

/// The fields in which an object differs, but for those that are an operator's.
pub(in crate::broker) fn differences(
    desired: &impl serde::Serialize,
    found: &impl serde::Serialize,
) -> Vec<Difference> {
    let (desired, found) = (fields(desired), fields(found));
    let mut names: Vec<_> = desired.keys().chain(found.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let differing = names.into_iter().filter(|name| !OPERATOR_FIELDS.contains(&name.as_str()));
    differing
        .filter_map(|name| {
            let (should_be, is) = (field(&desired, name), field(&found, name));
            (is != should_be).then(|| Difference { field: name.clone(), is, should_be })
        })
        .collect()
}

fn fields(config: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// A field's value; one that is left out, empty or off is the same as none. Metadata of others is not looked at.
fn field(fields: &Map<String, Value>, name: &str) -> Value {
    let empty = [Value::Bool(false), Value::from(0), Value::from(""), Value::Array(Vec::new())];
    match fields.get(name) {
        Some(Value::Object(metadata)) if name == "metadata" => metadata
            .iter()
            .filter(|(key, _)| key.starts_with("rockets."))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        Some(value) if !empty.contains(value) => value.clone(),
        _ if name == "metadata" => Value::Object(Map::new()),
        _ => Value::Null,
    }
}
