//! Group commit: what waits while a group is being stored makes the next one, which is one atomic batch, synced once.
//!
//! A batch is stored whole or not at all, and one write in it that the broker refuses has all of it refused. So a group that was
//! refused goes out again one by one: each write comes to what it would have come to by itself. What is written, and what its
//! writer does when it is stored, is not known here ([`Write`]); when groups pay is [`pace`].

mod pace;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE};
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::{OutboundMessage, PublishMessage};
use async_nats::{HeaderValue, jetstream};
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use self::pace::{CALM, Pace, Way};
use super::connection::PUBLISH_TIMEOUT;
use super::{Broker, BrokerError};
use crate::fail_point;

/// Most messages of a group: as many as the server takes in a batch.
const MESSAGES_MAX: usize = 1_000;
/// Most bytes of their bodies: the server keeps a batch in memory until it is whole.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Writes on their way by themselves; further ones wait, so that they can go together when that is found to be faster. More
/// would not be stored sooner.
const ALONE_MAX: usize = 512;
/// What has less time left than this goes by itself: a group has as much as the one of it that has least.
const GROUP_TIME_MIN: Duration = Duration::from_secs(1);
/// Longest time that a group waits for those who were answered with the last one.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// Whether what waits is stored as one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupCommit {
    /// Where it is found to be faster.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Something that is to be stored in one stream.
pub trait Write: Send + Sync + 'static {
    /// No two with the same one are in one batch.
    fn key(&self) -> &str;
    /// When it is too late.
    fn deadline(&self) -> Instant;
    /// How large it is, about.
    fn bytes(&self) -> usize;
    /// Whether it would have a batch refused, for all that is known.
    fn goes_alone(&self) -> bool;
    /// Its subject, and what is published there.
    fn message(&self) -> (String, PublishMessage);
    /// It is stored there, with a group.
    fn stored_at(self, sequence: u64);
    /// Stores it by itself, and tells whether it is; an earlier try may have come through, where that is said.
    fn store(self, was_tried: bool) -> impl Future<Output = bool> + Send;
}

/// Stores what is written to one stream, in groups where that pays. Cheap to clone; clones share the queue.
pub struct Group<W>(Arc<Inner<W>>);

impl<W> Clone for Group<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<W> {
    broker: Broker,
    context: jetstream::Context,
    tasks: TaskTracker,
    commit: GroupCommit,
    state: Mutex<State<W>>,
    /// Another one waits, or one by itself is stored.
    moved: Notify,
}

struct State<W> {
    queue: VecDeque<W>,
    /// How many are on their way by themselves, and in a group.
    alone: usize,
    grouped: usize,
    /// Whether somebody is storing what waits.
    is_storing: bool,
    pace: Pace,
}

/// What is done next about what waits.
enum Step<W> {
    /// Nothing waits.
    End,
    /// Nothing, until something has moved.
    Wait,
    /// Each of these is stored by itself.
    Alone(Vec<W>),
    /// All of it is stored as a group, as far as it fits, as soon as those who were answered with the last one are there again.
    Gather,
}

/// One that is on its way by itself: counted until this is dropped, also where nobody waits for it any more.
struct Alone<'a, W: Write> {
    group: &'a Group<W>,
    way: Way,
    is_stored: bool,
}

impl<W: Write> Drop for Alone<'_, W> {
    fn drop(&mut self) {
        let mut state = self.group.state();
        state.alone -= 1;
        state.note(self.way, usize::from(self.is_stored));
        if state.is_storing {
            self.group.0.moved.notify_one();
        }
    }
}

/// Why a batch was not acknowledged.
enum NotCommitted {
    /// The broker said no: nothing of it is stored.
    Refused(BrokerError),
    /// It may be stored or not.
    Unclear(BrokerError),
}

impl<W: Write> Group<W> {
    /// A queue with nothing in it, which publishes there; what it does is tracked there.
    pub fn new(broker: Broker, context: jetstream::Context, tasks: TaskTracker, commit: GroupCommit) -> Self {
        let pace = Pace::new(Instant::now());
        let state = State { queue: VecDeque::new(), alone: 0, grouped: 0, is_storing: false, pace };
        Self(Arc::new(Inner { broker, context, tasks, commit, state: Mutex::new(state), moved: Notify::new() }))
    }

