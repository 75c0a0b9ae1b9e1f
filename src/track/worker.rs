//! The worker of one partition: takes a batch, sorts it by channel and settles all channels at once; while the next batch
//! is settled it tells what became of the messages of this one, and then lets them go. In between it goes on with channels
//! that drain or are folded anew, a step each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Counters;
use super::act::{self, ActJob, Cause};
use super::aside::set_aside;
use super::batch::{Buried, Group, bury_all, settle_all, sort};
use super::cache::Cache;
use super::checkpoint::Checkpoints;
use super::conflict::find_conflicts;
use super::decide::{Answers, VAIN_PAUSE, disposal, partition_pause, pause_after};
use super::desk::Desk;
use super::drain::{Drain, Step};
use super::settle::Settled;
use super::untold::{Claim, Held, Untold};
use crate::broker::{AckHandle, BrokerError, Deliveries, Delivery, Stored, TrackBroker};
use crate::domain::{Arrival, Became, Channel, Outcome, Sequence};
use crate::fail_point;
use crate::logging::Limit;
use crate::replay::takes_turn;

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
    /// The batch before, whose outcomes are told while this one is settled.
    untold: Untold,
    drains: Vec<Drain>,
    acts: Vec<ActJob>,
    checkpoints: Checkpoints,
    /// Bounds how many channels are read at once in this process; without a turn of it a drain or an act waits.
    readings: Arc<Semaphore>,
    /// When the broker was last told that what is held for the drains is still being worked on.
    extended: Instant,
}

impl<B: TrackBroker> Worker<B> {
    /// A worker that remembers nothing.
    pub fn new(broker: B, ack_wait: Duration, counters: Arc<Counters>, readings: Arc<Semaphore>) -> Self {
        let (broker, extended) = (Arc::new(broker), Instant::now());
        let (untold, drains, acts) = (Untold::default(), Vec::new(), Vec::new());
        let (cache, checkpoints) = (Cache::new(), Checkpoints::default());
        Self { broker, ack_wait, counters, cache, untold, drains, acts, checkpoints, readings, extended }
    }

