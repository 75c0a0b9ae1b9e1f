//! Every name at the broker, and what the objects behind the names are: streams, durables, bucket, subjects, headers.
//!
//! Nothing here talks to the broker. The JSON definitions in `nats/` are these same definitions for people who provision
//! by hand; a test keeps them equal.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PriorityPolicy, ReplayPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, SubjectTransform};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::domain::{Channel, MessageNumber};

/// Bytes of the digest in a message's id.
const DIGEST_BYTES: usize = 16;

/// The stream of all messages.
pub const STREAM: &str = "ROCKETS";
/// The stream of dead letters.
pub const DEAD_LETTER_STREAM: &str = "ROCKETS_DLQ";
/// The stream of what became of each message, and of where replayed dead letters went.
pub const OUTCOME_STREAM: &str = "ROCKETS_OUTCOMES";
/// The stream of checkpoints.
pub const CHECKPOINT_STREAM: &str = "ROCKETS_CHECKPOINTS";
/// The key-value bucket of records, keyed by channel.
pub const BUCKET: &str = "rockets";
/// The stream that holds the bucket.
pub const BUCKET_STREAM: &str = "KV_rockets";
/// Subjects of all records, as keys of the bucket.
pub const BUCKET_SUBJECTS: &str = "$KV.rockets.>";
/// The one priority group of every durable; a pull that names none is not served.
pub const PRIORITY_GROUP: &str = "track";
/// Subjects on which trackers say that they are there. No stream has them.
pub const TRACKER_WORDS: &str = "rockets_trackers.word.*";
/// The subject on which all trackers are asked whether they are there.
pub const TRACKER_PINGS: &str = "rockets_trackers.ask";

/// Whatever a stream has.
pub const ALL_SUBJECTS: &str = ">";
/// The subjects to which messages are published.
pub const MESSAGE_SUBJECTS: &str = "rockets.*";
/// The subjects under which the messages of all partitions are stored.
pub const STORED_SUBJECTS: &str = "rockets.*.*";
/// The subjects of all dead letters.
pub const DEAD_LETTER_SUBJECTS: &str = "rockets_dlq.*.*.*";
/// The subjects of where all replayed dead letters went.
pub const REPLAY_SUBJECTS: &str = "replays.*";
/// The subjects of all events that were forgotten.
pub const FORGOTTEN_SUBJECTS: &str = "forgotten.*";
/// The subjects of all checkpoints.
pub const CHECKPOINT_SUBJECTS: &str = "checkpoints.*.*";
/// Subjects on which single trackers are asked whether they are there.
pub const TRACKER_ASKS: &str = "rockets_trackers.ask.*";

/// A subject of [`STREAM`] for a message that must be refused, by which it is found out whether messages reach it.
pub const PROBE_SUBJECT: &str = "rockets.probe";

/// Largest message of [`STREAM`], its headers included, in bytes. A larger one is refused. It leaves room below the
/// server's `max_payload` (1 MiB), so that a message with the headers of a dead letter always fits.
pub const MESSAGE_BYTES_MAX: i32 = 256 * 1024;
/// Longest token of a channel in the subject of a dead letter, in characters; of a longer one the end is left out. A line of
/// the protocol has 4 KiB at most, and the server ends a connection that sends a longer one: an outsider's message with
/// just so long a subject would end it again and again.
const TOKEN_CHARS_MAX: usize = 256;
/// How long the broker recognises a repeated message by its id. A later repeat is stored again, and found to be a
/// duplicate by its number.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(2 * 60);
/// The same for dead letters, which have no number: longer than any redelivery can be late.
pub const DEAD_LETTER_DUPLICATE_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// Messages of one partition that may be delivered and not yet acknowledged; at the bound the broker delivers no more
/// of that partition. Unacknowledged are batches in work, one message for each channel that drains, and, while there is no
/// room for dead letters, one for each rocket whose next message is refused and each message that needs a dead letter of
/// its own: so many of a partition may be held up before the others are.
pub const ACK_PENDING_MAX: i64 = 65_536;
/// Pulls of one durable that may wait at once: one or two for each tracker.
pub const WAITING_PULLS_MAX: i64 = 512;