    /// Takes a write, to be stored when it is its turn; gives it back where it goes by itself and at once, to be handed to
    /// [`Self::store_alone`].
    pub fn take(&self, write: W) -> Option<W> {
        let mut state = self.state();
        let under_way = state.under_way() + 1;
        let is_single = state.way(self.0.commit, under_way) == Way::Singly;
        if write.goes_alone() || is_single && state.queue.is_empty() && state.alone < ALONE_MAX {
            state.alone += 1;
            return Some(write);
        }
        state.queue.push_back(write);
        match std::mem::replace(&mut state.is_storing, true) {
            true => self.0.moved.notify_one(),
            false => drop(self.0.tasks.spawn(self.clone().store_all())),
        }
        None
    }

    /// Stores one by itself that was given back.
    pub async fn store_alone(&self, write: W) {
        self.store_by_itself(write, false, Way::Singly).await;
    }

    /// Stores several, each by itself, that were given back.
    pub async fn store_each(&self, writes: Vec<W>) {
        join_all(writes.into_iter().map(|write| self.store_alone(write))).await;
    }

    /// Stores one by itself that came this way.
    async fn store_by_itself(&self, write: W, was_tried: bool, way: Way) {
        let mut alone = Alone { group: self, way, is_stored: false };
        alone.is_stored = write.store(was_tried).await;
    }

    /// Stores those of a group that was not stored as one.
    async fn store_scattered(&self, group: Vec<W>, were_tried: bool) {
        self.state().alone += group.len();
        join_all(group.into_iter().map(|write| self.store_by_itself(write, were_tried, Way::Grouped))).await;
    }

    /// Stores what waits until nothing does.
    async fn store_all(self) {
        let mut last = None;
        loop {
            let step = self.state().step(self.0.commit);
            match step {
                Step::End => return,
                Step::Wait => self.0.moved.notified().await,
                Step::Alone(writes) => writes.into_iter().for_each(|write| self.spawn_alone(write)),
                Step::Gather => last = Some(self.store_next(last).await),
            }
        }
    }

    fn spawn_alone(&self, write: W) {
        let group = self.clone();
        self.0.tasks.spawn(async move { group.store_alone(write).await });
    }

    /// Stores the next group, and tells how many there were and how long it took. Those who were answered with the last one
    /// are about to write again: so they are waited for, a fraction of the time that it took.
    async fn store_next(&self, last: Option<(usize, Duration)>) -> (usize, Duration) {
        if let Some((writes, took)) = last {
            let are_there = async {
                while self.state().queue.len() < writes {
                    self.0.moved.notified().await;
                }
            };
            let _ = timeout(GATHER_MAX.min(took / 4), are_there).await;
        }
        let (group, alone) = self.state().next(Instant::now());
        let (begun, writes) = (Instant::now(), group.len());
        tokio::join!(self.store(group), self.store_each(alone));
        (writes, begun.elapsed())
    }

    async fn store(&self, group: Vec<W>) {
        if group.len() < self.0.commit.fewest() {
            return self.store_scattered(group, false).await;
        }
        self.state().grouped = group.len();
        let committed = self.commit(&group).await;
        self.state().grouped = 0;
        match committed {
            Ok(sequences) => {
                tracing::debug!(messages = group.len(), "a group is stored");
                self.state().note(Way::Grouped, group.len());
                group.into_iter().zip(sequences).for_each(|(write, sequence)| write.stored_at(sequence));
            }
            Err(not_committed) => {
                let (were_tried, error) = match not_committed {
                    NotCommitted::Refused(error) => (false, error),
                    NotCommitted::Unclear(error) => (true, error),
                };
                tracing::debug!(messages = group.len(), %error, "a group was not stored, each goes by itself");
                self.state().note(Way::Grouped, 0);
                self.store_scattered(group, were_tried).await;
            }
        }
    }

    /// Stores a group as one batch, and tells the sequences of its messages.
    async fn commit(&self, group: &[W]) -> Result<impl Iterator<Item = u64> + use<W>, NotCommitted> {
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        let deadline = group.iter().fold(deadline, |deadline, write| deadline.min(write.deadline()));
        let committing = timeout_at(deadline, self.commit_batch(group)).await;
        committing.unwrap_or_else(|_| Err(NotCommitted::Unclear(BrokerError::timed_out("storing a group"))))
    }

