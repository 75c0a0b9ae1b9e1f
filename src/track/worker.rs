//! The worker of one partition: takes a batch, sorts it by channel, settles all channels at once, tells what became of the
//! messages, acknowledges; and goes on with channels that drain or are folded anew, a step each, in between.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Counters;
use super::act::{self, ActJob, Cause};
use super::cache::Cache;
use super::decide::{Disposal, VAIN_PAUSE, bury_malformed, disposal, partition_pause, pause_after};
use super::desk::Desk;
use super::drain::{Drain, Step};
use super::settle::{Settled, settle};
use crate::broker::{AckHandle, BrokerError, Deliveries, Delivery, Malformed, Stored, TrackBroker};
use crate::domain::{Arrival, Became, Channel, Entry, Outcome, Record, Sequence};
use crate::fail_point;
use crate::logging::Limit;

/// Drains that take a step in one round, so that many short ones do not wait for each other.
const DRAINS_AT_ONCE: usize = 4;
/// The same of channels that are folded anew; each holds some megabytes while it is read.
const ACTS_AT_ONCE: usize = 4;

/// The worker of one partition.
pub struct Worker<B> {
    broker: Arc<B>,
    ack_wait: Duration,
    counters: Arc<Counters>,
    cache: Cache,
    drains: VecDeque<Drain>,
    acts: VecDeque<ActJob>,
    /// When the broker was last told that what is held for the drains is still being worked on.
    extended: Instant,
}

