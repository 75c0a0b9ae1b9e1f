//! Work on one channel that takes many steps, so that other channels get their turn in between: a drain, or a replay for
//! an override. A job keeps deliveries unacknowledged until it is done; if the tracker dies, they come to another
//! one, which begins again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Counters;
use super::cache::Memory;
use super::channel_state::ChannelState;
use super::disposition::{Answers, log_failure, log_held_up, partition_pause};
use crate::broker::{AckHandle, BrokerError, TrackBroker};
use crate::domain::Channel;
use crate::replay::takes_permit;

/// Jobs that take a step in one round, so that many short ones do not wait for each other. Each holds some megabytes while
/// it reads.
const JOBS_AT_ONCE: usize = 4;

/// Work on one channel.
pub trait Job {
    /// Work on this channel, for no delivery yet.
    fn new(channel: Channel) -> Self;
    /// The deliveries that are kept for it.
    fn handles(&self) -> impl Iterator<Item = AckHandle>;
    /// Reads one page, or writes what has become of the channel.
    fn step(
        &mut self,
        broker: &impl TrackBroker,
        state: &mut ChannelState,
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
    NoProgress,
    /// The dead letter of the message that comes next cannot be stored: go on later.
    Blocked(BrokerError),
}

/// The jobs of one kind in one partition.
pub struct Jobs<J> {
    jobs: Vec<Queued<J>>,
    /// Bounds how many channels are read at once in this process.
    readings: Arc<Semaphore>,
}

/// A job and its permit.
struct Queued<J> {
    channel: Channel,
    /// Its permit among all channels that are read in this process; without it, it takes no step.
    permit: Option<OwnedSemaphorePermit>,
    job: J,
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
    pub fn can_go_on(&self) -> bool {
        let is_free = self.readings.available_permits() > 0;
        self.jobs.iter().any(|queued| is_free || queued.permit.is_some())
    }

    /// The deliveries that are kept for them.
    pub fn handles(&self) -> impl Iterator<Item = AckHandle> {
        self.jobs.iter().flat_map(|queued| queued.job.handles())
    }

    /// The job of a channel; where there was none, a new one.
    pub fn of(&mut self, channel: Channel) -> &mut J {
        let at = self.jobs.iter().position(|queued| queued.channel == channel).unwrap_or_else(|| {
            self.jobs.push(Queued { channel, permit: None, job: J::new(channel) });
            self.jobs.len() - 1
        });
        &mut self.jobs[at].job
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
        let has_turn = |queued: &mut Queued<J>| takes_permit(&mut queued.permit, readings);
        let round: Vec<_> = self.jobs.extract_if(.., has_turn).take(JOBS_AT_ONCE).collect();
        let steps = round.into_iter().map(|mut queued| {
            let mut state = memory.cache.take(queued.channel);
            async move {
                let step = queued.job.step(broker, &mut state, counters).await;
                (queued, state, step)
            }
        });
        let stepped = join_all(steps).await.into_iter();
        stepped.map(|(queued, state, step)| self.after(queued, state, step, memory, answers)).max().unwrap_or_default()
    }

    fn after(
        &mut self,
        queued: Queued<J>,
        mut state: ChannelState,
        step: Result<Step, BrokerError>,
        memory: &mut Memory,
        answers: &mut Answers,
    ) -> Duration {
        match step {
            Ok(Step::GoOn) => self.jobs.push(queued),
            Ok(Step::Done(handles)) => {
                answers.ack.extend(handles);
                if queued.job.handles().next().is_some() {
                    self.jobs.push(queued);
                }
            }
            Ok(Step::NoProgress) => {
                let channel = state.channel;
                tracing::error!(%channel, "pending messages are not in the log, looking again later");
                answers.nak_paced(queued.job.handles(), &BrokerError::NotThere);
            }
            Ok(Step::Blocked(error)) => {
                log_held_up(state.channel, &error);
                state.blocked = state.position();
                answers.nak_paced(queued.job.handles(), &error);
            }
            Err(error) => {
                log_failure(state.channel, &error);
                answers.nak(queued.job.handles(), &error);
                // What is remembered may be wrong now: forget it.
                return partition_pause(&error);
            }
        }
        memory.put(state);
        Duration::ZERO
    }
}
