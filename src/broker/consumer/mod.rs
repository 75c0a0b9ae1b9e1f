//! Deliveries of one partition, pulled from its durable; the pull is opened again whenever it ends, for whatever reason.
//!
//! Every tracker asks for the messages of every partition. The first in the partition's line (rank 0) asks for many at
//! once, and the broker serves it before all others. The others ask for one message at a time: they get one when the
//! first does not ask, because it is gone or because it has its hands full. Any tracker may apply any message, so they
//! apply it and rest a while: one partition is worked on by one tracker, and a long queue is not spread over all of
//! them, each in the other's way. If the first is gone, the ranks change, which ends the rest.
//!
//! What is delivered stays the broker's until it is acknowledged ([`crate::broker::partition`]).

mod pull;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Message, Subject, jetstream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::broker::connection::PUBLISH_TIMEOUT;
use crate::broker::consumer::pull::{Ask, Pull};
use crate::broker::{Broker, BrokerError, Stored};
use crate::domain::Sequence;

/// Messages that the tracker of rank 0 asks for at once, where it keeps up. It asks again at half of it, and before a request
/// runs out, so at most twice as many wait in memory.
pub const PULL_MESSAGES_MAX: usize = 500;
/// The same where it does not keep up.
const PULL_MESSAGES_MIN: usize = 16;
/// A batch that takes longer is too much: what waits behind it would be delivered again before its turn, which makes every
/// further batch dearer.
const BATCH_TAKES_MAX: Duration = Duration::from_secs(1);
/// Messages that one batch applies at most.
pub const BATCH_MESSAGES_MAX: usize = 1_000;
/// A batch is applied no sooner than so long after the one before. Of a long queue the messages arrive one by one, and
/// each batch costs a write for every rocket in it; a message that comes alone waits for nothing.
const BATCH_EVERY: Duration = Duration::from_millis(1);
/// Longest pause before a pull that ended is opened again.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long the second in line asks for nothing after it was served; the third rests twice as long, and so on.
const REST: Duration = Duration::from_secs(2);

/// A stored message that was handed to us, to be acknowledged.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub stored: Stored,
    /// What it is acknowledged by.
    pub handle: AckHandle,
}

/// What one delivery is acknowledged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckHandle {
    /// Where the acknowledgement goes.
    pub(crate) reply: Subject,
    /// How many times the message was delivered, this time included.
    pub deliveries: u64,
}

/// The deliveries of one partition.
pub struct Deliveries {
    broker: Broker,
    partition: u16,
    /// Where this tracker stands in the line of each partition, 0 first.
    ranks: watch::Receiver<Arc<[usize]>>,
    /// What the requests are made as.
    rank: usize,
    pull: Option<Pull>,
    /// Pulls in a row that were never answered as they should be.
    failures: u32,
    /// What came and was not handed on yet.
    next: Option<Delivery>,
    /// Nothing is asked for before.
    rests_until: Instant,
    /// No batch is applied before.
    batch_after: Instant,
    /// How many messages the tracker of rank 0 asks for.
    messages: usize,
    /// When the last batch was handed on, until the next one is asked for.
    handed_on: Option<Instant>,
}

impl Deliveries {
    /// Deliveries of this partition, by our rank in it; the pull is opened with the first batch.
    pub fn new(broker: Broker, partition: u16, ranks: watch::Receiver<Arc<[usize]>>) -> Self {
        let now = Instant::now();
        let (pull, failures, next) = (None, 0, None);
        let (messages, handed_on) = (PULL_MESSAGES_MAX, None);
        let (rests_until, batch_after) = (now, now);
        Self { broker, partition, ranks, rank: 0, pull, failures, next, rests_until, batch_after, messages, handed_on }
    }

    /// Waits until there is something, and takes what is there, at most [`BATCH_MESSAGES_MAX`]. Nothing is lost when
    /// the wait is given up.
    pub async fn next_batch(&mut self) -> Vec<Delivery> {
        if let Some(handed_on) = self.handed_on.take() {
            self.messages = messages_after(self.messages, handed_on.elapsed());
        }
        loop {
            self.look_at_rank();
            if self.next.is_some() {
                sleep_until(self.batch_after).await;
                return self.batch();
            }
            match self.wait().await {
                Ok(next) => self.next = next,
                Err(error) => self.failed(&error).await,
            }
        }
    }

    /// Takes what has been delivered and not been looked at, for giving it back.
    pub async fn close(self) -> Vec<AckHandle> {
        let left = match self.pull {
            Some(pull) => pull.close().await,
            None => Vec::new(),
        };
        let left = left.into_iter().filter_map(|message| delivery(&self.broker, message));
        self.next.into_iter().chain(left).map(|delivery| delivery.handle).collect()
    }