/// The messages of one channel in a batch.
struct Group {
    desk: Desk,
    arrivals: Vec<Arc<Arrival<Stored>>>,
    /// What each of them is acknowledged by.
    handles: Vec<AckHandle>,
    /// What operators said of it.
    acts: Vec<(Sequence, AckHandle)>,
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
        let (drains, acts) = (VecDeque::new(), VecDeque::new());
        Self { broker, ack_wait, counters, cache: Cache::new(), drains, acts, extended }
    }

    /// Works until the shutdown, then gives back what it holds.
    pub async fn run(mut self, mut deliveries: Deliveries, shutdown: CancellationToken) {
        loop {
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                batch = deliveries.next_batch() => batch,
                () = std::future::ready(()), if self.has_more_to_do() => Vec::new(),
            };
            let pause = self.turn(batch).await;
            // Time for the broker to come back; a shutdown does not wait for it.
            let _ = timeout(pause, shutdown.cancelled()).await;
        }
        let held: Vec<_> = self.held().chain(deliveries.close()).collect();
        self.broker.give_back(&held, Duration::ZERO).await;
    }

    /// Whether a channel goes on from the stream, so that a turn is worth it without any delivery.
    pub fn has_more_to_do(&self) -> bool {
        !self.drains.is_empty() || !self.acts.is_empty()
    }

    /// The deliveries that are held over many turns.
    fn held(&self) -> impl Iterator<Item = AckHandle> {
        let drains = self.drains.iter().map(|drain| drain.token.clone());
        drains.chain(self.acts.iter().flat_map(ActJob::handles))
    }

    /// One batch, then one step of the drains and of the acts; while it lasts, everything that is held is kept from coming again.
    /// Tells for how long to leave the broker alone.
    pub async fn turn(&mut self, batch: Vec<Delivery>) -> Duration {
        let held: Vec<_> = batch.iter().map(|delivery| delivery.handle.clone()).chain(self.held()).collect();
        let (broker, half) = (self.broker.clone(), self.ack_wait / 2);
        // A token is held for many short turns; what comes with this one has its time before it.
        let mut extended = if self.has_more_to_do() { self.extended } else { Instant::now() };
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
        let mut pause = self.settle_batch(batch, &mut answers).await;
        pause = pause.max(self.step_drains(&mut answers).await).max(self.step_acts(&mut answers).await);
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
            let settled = match group.arrivals.as_slice() {
                [] => Ok(Settled::default()),
                arrivals => settle(broker, &mut group.desk, arrivals, counters).await,
            };
            (group, settled)
        });
        let bury_all = malformed.into_iter().map(|(malformed, handle)| async move {
            let buried = bury_malformed(broker, &malformed, counters).await;
            (malformed, handle, buried)
        });
        let (mut settled, mut buried) = tokio::join!(join_all(settle_all), join_all(bury_all));
        self.tell_all(&mut settled, &mut buried).await;
        let results = settled.iter().map(|(_, settled)| settled.as_ref().err());
        let pauses = results.chain(buried.iter().map(|(.., buried)| buried.as_ref().err())).flatten();
        let pause = pauses.map(partition_pause).max();
        settled.into_iter().for_each(|(group, settled)| self.finish(group, settled, answers));
        buried.into_iter().for_each(|(_, handle, buried)| answers.dispose(vec![handle], disposal(&buried, false)));
        pause.unwrap_or_default()
    }

    /// Tells what became of all messages of a batch whose effect is stored. What could not be told is not let go.
    async fn tell_all(
        &self,
        settled: &mut [(Group, Result<Settled, BrokerError>)],
        buried: &mut [(Box<Malformed>, AckHandle, Result<(), BrokerError>)],
    ) {
        let (mut outcomes, at) = (Vec::new(), self.broker.now());
        for (group, settled) in settled.iter_mut() {
            let Ok(settled) = settled else { continue };
            outcomes.extend(group.desk.outcomes());
            outcomes.append(&mut settled.outcomes);
        }
        for (malformed, _, _) in buried.iter().filter(|(.., buried)| buried.is_ok()) {
            let became = Became::Failed(malformed.error.clone());
            outcomes.push(Outcome { event: malformed.stored.sequence, became, at, after_acts: Sequence(0) });
        }
        let told = self.broker.tell(outcomes.clone()).await;
        fail_point::reached("track.outcomes-told");
        for (group, settled) in settled.iter_mut().filter(|(_, settled)| settled.is_ok()) {
            match &told {
                Ok(()) => group.desk.told(&outcomes),
                Err(error) => *settled = Err(error.clone()),
            }
        }
        for (.., buried) in buried.iter_mut().filter(|(.., buried)| buried.is_ok()) {
            *buried = told.clone();
        }
    }

    /// Sorts a batch by channel, the messages of each in the order of the stream.
    fn sort(&mut self, batch: Vec<Delivery>) -> (Vec<Group>, Vec<(Box<Malformed>, AckHandle)>) {
        let (mut groups, mut malformed) = (HashMap::new(), Vec::new());
        for Delivery { stored, handle } in batch {
            let entry = match stored.read() {
                Ok(entry) => entry,
                Err(error) => {
                    malformed.push((error, handle));
                    continue;
                }
            };
            let channel = entry.channel();
            let group = groups.entry(channel).or_insert_with(|| Group::new(self.cache.take(channel)));
            match entry {
                Entry::Message(arrival) if !arrival.corrects => {
                    group.arrivals.push(arrival);
                    group.handles.push(handle);
                }
                act => group.acts.push((act.sequence(), handle)),
            }
        }
        (groups.into_values().collect(), malformed)
    }

    /// Decides on the deliveries of one channel, and remembers the channel if it was settled.
    fn finish(&mut self, group: Group, settled: Result<Settled, BrokerError>, answers: &mut Answers) {
        let Group { desk, mut arrivals, mut handles, acts } = group;
        let channel = desk.channel;
        let record = desk.known.as_ref().map(|known| &known.record);
        let could_move = record.is_some_and(Record::could_move);
        let folds_anew = record.is_some_and(|record| record.corrections_wait);
        let disposal = disposal(&settled.as_ref().map(drop).map_err(Clone::clone), could_move && !arrivals.is_empty());
        for (sequence, handle) in acts {
            self.act_job(channel).hold(Cause::Act(sequence), handle);
        }
        match settled {
            Ok(settled) => {
                for sequence in settled.unjudged {
                    self.hold_passed(sequence, &mut arrivals, &mut handles);
                }
                if disposal == Disposal::HoldOneAndDrain
                    && let (Some(last), Some(handle)) = (arrivals.last(), handles.pop())
                {
                    handles.extend(self.hold(channel, last.sequence, handle, folds_anew));
                }
                self.cache.put(desk);
            }
            Err(error) => log_failure(channel, &error),
        }
        answers.dispose(handles, disposal);
    }

    /// Holds a message on which only a reading of the whole channel can tell.
    fn hold_passed(
        &mut self,
        sequence: Sequence,
        arrivals: &mut Vec<Arc<Arrival<Stored>>>,
        handles: &mut Vec<AckHandle>,
    ) {
        if let Some(at) = arrivals.iter().position(|arrival| arrival.sequence == sequence) {
            let (arrival, handle) = (arrivals.remove(at), handles.remove(at));
            self.act_job(arrival.message.channel).hold(Cause::Passed(arrival), handle);
        }
    }

    fn act_job(&mut self, channel: Channel) -> &mut ActJob {
        let at = self.acts.iter().position(|job| job.channel == channel).unwrap_or_else(|| {
            self.acts.push_back(ActJob::new(channel));
            self.acts.len() - 1
        });
        &mut self.acts[at]
    }

    /// Holds one delivery of a channel that could move, and tells which one can be let go for it, if another one was
    /// held already. A delivery that comes again takes the place of itself.
    fn hold(&mut self, channel: Channel, sequence: Sequence, handle: AckHandle, folds_anew: bool) -> Option<AckHandle> {
        if folds_anew {
            self.act_job(channel).hold(Cause::CouldMove, handle);
            return None;
        }
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
        let mut pause = Duration::ZERO;
        for (drain, desk, step) in join_all(steps).await {
            pause = pause.max(self.after_step(drain, desk, step, answers).await);
        }
        pause
    }

    async fn after_step(
        &mut self,
        drain: Drain,
        mut desk: Desk,
        step: Result<Step, BrokerError>,
        answers: &mut Answers,
    ) -> Duration {
        let step = match step {
            Ok(step) => desk.tell(&*self.broker).await.map(|()| step),
            failed => failed,
        };
        let channel = drain.channel;
        match step {
            Ok(Step::GoOn) => self.drains.push_back(drain),
            Ok(Step::Done) => answers.acknowledge.push(drain.token),
            Ok(Step::Vain) => answers.give_back.push((drain.token, told_in_vain(channel))),
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

    async fn step_acts(&mut self, answers: &mut Answers) -> Duration {
        let count = self.acts.len().min(ACTS_AT_ONCE);
        let round: Vec<_> = self.acts.drain(..count).collect();
        let (broker, cache) = (&*self.broker, &mut self.cache);
        let steps = round.into_iter().map(|mut job| {
            let mut desk = cache.take(job.channel);
            async move {
                let step = job.step(broker, &mut desk).await;
                (job, desk, step)
            }
        });
        let stepped = join_all(steps).await;
        stepped.into_iter().map(|(job, desk, step)| self.after_act(job, desk, step, answers)).max().unwrap_or_default()
    }

    fn after_act(
        &mut self,
        job: ActJob,
        desk: Desk,
        step: Result<act::Step, BrokerError>,
        answers: &mut Answers,
    ) -> Duration {
        let channel = job.channel;
        match step {
            Ok(act::Step::GoOn) => self.acts.push_back(job),
            Ok(act::Step::Done(handles)) => {
                answers.acknowledge.extend(handles);
                if !job.is_over() {
                    self.acts.push_back(job);
                }
            }
            Ok(act::Step::Vain) => {
                let pause = told_in_vain(channel);
                answers.give_back.extend(job.handles().map(|handle| (handle, pause)));
            }
            Err(error) => {
                log_failure(channel, &error);
                answers.give_back.extend(job.handles().map(|handle| (handle, pause_after(&error))));
                return partition_pause(&error);
            }
        }
        self.cache.put(desk);
        Duration::ZERO
    }
}

/// Says that the stream does not have what it should, and for how long to leave it alone.
fn told_in_vain(channel: Channel) -> Duration {
    tracing::error!(%channel, "messages that are said to wait are not in the stream, looking again later");
    VAIN_PAUSE
}

impl Group {
    fn new(desk: Desk) -> Self {
        Self { desk, arrivals: Vec::new(), handles: Vec::new(), acts: Vec::new() }
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
