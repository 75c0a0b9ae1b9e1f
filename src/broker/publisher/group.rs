//! Group commit: what waits while a group is being stored makes the next one, which is one atomic batch, synced once.
//!
//! A batch is stored whole or not at all, and one repeat in it has all of it refused. So what looks like a repeat does not
//! come in here, and a group that was not stored goes out again one by one: each message gets the answer that it would
//! have got by itself.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::HeaderValue;
use async_nats::header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE};
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::OutboundMessage;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::pace::{CALM, Pace, Way};
use super::recent::Recent;
use super::singly::Singly;
use super::waiting::Waiting;
use super::{GroupCommit, Receipt};
use crate::broker::BrokerError;
use crate::broker::connection::PUBLISH_TIMEOUT;
use crate::broker::topology::subject;
use crate::domain::Sequence;
use crate::fail_point;

/// Most messages of a group: as many as the server takes in a batch.
const MESSAGES_MAX: usize = 1_000;
/// Most bytes of their bodies: the server keeps a batch in memory until it is whole.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest time that a group waits for those who were answered with the last one.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// Stores messages in groups where that pays. Cheap to clone; clones share the queue.
#[derive(Clone)]
pub struct Group(Arc<Inner>);

struct Inner {
    singly: Singly,
    tasks: TaskTracker,
    commit: GroupCommit,
    state: Mutex<State>,
    /// Another one waits.
    came: Notify,
}

struct State {
    queue: VecDeque<Waiting>,
    /// Whether somebody is storing what waits.
    is_committing: bool,
    pace: Pace,
    recent: Recent,
}

/// What is to be stored next.
#[derive(Default)]
struct Next {
    group: Vec<Waiting>,
    /// What has been stored since it came to wait.
    repeats: Vec<Waiting>,
}

/// Why a batch was not acknowledged.
enum NotCommitted {
    /// The broker said no: nothing of it is stored.
    Refused(BrokerError),
    /// It may be stored or not.
    Unclear(BrokerError),
}

impl Group {
    /// A queue with nothing in it; what it does is tracked there.
    pub fn new(singly: Singly, tasks: TaskTracker, commit: GroupCommit) -> Self {
        let now = Instant::now();
        let (pace, recent) = (Pace::new(now), Recent::new(now));
        let state = State { queue: VecDeque::new(), is_committing: false, pace, recent };
        Self(Arc::new(Inner { singly, tasks, commit, state: Mutex::new(state), came: Notify::new() }))
    }

    /// Takes a message that comes while so many are under way into the next group; gives it back where it goes by itself.
    pub fn take(&self, waiting: Waiting, under_way: usize) -> Option<Waiting> {
        let mut state = self.state();
        if !self.0.is_grouped(&mut state, under_way) || state.recent.has(&waiting.id) {
            return Some(waiting);
        }
        state.queue.push_back(waiting);
        match std::mem::replace(&mut state.is_committing, true) {
            true => self.0.came.notify_one(),
            false => drop(self.0.tasks.spawn(self.clone().commit_all())),
        }
        None
    }

    /// Notes that one was stored by itself.
    pub fn stored_singly(&self, id: &str) {
        if self.0.commit != GroupCommit::Off {
            self.state().note([id]);
        }
    }

    /// Stores what waits until nothing does.
    async fn commit_all(self) {
        let mut last = None;
        while let Some(Next { group, repeats }) = self.next(last).await {
            let (begun, messages) = (Instant::now(), group.len());
            tokio::join!(self.store(group), self.store_each(repeats, false));
            last = Some((messages, begun.elapsed()));
        }
    }

    /// The next group. Those who were answered with the last one are about to send again: so they are waited for, a
    /// fraction of the time that it took.
    async fn next(&self, last: Option<(usize, Duration)>) -> Option<Next> {
        if let Some((messages, took)) = last {
            let are_there = async {
                while self.state().queue.len() < messages {
                    self.0.came.notified().await;
                }
            };
            let _ = timeout(GATHER_MAX.min(took / 4), are_there).await;
        }
        let mut state = self.state();
        state.is_committing = !state.queue.is_empty();
        state.is_committing.then(|| state.next())
    }