    async fn commit_batch(&self, group: &[W]) -> Result<impl Iterator<Item = u64> + use<W>, NotCommitted> {
        let batch = HeaderValue::from(uuid::Uuid::new_v4().simple().to_string());
        let messages = group.len();
        let mut last = None;
        for (at, write) in (1..).zip(group) {
            let (subject, message) = write.message();
            let message = message.header(NATS_BATCH_ID, batch.clone());
            let message = message.header(NATS_BATCH_SEQUENCE, HeaderValue::from(at));
            match at == messages {
                false => self.send(message.outbound_message(subject)).await?,
                true => last = Some((subject, message.header(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL))),
            }
        }
        let Some((subject, message)) = last else { return Err(NotCommitted::unclear("an empty group")) };
        fail_point::reached("group.sent");
        let committing = async { self.0.context.send_publish(subject, message).await?.await };
        let ack = committing.await.map_err(NotCommitted::from)?;
        fail_point::reached("group.stored");
        match ack.batch_size == Some(messages as u64) {
            true => Ok(ack.sequence + 1 - messages as u64..=ack.sequence),
            false => Err(NotCommitted::unclear("the broker acknowledged another batch")),
        }
    }

    async fn send(&self, OutboundMessage { subject, payload, headers }: OutboundMessage) -> Result<(), NotCommitted> {
        let sent = self.0.broker.client().publish_with_headers(subject, headers.unwrap_or_default(), payload);
        sent.await.map_err(NotCommitted::unclear)
    }

    /// Nothing that can panic runs under the lock.
    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupCommit {
    /// Fewest messages of a batch.
    fn fewest(self) -> usize {
        match self {
            Self::On => 2,
            Self::Auto | Self::Off => CALM,
        }
    }
}

impl<W> State<W> {
    fn under_way(&self) -> usize {
        self.queue.len() + self.alone + self.grouped
    }

    fn way(&mut self, commit: GroupCommit, under_way: usize) -> Way {
        match commit {
            GroupCommit::Off => Way::Singly,
            GroupCommit::On => Way::Grouped,
            GroupCommit::Auto => self.pace.way(under_way, Instant::now()),
        }
    }

    fn note(&mut self, way: Way, stored: usize) {
        let under_way = self.under_way();
        self.pace.stored(way, stored, under_way, Instant::now());
    }

    /// What is done next.
    fn step(&mut self, commit: GroupCommit) -> Step<W> {
        self.is_storing = !self.queue.is_empty();
        let room = ALONE_MAX.saturating_sub(self.alone);
        let under_way = self.under_way();
        match self.way(commit, under_way) {
            _ if !self.is_storing => Step::End,
            // It is one of the two: both at once gain nothing.
            Way::Grouped if self.alone > CALM => Step::Wait,
            Way::Grouped => Step::Gather,
            Way::Singly if room == 0 => Step::Wait,
            Way::Singly => {
                let writes: Vec<_> = self.queue.drain(..room.min(self.queue.len())).collect();
                self.alone += writes.len();
                Step::Alone(writes)
            }
        }
    }
}

impl<W: Write> State<W> {
    /// The next group, and what had better go by itself, which is also what has so little time left that the others would have
    /// to be given up for it. Of several writes with one key the first is taken, and the others wait on.
    fn next(&mut self, now: Instant) -> (Vec<W>, Vec<W>) {
        let (mut group, mut alone, mut later) = (Vec::new(), Vec::new(), VecDeque::new());
        let (mut keys, mut bytes) = (HashSet::new(), 0);
        for write in std::mem::take(&mut self.queue) {
            if write.goes_alone() || write.deadline() < now + GROUP_TIME_MIN {
                alone.push(write);
                continue;
            }
            bytes += write.bytes();
            let fits = group.is_empty() || bytes <= BYTES_MAX && group.len() < MESSAGES_MAX;
            match fits && keys.insert(write.key().to_owned()) {
                true => group.push(write),
                false => later.push_back(write),
            }
        }
        (self.queue, self.alone) = (later, self.alone + alone.len());
        (group, alone)
    }
}

impl NotCommitted {
    fn unclear(error: impl std::fmt::Display) -> Self {
        Self::Unclear(BrokerError::unavailable(error))
    }
}

impl From<PublishError> for NotCommitted {
    fn from(error: PublishError) -> Self {
        match BrokerError::is_answer(&error) {
            true => Self::Refused(error.into()),
            false => Self::Unclear(error.into()),
        }
    }
}
