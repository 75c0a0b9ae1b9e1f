//! Makes the broker's objects, or verifies that they are as [`crate::broker::topology`] has them.
//!
//! What is there already is changed only by whoever was asked to ([`Means`]), and gets fewer copies only where just that
//! was asked for. An object that cannot become what is needed is named, with what to do about it.
//!
//! What belongs to an operator (`max_msgs`, placement, compression, descriptions) may differ and is never changed, and a
//! bound of bytes only where there is none or it is asked for (`super::bound`). The number of partitions is fixed for the
//! life of the stream: most channels would move, and one whose messages lie in two partitions has no order any more.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{ErrorCode, stream};
use tokio::time::{Instant, sleep};

pub use super::refusal::ProvisionError;
use crate::broker::objects::bound::{bound, set_bound};
use crate::broker::objects::differences::{
    Difference, differences, keeping_the_operators_fields, keeping_the_operators_fields_of_a_durable,
};
use crate::broker::objects::refusal::{cannot_change, cannot_make, refusal_of_durable, refusal_of_stream};
use crate::broker::topology::{
    METADATA_FORMAT, METADATA_PARTITIONS, METADATA_RESTORING, STREAM, Topology, durable_name,
};
use crate::broker::{Broker, BrokerError};

/// For how long a program that has just been started asks a broker that does not answer: longer than an election lasts.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause before it asks again.
const PAUSE: Duration = Duration::from_millis(500);
/// For how long a stream may take to have as many replicas as it was told to have.
const GROW_MAX: Duration = Duration::from_secs(15);
/// Pause before its durables are asked for again.
const GROW_PAUSE: Duration = Duration::from_millis(100);

/// What may be done about objects that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Nothing: only what is missing is made, with as many copies as the log has.
    MakeMissing,
    /// What differs is changed.
    Change {
        /// Whether there may be fewer copies than before.
        lower_replicas: bool,
        /// Whether streams that have a bound get the configured one.
        set_bounds: bool,
    },
}

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
    /// These fields differ and were left as they are.
    Left(Vec<Difference>),
    /// It was there, as it should be.
    Found,
}

impl Step {
    /// A line of the log for what was made, changed, or left as it is though it differs.
    pub fn log(&self) {
        let object = &self.object;
        match &self.outcome {
            Outcome::Made => tracing::info!(object, "made an object of the broker that was missing"),
            Outcome::Changed(fields) => {
                tracing::info!(object, fields = listed(fields), "changed an object of the broker")
            }
            Outcome::Left(fields) => tracing::warn!(
                object,
                fields = listed(fields),
                "an object of the broker is not as configured and is left as it is (`rockets init` changes it)"
            ),
            Outcome::Found => tracing::debug!(object, "found an object of the broker"),
        }
    }

    /// A line for each field that was left though the roles cannot work with it: any but the number of copies.
    fn refused(&self) -> impl Iterator<Item = String> {
        let left = if let Outcome::Left(differences) = &self.outcome { &differences[..] } else { &[] };
        let unfit = left.iter().filter(|difference| !difference.is_of_replicas());
        unfit.map(|difference| format!("{}: {difference}", self.object))
    }
}

fn listed(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, differences) = match &self.outcome {
            Outcome::Made => ("made", &[][..]),
            Outcome::Found => ("found", &[][..]),
            Outcome::Changed(differences) => ("changed", &differences[..]),
            Outcome::Left(differences) => ("left", &differences[..]),
        };
        write!(f, "{done:9}{}", self.object)?;
        differences.iter().try_for_each(|difference| write!(f, "\n         {difference}"))
    }
}

/// Makes what is missing, and does about the rest what it may; returns what it did, object by object.
pub async fn provision(broker: &Broker, topology: &Topology, means: Means) -> Result<Vec<Step>, ProvisionError> {
    let found = found_streams(broker, topology).await?;
    let made_as = match means {
        Means::MakeMissing => Topology { replicas: replicas_of_log(&found).unwrap_or(topology.replicas), ..*topology },
        Means::Change { .. } => *topology,
    };
    // Before anything is changed.
    for (desired, found) in topology.streams().iter().zip(&found) {
        let differences = found.as_ref().map(|found| differences(desired, found)).unwrap_or_default();
        refuse_fewer_replicas(&stream_object(&desired.name), &differences, means)?;
    }
    let mut steps = Vec::new();
    for (desired, made) in topology.streams().into_iter().zip(made_as.streams()) {
        steps.push(patiently(async || provision_stream(broker, desired.clone(), made.clone(), means).await).await?);
    }
    for partition in 0..topology.partitions {
        let [desired, made] = [topology, &made_as].map(|topology| topology.durable(partition));
        let step = async || provision_durable(broker, desired.clone(), made.clone(), means).await;
        steps.push(patiently(step).await?);
    }
    Ok(steps)
}

