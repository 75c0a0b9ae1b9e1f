//! What is wrong with the broker's objects at this moment: missing, full, set up otherwise, or being restored.
//!
//! One inspection asks for every stream and for all durables at once. What is not answered is not known, and so no
//! finding: nothing is missing because nobody answers. (In a cluster, a durable whose leader is being elected may keep
//! the answer about all of them from coming in time.) Comparing is [`mod@differences`]'s, making is
//! [`crate::broker::objects::provision`]'s.

mod bound;
pub mod differences;
pub mod monitor;
pub mod provision;
mod refusal;

use std::fmt;
use std::mem::discriminant;

use async_nats::jetstream::consumer;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream;
use futures_util::future::join_all;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::broker::connection::{PUBLISH_TIMEOUT, within};
use crate::broker::objects::differences::{Difference, differences};
use crate::broker::objects::provision::{consumer_config, stream_info};
use crate::broker::storing::Room;
use crate::broker::topology::{
    BUCKET, BUCKET_STREAM, CHECKPOINT_STREAM, DEAD_LETTER_STREAM, METADATA_RESTORING, OUTCOME_STREAM, STREAM, Topology,
    durable_name,
};
use crate::broker::{Broker, BrokerError};
use crate::domain::lost_end::LostEnd;

/// Pages of durables that are asked for: the server gives 256 at once, and others may have some of their own.
const PAGES_MAX: usize = 16;

/// An object at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// The stream of all messages.
    Log,
    /// The stream of dead letters.
    DeadLetters,
    /// The stream of outcomes.
    Outcomes,
    /// The stream of checkpoints.
    Checkpoints,
    /// The bucket of records.
    Bucket,
    /// The durable of a partition.
    Durable(u16),
}

/// What may be wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is not there.
    Missing,
    /// It is a stream that a restore has not finished.
    Restoring,
    /// It takes no more: how many there are, how many there may be, and of what.
    Full(u64, u64, &'static str),
    /// It is set up otherwise, in these fields.
    Differs(Vec<Difference>),
    /// It is the log, and lacks what others know of.
    LostEnd(LostEnd),
}

/// Something that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub object: Object,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What one inspection has found.
pub(in crate::broker) struct Findings {
    /// Of each stream that was answered for.
    pub(in crate::broker) streams: Vec<StreamFinding>,
    /// Of all durables, if they were answered for.
    pub(in crate::broker) durables: Option<Vec<Problem>>,
}

/// What was found of one stream.
pub(in crate::broker) struct StreamFinding {
    pub(in crate::broker) object: Object,
    pub(in crate::broker) problems: Vec<Problem>,
    /// Its room; none where it is missing or being restored.
    pub(in crate::broker) room: Option<Room>,
    /// How far it has come; none likewise.
    pub(in crate::broker) state: Option<StreamState>,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct StreamState {
    /// When it was made.
    pub(in crate::broker) made: OffsetDateTime,
    /// The place of the last message that was ever stored.
    pub(in crate::broker) last: u64,
}

/// A page of the durables of a stream.
#[derive(Deserialize)]
struct DurablePage {
    total: usize,
    #[serde(default)]
    consumers: Option<Vec<DurableInfo>>,
    /// Those whose leaders did not answer.
    #[serde(default)]
    missing: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct DurableInfo {
    name: String,
    config: consumer::Config,
}

/// What is there of the durables: those that the leader told of, and the names of the others.
#[derive(Default)]
struct Durables {
    known: Vec<DurableInfo>,
    unknown: Vec<String>,
}

impl Object {
    /// The streams, in the order in which [`Topology::streams`] has them.
    pub(in crate::broker) const STREAMS: [Self; 5] =
        [Self::Log, Self::DeadLetters, Self::Outcomes, Self::Checkpoints, Self::Bucket];

