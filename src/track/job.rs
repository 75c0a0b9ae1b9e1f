//! Work on one channel that takes many steps, so that other channels get their turn in between: a drain, or a replay for
//! what an operator said. A job keeps deliveries unacknowledged until it is done; if we are gone, they come to somebody
//! else, who begins anew.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Counters;
use super::cache::Cache;
use super::checkpoint::Checkpoints;
use super::desk::Desk;
use super::disposition::{Answers, growing, partition_pause, pause_after};
use crate::broker::{AckHandle, BrokerError, TrackBroker};
use crate::domain::Channel;
use crate::logging::Limit;
use crate::replay::takes_turn;

/// Jobs that take a step in one round, so that many short ones do not wait for each other. Each holds some megabytes while
/// it reads.
const JOBS_AT_ONCE: usize = 4;
/// How long a channel is left alone whose pending messages are not in the log, the first time.
const VAIN_PAUSE: Duration = Duration::from_secs(5);

/// Work on one channel.
pub trait Job {
    /// Work on this channel, for no delivery yet.
    fn new(channel: Channel) -> Self;
    /// Its channel.
    fn channel(&self) -> Channel;
    /// Its turn among all channels that are read in this process; without it, it takes no step.
    fn permit(&mut self) -> &mut Option<OwnedSemaphorePermit>;
    /// The deliveries that are kept for it.
    fn handles(&self) -> impl Iterator<Item = AckHandle>;
    /// Reads one page, or writes what has become of the channel.
    fn step(
        &mut self,
        broker: &impl TrackBroker,
        desk: &mut Desk,
        counters: &Counters,
    ) -> impl Future<Output = Result<Step, BrokerError>>;
}

/// What a step has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more: go on.
    GoOn,
    /// These deliveries are done with: what they asked for is stored and reported.
    Done(Vec<AckHandle>),
    /// The log does not show what the record knows of: look again later.
    Vain,
    /// The dead letter of the message that comes next cannot be stored: go on later.
    Blocked(BrokerError),
}

/// The jobs of one kind in one partition.
pub struct Jobs<J> {
    jobs: Vec<J>,
    /// Bounds how many channels are read at once in this process.
    readings: Arc<Semaphore>,
}

impl<J: Job> Jobs<J> {
    /// No jobs yet.
    pub fn new(readings: Arc<Semaphore>) -> Self {
        Self { jobs: Vec::new(), readings }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether one of them can take a step now.
    pub fn can_go_on(&mut self) -> bool {
        let is_free = self.readings.available_permits() > 0;
        self.jobs.iter_mut().any(|job| is_free || job.permit().is_some())
    }

    /// The deliveries that are kept for them.
    pub fn handles(&self) -> impl Iterator<Item = AckHandle> {
        self.jobs.iter().flat_map(Job::handles)
    }

    /// The job of a channel; where there was none, a new one.
    pub fn of(&mut self, channel: Channel) -> &mut J {
        let at = self.jobs.iter().position(|job| job.channel() == channel).unwrap_or_else(|| {
            self.jobs.push(J::new(channel));
            self.jobs.len() - 1
        });
        &mut self.jobs[at]
    }

    /// Takes a step of each job whose turn it is. Tells for how long to leave the broker alone.
    pub async fn step(
        &mut self,
        broker: &impl TrackBroker,
        memory: &mut Memory,
        counters: &Counters,
        answers: &mut Answers,
    ) -> Duration {
        let readings = &self.readings;
        let has_turn = |job: &mut J| takes_turn(job.permit(), readings);
        let round: Vec<_> = self.jobs.extract_if(.., has_turn).take(JOBS_AT_ONCE).collect();
        let steps = round.into_iter().map(|mut job| {
            let mut desk = memory.cache.take(job.channel());
            async move {
                let step = job.step(broker, &mut desk, counters).await;
                (job, desk, step)
            }
        });
        let stepped = join_all(steps).await;
        stepped
            .into_iter()
            .map(|(job, desk, step)| self.after(job, desk, step, memory, answers))
            .max()
            .unwrap_or_default()
    }

    fn after(
        &mut self,
        job: J,
        mut desk: Desk,
        step: Result<Step, BrokerError>,
        memory: &mut Memory,
        answers: &mut Answers,
    ) -> Duration {
        match step {
            Ok(Step::GoOn) => self.jobs.push(job),
            Ok(Step::Done(handles)) => {
                answers.ack.extend(handles);
                if job.handles().next().is_some() {
                    self.jobs.push(job);
                }
            }
            Ok(Step::Vain) => {
                let channel = desk.channel;
                tracing::error!(%channel, "messages that are said to wait are not in the stream, looking again later");
                answers.nak_paced(job.handles(), |deliveries| growing(VAIN_PAUSE, deliveries));
            }
            Ok(Step::Blocked(error)) => {
                log_held_up(desk.channel, &error);
                desk.blocked = desk.blocked_here();
                answers.nak_paced(job.handles(), |deliveries| pause_after(&error, deliveries));
            }
            Err(error) => {
                log_failure(desk.channel, &error);
                answers.nak(job.handles(), &error);
                // What is remembered may be wrong now: forget it.
                return partition_pause(&error);
            }
        }
        memory.put(desk);
        Duration::ZERO
    }
}

/// What a worker remembers of its channels.
pub struct Memory {
    /// The channels that were touched last.
    pub cache: Cache,
    /// Those that have come far enough for a checkpoint.
    pub checkpoints: Checkpoints,
}

impl Memory {
    /// Remembers a channel.
    pub fn put(&mut self, mut desk: Desk) {
        self.checkpoints.note(&mut desk);
        self.cache.put(desk);
    }
}

/// Says why messages come again.
pub fn log_failure(channel: Channel, error: &BrokerError) {
    static FAILED: Limit = Limit::new();
    if let Some(unlogged) = FAILED.admits() {
        tracing::warn!(%channel, %error, unlogged, "messages could not be taken up, they come again");
    }
}

/// Says why messages wait for their dead letters.
pub fn log_held_up(channel: Channel, error: &BrokerError) {
    static HELD_UP: Limit = Limit::new();
    if let Some(unlogged) = HELD_UP.admits() {
        tracing::warn!(%channel, %error, unlogged, "a dead letter could not be stored, its message comes again");
    }
}