    /// Works until the shutdown, then gives back what it holds.
    pub async fn run(mut self, mut deliveries: Deliveries, shutdown: CancellationToken) {
        loop {
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                batch = deliveries.next_batch() => batch,
                () = std::future::ready(()), if self.has_more_to_do() => Vec::new(),
                // Given back at once: what it is for takes it in its turn.
                Ok(_turn) = self.readings.acquire(), if self.has_queued() => Vec::new(),
            };
            let pause = self.turn(batch).await;
            // Time for the broker to come back; a shutdown does not wait for it.
            let _ = timeout(pause, shutdown.cancelled()).await;
        }
        if !self.untold.is_empty() {
            self.turn(Vec::new()).await;
        }
        let held: Vec<_> = self.held().chain(deliveries.close().await).collect();
        self.broker.give_back(&held, Duration::ZERO).await;
    }

    /// Whether something is to be told or a channel goes on from the stream, so that a turn is worth it without any delivery.
    pub fn has_more_to_do(&self) -> bool {
        let is_running = |permit: &Option<_>| permit.is_some() || self.readings.available_permits() > 0;
        !self.untold.is_empty()
            || self.drains.iter().any(|drain| is_running(&drain.permit))
            || self.acts.iter().any(|job| is_running(&job.permit))
            || self.checkpoints.can_go_on(&self.readings)
    }

    /// Whether a channel waits for its turn to be read.
    fn has_queued(&self) -> bool {
        !self.drains.is_empty() || !self.acts.is_empty()
    }

    /// The deliveries that are held over many turns.
    fn held(&self) -> impl Iterator<Item = AckHandle> {
        let drains = self.drains.iter().flat_map(Drain::handles);
        drains.chain(self.acts.iter().flat_map(ActJob::handles)).chain(self.untold.handles().cloned())
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
                    // In the same order each time, so that chance has no part in what a worker does.
                    biased;
                    () = sleep_until(extended + half) => broker.extend(&held).await,
                    pause = &mut work => break pause,
                }
                extended = Instant::now();
            }
        };
        self.extended = extended;
        pause
    }

    async fn work(&mut self, batch: Vec<Delivery>) -> Duration {
        let (mut answers, is_busy) = (Answers::default(), !batch.is_empty());
        let (groups, malformed) = sort(batch, &mut self.cache);
        let before = std::mem::take(&mut self.untold);
        let (broker, counters) = (&*self.broker, &*self.counters);
        let (told, mut settled, buried) = tokio::join!(
            before.tell(broker),
            settle_all(broker, groups, counters),
            bury_all(broker, malformed, counters),
        );
        find_conflicts(broker, &mut settled).await;
        set_aside(broker, &mut settled, &counters.aside, &mut answers).await;
        let mut pause = self.after_telling(before, told, &mut settled, &mut answers);
        pause = pause.max(self.after_settling(settled, &mut answers)).max(self.after_burying(buried, &mut answers));
        pause = pause.max(self.step_drains(&mut answers).await).max(self.step_acts(&mut answers).await);
        self.checkpoints.step(&*self.broker, &self.readings, is_busy).await;
        fail_point::reached("track.before-acknowledging");
        self.broker.acknowledge(&answers.acknowledge).await;
        for (handle, pause) in answers.give_back {
            self.broker.give_back(&[handle], pause).await;
        }
        pause
    }

    /// Decides on the batch whose outcomes were told, or could not be, while other messages were settled.
    fn after_telling(
        &mut self,
        before: Untold,
        told: Result<(), BrokerError>,
        settled: &mut [(Group, Result<Settled, BrokerError>)],
        answers: &mut Answers,
    ) -> Duration {
        if told.is_ok() && !before.is_empty() {
            fail_point::reached("track.outcomes-told");
            self.note_told(&before, settled);
        }
        for claim in before.claims {
            self.let_go(claim, &told, answers);
        }
        let buried = before.buried.into_iter().map(|(_, handle)| handle).collect();
        answers.dispose(buried, disposal(&told, false));
        told.err().map_or(Duration::ZERO, |error| partition_pause(&error))
    }

    /// What was told is owed no more, by the channels that are on the desk at the moment and by those in memory.
    fn note_told(&mut self, before: &Untold, settled: &mut [(Group, Result<Settled, BrokerError>)]) {
        let mut told: HashMap<_, _> = before.claims.iter().map(|claim| (claim.channel, &claim.outcomes)).collect();
        for (Group { desk, .. }, _) in settled {
            if let Some(outcomes) = told.remove(&desk.channel) {
                desk.told(outcomes);
            }
        }
        for (channel, outcomes) in told {
            if let Some(desk) = self.cache.peek(channel) {
                desk.told(outcomes);
            }
        }
    }

    /// Lets the messages of one channel go, but for what is held of a channel that could move.
    fn let_go(&mut self, claim: Claim, told: &Result<(), BrokerError>, answers: &mut Answers) {
        let Claim { channel, mut deliveries, held, .. } = claim;
        let disposal = disposal(told, held.is_some());
        match (told, held) {
            (Ok(()), Some(held)) => deliveries = self.hold(channel, held, deliveries),
            (Ok(()), None) => {}
            (Err(error), _) => log_failure(channel, error),
        }
        answers.dispose(deliveries.into_iter().map(|(_, handle)| handle).collect(), disposal);
    }

    /// Remembers the channels that were settled; their messages wait until it is told what became of them.
    fn after_settling(
        &mut self,
        settled: Vec<(Group, Result<Settled, BrokerError>)>,
        answers: &mut Answers,
    ) -> Duration {
        let mut pause = Duration::ZERO;
        for (group, settled) in settled {
            let Group { desk, arrivals, handles, acts, .. } = group;
            for (sequence, handle) in acts {
                self.act_job(desk.channel).hold(Cause::Act(sequence), handle);
            }
            match settled {
                Ok(settled) => self.claim(desk, arrivals, handles, settled),
                Err(error) => {
                    log_failure(desk.channel, &error);
                    pause = pause.max(partition_pause(&error));
                    answers.dispose(handles, disposal(&Err(error), false));
                }
            }
        }
        pause
    }

    fn claim(
        &mut self,
        desk: Desk,
        mut arrivals: Vec<Arc<Arrival<Stored>>>,
        mut handles: Vec<AckHandle>,
        settled: Settled,
    ) {
        self.counters.aside.forget(&desk.channel);
        for sequence in settled.unjudged {
            self.hold_passed(sequence, &mut arrivals, &mut handles);
        }
        // What acts have changed may be owed by a record that cannot move: somebody who followed them is gone.
        let (enough, owes) = (settled.first_stored, desk.since().is_some());
        let record = desk.known.as_ref().map(|known| &known.record).filter(|record| owes || record.could_move());
        let held = record.map(|record| Held { enough, folds_anew: owes || record.corrections_wait });
        let deliveries: Vec<_> = arrivals.iter().map(|arrival| arrival.sequence).zip(handles).collect();
        let outcomes: Vec<_> = desk.outcomes().into_iter().chain(settled.outcomes).collect();
        if !outcomes.is_empty() || !deliveries.is_empty() {
            let held = held.filter(|_| !deliveries.is_empty());
            self.untold.claims.push(Claim { channel: desk.channel, outcomes, deliveries, held });
        }
        self.remember(desk);
    }

    fn after_burying(&mut self, buried: Vec<Buried>, answers: &mut Answers) -> Duration {
        let (mut pause, at) = (Duration::ZERO, self.broker.now());
        for (malformed, handle, buried) in buried {
            match buried {
                Ok(()) => {
                    let (event, became) = (malformed.stored.event(), Became::Failed(malformed.error));
                    let outcome = Outcome { event, became, at, after_acts: Sequence(0) };
                    self.untold.buried.push((outcome, handle));
                }
                Err(error) => {
                    pause = pause.max(partition_pause(&error));
                    answers.dispose(vec![handle], disposal(&Err(error), false));
                }
            }
        }
        pause
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
            self.acts.push(ActJob::new(channel));
            self.acts.len() - 1
        });
        &mut self.acts[at]
    }

    /// Holds deliveries of a channel that could move, and gives back those that can be let go.
    fn hold(
        &mut self,
        channel: Channel,
        Held { enough, folds_anew }: Held,
        deliveries: Vec<(Sequence, AckHandle)>,
    ) -> Vec<(Sequence, AckHandle)> {
        if folds_anew {
            let is_held = |(sequence, _): &(Sequence, AckHandle)| enough.is_none_or(|enough| enough == *sequence);
            let (held, let_go): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(is_held);
            held.into_iter().for_each(|(_, handle)| self.act_job(channel).hold(Cause::CouldMove, handle));
            return let_go;
        }
        let at = self.drains.iter().position(|drain| drain.channel == channel).unwrap_or_else(|| {
            self.drains.push(Drain::new(channel));
            self.drains.len() - 1
        });
        self.drains[at].hold(deliveries, enough)
    }

    /// Remembers a channel.
    fn remember(&mut self, mut desk: Desk) {
        self.checkpoints.note(&mut desk);
        self.cache.put(desk);
    }

    async fn step_drains(&mut self, answers: &mut Answers) -> Duration {
        let readings = &self.readings;
        let has_turn = |drain: &mut Drain| takes_turn(&mut drain.permit, readings);
        let round: Vec<_> = self.drains.extract_if(.., has_turn).take(DRAINS_AT_ONCE).collect();
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
            Ok(Step::GoOn) => self.drains.push(drain),
            Ok(Step::Done) => answers.acknowledge.extend(drain.handles()),
            Ok(Step::Vain) => {
                let pause = told_in_vain(channel);
                answers.give_back.extend(drain.handles().map(|handle| (handle, pause)));
            }
            Err(error) => {
                log_failure(channel, &error);
                answers.give_back.extend(drain.handles().map(|handle| (handle, pause_after(&error))));
                // What is remembered may be wrong now: forget it.
                return partition_pause(&error);
            }
        }
        self.remember(desk);
        Duration::ZERO
    }

    async fn step_acts(&mut self, answers: &mut Answers) -> Duration {
        let readings = &self.readings;
        let has_turn = |job: &mut ActJob| takes_turn(&mut job.permit, readings);
        let round: Vec<_> = self.acts.extract_if(.., has_turn).take(ACTS_AT_ONCE).collect();
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
            Ok(act::Step::GoOn) => self.acts.push(job),
            Ok(act::Step::Done(handles)) => {
                answers.acknowledge.extend(handles);
                if !job.is_over() {
                    self.acts.push(job);
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
        self.remember(desk);
        Duration::ZERO
    }
}

/// Says that the stream does not have what it should, and for how long to leave it alone.
fn told_in_vain(channel: Channel) -> Duration {
    tracing::error!(%channel, "messages that are said to wait are not in the stream, looking again later");
    VAIN_PAUSE
}

fn log_failure(channel: Channel, error: &BrokerError) {
    static FAILED: Limit = Limit::new();
    if let Some(unlogged) = FAILED.admits() {
        tracing::warn!(%channel, %error, unlogged, "messages could not be taken up, they come again");
    }
}

#[cfg(test)]
mod tests;