    fn is_named(self, stream: &str) -> bool {
        let name = match self {
            Self::Log => STREAM,
            Self::DeadLetters => DEAD_LETTER_STREAM,
            Self::Outcomes => OUTCOME_STREAM,
            Self::Checkpoints => CHECKPOINT_STREAM,
            Self::Bucket => BUCKET_STREAM,
            Self::Durable(_) => return false,
        };
        name == stream
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => write!(f, "stream {STREAM}"),
            Self::DeadLetters => write!(f, "stream {DEAD_LETTER_STREAM}"),
            Self::Outcomes => write!(f, "stream {OUTCOME_STREAM}"),
            Self::Checkpoints => write!(f, "stream {CHECKPOINT_STREAM}"),
            Self::Bucket => write!(f, "bucket {BUCKET} (stream {BUCKET_STREAM})"),
            Self::Durable(partition) => write!(f, "durable {}", durable_name(*partition)),
        }
    }
}

impl Problem {
    pub(in crate::broker) fn new(object: Object, wrong: Wrong) -> Self {
        Self { object, wrong }
    }

    /// Whether it is the same problem, as a person sees it: a count may have risen meanwhile.
    pub(in crate::broker) fn is_like(&self, other: &Self) -> bool {
        let (wrong, others) = (discriminant(&self.wrong), discriminant(&other.wrong));
        self.object == other.object && wrong == others
    }

    /// Whether the object is of no use at all.
    pub fn is_of_absence(&self) -> bool {
        matches!(self.wrong, Wrong::Missing | Wrong::Restoring)
    }

    /// Whether something of the object was lost that others know of; it does its work even so.
    pub fn is_of_loss(&self) -> bool {
        matches!(self.wrong, Wrong::LostEnd(_))
    }

    /// Whether the object takes no more.
    pub fn is_of_room(&self) -> bool {
        matches!(self.wrong, Wrong::Full(..))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = self.object;
        match &self.wrong {
            Wrong::Missing => write!(f, "{object} is missing: run `rockets init`"),
            Wrong::Restoring => {
                write!(f, "{object} is being restored: wait for `rockets restore`, or run it again if it was stopped")
            }
            Wrong::LostEnd(lost) => write!(f, "{object} {lost}: run `rockets rebuild --check`"),
            Wrong::Full(is, may_be, what) => write!(f, "{object} is full: {is} of {may_be} {what}"),
            Wrong::Differs(fields) => {
                let fields: Vec<_> = fields.iter().map(Difference::to_string).collect();
                write!(f, "{object} is set up otherwise: run `rockets init` ({})", fields.join("; "))
            }
        }
    }
}

/// What one inspection tells to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Objects that nobody told of.
    pub unanswered: Vec<String>,
}

/// Inspects everything once.
pub async fn inspect_once(broker: &Broker, topology: &Topology) -> Inspected {
    let Findings { streams, durables } = inspect(broker, topology).await;
    let is_answered = |object: &Object| streams.iter().any(|finding| finding.object == *object);
    let silent = Object::STREAMS.into_iter().filter(|object| !is_answered(object)).map(|object| object.to_string());
    let unanswered = silent.chain(durables.is_none().then(|| "the durables".to_owned())).collect();
    let of_streams = streams.into_iter().flat_map(|finding| finding.problems);
    Inspected { problems: of_streams.chain(durables.into_iter().flatten()).collect(), unanswered }
}

/// Asks for everything once, all at the same time.
pub(in crate::broker) async fn inspect(broker: &Broker, topology: &Topology) -> Findings {
    let desired = topology.streams();
    let streams = join_all(desired.iter().map(|desired| inspect_stream(broker, desired)));
    let (streams, durables) = tokio::join!(streams, inspect_durables(broker, topology));
    let streams: Vec<_> = streams.into_iter().flatten().collect();
    // Without its stream there can be none, and the stream is what is missing.
    let is_alone = streams.iter().any(|finding| finding.object == Object::Log && finding.room.is_none());
    Findings { streams, durables: if is_alone { Some(Vec::new()) } else { durables } }
}

