//! The one place where a message is stored, a rocket's or an operator's: published with its id, and answered only once
//! the broker has it.
//!
//! [`publish`](Publisher::publish) `▸` [`waiting`] `▸` [`singly`] or, where that pays and it is none that was stored
//! [`recent`]ly, [`super::group_commit`]. A publish that was begun is finished, whoever stopped waiting for it. What is not
//! here: reading the message, and the answer over HTTP.

mod finished;
mod outgoing;
mod recent;
mod singly;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use self::finished::Finished;
pub use self::outgoing::{Identity, Origin, Outgoing, Receipt};
use self::recent::Recent;
use self::singly::Singly;
use self::waiting::{Stored, Waiting};
use super::connection::PUBLISH_TIMEOUT;
use super::group_commit::{Group, GroupCommit};
use super::storing::{Proof, Storing};
use super::topology::{DEAD_LETTER_STREAM, PROBE_SUBJECT};
use super::{Broker, BrokerError};

/// How long storing one message may take in all, tries included: half of the time after which a sender sends again.
pub const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);
/// Publishes under way at once. Past it a message is refused at once: a queue would only make all of them late.
pub const PUBLISHES_IN_FLIGHT_MAX: usize = 4_096;
/// Messages of senders' batches under way at once, beside those. Past it a batch waits its turn until its deadline.
const BATCHED_IN_FLIGHT_MAX: usize = 4_096;
/// Pause before a try that follows a failed one.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The last sequence of no stream.
const NO_SEQUENCE: u64 = u64::MAX >> 1;

/// Stores messages. Cheap to clone; all clones share the bounds on publishes under way.
#[derive(Clone)]
pub struct Publisher {
    group: Group<Waiting>,
    shared: Arc<Shared>,
}

/// What all clones share, and each message on its way.
struct Shared {
    singly: Singly,
    recent: Recent,
    slots: Arc<Semaphore>,
    batch_slots: Arc<Semaphore>,
    tasks: TaskTracker,
    storing: Storing,
}

impl Publisher {
    /// A publisher on this connection.
    pub fn new(broker: Broker, commit: GroupCommit) -> Self {
        let context = broker.publishing(PUBLISHES_IN_FLIGHT_MAX + BATCHED_IN_FLIGHT_MAX);
        let tasks = TaskTracker::new();
        let group = Group::new(broker.clone(), context.clone(), tasks.clone(), commit);
        let (singly, recent) = (Singly { broker, context }, Recent::new(commit != GroupCommit::Off));
        let [slots, batch_slots] =
            [PUBLISHES_IN_FLIGHT_MAX, BATCHED_IN_FLIGHT_MAX].map(|slots| Arc::new(Semaphore::new(slots)));
        let shared = Shared { singly, recent, slots, batch_slots, tasks, storing: Storing::default() };
        Self { group, shared: Arc::new(shared) }
    }

    /// What the last publishes came to.
    pub fn storing(&self) -> &Storing {
        &self.shared.storing
    }

    /// Stores a message, or says within [`PUBLISH_DEADLINE`] why not.
    ///
    /// [`BrokerError::Unavailable`] does not mean that the message was not stored: it may be sent again, and will be
    /// recognised. With the broker known to be away, or too much under way, it comes at once.
    pub async fn publish(&self, outgoing: Outgoing) -> Stored {
        self.check_connected()?;
        let Ok(slot) = self.shared.slots.clone().try_acquire_owned() else {
            return Err(BrokerError::Unavailable(format!("{PUBLISHES_IN_FLIGHT_MAX} publishes are under way")));
        };
        let (waiting, stored) = self.waiting(outgoing, slot, Instant::now() + PUBLISH_DEADLINE);
        if let Some(waiting) = self.group.take(waiting) {
            let group = self.group.clone();
            Finished::new(async move { group.store_alone(waiting).await }, &self.shared.tasks).await;
        }
        answer_of(stored).await
    }

    /// Stores the messages of a sender's batch, each for itself, and tells of each what became of it.
    pub async fn publish_all(&self, batch: Vec<Outgoing>) -> Vec<Stored> {
        let (messages, deadline) = (batch.len(), Instant::now() + PUBLISH_DEADLINE);
        let slots = match self.check_connected() {
            Ok(()) => self.slots_of_batch(messages, deadline).await,
            Err(error) => Err(error),
        };
        let mut slots = match slots {
            Ok(slots) => slots,
            Err(error) => return vec![Err(error); messages],
        };
        let (mut alone, mut answers) = (Vec::new(), Vec::with_capacity(messages));
        for outgoing in batch {
            let Some(slot) = slots.split(1) else { break };
            let (waiting, stored) = self.waiting(outgoing, slot, deadline);
            alone.extend(self.group.take(waiting));
            answers.push(answer_of(stored));
        }
        let group = self.group.clone();
        self.shared.tasks.spawn(async move { group.store_each(alone).await });
        join_all(answers).await
    }

    /// Asks whether a publish would come to the stream, by one that it must refuse: it expects a last sequence that no
    /// stream has, and a stream of another name. Nothing is stored by it; an answer of the stream shows that the way
    /// there is open, which no other question does. It does not show that there is room: that is compared only after
    /// this.
    pub async fn probe(&self) -> Proof {
        let message = PublishMessage::build().expected_stream(DEAD_LETTER_STREAM).expected_last_sequence(NO_SEQUENCE);
        let probe = async { self.shared.singly.context.send_publish(PROBE_SUBJECT, message).await?.await };
        match timeout(PUBLISH_TIMEOUT, probe).await.map(|probed| probed.map_err(BrokerError::from)) {
            Ok(Err(BrokerError::Conflict | BrokerError::Misconfigured(_))) => Proof::Reached,
            _ => Proof::NotReached,
        }
    }

    /// Waits for the publishes that are under way; each has its own deadline.
    pub async fn drain(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    fn check_connected(&self) -> Result<(), BrokerError> {
        match self.shared.singly.broker.is_connected() {
            true => Ok(()),
            false => Err(BrokerError::Unavailable("not connected".into())),
        }
    }

    async fn slots_of_batch(&self, messages: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, BrokerError> {
        let slots = u32::try_from(messages).unwrap_or(u32::MAX);
        match timeout_at(deadline, self.shared.batch_slots.clone().acquire_many_owned(slots)).await {
            Ok(slots) => slots.map_err(BrokerError::unavailable),
            Err(_) => Err(BrokerError::timed_out("waiting for earlier batches")),
        }
    }

    fn waiting(
        &self,
        mut outgoing: Outgoing,
        slot: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> (Waiting, oneshot::Receiver<Stored>) {
        let id = outgoing.message_id();
        let span = outgoing.begin(&id);
        // What the message causes is caused by its publishing.
        outgoing.origin.trace = span.trace();
        let (asker, stored) = oneshot::channel();
        (Waiting { outgoing, id, deadline, span, slot, asker, shared: self.shared.clone() }, stored)
    }
}

async fn answer_of(stored: oneshot::Receiver<Stored>) -> Stored {
    stored.await.unwrap_or_else(|error| Err(BrokerError::unavailable(error)))
}
