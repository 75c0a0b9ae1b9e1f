//! The worker of one partition: takes a batch, sorts it by channel and records all channels at once; while the next batch
//! is recorded it reports what became of the messages of this one, and then acknowledges them. In between it goes on with
//! channels that drain or are replayed, a step each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Counters;
use super::aside::set_aside;
use super::batch::{Group, Recorded, RecordedGroup, StoredMalformed, Why, settle_all, sort, store_malformed};
use super::cache::Memory;
use super::conflict::find_conflicts;
use super::disposition::{Answers, Disposition, Kept, disposition, log_failure, log_held_up, partition_pause};
use super::drain::Drain;
use super::job::Jobs;
use super::observe::count_batch;
use super::replay_job::{Cause, ReplayJob};
use super::settle::Settled;
use crate::broker::topology::{STREAM, durable_name};
use crate::broker::{AckHandle, BrokerError, Deliveries, Delivery, TrackBroker};
use crate::domain::{Outcome, OutcomeRecord};
use crate::fail_point;
use crate::traces::spans::Batch;
use crate::traces::{Span, Traces};

/// The worker of one partition.
pub struct Worker<B> {
    broker: Arc<B>,
    ack_wait: Duration,
    counters: Arc<Counters>,
    memory: Memory,
    /// The batch before, whose outcomes are reported while this one is recorded.
    recorded: Recorded,
    drains: Jobs<Drain>,
    replays: Jobs<ReplayJob>,
    /// Bounds how many channels are read at once in this process; without a permit of it a drain or a replay waits.
    readings: Arc<Semaphore>,
    answers: Answers,
    /// When the broker was last told that what is kept is still being worked on.
    extended: Instant,
    traces: Traces,
    partition: u16,
}

impl<B: TrackBroker> Worker<B> {
    /// A worker that remembers nothing.
    pub fn new(broker: B, ack_wait: Duration, counters: Arc<Counters>, readings: Arc<Semaphore>) -> Self {
        Self {
            broker: Arc::new(broker),
            ack_wait,
            counters,
            memory: Memory::new(),
            recorded: Recorded::default(),
            drains: Jobs::new(readings.clone()),
            replays: Jobs::new(readings.clone()),
            readings,
            answers: Answers::new(),
            extended: Instant::now(),
            traces: Traces::default(),
            partition: 0,
        }
    }

    /// The same, with its spans as those of this partition.
    pub fn traced(self, traces: Traces, partition: u16) -> Self {
        Self { traces, partition, ..self }
    }