async fn inspect_stream(broker: &Broker, desired: &stream::Config) -> Option<StreamFinding> {
    let object = Object::STREAMS.into_iter().find(|object| object.is_named(&desired.name))?;
    let answer = within(PUBLISH_TIMEOUT, "inspecting a stream", stream_info(broker, &desired.name)).await;
    match answer {
        Ok(info) => Some(finding(object, desired, info)),
        Err(error) => {
            tracing::debug!(%object, %error, "nobody tells how an object of the broker is");
            None
        }
    }
}

fn finding(object: Object, desired: &stream::Config, info: Option<stream::Info>) -> StreamFinding {
    let absent = |wrong| StreamFinding { object, problems: vec![Problem::new(object, wrong)], room: None, state: None };
    let Some(stream::Info { config, state, created, .. }) = info else { return absent(Wrong::Missing) };
    if config.metadata.contains_key(METADATA_RESTORING) {
        return absent(Wrong::Restoring);
    }
    let bounds = [(state.messages, config.max_messages, "messages"), (state.bytes, config.max_bytes, "bytes")];
    // A bound of -1 or 0 is none.
    let bounds = bounds.map(|(is, may_be, what)| (is, u64::try_from(may_be).ok().filter(|may_be| *may_be > 0), what));
    let [messages, bytes] = bounds.map(|(is, may_be, _)| may_be.map_or(u64::MAX, |may_be| may_be.saturating_sub(is)));
    let is_full = |(is, may_be, what)| Some(Wrong::Full(is, may_be?, what)).filter(|_| Some(is) >= may_be);
    let full = bounds.into_iter().find_map(is_full);
    let wrong = full.into_iter().chain(unfit(differences(desired, &config)));
    let problems = wrong.map(|wrong| Problem::new(object, wrong)).collect();
    let state = Some(StreamState { made: created, last: state.last_sequence });
    StreamFinding { object, problems, room: Some(Room { messages, bytes }), state }
}

/// Another number of copies is no matter to the roles.
fn unfit(differences: Vec<Difference>) -> Option<Wrong> {
    let fields: Vec<_> = differences.into_iter().filter(|difference| !difference.is_of_replicas()).collect();
    (!fields.is_empty()).then_some(Wrong::Differs(fields))
}

async fn inspect_durables(broker: &Broker, topology: &Topology) -> Option<Vec<Problem>> {
    match within(PUBLISH_TIMEOUT, "inspecting the durables", durables(broker)).await {
        Ok(found) => Some(wrong_durables(topology, found)),
        Err(error) => {
            tracing::debug!(%error, "nobody tells how the durables are");
            None
        }
    }
}

fn wrong_durables(topology: &Topology, found: Durables) -> Vec<Problem> {
    let wrong = |partition| {
        let name = durable_name(partition);
        let wrong = match found.known.iter().find(|durable| durable.name == name) {
            Some(DurableInfo { config, .. }) => {
                unfit(differences(&consumer_config(topology.durable(partition)), config))?
            }
            None if found.unknown.contains(&name) => return None,
            None => Wrong::Missing,
        };
        Some(Problem::new(Object::Durable(partition), wrong))
    };
    (0..topology.partitions).filter_map(wrong).collect()
}

