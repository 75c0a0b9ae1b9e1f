//! The one place where a message is stored, a rocket's or an operator's: published with its id, and answered only once
//! the broker has it.
//!
//! A publish that was begun is finished, whoever stopped waiting for it. What is not here: reading the message, and the
//! answer over HTTP.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderValue;
use async_nats::jetstream;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::connection::PUBLISH_TIMEOUT;
use super::storing::{Proof, Storing};
use super::topology::{
    DEAD_LETTER_STREAM, HEADER_ATTEMPTS, HEADER_CORRECTS, HEADER_KEY, HEADER_REPLAYS, HEADER_REQUEST_ID, PROBE_SUBJECT,
    STREAM, SUBJECT_TEMPLATE, message_id, replay_id, skip_id, subject,
};
use super::{Broker, BrokerError};
use crate::domain::{Channel, MessageNumber, Sequence};
use crate::traces::spans::Published;
use crate::traces::{Span, Trace};

/// How long storing one message may take in all, tries included: half of the time after which a sender sends again.
pub const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);
/// Publishes under way at once. Past it a message is refused at once: a queue would only make all of them late.
pub const PUBLISHES_IN_FLIGHT_MAX: usize = 4_096;
/// Pause before a try that follows a failed one.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The last sequence of no stream.
const NO_SEQUENCE: u64 = u64::MAX >> 1;

/// What a message is, and so what it is recognised by when it is stored again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A rocket's message of this number.
    Message(MessageNumber),
    /// A skip up to this number.
    Skip(MessageNumber),
    /// A dead letter that is tried again.
    Replay {
        /// The dead letter's id.
        dead_letter: u64,
        /// How many times its message has been tried.
        attempts: u32,
        /// The number whose place it takes, if that one has been applied.
        corrects: Option<MessageNumber>,
    },
}

/// What brought a message.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The id of the request: visible ASCII.
    pub request_id: String,
    /// The trace that it is a part of.
    pub trace: Trace,
    /// The id of the key that let it in, where one is asked for.
    pub key: Option<String>,
}

/// A message on its way into the stream.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Whose message it is.
    pub channel: Channel,
    /// What it is.
    pub identity: Identity,
    /// What brought it.
    pub origin: Origin,
    /// The bytes as they came.
    pub payload: Bytes,
}

/// A request that is not traced, such as a tool's.
impl From<String> for Origin {
    fn from(request_id: String) -> Self {
        Self { request_id, ..Self::default() }
    }
}

impl Outgoing {
    /// What the broker recognises it by.
    fn message_id(&self) -> String {
        match self.identity {
            Identity::Message(number) => message_id(&self.channel, number, &self.payload),
            Identity::Skip(up_to) => skip_id(&self.channel, up_to),
            Identity::Replay { dead_letter, .. } => replay_id(dead_letter),
        }
    }

    /// All its headers but for the id. None of a request's own goes on, because the broker obeys some.
    fn headers(&self) -> Vec<(&'static str, HeaderValue)> {
        let mut headers = Vec::new();
        if let Identity::Replay { dead_letter, attempts, corrects } = self.identity {
            headers.push((HEADER_REPLAYS, dead_letter.into()));
            headers.push((HEADER_ATTEMPTS, u64::from(attempts).into()));
            headers.extend(corrects.map(|number| (HEADER_CORRECTS, number.get().into())));
        }
        // A value with a line break in it makes the client panic unless it is parsed first.
        let text = |(name, text): (_, &str)| Some((name, text.parse().ok()?));
        headers.extend(text((HEADER_REQUEST_ID, &self.origin.request_id)));
        headers.extend(self.origin.key.as_deref().and_then(|key| text((HEADER_KEY, key))));
        headers.extend(self.origin.trace.headers().filter_map(|(name, value)| text((name, &value))));
        headers
    }

    /// The span of its publishing.
    fn begin(&self) -> Span {
        let (trace, channel) = (&self.origin.trace, &self.channel);
        if trace.is_none() {
            return Span::default();
        }
        let (subject, id, bytes) = (&*subject(channel), &*self.message_id(), self.payload.len());
        trace.publish(&Published { subject, template: SUBJECT_TEMPLATE, id, bytes })
    }
}

/// The broker has the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where it was stored; of a repeat, where the first one was.
    pub sequence: Sequence,
    /// Whether it is a repeat within the dedup window.
    pub duplicate: bool,
}

/// Stores messages. Cheap to clone; all clones share the bound on publishes under way.
#[derive(Clone)]
pub struct Publisher {
    broker: Broker,
    context: jetstream::Context,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    storing: Storing,
}

impl Publisher {
    /// A publisher on this connection.
    pub fn new(broker: Broker) -> Self {
        let context = broker.publishing(PUBLISHES_IN_FLIGHT_MAX);
        let (slots, tasks) = (Arc::new(Semaphore::new(PUBLISHES_IN_FLIGHT_MAX)), TaskTracker::new());
        Self { broker, context, slots, tasks, storing: Storing::default() }
    }

