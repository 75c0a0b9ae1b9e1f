//! Deliveries of one partition, pulled from its durable; opened again whenever the pull ends, for whatever reason.
//!
//! What is delivered stays the broker's until it is acknowledged ([`super::partition`]).

use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::sleep;

use super::topology::{PRIORITY_GROUP, STREAM, durable_name};
use super::{Broker, BrokerError, Stored};
use crate::domain::Sequence;

/// Messages that one pull asks for. The client asks again at half of it, so half as many again may wait in memory.
pub const PULL_MESSAGES_MAX: usize = 500;
/// Bytes that one pull asks for, so that large messages are bounded in memory too.
const PULL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Messages that one batch takes up at most.
pub const BATCH_MESSAGES_MAX: usize = 1_000;
/// How long a pull waits at the broker: a tracker that froze is still served for so long.
const PULL_EXPIRES: Duration = Duration::from_secs(4);
/// How often the broker says that a waiting pull still stands; two missed ones end it.
const PULL_HEARTBEAT: Duration = Duration::from_secs(1);
/// Longest pause before a pull that ended is opened again.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A stored message that was handed to us, to be acknowledged.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub stored: Stored,
    /// What it is acknowledged by.
    pub handle: AckHandle,
}

/// Where the acknowledgement of one delivery goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckHandle(pub(crate) Subject);

/// The deliveries of one partition.
pub struct Deliveries {
    broker: Broker,
    partition: u16,
    /// Place in the line of trackers for this partition, 0 first.
    priority: usize,
    pull: Option<pull::Stream>,
    failures: u32,
}

impl Deliveries {
    /// Deliveries of this partition; the pull is opened with the first batch.
    pub fn new(broker: Broker, partition: u16, priority: usize) -> Self {
        Self { broker, partition, priority, pull: None, failures: 0 }
    }

    /// Waits until there is something, and takes what is there, at most [`BATCH_MESSAGES_MAX`]. Nothing is lost when
    /// the wait is given up.
    pub async fn next_batch(&mut self) -> Vec<Delivery> {
        loop {
            let Some(pull) = &mut self.pull else {
                self.open().await;
                continue;
            };
            match pull.next().await {
                Some(Ok(message)) => {
                    self.failures = 0;
                    let mut batch: Vec<_> = delivery(message).into_iter().collect();
                    while batch.len() < BATCH_MESSAGES_MAX
                        && let Some(Some(Ok(message))) = pull.next().now_or_never()
                    {
                        batch.extend(delivery(message));
                    }
                    return batch;
                }
                ended => {
                    let error = ended.and_then(Result::err).map(|error| error.to_string());
                    tracing::debug!(partition = self.partition, error, "a pull ended, opening another");
                    self.pull = None;
                    self.pause().await;
                }
            }
        }
    }

    /// Takes what had been delivered and not been looked at, for giving it back.
    pub fn close(mut self) -> Vec<AckHandle> {
        let mut handles = Vec::new();
        while let Some(Some(Some(Ok(message)))) = self.pull.as_mut().map(|pull| pull.next().now_or_never()) {
            handles.extend(delivery(message).map(|delivery| delivery.handle));
        }
        handles
    }

    async fn open(&mut self) {
        match self.try_open().await {
            Ok(pull) => self.pull = Some(pull),
            Err(error) => {
                if self.failures == 0 && self.broker.is_connected() {
                    tracing::warn!(partition = self.partition, %error, "cannot pull, trying again");
                }
                self.pause().await;
            }
        }
    }

    async fn try_open(&self) -> Result<pull::Stream, BrokerError> {
        let consumer = durable(&self.broker, self.partition).await?;
        let pull = consumer
            .stream()
            .max_messages_per_batch(PULL_MESSAGES_MAX)
            .max_bytes_per_batch(PULL_BYTES_MAX)
            .expires(PULL_EXPIRES)
            .heartbeat(PULL_HEARTBEAT)
            .group(PRIORITY_GROUP)
            .priority(self.priority)
            .messages();
        pull.await.map_err(BrokerError::unavailable)
    }

    async fn pause(&mut self) {
        self.failures += 1;
        sleep(REOPEN_PAUSE_MAX.min(Duration::from_millis(20) * self.failures)).await;
    }
}

async fn durable(broker: &Broker, partition: u16) -> Result<PullConsumer, BrokerError> {
    let durable = broker.jetstream().get_consumer_from_stream(durable_name(partition), STREAM).await;
    durable.map_err(|error| BrokerError::from_causes(&error))
}

/// A delivery, unless it is not one: without a reply there is nothing to acknowledge.
fn delivery(message: jetstream::Message) -> Option<Delivery> {
    let info = message.info().ok()?;
    let (sequence, time) = (Sequence(info.stream_sequence), info.published);
    let message = message.message;
    // The last one of its name, as when the message is read back: an outsider may have written several.
    let header = |name| message.headers.as_ref()?.get_last(name).map(|value| value.as_str());
    let stored = Stored::of(sequence, time, &message.subject, header, message.payload.clone());
    Some(Delivery { stored, handle: AckHandle(message.reply?) })
}