async fn durables(broker: &Broker) -> Result<Durables, BrokerError> {
    let mut all = Durables::default();
    for _ in 0..PAGES_MAX {
        let offset = all.known.len() + all.unknown.len();
        let (subject, query) = (format!("CONSUMER.LIST.{STREAM}"), serde_json::json!({ "offset": offset }));
        let answer = broker.jetstream().request(subject, &query).await.map_err(BrokerError::unavailable)?;
        let page: DurablePage = match answer {
            Response::Ok(page) => page,
            Response::Err { error } => return Err(BrokerError::from_server(&error)),
        };
        let (known, unknown) = (page.consumers.unwrap_or_default(), page.missing.unwrap_or_default());
        let is_last = known.len() + unknown.len() == 0 || offset + known.len() + unknown.len() >= page.total;
        all.known.extend(known);
        all.unknown.extend(unknown);
        if is_last {
            return Ok(all);
        }
    }
    Err(BrokerError::Unavailable(format!("stream {STREAM} has more consumers than can be inspected")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::topology::Bounds;

    const TOPOLOGY: Topology =
        Topology { partitions: 2, replicas: 1, ack_wait: Duration::from_secs(5), bounds: Bounds::UNLIMITED };

    type Change = fn(&mut stream::Config);

    fn info(messages: u64, change: Change) -> stream::Info {
        let [mut config, ..] = TOPOLOGY.streams();
        change(&mut config);
        serde_json::from_value(serde_json::json!({
            "config": config,
            "created": "2026-11-27T02:50:37Z",
            "ts": "2026-11-27T02:50:37Z",
            "state": {
                "messages": messages, "bytes": 100 * messages, "first_seq": 1, "last_seq": messages,
                "first_ts": "2026-11-27T02:50:37Z", "last_ts": "2026-11-27T02:50:37Z", "consumer_count": 0
            }
        }))
        .unwrap()
    }

    fn found(info: Option<stream::Info>) -> (String, Option<Room>) {
        let [desired, ..] = TOPOLOGY.streams();
        let StreamFinding { problems, room, .. } = finding(Object::Log, &desired, info);
        (problems.iter().map(Problem::to_string).collect::<Vec<_>>().join(", "), room)
    }

    #[test]
    fn a_stream_is_told_by_what_is_wrong_with_it() {
        let room = |messages, bytes| Some(Room { messages, bytes });
        let rows: [(u64, Change, &str, Option<Room>); 7] = [
            (5, |_| {}, "", room(u64::MAX, u64::MAX)),
            (5, |config| config.num_replicas = 3, "", room(u64::MAX, u64::MAX)),
            (5, |config| config.max_messages = 6, "", room(1, u64::MAX)),
            (5, |config| config.max_messages = 5, "stream ROCKETS is full: 5 of 5 messages", room(0, u64::MAX)),
            (5, |config| config.max_bytes = 400, "stream ROCKETS is full: 500 of 400 bytes", room(u64::MAX, 0)),
            (
                5,
                |config| config.allow_direct = false,
                "stream ROCKETS is set up otherwise: run `rockets init` (allow_direct: is null, should be true)",
                room(u64::MAX, u64::MAX),
            ),
            (
                5,
                |config| drop(config.metadata.insert(METADATA_RESTORING.into(), "x".into())),
                "stream ROCKETS is being restored: wait for `rockets restore`, or run it again if it was stopped",
                None,
            ),
        ];
        for (messages, change, problems, room) in rows {
            assert_eq!(found(Some(info(messages, change))), (problems.to_owned(), room));
        }
        assert_eq!(found(None), ("stream ROCKETS is missing: run `rockets init`".to_owned(), None));
    }

    #[test]
    fn a_durable_that_nobody_tells_of_is_not_missing() {
        let durable = |change: fn(&mut consumer::Config)| {
            let mut config = consumer_config(TOPOLOGY.durable(0));
            change(&mut config);
            DurableInfo { name: durable_name(0), config }
        };
        let wrong = |known: Vec<DurableInfo>, unknown: &[&str]| {
            let unknown = unknown.iter().map(|name| (*name).to_owned()).collect();
            let problems = wrong_durables(&TOPOLOGY, Durables { known, unknown });
            problems.iter().map(Problem::to_string).collect::<Vec<_>>()
        };
        let second = "durable rockets-p01 is missing: run `rockets init`";
        assert_eq!(wrong(vec![durable(|_| {})], &[]), [second]);
        assert_eq!(wrong(vec![durable(|config| config.num_replicas = 3)], &["rockets-p01"]), [""; 0]);
        assert_eq!(
            wrong(vec![durable(|config| config.max_ack_pending = 7)], &["rockets-p01"]),
            ["durable rockets-p00 is set up otherwise: run `rockets init` (max_ack_pending: is 7, should be 65536)"]
        );
    }
}