/// Events whose outcomes lie under one subject: the server keeps every subject in memory.
pub const SEGMENT_EVENTS: u64 = 1_024;
/// The same where many are reported at once. The messages that one partition applies in one go lie far apart in the stream.
pub const WIDE_SEGMENT_EVENTS: u64 = 16 * SEGMENT_EVENTS;

/// Checkpoints of one kind that are kept of a channel; a further one takes the place of the oldest.
pub const CHECKPOINTS_KEPT: i64 = 4;

/// Version of subjects, headers and records, in the metadata of [`STREAM`].
pub const FORMAT: &str = "1";
/// Metadata key of [`FORMAT`].
pub const METADATA_FORMAT: &str = "rockets.format";
/// Metadata key of the number of partitions.
pub const METADATA_PARTITIONS: &str = "rockets.partitions";
/// Metadata key of a stream that a restore has not finished: who restores it.
pub const METADATA_RESTORING: &str = "rockets.restoring";

// What a trace is carried on by, `traceparent` and `tracestate`, HTTP has as well: see `crate::traces::context`.

/// Header: the id of the request that brought a message.
pub const HEADER_REQUEST_ID: &str = "Rockets-Request-Id";
/// Header of a correction: the number of the message whose place it takes, which is its own.
pub const HEADER_CORRECTS: &str = "Rockets-Corrects";
/// Header of a message that a dead letter was replayed as: the dead letter's id.
pub const HEADER_REPLAYS: &str = "Rockets-Replays";
/// Header of a message: the id of the key that it came with.
pub const HEADER_KEY: &str = "Rockets-Key";
/// Header of a record: what was decided with it and may not have been reported.
pub const HEADER_UNREPORTED: &str = "Rockets-Owed";
/// Header of a record: messages of its channel that a program of an older version has set aside.
pub const HEADER_ASIDE: &str = "Rockets-Aside";
/// Header of a message: the format that a tracker must know to judge it; 1 where it is left out.
pub const HEADER_FORMAT: &str = "Rockets-Format";
/// Header of a checkpoint: the number after which it stands.
pub const HEADER_THROUGH: &str = "Rockets-Through";
/// Header of a checkpoint: the sequence before which no message with a higher number lies.
pub const HEADER_FROM: &str = "Rockets-From";
/// Header of a checkpoint: the place of the last message of its channel that was seen.
pub const HEADER_SEEN: &str = "Rockets-Seen";
/// Header of a checkpoint: when that message was stored, in milliseconds since 1970.
pub const HEADER_SEEN_AT: &str = "Rockets-Seen-At";
/// Header of a dead letter: `malformed`, `refused`, `skipped` or `conflict`.
pub const HEADER_REASON: &str = "Rockets-Reason";
/// Header of a dead letter: what is wrong, in words.
pub const HEADER_ERROR: &str = "Rockets-Error";
/// Header of a dead letter: the stream sequence of the message.
pub const HEADER_SEQUENCE: &str = "Rockets-Sequence";
/// Header of a dead letter: when the message was stored, RFC 3339.
pub const HEADER_STORED_AT: &str = "Rockets-Stored-At";
/// What the broker recognises a message by.
pub const HEADER_MESSAGE_ID: &str = "Nats-Msg-Id";
/// Header of a dead letter: how many times its message has been tried, from 1. Of a message that is such a replay: how
/// many times before.
pub const HEADER_ATTEMPTS: &str = "Rockets-Attempts";

/// Bytes that each stream may take; none for as many as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// [`STREAM`]'s.
    pub log: Option<u64>,
    /// [`DEAD_LETTER_STREAM`]'s.
    pub dead_letters: Option<u64>,
    /// [`OUTCOME_STREAM`]'s.
    pub outcomes: Option<u64>,
    /// [`CHECKPOINT_STREAM`]'s.
    pub checkpoints: Option<u64>,
    /// [`BUCKET_STREAM`]'s.
    pub bucket: Option<u64>,
}

impl Bounds {
    /// As many as there are, for each.
    pub const UNLIMITED: Self = Self { log: None, dead_letters: None, outcomes: None, checkpoints: None, bucket: None };