/// Refuses objects that were left and are not as the roles need them. Another number of copies is no matter to them.
pub fn refuse_unfit(steps: &[Step]) -> Result<(), ProvisionError> {
    let lines: Vec<_> = steps.iter().flat_map(Step::refused).collect();
    if lines.is_empty() { Ok(()) } else { Err(ProvisionError::Differs(lines)) }
}

/// The streams as they are, in the topology's order; refuses a log that is another program's.
async fn found_streams(broker: &Broker, topology: &Topology) -> Result<Vec<Option<stream::Config>>, ProvisionError> {
    let mut all = Vec::new();
    for desired in topology.streams() {
        let found = patiently(async || Ok(found_stream(broker, &desired.name).await?)).await?;
        refuse_half_restored(found.as_ref())?;
        found.as_ref().map_or(Ok(()), |found| refuse_other_partitions(found, topology))?;
        all.push(found);
    }
    Ok(all)
}

fn replicas_of_log(found: &[Option<stream::Config>]) -> Option<usize> {
    found.iter().flatten().find(|found| found.name == STREAM).map(|log| log.num_replicas)
}

fn refuse_fewer_replicas(object: &str, differences: &[Difference], means: Means) -> Result<(), ProvisionError> {
    let fewer = differences.iter().find_map(Difference::fewer_replicas);
    match (means, fewer) {
        (Means::Change { lower_replicas: false, .. }, Some((is, should_be))) => {
            Err(ProvisionError::FewerReplicas { object: object.to_owned(), is, should_be })
        }
        _ => Ok(()),
    }
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
        match found_durable(broker, &durable_name(partition)).await? {
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
    made: stream::Config,
    means: Means,
) -> Result<Step, ProvisionError> {
    let object = stream_object(&desired.name);
    let Some(stream::Info { config: found, state, .. }) = stream_info(broker, &desired.name).await? else {
        broker.changing().create_stream(made).await.map_err(|error| cannot_make(&object, refusal_of_stream(&error)))?;
        return Ok(Step { object, outcome: Outcome::Made });
    };
    let differences = differences(&desired, &found);
    let outcome = match means {
        _ if differences.is_empty() => Outcome::Found,
        Means::MakeMissing => Outcome::Left(differences),
        Means::Change { .. } => {
            let update = keeping_the_operators_fields(desired.clone(), found.clone());
            let updated = broker.changing().update_stream(update).await;
            updated.map_err(|error| cannot_change(&object, &differences, refusal_of_stream(&error)))?;
            Outcome::Changed(differences)
        }
    };
    let bound = bound(&object, &desired, &found, state.bytes, means);
    Ok(Step { outcome: set_bound(broker, &object, found, bound, outcome).await?, object })
}

async fn provision_durable(
    broker: &Broker,
    desired: pull::Config,
    made: pull::Config,
    means: Means,
) -> Result<Step, ProvisionError> {
    let name = desired.durable_name.clone().unwrap_or_default();
    let object = format!("durable {name}");
    let Some(found) = found_durable(broker, &name).await? else {
        make_durable(broker, made).await.map_err(|error| cannot_make(&object, refusal_of_durable(&error)))?;
        return Ok(Step { object, outcome: Outcome::Made });
    };
    let differences = differences(&consumer_config(desired.clone()), &found);
    refuse_fewer_replicas(&object, &differences, means)?;
    let outcome = match means {
        _ if differences.is_empty() => Outcome::Found,
        Means::MakeMissing => Outcome::Left(differences),
        Means::Change { .. } => {
            let update = keeping_the_operators_fields_of_a_durable(desired, found);
            make_durable(broker, update)
                .await
                .map_err(|error| cannot_change(&object, &differences, refusal_of_durable(&error)))?;
            Outcome::Changed(differences)
        }
    };
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

fn stream_object(name: &str) -> String {
    format!("stream {name}")
}

async fn found_stream(broker: &Broker, name: &str) -> Result<Option<stream::Config>, BrokerError> {
    Ok(stream_info(broker, name).await?.map(|info| info.config))
}

/// What the broker says of a stream; none where there is none.
pub(in crate::broker) async fn stream_info(broker: &Broker, name: &str) -> Result<Option<stream::Info>, BrokerError> {
    match broker.jetstream().get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
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

async fn found_durable(broker: &Broker, name: &str) -> Result<Option<consumer::Config>, BrokerError> {
    let query = format!("CONSUMER.INFO.{STREAM}.{name}");
    match broker.jetstream().request(query, &serde_json::json!({})).await.map_err(BrokerError::unavailable)? {
        Response::Ok(consumer::Info { config, .. }) => Ok(Some(config)),
        Response::Err { error } if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(None),
        Response::Err { error } => Err(BrokerError::from_server(&error)),
    }
}

pub(in crate::broker) fn consumer_config(config: pull::Config) -> consumer::Config {
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
    if format != crate::broker::topology::FORMAT {
        return Err(ProvisionError::Format(format));
    }
    Ok(())
}
