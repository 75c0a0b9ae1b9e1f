//! Makes a checkpoint of a channel that has come a good way since its last one: reads on from that one, a page a step, so
//! that the cost of all checkpoints together grows with the channel and no faster.
//!
//! It stands a page of a history before the end of what was read: what lies behind it is read for the newest page.
//!
//! Nothing is held for it and nothing waits for it: where a reading is not complete, or the log has less than the record,
//! there is no checkpoint, and the channel is looked at again when it has come further.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::channel_state::ChannelState;
use crate::broker::{BrokerError, TrackBroker};
use crate::domain::{Channel, Goal, MessageNumber, Record, Replay};
use crate::replay::{ChannelReplay, takes_permit};

/// Numbers between two checkpoints of a channel. So many messages are read in some tens of milliseconds.
const NUMBERS_APART: u64 = if cfg!(test) { 8 } else { 5_000 };
/// Of turns with something else to do every so many goes on with a checkpoint; of those without each. Reading a message
/// once more costs as much as applying it, and a queue is to be applied first.
const BUSY_CYCLES: u32 = 64;
/// A checkpoint begins to be read only where so many channels may be read: then some are left for drains and overrides,
/// for which somebody waits.
const PERMITS_FREE_MIN: usize = 3;
/// Channels of one partition that wait for a checkpoint; further ones are looked at when they have come further.
const WAITING_MAX: usize = 256;

/// The channels of a partition of which a checkpoint is to be made, read one after the other.
#[derive(Default)]
pub struct Checkpoints {
    jobs: VecDeque<CheckpointJob>,
    busy_cycles: u32,
}

/// One channel that is read for a checkpoint.
struct CheckpointJob {
    /// The channel.
    channel: Channel,
    /// Without it nothing is read.
    permit: Option<OwnedSemaphorePermit>,
    running: Option<Running>,
}

struct Running {
    reading: ChannelReplay<usize>,
    /// The record before the reading began: the log has all that it knows of.
    written: Record,
}

impl Checkpoints {
    /// Whether there is a channel that can be read now.
    pub fn can_go_on(&self, readings: &Semaphore) -> bool {
        let has_turn = |job: &CheckpointJob| job.permit.is_some() || readings.available_permits() >= PERMITS_FREE_MIN;
        self.jobs.front().is_some_and(has_turn)
    }

    /// Notes a channel that has come far enough to look for its last checkpoint.
    pub fn note(&mut self, state: &mut ChannelState) {
        let Some(known) = state.known.as_ref().filter(|_| self.jobs.len() < WAITING_MAX) else { return };
        let stretch = MessageNumber::count_through(known.record.applied_through()) / NUMBERS_APART;
        let is_due = std::mem::replace(&mut state.stretches_checked, stretch) < stretch;
        if is_due && self.jobs.iter().all(|job| job.channel != state.channel) {
            self.jobs.push_back(CheckpointJob { channel: state.channel, permit: None, running: None });
        }
    }

    /// Goes on with one channel, if it is its turn. Nobody waits for it: what goes wrong is left.
    pub async fn step(&mut self, broker: &impl TrackBroker, readings: &Arc<Semaphore>, is_busy: bool) {
        self.busy_cycles = if is_busy { (self.busy_cycles + 1).min(BUSY_CYCLES) } else { BUSY_CYCLES };
        if self.busy_cycles < BUSY_CYCLES || !self.can_go_on(readings) {
            return;
        }
        self.busy_cycles = 0;
        let Some(job) = self.jobs.front_mut() else { return };
        if !takes_permit(&mut job.permit, readings) {
            return;
        }
        match job.step(broker).await {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => tracing::debug!(channel = %job.channel, %error, "no checkpoint"),
        }
        self.jobs.pop_front();
    }
}

/// Removes the checkpoints that a reading has found to be wrong.
pub(super) async fn remove_wrong<S>(broker: &impl TrackBroker, replay: &Replay<S>) -> Result<(), BrokerError> {
    for place in replay.wrong_checkpoints().iter().filter_map(|wrong| wrong.place) {
        broker.remove_checkpoint(place).await?;
    }
    Ok(())
}

impl CheckpointJob {
    /// Reads one page; at the end of the channel stores the checkpoint. Tells whether it is done.
    async fn step(&mut self, broker: &impl TrackBroker) -> Result<bool, BrokerError> {
        let Some(Running { reading, written }) = &mut self.running else { return self.begin(broker).await };
        if reading.step(broker).await?.is_some() {
            return Ok(false);
        }
        remove_wrong(broker, &reading.replay).await?;
        if let Some(made) = reading.complete_checkpoint(broker, written).await? {
            // The newest page of the history is what is mostly asked for: it is to begin there.
            let made = reading.replay.checkpoint_before(&made).unwrap_or(made);
            broker.store_checkpoint(&self.channel, &made).await?;
            tracing::debug!(channel = %self.channel, through = MessageNumber::count_through(made.through()), "checkpoint stored");
        }
        Ok(true)
    }

    async fn begin(&mut self, broker: &impl TrackBroker) -> Result<bool, BrokerError> {
        let held = broker.load_latest(&self.channel).await?;
        let Some(written) = held.record.and_then(|bytes| Record::from_bytes(&bytes).ok()) else { return Ok(true) };
        let bases = broker.checkpoints(&self.channel).await?;
        let through = |record: &Record| MessageNumber::count_through(record.applied_through());
        let before = bases.last().map_or(0, |base| through(&base.record));
        let is_due = through(&written) >= before + NUMBERS_APART;
        let reading = ChannelReplay::of_what_they_say(self.channel, Goal::State, bases);
        self.running = is_due.then_some(Running { reading, written });
        Ok(!is_due)
    }
}
