//! Every change of the bucket, as it happens: what the view is fed by.
//!
//! An ordered push consumer, which the client makes again when something was missed. It cannot notice a bucket that was made
//! again with lower revisions: whoever holds a view compares [`bucket_state`] with it from time to time.

use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push};
use bytes::Bytes;
use futures_util::StreamExt as _;
use time::OffsetDateTime;

use super::store::is_delete_marker;
use super::topology::{BUCKET_STREAM, BUCKET_SUBJECTS, channel_of_record};
use super::{Broker, BrokerError};
use crate::domain::Channel;

/// One change of the bucket.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose record it is; none for a key that is no channel.
    pub channel: Option<Channel>,
    /// The record's bytes; none if it was deleted.
    pub record: Option<Bytes>,
    /// Its revision.
    pub revision: u64,
    /// How many changes were waiting behind it when it was sent.
    pub pending: u64,
}

/// What tells one bucket from another, and a current view from an old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketState {
    /// When the bucket was made.
    pub created: OffsetDateTime,
    /// Revision of its last change.
    pub last_revision: u64,
    /// Keys, markers of deleted ones included.
    pub keys: u64,
}

/// Changes of the bucket.
pub struct Feed {
    messages: push::Ordered,
    /// Changes that wait when the feed is opened.
    pub pending: u64,
}

/// The bucket as the broker has it now.
pub async fn bucket_state(broker: &Broker) -> Result<BucketState, BrokerError> {
    let stream =
        broker.jetstream().get_stream(BUCKET_STREAM).await.map_err(|error| BrokerError::from_causes(&error))?;
    let info = stream.cached_info();
    Ok(BucketState { created: info.created, last_revision: info.state.last_sequence, keys: info.state.messages })
}

impl Feed {
    /// The changes after a revision; without one, the last change of every key and what follows.
    pub async fn open(broker: &Broker, after: Option<u64>) -> Result<Self, BrokerError> {
        let from = |revision| DeliverPolicy::ByStartSequence { start_sequence: revision + 1 };
        let config = push::OrderedConfig {
            deliver_subject: broker.client().new_inbox(),
            // Named, so that an operator's permissions can name it too.
            name: Some(format!("rockets-view-{}", uuid::Uuid::new_v4().simple())),
            description: Some("Feeds the view of a query process".into()),
            filter_subject: BUCKET_SUBJECTS.into(),
            replay_policy: ReplayPolicy::Instant,
            deliver_policy: after.map_or(DeliverPolicy::LastPerSubject, from),
            ..push::OrderedConfig::default()
        };
        let stream = broker.jetstream().get_stream_no_info(BUCKET_STREAM).await.map_err(BrokerError::unavailable)?;
        let consumer = stream.create_consumer(config).await.map_err(|error| BrokerError::from_causes(&error))?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(BrokerError::unavailable)?;
        Ok(Self { messages, pending })
    }

    /// Waits for the next change. After an error the feed may have missed some: open another.
    pub async fn next(&mut self) -> Result<Change, BrokerError> {
        let message = match self.messages.next().await {
            Some(message) => message.map_err(BrokerError::unavailable)?,
            None => return Err(BrokerError::Unavailable("the feed ended".into())),
        };
        let (revision, pending) = match message.info() {
            Ok(info) => (info.stream_sequence, info.pending),
            Err(error) => return Err(BrokerError::Unavailable(error.to_string())),
        };
        let deleted = message.headers.as_ref().is_some_and(is_delete_marker);
        let record = (!deleted).then(|| message.payload.clone());
        Ok(Change { channel: channel_of_record(&message.subject), record, revision, pending })
    }
}