    /// What the last publishes came to.
    pub fn storing(&self) -> &Storing {
        &self.storing
    }

    /// Stores a message, or says within [`PUBLISH_DEADLINE`] why not.
    ///
    /// [`BrokerError::Unavailable`] does not mean that the message was not stored: it may be sent again, and will be
    /// recognised. With the broker known to be away, or too much under way, it comes at once.
    pub async fn publish(&self, mut outgoing: Outgoing) -> Result<Receipt, BrokerError> {
        if !self.broker.is_connected() {
            return Err(BrokerError::Unavailable("not connected".into()));
        }
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            return Err(BrokerError::Unavailable(format!("{PUBLISHES_IN_FLIGHT_MAX} publishes are under way")));
        };
        let (publisher, mut span) = (self.clone(), outgoing.begin());
        // What the message causes is caused by its publishing.
        outgoing.origin.trace = span.trace();
        let publish = self.tasks.spawn(async move {
            let receipt = publisher.publish_until(&outgoing, Instant::now() + PUBLISH_DEADLINE).await;
            publisher.storing.note(outgoing.payload.len(), &receipt);
            note(&mut span, &receipt);
            drop(slot);
            receipt
        });
        publish.await.unwrap_or_else(|error| Err(BrokerError::unavailable(error)))
    }

    /// Asks whether a publish would come to the stream, by one that it must refuse: it expects a last sequence that no
    /// stream has, and a stream of another name. Nothing is stored by it; an answer of the stream shows that the way
    /// there is open, which no other question does. It does not show that there is room: that is compared only after
    /// this.
    pub async fn probe(&self) -> Proof {
        let message = PublishMessage::build().expected_stream(DEAD_LETTER_STREAM).expected_last_sequence(NO_SEQUENCE);
        let probe = async { self.context.send_publish(PROBE_SUBJECT, message).await?.await };
        match timeout(PUBLISH_TIMEOUT, probe).await.map(|probed| probed.map_err(BrokerError::from)) {
            Ok(Err(BrokerError::Conflict | BrokerError::Misconfigured(_))) => Proof::Reached,
            _ => Proof::NotReached,
        }
    }

    /// Waits for the publishes that are under way; each has its own deadline.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Tries until it is stored: whichever try reaches the broker first counts, the others are recognised by their id.
    async fn publish_until(&self, outgoing: &Outgoing, deadline: Instant) -> Result<Receipt, BrokerError> {
        let mut tried_before = false;
        loop {
            let attempt = timeout_at(deadline, self.publish_once(outgoing)).await;
            let error = match attempt.unwrap_or_else(|_| Err(BrokerError::timed_out("storing the message"))) {
                Err(error @ (BrokerError::Unavailable(_) | BrokerError::InFlight)) => error,
                Ok(receipt) if receipt.duplicate && tried_before => {
                    let duplicate = !self.is_ours(receipt.sequence, outgoing).await;
                    return Ok(Receipt { duplicate, ..receipt });
                }
                result => return result,
            };
            if Instant::now() + RETRY_PAUSE >= deadline || !self.broker.is_connected() {
                return Err(error);
            }
            tracing::debug!(request_id = outgoing.origin.request_id, %error, "storing the message failed, trying again");
            sleep(RETRY_PAUSE).await;
            tried_before = true;
        }
    }

    /// Whether what is stored there came with this very request: then an earlier try got through, and it is no repeat.
    async fn is_ours(&self, sequence: Sequence, outgoing: &Outgoing) -> bool {
        let Ok(stream) = self.broker.jetstream().get_stream_no_info(STREAM).await else { return false };
        // Through the leader: a replica may not have it yet.
        let stored = timeout(PUBLISH_TIMEOUT, stream.get_raw_message(sequence.0)).await;
        let brought_by = |message: &StreamMessage| {
            let request_id = message.headers.get(HEADER_REQUEST_ID);
            request_id.is_some_and(|request_id| request_id.as_str() == outgoing.origin.request_id)
        };
        matches!(&stored, Ok(Ok(message)) if brought_by(message))
    }

    async fn publish_once(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let message = PublishMessage::build().payload(outgoing.payload.clone()).expected_stream(STREAM);
        let message = message.message_id(outgoing.message_id());
        let message =
            outgoing.headers().into_iter().fold(message, |message, (name, value)| message.header(name, value));
        let ack = self.context.send_publish(subject(&outgoing.channel), message).await?.await?;
        Ok(Receipt { sequence: Sequence(ack.sequence), duplicate: ack.duplicate })
    }
}

/// Notes in its span what a publishing has come to.
fn note(span: &mut Span, receipt: &Result<Receipt, BrokerError>) {
    span.note(receipt);
    if let Ok(receipt) = receipt {
        span.stored(receipt.sequence.0);
    }
}