    async fn store(&self, group: Vec<Waiting>) {
        if group.len() < self.0.fewest() {
            return self.store_each(group, false).await;
        }
        match self.commit(&group).await {
            Ok(sequences) => {
                tracing::debug!(messages = group.len(), "a group is stored");
                self.state().note(group.iter().map(|waiting| &*waiting.id));
                let receipts = sequences.map(|sequence| Receipt { sequence: Sequence(sequence), duplicate: false });
                group.into_iter().zip(receipts).for_each(|(waiting, receipt)| waiting.finish(Ok(receipt)));
            }
            Err(not_committed) => {
                let (was_tried, error) = match not_committed {
                    NotCommitted::Refused(error) => (false, error),
                    NotCommitted::Unclear(error) => (true, error),
                };
                tracing::debug!(messages = group.len(), %error, "a group was not stored, each goes by itself");
                self.store_each(group, was_tried).await;
            }
        }
    }

    /// Stores several, each by itself.
    pub async fn store_each(&self, all: Vec<Waiting>, were_tried: bool) {
        join_all(all.into_iter().map(|waiting| self.store_singly(waiting, were_tried))).await;
    }

    /// Stores one by itself.
    pub async fn store_singly(&self, waiting: Waiting, was_tried: bool) {
        let Waiting { outgoing, id, deadline, .. } = &waiting;
        let receipt = self.0.singly.store(outgoing, id, *deadline, was_tried).await;
        if receipt.is_ok() {
            self.stored_singly(id);
        }
        waiting.finish(receipt);
    }

    /// Stores a group as one batch, and tells the sequences of its messages.
    async fn commit(&self, group: &[Waiting]) -> Result<impl Iterator<Item = u64> + use<>, NotCommitted> {
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        let deadline = group.iter().fold(deadline, |deadline, waiting| deadline.min(waiting.deadline));
        let committing = timeout_at(deadline, self.commit_batch(group)).await;
        committing.unwrap_or_else(|_| Err(NotCommitted::Unclear(BrokerError::timed_out("storing a group"))))
    }

    async fn commit_batch(&self, group: &[Waiting]) -> Result<impl Iterator<Item = u64> + use<>, NotCommitted> {
        let batch = HeaderValue::from(uuid::Uuid::new_v4().simple().to_string());
        let messages = group.len();
        let mut last = None;
        for (at, waiting) in (1..).zip(group) {
            let message = waiting.outgoing.message(&waiting.id).header(NATS_BATCH_ID, batch.clone());
            let message = message.header(NATS_BATCH_SEQUENCE, HeaderValue::from(at));
            let subject = subject(&waiting.outgoing.channel);
            match at == messages {
                false => self.send(message.outbound_message(subject)).await?,
                true => last = Some((subject, message.header(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL))),
            }
        }
        let Some((subject, message)) = last else { return Err(NotCommitted::unclear("an empty group")) };
        fail_point::reached("ingest.group-sent");
        let committing = async { self.0.singly.context.send_publish(subject, message).await?.await };
        let ack = committing.await.map_err(NotCommitted::from)?;
        fail_point::reached("ingest.group-stored");
        match ack.batch_size == Some(messages as u64) {
            true => Ok(ack.sequence + 1 - messages as u64..=ack.sequence),
            false => Err(NotCommitted::unclear("the broker acknowledged another batch")),
        }
    }

    async fn send(&self, OutboundMessage { subject, payload, headers }: OutboundMessage) -> Result<(), NotCommitted> {
        let sent = self.0.singly.broker.client().publish_with_headers(subject, headers.unwrap_or_default(), payload);
        sent.await.map_err(NotCommitted::unclear)
    }

    /// Nothing that can panic runs under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Fewest messages of a batch.
    fn fewest(&self) -> usize {
        match self.commit {
            GroupCommit::On => 2,
            GroupCommit::Auto | GroupCommit::Off => CALM,
        }
    }

    fn is_grouped(&self, state: &mut State, under_way: usize) -> bool {
        match self.commit {
            GroupCommit::Off => false,
            GroupCommit::On => true,
            GroupCommit::Auto => state.pace.way(under_way, Instant::now()) == Way::Grouped,
        }
    }
}

impl State {
    /// What is to be stored next. Of several copies of one message that wait the first is taken, and the others wait on: they
    /// are repeats then.
    fn next(&mut self) -> Next {
        let (mut next, mut ids, mut bytes) = (Next::default(), HashSet::new(), 0);
        for waiting in std::mem::take(&mut self.queue) {
            if self.recent.has(&waiting.id) {
                next.repeats.push(waiting);
                continue;
            }
            bytes += waiting.outgoing.payload.len();
            match next.group.len() < MESSAGES_MAX && bytes <= BYTES_MAX && ids.insert(waiting.id.clone()) {
                true => next.group.push(waiting),
                false => self.queue.push_back(waiting),
            }
        }
        next
    }

    fn note<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>) {
        let now = Instant::now();
        let stored = ids.into_iter().map(|id| self.recent.note(id, now)).count();
        self.pace.stored(stored);
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
