//! The worker of one partition: takes a batch, sorts it by channel, settles all channels at once, acknowledges; and goes
//! on with channels that drain, a step each, in between.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Counters;
use super::cache::Cache;
use super::decide::{Disposal, Malformed, VAIN_PAUSE, bury_malformed, disposal, partition_pause, pause_after, read};
use super::drain::{Drain, Step};
use super::settle::{Desk, settle};
use crate::broker::{AckHandle, BrokerError, Deliveries, Delivery, Stored, TrackBroker};
use crate::domain::{Arrival, Channel, Sequence};
use crate::fail_point;
use crate::logging::Limit;

/// Drains that take a step in one round, so that many short ones do not wait for each other.
const DRAINS_AT_ONCE: usize = 4;

/// The worker of one partition.
pub struct Worker<B> {
    broker: Arc<B>,
    ack_wait: Duration,
    counters: Arc<Counters>,
    cache: Cache,
    drains: VecDeque<Drain>,
    /// When the broker was last told that what is held for the drains is still being worked on.
    extended: Instant,
}

/// The messages of one channel in a batch.
struct Group {
    desk: Desk,
    arrivals: Vec<Arc<Arrival<Stored>>>,
    handles: Vec<AckHandle>,
}

/// Answers for deliveries, collected until the end of a turn.
#[derive(Default)]
struct Answers {
    acknowledge: Vec<AckHandle>,
    give_back: Vec<(AckHandle, Duration)>,
}

impl<B: TrackBroker> Worker<B> {
    /// A worker that remembers nothing.
    pub fn new(broker: B, ack_wait: Duration, counters: Arc<Counters>) -> Self {
        let (broker, extended) = (Arc::new(broker), Instant::now());
        Self { broker, ack_wait, counters, cache: Cache::new(), drains: VecDeque::new(), extended }
    }

