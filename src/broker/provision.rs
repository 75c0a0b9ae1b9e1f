//! Makes the broker's objects, or verifies that they are as [`super::topology`] has them.
//!
//! Bounds that belong to an operator (`max_bytes`, `max_msgs`, placement, compression, descriptions) may differ and are
//! never changed. The number of partitions is fixed for the life of the stream: most channels would move, and one whose
//! messages lie in two partitions has no order any more.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{ErrorCode, stream};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::topology::{METADATA_FORMAT, METADATA_PARTITIONS, METADATA_RESTORING, STREAM, Topology, durable_name};
use super::{Broker, BrokerError};

/// Fields that are an operator's to set, or the server's to note.
const OPERATOR_FIELDS: [&str; 12] = [
    "description",
    "max_bytes",
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

/// For how long a program that has just been started asks a broker that does not answer: longer than an election lasts.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause before it asks again.
const PAUSE: Duration = Duration::from_millis(500);
/// For how long a stream may take to have as many replicas as it was told to.
const GROW_MAX: Duration = Duration::from_secs(15);
/// Pause before its durables are told again.
const GROW_PAUSE: Duration = Duration::from_millis(100);

/// What was done about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The object, such as `stream ROCKETS`.
    pub object: String,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was missing.
    Made,
    /// These fields differed and were set.
    Changed(Vec<Difference>),
    /// It was there, as it should be.
    Found,
}

/// One field that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    field: String,
    is: Value,
    should_be: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: is {}, should be {}", self.field, self.is, self.should_be)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Made => write!(f, "made     {}", self.object),
            Outcome::Found => write!(f, "found    {}", self.object),
            Outcome::Changed(differences) => {
                write!(f, "changed  {}", self.object)?;
                differences.iter().try_for_each(|difference| write!(f, "\n         {difference}"))
            }
        }
    }
}

/// Why the objects cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Some differ; a line each.
    #[error("the broker is not set up for this configuration (`rockets init` does it):\n  {}", .0.join("\n  "))]
    Differs(Vec<String>),
    /// The stream was made with another number of partitions, which cannot be changed.
    #[error(
        "stream.partitions: the stream ROCKETS has {stream} partitions for all its life, the configuration says \
         {configured}; set stream.partitions = {stream} (ROCKETS_STREAM__PARTITIONS={stream})"
    )]
    Partitions {
        /// The stream's, as its metadata says it.
        stream: String,
        /// The configuration's.
        configured: u16,
    },
    /// A restore that was not finished left it behind.
    #[error(
        "the stream {0} is what a restore that was not finished left behind; run `rockets restore` again, with --yes, which \
         removes it, or remove it yourself (`nats stream rm {0}`)"
    )]
    HalfRestored(String),
    /// The stream was made by a program with another format.
    #[error("the stream ROCKETS has format {0}, which this program does not know")]
    Format(String),
    /// The broker could not be asked.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Makes what is missing and changes what differs; tells what it did, object by object.
pub async fn provision(broker: &Broker, topology: &Topology) -> Result<Vec<Step>, ProvisionError> {
    // Before anything is made: a restore needs a broker that has none of the streams.
    for desired in topology.streams() {
        patiently(async || refuse_half_restored(found_stream(broker, &desired.name).await?.as_ref())).await?;
    }
    let mut steps = Vec::new();
    for desired in topology.streams() {
        steps.push(patiently(async || provision_stream(broker, desired.clone(), topology).await).await?);
    }
    for partition in 0..topology.partitions {
        let desired = topology.durable(partition);
        steps.push(patiently(async || provision_durable(broker, desired.clone(), partition).await).await?);
    }
    Ok(steps)
}

/// Verifies as [`verify`] does, and is patient.
pub async fn verify_patiently(broker: &Broker, topology: &Topology) -> Result<(), ProvisionError> {
    patiently(async || verify(broker, topology).await).await
}

/// Asks again for a while when the broker does not answer: a cluster may be electing a leader.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, ProvisionError>) -> Result<T, ProvisionError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(ProvisionError::Broker(error @ BrokerError::Unavailable(_))) if Instant::now() < deadline => {
                tracing::warn!(%error, "the broker's objects cannot be looked at yet, trying again");
                sleep(PAUSE).await;
            }
            answered => return answered,
        }
    }
}

/// Refuses, with a line for each object and field that differs; changes nothing.
pub async fn verify(broker: &Broker, topology: &Topology) -> Result<(), ProvisionError> {
    let mut lines = Vec::new();
    for desired in topology.streams() {
        let object = format!("stream {}", desired.name);
        match found_stream(broker, &desired.name).await? {
            None => lines.push(format!("{object}: is missing")),
            Some(found) => {
                refuse_half_restored(Some(&found))?;
                refuse_other_partitions(&found, topology)?;
                lines.extend(differences(&desired, &found).iter().map(|difference| format!("{object}: {difference}")));
            }
        }
    }
    if lines.iter().any(|line| line.starts_with("stream ROCKETS: is missing")) {
        return Err(ProvisionError::Differs(lines));
    }
    for partition in 0..topology.partitions {
        let object = format!("durable {}", durable_name(partition));
        match found_durable(broker, partition).await? {
            None => lines.push(format!("{object}: is missing")),
            Some(found) => {
                let desired = consumer_config(topology.durable(partition));
                lines.extend(differences(&desired, &found).iter().map(|difference| format!("{object}: {difference}")));
            }
        }
    }
    if lines.is_empty() { Ok(()) } else { Err(ProvisionError::Differs(lines)) }
}