    /// Works until the shutdown, then naks what it keeps.
    pub async fn run(mut self, mut deliveries: Deliveries, shutdown: CancellationToken) {
        loop {
            let (has_more, has_queued) = (self.has_more_to_do(), !self.drains.is_empty() || !self.replays.is_empty());
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                batch = deliveries.next_batch() => batch,
                () = std::future::ready(()), if has_more => Vec::new(),
                // Only a wake-up: the permit is released here, and the job takes one itself in its step.
                Ok(_permit) = self.readings.acquire(), if has_queued => Vec::new(),
            };
            count_batch(&self.counters.metrics, &batch);
            let pause = self.cycle(batch).await;
            // Time for the broker to come back; a shutdown does not wait for it.
            let _ = timeout(pause, shutdown.cancelled()).await;
        }
        if !self.recorded.is_empty() {
            self.cycle(Vec::new()).await;
        }
        let kept: Vec<_> = self.kept().chain(deliveries.close().await).collect();
        self.broker.give_back(&kept, Duration::ZERO).await;
    }

    /// Whether something is to be reported or a channel goes on from the stream, so that a cycle is worth it without any
    /// delivery.
    pub fn has_more_to_do(&self) -> bool {
        !self.recorded.is_empty()
            || self.drains.can_go_on()
            || self.replays.can_go_on()
            || self.memory.checkpoints.can_go_on(&self.readings)
    }

    /// The deliveries that are kept over many cycles.
    fn kept(&self) -> impl Iterator<Item = AckHandle> {
        self.drains.handles().chain(self.replays.handles()).chain(self.recorded.handles().cloned())
    }

    /// One batch, then one step of the drains and of the replays; while it lasts, everything that is kept does not come
    /// again. Tells for how long to leave the broker alone.
    pub async fn cycle(&mut self, batch: Vec<Delivery>) -> Duration {
        let kept: Vec<_> = batch.iter().map(|delivery| delivery.handle.clone()).chain(self.kept()).collect();
        let (broker, half) = (self.broker.clone(), self.ack_wait / 2);
        // A delivery may be kept for many short cycles, so its time counts from the last extension. A batch before which
        // nothing was under way has all of `ack_wait` left.
        let mut extended = if self.has_more_to_do() { self.extended } else { Instant::now() };
        let pause = {
            let work = self.work(batch);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    // In the same order each time, so that chance has no part in what a worker does.
                    biased;
                    () = sleep_until(extended + half) => broker.extend(&kept).await,
                    pause = &mut work => break pause,
                }
                extended = Instant::now();
            }
        };
        self.extended = extended;
        pause
    }

    async fn work(&mut self, batch: Vec<Delivery>) -> Duration {
        // Between two batches of a queue there is a cycle that only reports.
        let is_busy = !batch.is_empty() || !self.recorded.is_empty() || !self.drains.is_empty();
        let mut span = self.begin(&batch);
        let (groups, malformed) = sort(batch, &mut self.memory.cache, &span.trace());
        let before = std::mem::take(&mut self.recorded);
        let broker = self.broker.clone();
        let (broker, counters) = (&*broker, &*self.counters.clone());
        let (reported, mut settled, malformed) = tokio::join!(
            before.report(broker),
            settle_all(broker, groups, counters),
            store_malformed(broker, malformed, counters),
        );
        settled.iter().for_each(|(_, settled)| span.note(settled));
        drop(span);
        find_conflicts(broker, &mut settled).await;
        set_aside(broker, &mut settled, &counters.aside, &mut self.answers).await;
        let pauses = [
            self.after_reporting(before, reported, &mut settled),
            self.after_settling(settled),
            self.after_malformed(malformed),
            self.drains.step(broker, &mut self.memory, counters, &mut self.answers).await,
            self.replays.step(broker, &mut self.memory, counters, &mut self.answers).await,
        ];
        self.memory.checkpoints.step(broker, &self.readings, is_busy).await;
        if !self.answers.ack.is_empty() {
            fail_point::reached("track.before-acknowledging");
        }
        self.answer(broker).await;
        pauses.into_iter().max().unwrap_or_default()
    }

    /// The span of a batch.
    fn begin(&self, batch: &[Delivery]) -> Span {
        let (partition, messages) = (self.partition, batch.len());
        let of_batch = || Batch { stream: STREAM, durable: durable_name(partition), partition, messages };
        self.traces.batch(of_batch, batch.iter().filter_map(|delivery| delivery.stored.cause.as_deref()))
    }

    async fn answer(&mut self, broker: &B) {
        broker.acknowledge(&std::mem::take(&mut self.answers.ack)).await;
        for (handle, pause) in std::mem::take(&mut self.answers.nak) {
            broker.give_back(&[handle], pause).await;
        }
    }

    /// Decides on the batch whose outcomes were reported, or could not be, while other messages were recorded.
    fn after_reporting(
        &mut self,
        before: Recorded,
        reported: Result<(), BrokerError>,
        settled: &mut [(Group, Result<Settled, BrokerError>)],
    ) -> Duration {
        if reported.is_ok() && !before.is_empty() {
            fail_point::reached("track.outcomes-reported");
            self.note_reported(&before, settled);
        }
        for group in before.groups {
            self.dispose(group, &reported);
        }
        let malformed = before.malformed.into_iter().map(|(_, handle)| handle);
        match reported {
            Ok(()) => self.answers.ack.extend(malformed),
            Err(error) => {
                self.answers.nak(malformed, &error);
                return partition_pause(&error);
            }
        }
        Duration::ZERO
    }

    /// What was reported is noted, in the states of channels that are worked on at the moment and by those in memory.
    fn note_reported(&mut self, before: &Recorded, settled: &mut [(Group, Result<Settled, BrokerError>)]) {
        let mut reported: HashMap<_, _> = before.groups.iter().map(|group| (group.channel, &group.outcomes)).collect();
        for (Group { state, .. }, _) in settled {
            if let Some(outcomes) = reported.remove(&state.channel) {
                state.note_reported(outcomes);
            }
        }
        for (channel, outcomes) in reported {
            if let Some(state) = self.memory.cache.peek(channel) {
                state.note_reported(outcomes);
            }
        }
    }

    /// Decides on the deliveries of one channel.
    fn dispose(&mut self, group: RecordedGroup, reported: &Result<(), BrokerError>) {
        let RecordedGroup { channel, deliveries, kept, why, .. } = group;
        if let Err(error) = reported {
            log_failure(channel, error);
        }
        let (mut for_job, are_enough) = (Vec::new(), matches!(kept, Some(Kept::One(_))));
        for (sequence, handle) in deliveries {
            match disposition(reported, kept.as_ref(), why.blocked(), sequence) {
                Disposition::Ack => self.answers.ack.push(handle),
                Disposition::Keep => for_job.push((sequence, handle)),
                Disposition::Nak(error) => self.answers.nak([handle], error),
                Disposition::NakPaced(error) => self.answers.nak_paced([handle], error),
            }
        }
        match why {
            _ if for_job.is_empty() => {}
            Why::NeedsReplay => {
                let job = self.replays.of(channel);
                for_job.into_iter().for_each(|(_, handle)| job.hold(Cause::CorrectionsWait, handle));
            }
            Why::Drainable | Why::Blocked(_) => {
                self.answers.ack.extend(self.drains.of(channel).keep(for_job, are_enough));
            }
        }
    }

    /// Remembers the channels that were settled; their messages wait until it is reported what became of them.
    fn after_settling(&mut self, settled: Vec<(Group, Result<Settled, BrokerError>)>) -> Duration {
        let mut pause = Duration::ZERO;
        for (mut group, settled) in settled {
            for (overriding, handle) in std::mem::take(&mut group.overrides) {
                let job = self.replays.of(group.state.channel);
                job.trace(&group.trace);
                job.hold(Cause::Override(overriding), handle);
            }
            match settled {
                Ok(settled) => self.record(group, settled),
                Err(error) => {
                    log_failure(group.state.channel, &error);
                    pause = pause.max(partition_pause(&error));
                    self.answers.nak(group.handles, &error);
                }
            }
        }
        pause
    }

    fn record(&mut self, mut group: Group, settled: Settled) {
        self.counters.aside.remove(&group.state.channel);
        for sequence in &settled.unjudged {
            if let Some((arrival, handle)) = group.take(*sequence) {
                self.replays.of(group.state.channel).hold(Cause::Unjudged(arrival), handle);
            }
        }
        if let Some(error) = &settled.blocked {
            log_held_up(group.state.channel, error);
        }
        if let Some((error, messages)) = &settled.without_dead_letter {
            log_held_up(group.state.channel, error);
            let handles: Vec<_> = messages.iter().filter_map(|at| Some(group.take(*at)?.1)).collect();
            self.answers.nak_paced(handles, error);
        }
        let (state, recorded) = group.into_recorded(settled);
        self.recorded.groups.extend(recorded);
        self.memory.put(state);
    }

    fn after_malformed(&mut self, malformed: Vec<StoredMalformed>) -> Duration {
        let (mut pause, at) = (Duration::ZERO, self.broker.now());
        for (malformed, handle, stored) in malformed {
            match stored {
                Ok(()) => {
                    let (event, outcome) = (malformed.stored.event(), Outcome::Failed(malformed.error));
                    let outcome_record = OutcomeRecord { event, outcome, at, after_overrides: None };
                    self.recorded.malformed.push((outcome_record, handle));
                }
                Err(error) => {
                    pause = pause.max(partition_pause(&error));
                    self.answers.nak_paced([handle], &error);
                }
            }
        }
        pause
    }
}

#[cfg(test)]
mod tests;