    /// All of it, as far as it is bounded.
    pub fn sum(&self) -> u64 {
        let Self { log, dead_letters, outcomes, checkpoints, bucket } = *self;
        [log, dead_letters, outcomes, checkpoints, bucket].into_iter().flatten().fold(0, u64::saturating_add)
    }
}

/// A bound as a stream has it.
fn max_bytes(bound: Option<u64>) -> i64 {
    bound.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1)
}

/// What may differ from one installation to the next.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// Partitions of the stream; fixed for its life.
    pub partitions: u16,
    /// Copies of each stream and durable: 1, or 3 in a cluster of three.
    pub replicas: usize,
    /// How long a tracker may hold a message unacknowledged before it is delivered again.
    pub ack_wait: Duration,
    /// The bound of each stream.
    pub bounds: Bounds,
}

/// What all subjects have in common to which messages are published.
pub const SUBJECT_TEMPLATE: &str = "rockets.{channel}";

/// The subject to which a channel's messages are published.
pub fn subject(channel: &Channel) -> String {
    format!("rockets.{channel}")
}

/// The subject under which a channel's messages are stored.
pub fn stored_subject(partition: u16, channel: &Channel) -> String {
    format!("rockets.{partition}.{channel}")
}

/// The subjects under which a partition's messages are stored.
pub fn stored_subjects(partition: u16) -> String {
    format!("rockets.{partition}.*")
}

/// The partition to which the server assigns a channel: its own hash of the subject's token, FNV-1a of 32 bits.
pub fn partition_of(channel: &Channel, partitions: u16) -> u16 {
    let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    let hash = channel.to_string().bytes().fold(2_166_136_261, hash);
    u16::try_from(hash % u32::from(partitions.max(1))).unwrap_or(0)
}

/// The channel's token of a stored subject `rockets.<partition>.<channel>`.
pub fn channel_token(stored_subject: &str) -> &str {
    stored_subject.splitn(3, '.').nth(2).unwrap_or_default()
}

/// The partition of a stored subject `rockets.<partition>.<channel>`.
pub fn partition_in(stored_subject: &str) -> u16 {
    // The server wrote it: there is always one.
    stored_subject.split('.').nth(1).and_then(|partition| partition.parse().ok()).unwrap_or_default()
}

/// The id by which the broker recognises a repeated message: its number, and 128 bits of the SHA-256 of its channel and its
/// bytes. Only the very same message is a repeat: another one with its number must be stored, or a sender could keep the
/// true one out. It is short because the server keeps the ids of a whole window in memory.
pub fn message_id(channel: &Channel, number: MessageNumber, body: &[u8]) -> String {
    let digest = Sha256::new().chain_update(channel.to_string()).chain_update(body).finalize();
    format!("{number}-{}", URL_SAFE_NO_PAD.encode(&digest[..DIGEST_BYTES]))
}

/// The same of a skip.
pub fn skip_id(channel: &Channel, up_to: MessageNumber) -> String {
    format!("skip-{channel}-{up_to}")
}

/// The same of a dead letter's replay.
pub fn replay_id(dead_letter: u64) -> String {
    format!("replay-{dead_letter}")
}

/// The subject of a dead letter, with the channel's token as the message's subject had it, up to [`TOKEN_CHARS_MAX`].
pub fn dead_letter_subject(partition: u16, reason: &str, channel_token: &str) -> String {
    format!("rockets_dlq.{partition}.{reason}.{}", dead_letter_token(channel_token))
}

/// Subjects of the dead letters of one reason, of one token, or of all: for those the server need not look at each subject.
pub fn dead_letter_filter(reason: Option<&str>, channel_token: Option<&str>) -> String {
    if reason.is_none() && channel_token.is_none() {
        return ALL_SUBJECTS.to_owned();
    }
    let token = channel_token.map(dead_letter_token);
    format!("rockets_dlq.*.{}.{}", reason.unwrap_or("*"), token.as_deref().unwrap_or("*"))
}

/// A channel's token as it stands in the subject of a dead letter: of a long one the beginning.
pub fn dead_letter_token(channel_token: &str) -> String {
    channel_token.chars().take(TOKEN_CHARS_MAX).collect()
}