async fn provision_stream(
    broker: &Broker,
    desired: stream::Config,
    topology: &Topology,
) -> Result<Step, ProvisionError> {
    let object = format!("stream {}", desired.name);
    let Some(found) = found_stream(broker, &desired.name).await? else {
        broker.changing().create_stream(desired).await.map_err(|error| cannot_change(&object, &error))?;
        return Ok(Step { object, outcome: Outcome::Made });
    };
    refuse_other_partitions(&found, topology)?;
    let differences = differences(&desired, &found);
    if differences.is_empty() {
        return Ok(Step { object, outcome: Outcome::Found });
    }
    let update = keeping_the_operators_fields(desired, found);
    broker.changing().update_stream(update).await.map_err(|error| cannot_change(&object, &error))?;
    Ok(Step { object, outcome: Outcome::Changed(differences) })
}

async fn provision_durable(broker: &Broker, desired: pull::Config, partition: u16) -> Result<Step, ProvisionError> {
    let object = format!("durable {}", durable_name(partition));
    let (desired, outcome) = match found_durable(broker, partition).await? {
        None => (desired, Outcome::Made),
        Some(found) => {
            let differences = differences(&consumer_config(desired.clone()), &found);
            if differences.is_empty() {
                return Ok(Step { object, outcome: Outcome::Found });
            }
            (keeping_the_operators_fields_of_a_durable(desired, found), Outcome::Changed(differences))
        }
    };
    make_durable(broker, desired).await.map_err(|error| cannot_change(&object, &error))?;
    Ok(Step { object, outcome })
}

/// Makes or changes a durable. Whoever leads it may not have heard yet that its stream has more replicas now.
async fn make_durable(broker: &Broker, desired: pull::Config) -> Result<(), ConsumerError> {
    let deadline = Instant::now() + GROW_MAX;
    loop {
        match broker.changing().create_consumer_on_stream(desired.clone(), STREAM).await {
            Err(error) if has_more_than_its_stream(&error) && Instant::now() < deadline => sleep(GROW_PAUSE).await,
            made => return made.map(drop),
        }
    }
}

fn has_more_than_its_stream(error: &ConsumerError) -> bool {
    let ConsumerErrorKind::JetStream(answer) = error.kind() else { return false };
    answer.error_code() == ErrorCode::CONSUMER_REPLICAS_EXCEEDS_STREAM
}

fn cannot_change(object: &str, error: &(dyn std::error::Error + 'static)) -> BrokerError {
    match BrokerError::from_causes(error) {
        BrokerError::Unavailable(why) => BrokerError::Misconfigured(format!("{object}: {why}")),
        other => other,
    }
}

async fn found_stream(broker: &Broker, name: &str) -> Result<Option<stream::Config>, BrokerError> {
    match broker.jetstream().get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            GetStreamErrorKind::JetStream(answer) => Err(BrokerError::from_server(&answer)),
            _ => Err(unanswered(&error)),
        },
    }
}

/// Where nobody is there to answer, waiting does not help; where an answer does not come, it may.
fn unanswered(error: &GetStreamError) -> BrokerError {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<RequestError>());
    let why = format!("{error}; is JetStream on (`nats-server -js`)?");
    match cause.map(RequestError::kind) {
        Some(RequestErrorKind::NoResponders) => BrokerError::Misconfigured(why),
        _ => BrokerError::Unavailable(why),
    }
}

async fn found_durable(broker: &Broker, partition: u16) -> Result<Option<consumer::Config>, BrokerError> {
    let question = format!("CONSUMER.INFO.{STREAM}.{}", durable_name(partition));
    match broker.jetstream().request(question, &serde_json::json!({})).await.map_err(BrokerError::unavailable)? {
        Response::Ok(consumer::Info { config, .. }) => Ok(Some(config)),
        Response::Err { error } if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(None),
        Response::Err { error } => Err(BrokerError::from_server(&error)),
    }
}

fn consumer_config(config: pull::Config) -> consumer::Config {
    use async_nats::jetstream::consumer::IntoConsumerConfig as _;
    config.into_consumer_config()
}

fn refuse_half_restored(found: Option<&stream::Config>) -> Result<(), ProvisionError> {
    match found {
        Some(found) if found.metadata.contains_key(METADATA_RESTORING) => {
            Err(ProvisionError::HalfRestored(found.name.clone()))
        }
        _ => Ok(()),
    }
}

fn refuse_other_partitions(found: &stream::Config, topology: &Topology) -> Result<(), ProvisionError> {
    if found.name != STREAM {
        return Ok(());
    }
    let stated = |key| found.metadata.get(key).map_or("no", String::as_str).to_owned();
    let (partitions, format) = (stated(METADATA_PARTITIONS), stated(METADATA_FORMAT));
    if partitions != topology.partitions.to_string() {
        return Err(ProvisionError::Partitions { stream: partitions, configured: topology.partitions });
    }
    if format != super::topology::FORMAT {
        return Err(ProvisionError::Format(format));
    }
    Ok(())
}

fn keeping_the_operators_fields(desired: stream::Config, found: stream::Config) -> stream::Config {
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

fn keeping_the_operators_fields_of_a_durable(desired: pull::Config, found: consumer::Config) -> pull::Config {
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
fn differences(desired: &impl serde::Serialize, found: &impl serde::Serialize) -> Vec<Difference> {
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