    /// Works until the shutdown, then gives back what it holds.
    pub async fn run(mut self, mut deliveries: Deliveries, shutdown: CancellationToken) {
        loop {
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                batch = deliveries.next_batch() => batch,
                () = std::future::ready(()), if self.has_drains() => Vec::new(),
            };
            let pause = self.turn(batch).await;
            // Time for the broker to come back; a shutdown does not wait for it.
            let _ = timeout(pause, shutdown.cancelled()).await;
        }
        let mut held: Vec<_> = self.drains.drain(..).map(|drain| drain.token).collect();
        held.extend(deliveries.close());
        self.broker.give_back(&held, Duration::ZERO).await;
    }

    /// Whether a channel goes on from the stream, so that a turn is worth it without any delivery.
    pub fn has_drains(&self) -> bool {
        !self.drains.is_empty()
    }

    /// One batch, then one step of the drains; while it lasts, everything that is held is kept from coming again.
    /// Tells for how long to leave the broker alone.
    pub async fn turn(&mut self, batch: Vec<Delivery>) -> Duration {
        let tokens = self.drains.iter().map(|drain| drain.token.clone());
        let held: Vec<_> = batch.iter().map(|delivery| delivery.handle.clone()).chain(tokens).collect();
        let (broker, half) = (self.broker.clone(), self.ack_wait / 2);
        // A token is held for many short turns; what comes with this one has its time before it.
        let mut extended = if self.has_drains() { self.extended } else { Instant::now() };
        let pause = {
            let work = self.work(batch);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    pause = &mut work => break pause,
                    () = sleep_until(extended + half) => broker.extend(&held).await,
                }
                extended = Instant::now();
            }
        };
        self.extended = extended;
        pause
    }

    async fn work(&mut self, batch: Vec<Delivery>) -> Duration {
        let mut answers = Answers::default();
        let pause = self.settle_batch(batch, &mut answers).await.max(self.step_drains(&mut answers).await);
        fail_point::reached("track.before-acknowledging");
        self.broker.acknowledge(&answers.acknowledge).await;
        for (handle, pause) in answers.give_back {
            self.broker.give_back(&[handle], pause).await;
        }
        pause
    }

    async fn settle_batch(&mut self, batch: Vec<Delivery>, answers: &mut Answers) -> Duration {
        let (groups, malformed) = self.sort(batch);
        let (broker, counters) = (&*self.broker, &*self.counters);
        let settle_all = groups.into_iter().map(|mut group| async move {
            let settled = settle(broker, &mut group.desk, &group.arrivals, counters).await;
            (group, settled)
        });
        let bury_all = malformed
            .into_iter()
            .map(|(malformed, handle)| async move { (handle, bury_malformed(broker, &malformed, counters).await) });
        let (settled, buried) = tokio::join!(join_all(settle_all), join_all(bury_all));
        let results = settled.iter().map(|(_, settled)| settled).chain(buried.iter().map(|(_, buried)| buried));
        let pause = results.filter_map(|result| result.as_ref().err().map(partition_pause)).max();
        settled.into_iter().for_each(|(group, settled)| self.finish(group, settled, answers));
        buried.into_iter().for_each(|(handle, buried)| answers.dispose(vec![handle], disposal(&buried, false)));
        pause.unwrap_or_default()
    }

    /// Sorts a batch by channel, the messages of each in the order of the stream.
    fn sort(&mut self, batch: Vec<Delivery>) -> (Vec<Group>, Vec<(Box<Malformed>, AckHandle)>) {
        let (mut groups, mut malformed) = (HashMap::new(), Vec::new());
        for Delivery { stored, handle } in batch {
            match read(stored) {
                Err(error) => malformed.push((error, handle)),
                Ok(arrival) => {
                    let channel = arrival.message.channel;
                    let group = groups.entry(channel).or_insert_with(|| Group::new(self.cache.take(channel)));
                    group.arrivals.push(Arc::new(arrival));
                    group.handles.push(handle);
                }
            }
        }
        (groups.into_values().collect(), malformed)
    }

    /// Decides on the deliveries of one channel, and remembers the channel if it was settled.
    fn finish(&mut self, group: Group, settled: Result<(), BrokerError>, answers: &mut Answers) {
        let Group { desk, arrivals, mut handles } = group;
        let could_move = desk.known.as_ref().is_some_and(|known| known.record.could_move());
        let disposal = disposal(&settled, could_move);
        match &settled {
            Ok(()) => {
                let last = arrivals.last().map(|arrival| arrival.sequence);
                if disposal == Disposal::HoldOneAndDrain
                    && let (Some(sequence), Some(handle)) = (last, handles.pop())
                {
                    handles.extend(self.hold(desk.channel, sequence, handle));
                }
                self.cache.put(desk);
            }
            Err(error) => log_failure(desk.channel, error),
        }
        answers.dispose(handles, disposal);
    }

    /// Holds one delivery of a channel that could move, and tells which one can be let go for it, if another one was
    /// held already. A delivery that comes again takes the place of itself.
    fn hold(&mut self, channel: Channel, sequence: Sequence, handle: AckHandle) -> Option<AckHandle> {
        match self.drains.iter_mut().find(|drain| drain.channel == channel) {
            None => {
                self.drains.push_back(Drain::new(channel, sequence, handle));
                None
            }
            Some(drain) => {
                let held = std::mem::replace(&mut drain.token, handle);
                (std::mem::replace(&mut drain.token_sequence, sequence) != sequence).then_some(held)
            }
        }
    }

    async fn step_drains(&mut self, answers: &mut Answers) -> Duration {
        let count = self.drains.len().min(DRAINS_AT_ONCE);
        let round: Vec<_> = self.drains.drain(..count).collect();
        let (broker, counters, cache) = (&*self.broker, &*self.counters, &mut self.cache);
        let steps = round.into_iter().map(|mut drain| {
            let mut desk = cache.take(drain.channel);
            async move {
                let step = drain.step(broker, &mut desk, counters).await;
                (drain, desk, step)
            }
        });
        let stepped = join_all(steps).await;
        stepped
            .into_iter()
            .map(|(drain, desk, step)| self.after_step(drain, desk, step, answers))
            .max()
            .unwrap_or_default()
    }

    fn after_step(
        &mut self,
        drain: Drain,
        desk: Desk,
        step: Result<Step, BrokerError>,
        answers: &mut Answers,
    ) -> Duration {
        let channel = drain.channel;
        match step {
            Ok(Step::GoOn) => self.drains.push_back(drain),
            Ok(Step::Done) => answers.acknowledge.push(drain.token),
            Ok(Step::Vain) => {
                tracing::error!(%channel, "messages that are said to wait are not in the stream, looking again later");
                answers.give_back.push((drain.token, VAIN_PAUSE));
            }
            Err(error) => {
                log_failure(channel, &error);
                answers.give_back.push((drain.token, pause_after(&error)));
                // What is remembered may be wrong now: forget it.
                return partition_pause(&error);
            }
        }
        self.cache.put(desk);
        Duration::ZERO
    }
}

impl Group {
    fn new(desk: Desk) -> Self {
        Self { desk, arrivals: Vec::new(), handles: Vec::new() }
    }
}

impl Answers {
    fn dispose(&mut self, handles: Vec<AckHandle>, disposal: Disposal) {
        match disposal {
            Disposal::Acknowledge | Disposal::HoldOneAndDrain => self.acknowledge.extend(handles),
            Disposal::GiveBack(pause) => self.give_back.extend(handles.into_iter().map(|handle| (handle, pause))),
        }
    }
}

fn log_failure(channel: Channel, error: &BrokerError) {
    static FAILED: Limit = Limit::new();
    if let Some(unlogged) = FAILED.admits() {
        tracing::warn!(%channel, %error, unlogged, "messages could not be taken up, they come again");
    }
}

#[cfg(test)]
mod tests;