/// The reason in a dead letter's subject.
pub fn reason_of_dead_letter(subject: &str) -> &str {
    subject.split('.').nth(2).unwrap_or_default()
}

/// The channel's token of a dead letter's subject `rockets_dlq.<partition>.<reason>.<token>`.
pub fn token_of_dead_letter(subject: &str) -> &str {
    subject.splitn(4, '.').nth(3).unwrap_or_default()
}

/// The subject of the outcomes of an event's segment.
pub fn outcome_subject(event: u64) -> String {
    format!("outcomes.{}", event / SEGMENT_EVENTS)
}

/// The subject of the outcomes of an event's wide segment.
pub fn wide_outcome_subject(event: u64) -> String {
    format!("outcomes.wide-{}", event / WIDE_SEGMENT_EVENTS)
}

/// The last event of a segment or a wide segment, by the subject of its outcomes.
pub fn last_event_of_segment(subject: &str) -> Option<u64> {
    let segment = subject.strip_prefix("outcomes.")?;
    let (number, events) = match segment.strip_prefix("wide-") {
        Some(number) => (number, WIDE_SEGMENT_EVENTS),
        None => (segment, SEGMENT_EVENTS),
    };
    number.parse::<u64>().ok()?.checked_add(1)?.checked_mul(events).map(|end| end - 1)
}

/// The subjects of all outcomes.
pub const OUTCOME_SUBJECTS: &str = "outcomes.*";

/// The subject of which events of a wide segment were forgotten.
pub fn forgotten_subject(event: u64) -> String {
    format!("forgotten.{}", event / WIDE_SEGMENT_EVENTS)
}

/// The subject of where a dead letter went that was replayed.
pub fn replay_subject(dead_letter: u64) -> String {
    format!("replays.{}", dead_letter / SEGMENT_EVENTS)
}

/// The subject of a channel's checkpoints: of those with which the log was trimmed, or of the others. Each kind is kept
/// for itself, so that the one kind never takes the place of the other.
pub fn checkpoint_subject(channel: &Channel, is_trimmed: bool) -> String {
    format!("checkpoints.{channel}.{}", if is_trimmed { TRIMMED } else { PASSED })
}

/// The subjects of a channel's checkpoints of both kinds.
pub fn checkpoint_subjects(channel: &Channel) -> String {
    format!("checkpoints.{channel}.*")
}

/// The channel of a checkpoint's subject, and whether the log was trimmed with it.
pub fn checkpoint_of(subject: &str) -> Option<(Channel, bool)> {
    let (token, kind) = subject.strip_prefix("checkpoints.")?.split_once('.')?;
    Some((Channel::from_token(token)?, kind == TRIMMED))
}

/// The subjects of all checkpoints with which the log was trimmed.
pub const TRIMMED_CHECKPOINTS: &str = "checkpoints.*.trimmed";
const TRIMMED: &str = "trimmed";
const PASSED: &str = "passed";

/// The subject of a channel's record.
pub fn record_subject(channel: &Channel) -> String {
    format!("$KV.{BUCKET}.{channel}")
}

/// The channel whose record has this subject; none for keys that are no channels.
pub fn channel_of_record(subject: &str) -> Option<Channel> {
    Channel::from_token(subject.strip_prefix("$KV.")?.strip_prefix(BUCKET)?.strip_prefix('.')?)
}

/// The subject on which a tracker says that it is there.
pub fn tracker_word_subject(name: &str) -> String {
    format!("rockets_trackers.word.{name}")
}

/// The subject on which one tracker is asked whether it is there. Nobody else listens there.
pub fn tracker_ask_subject(name: &str) -> String {
    format!("rockets_trackers.ask.{name}")
}

/// The subject on which the messages of one partition are asked for.
pub fn pull_subject(partition: u16) -> String {
    format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{}", durable_name(partition))
}

/// The subject of a stream that is being restored. Nobody publishes there.
pub fn restoring_subject(stream: &str, by: &str) -> String {
    format!("rockets_restoring.{by}.{stream}")
}

/// The durable of one partition.
pub fn durable_name(partition: u16) -> String {
    format!("rockets-p{partition:02}")
}