    /// Takes over a new rank, and has it asked for at once.
    fn look_at_rank(&mut self) {
        let rank = match self.ranks.borrow_and_update().get(usize::from(self.partition)) {
            Some(rank) if *rank != self.rank => *rank,
            _ => return,
        };
        (self.rank, self.rests_until) = (rank, Instant::now() + rest(rank.saturating_sub(1)));
        if let Some(pull) = &mut self.pull {
            pull.renew();
        }
    }

    /// Waits until a message comes, or the ranks have changed.
    async fn wait(&mut self) -> Result<Option<Delivery>, BrokerError> {
        let pull = match &mut self.pull {
            Some(pull) => pull,
            None => self.pull.insert(Pull::open(&self.broker, self.partition).await?),
        };
        let ask = Ask { messages: if self.rank == 0 { self.messages } else { 1 }, priority: self.rank };
        tokio::select! {
            biased;
            message = pull.next(ask, self.rests_until) => Ok(delivery(&self.broker, message?)),
            Ok(()) = self.ranks.changed() => Ok(None),
        }
    }

    /// What has come first, and all that has come meanwhile.
    fn batch(&mut self) -> Vec<Delivery> {
        let now = Instant::now();
        (self.batch_after, self.handed_on) = (now + BATCH_EVERY, Some(now));
        self.rests_until = now + rest(self.rank);
        let mut batch: Vec<_> = self.next.take().into_iter().collect();
        while batch.len() < BATCH_MESSAGES_MAX
            && let Some(message) = self.pull.as_mut().and_then(Pull::try_next)
        {
            batch.extend(delivery(&self.broker, message));
        }
        batch
    }

    /// Lets the pull go, and waits the longer the more of them came to nothing.
    async fn failed(&mut self, error: &BrokerError) {
        if self.pull.take().is_some_and(|pull| pull.was_answered()) {
            self.failures = 0;
        }
        self.failures += 1;
        tracing::debug!(partition = self.partition, %error, "a pull ended, opening another");
        if self.failures == 2 && self.broker.is_connected() {
            tracing::warn!(partition = self.partition, %error, "cannot pull, trying again");
        }
        sleep(REOPEN_PAUSE_MAX.min(Duration::from_millis(20) * self.failures)).await;
    }
}

/// How long a tracker of this rank asks for nothing after it was served.
fn rest(rank: usize) -> Duration {
    REST.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX))
}

/// How many messages are asked for after a batch took so long: fewer as long as that is too long, and more again after.
fn messages_after(messages: usize, took: Duration) -> usize {
    match took {
        _ if took > BATCH_TAKES_MAX => (messages / 2).max(PULL_MESSAGES_MIN),
        _ if took < BATCH_TAKES_MAX / 4 => (messages * 2).min(PULL_MESSAGES_MAX),
        _ => messages,
    }
}

/// Sends one kind of answer for each delivery. If the broker is away they are lost, and the messages come again.
pub(in crate::broker) async fn answer(broker: &Broker, handles: &[AckHandle], kind: AckKind) {
    let payload: bytes::Bytes = kind.into();
    let all = async {
        for AckHandle { reply, .. } in handles {
            if broker.client().publish(reply.clone(), payload.clone()).await.is_err() {
                return;
            }
        }
    };
    if broker.is_connected() {
        // Without a deadline this would wait for as long as the broker is away.
        let _ = timeout(PUBLISH_TIMEOUT, all).await;
    }
}

/// A delivery, unless it is not one: without a reply there is nothing to acknowledge.
fn delivery(broker: &Broker, message: Message) -> Option<Delivery> {
    let message = jetstream::Message { message, context: broker.jetstream().clone() };
    let info = message.info().ok()?;
    let (sequence, time) = (Sequence(info.stream_sequence), info.published);
    let deliveries = u64::try_from(info.delivered).unwrap_or(1);
    let message = message.message;
    // The last one of its name, as when the message is read back: an outsider may have written several.
    let header = |name| message.headers.as_ref()?.get_last(name).map(|value| value.as_str());
    let stored = Stored::of(sequence, time, &message.subject, header, &message.payload);
    Some(Delivery { stored, handle: AckHandle { reply: message.reply?, deliveries } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_not_keep_up_asks_for_less() {
        let after = |messages, seconds| messages_after(messages, Duration::from_secs_f64(seconds));
        let slow: Vec<_> = std::iter::successors(Some(500), |messages| Some(after(*messages, 3.0))).take(8).collect();
        assert_eq!(slow, [500, 250, 125, 62, 31, 16, 16, 16]);
        let quick: Vec<_> = std::iter::successors(Some(16), |messages| Some(after(*messages, 0.01))).take(7).collect();
        assert_eq!(quick, [16, 32, 64, 128, 256, 500, 500]);
        assert_eq!(after(100, 0.5), 100);
    }
}