impl Topology {
    /// The streams, in the order in which they are made.
    pub fn streams(&self) -> [Config; 5] {
        let [log, dead_letters] = [self.stream(), self.dead_letter_stream()];
        [log, dead_letters, self.outcome_stream(), self.checkpoint_stream(), self.bucket_stream()]
    }

    /// Their names, in the order in which they are saved and come back: what tells of messages before the messages, so that
    /// none of it ever knows of a message that [`STREAM`] has not.
    pub fn stream_names(&self) -> Vec<String> {
        let (messages, others): (Vec<_>, Vec<_>) =
            self.streams().into_iter().map(|stream| stream.name).partition(|name| name == STREAM);
        [others, messages].concat()
    }

    fn stream(&self) -> Config {
        let Self { partitions, .. } = *self;
        Config {
            description: Some("Every message of every rocket, by partition and channel".into()),
            subjects: vec![MESSAGE_SUBJECTS.into()],
            // Publishers know nothing of partitions; trackers filter by them.
            subject_transform: Some(SubjectTransform {
                source: MESSAGE_SUBJECTS.into(),
                destination: format!("rockets.{{{{partition({partitions},1)}}}}.{{{{wildcard(1)}}}}"),
            }),
            max_message_size: MESSAGE_BYTES_MAX,
            duplicate_window: DUPLICATE_WINDOW,
            metadata: HashMap::from([
                (METADATA_FORMAT.into(), FORMAT.into()),
                (METADATA_PARTITIONS.into(), partitions.to_string()),
            ]),
            max_bytes: max_bytes(self.bounds.log),
            ..self.log(STREAM)
        }
    }

    fn dead_letter_stream(&self) -> Config {
        Config {
            description: Some("Messages that could not be applied, with the reason".into()),
            subjects: vec![DEAD_LETTER_SUBJECTS.into()],
            duplicate_window: DEAD_LETTER_DUPLICATE_WINDOW,
            max_bytes: max_bytes(self.bounds.dead_letters),
            ..self.log(DEAD_LETTER_STREAM)
        }
    }

    fn outcome_stream(&self) -> Config {
        Config {
            description: Some(
                "What became of each message, where replayed dead letters went, and what was forgotten".into(),
            ),
            subjects: [OUTCOME_SUBJECTS, REPLAY_SUBJECTS, FORGOTTEN_SUBJECTS].map(Into::into).into(),
            duplicate_window: DUPLICATE_WINDOW,
            max_bytes: max_bytes(self.bounds.outcomes),
            ..self.log(OUTCOME_STREAM)
        }
    }

    fn checkpoint_stream(&self) -> Config {
        Config {
            description: Some("Rockets as they were after some number, from where the log goes on".into()),
            subjects: vec![CHECKPOINT_SUBJECTS.into()],
            // Further ones take the place of the oldest. A full stream refuses them all the same: the one with which the log
            // was trimmed is the beginning of what is left, and must not go for another channel's.
            max_messages_per_subject: CHECKPOINTS_KEPT,
            duplicate_window: DUPLICATE_WINDOW,
            max_bytes: max_bytes(self.bounds.checkpoints),
            ..self.log(CHECKPOINT_STREAM)
        }
    }

    fn bucket_stream(&self) -> Config {
        Config {
            description: Some("What is known of each rocket: the key-value bucket `rockets`".into()),
            subjects: vec![BUCKET_SUBJECTS.into()],
            // This makes it a bucket: the last record of each channel, and nothing before it.
            max_messages_per_subject: 1,
            duplicate_window: DUPLICATE_WINDOW,
            max_bytes: max_bytes(self.bounds.bucket),
            ..self.log(BUCKET_STREAM)
        }
    }

    /// What all streams have in common.
    fn log(&self, name: &str) -> Config {
        Config {
            name: name.into(),
            // Messages stay until somebody removes them, and a full stream refuses new ones rather than losing old ones.
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::New,
            discard_new_per_subject: false,
            max_age: Duration::ZERO,
            // Each has its own.
            max_bytes: -1,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_message_size: -1,
            max_consumers: -1,
            storage: StorageType::File,
            num_replicas: self.replicas,
            no_ack: false,
            // Reading back by subject, and the bucket's reads, are direct gets.
            allow_direct: true,
            // A header of a message must never be able to remove, expire or schedule another one.
            allow_rollup: false,
            allow_message_ttl: false,
            allow_message_schedules: false,
            allow_message_counter: false,
            // Group commit: a batch of messages is synced to disk once.
            allow_atomic_publish: true,
            allow_batch_publish: false,
            // An operator may trim what is no longer needed.
            deny_delete: false,
            deny_purge: false,
            ..Config::default()
        }
    }

    /// The durable pull consumer of one partition.
    pub fn durable(&self, partition: u16) -> pull::Config {
        pull::Config {
            durable_name: Some(durable_name(partition)),
            // The server says it back, so that it must be among what is compared.
            name: Some(durable_name(partition)),
            description: Some(format!("Messages of partition {partition}, for trackers")),
            deliver_policy: DeliverPolicy::All,
            replay_policy: ReplayPolicy::Instant,
            filter_subject: stored_subjects(partition),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            // Never given up: what cannot be applied becomes a dead letter by our own decision.
            max_deliver: -1,
            max_ack_pending: ACK_PENDING_MAX,
            max_waiting: WAITING_PULLS_MAX,
            // A durable must outlive any time without trackers.
            inactive_threshold: Duration::ZERO,
            num_replicas: self.replicas,
            memory_storage: false,
            // Of all trackers that pull, the server serves the one of rank 0, and the next when it goes.
            priority_policy: PriorityPolicy::Prioritized,
            priority_groups: vec![PRIORITY_GROUP.into()],
            ..pull::Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_same_message_has_the_same_id() {
        let channel = |end: &str| Channel::parse(&format!("193270a9-c9cf-404a-8f83-838e71d9ae{end}")).unwrap();
        let id = |end, number, body: &[u8]| message_id(&channel(end), MessageNumber::new(number).unwrap(), body);
        let first = id("67", 7, b"body");
        assert_eq!((first.len(), first.as_str()), (24, "7-8iz2ZZyLcK4LjuGW64iISA"));
        assert_eq!(first, id("67", 7, b"body"));
        for other in [id("68", 7, b"body"), id("67", 8, b"body"), id("67", 7, b"bodies")] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn subjects_name_the_channel() {
        let channel = Channel::parse("193270A9-c9cf-404a-8f83-838e71d9ae67").unwrap();
        assert_eq!(subject(&channel), "rockets.193270a9-c9cf-404a-8f83-838e71d9ae67");
        assert_eq!(channel_token(&stored_subject(3, &channel)), channel.to_string());
        assert_eq!(channel_of_record(&record_subject(&channel)), Some(channel));
        assert_eq!(channel_of_record("$KV.rockets.else"), None);
        assert_eq!(channel_token("rockets.3.not-a-uuid"), "not-a-uuid");
        assert_eq!(partition_in("rockets.13.not-a-uuid"), 13);
        assert_eq!(checkpoint_of(&checkpoint_subject(&channel, true)), Some((channel, true)));
        assert_eq!(checkpoint_of(&checkpoint_subject(&channel, false)), Some((channel, false)));
        assert_eq!(checkpoint_of("checkpoints.else.trimmed"), None);
        let subject = dead_letter_subject(3, "refused", &"🚀".repeat(1_000));
        assert_eq!(subject, format!("rockets_dlq.3.refused.{}", "🚀".repeat(256)));
        assert_eq!((token_of_dead_letter(&subject), reason_of_dead_letter(&subject)), (&*"🚀".repeat(256), "refused"));
        assert_eq!(dead_letter_filter(Some("refused"), None), "rockets_dlq.*.refused.*");
        assert_eq!((outcome_subject(1_023), outcome_subject(1_024)), ("outcomes.0".into(), "outcomes.1".into()));
        let wide = [16_383, 16_384].map(wide_outcome_subject);
        assert_eq!(wide, ["outcomes.wide-0", "outcomes.wide-1"]);
        let last = ["outcomes.0", "outcomes.wide-0", "outcomes.x", "replays.0"].map(last_event_of_segment);
        assert_eq!(last, [Some(1_023), Some(16_383), None, None]);
    }
}
