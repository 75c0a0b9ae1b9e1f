//! A channel of the log, folded from its beginning or from a checkpoint: what a rocket's history, a rebuild, a skip and a
//! correction are made of.
//!
//! `[stream] ▸ broker/log_reader ▸ domain/replay`, a step at a time, until the channel ends or whoever listens has heard
//! enough. What is malformed was a dead letter when it was delivered, and is left out.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::broker::{BrokerError, LogReader, Stored};
use crate::domain::reorder::Room;
use crate::domain::shortfall::Base;
use crate::domain::{
    Channel, Checkpoint, Entry, Event, Forgotten, Goal, Record, Replay, Sequence, StoredAt, Taken, Wanted, shortfall,
};
use crate::memory;

/// Channels that the trackers of one process read at once, and as many for those who ask for histories: each holds some
/// megabytes while it is read ([`reading_room`]). Further ones wait for a permit. Trackers and histories have permits of their own:
/// however many histories are asked for, a gap that has closed is drained.
const READINGS_AT_ONCE: usize = 4;

/// What one reading keeps: those of trackers and those of histories share the budget.
pub fn reading_room() -> Room {
    Room::of_a_reading(memory::of_a_reading(2 * READINGS_AT_ONCE))
}

/// The permits with which channels are read.
pub fn reading_permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(READINGS_AT_ONCE))
}

/// Whether a channel may be read: it has its permit already, or gets one.
pub fn takes_permit(permit: &mut Option<OwnedSemaphorePermit>, readings: &Arc<Semaphore>) -> bool {
    if permit.is_none() {
        *permit = readings.clone().try_acquire_owned().ok();
    }
    permit.is_some()
}

/// A channel whose log is being read into a [`Replay`].
pub struct ChannelReplay<S> {
    /// How far it has come.
    pub replay: Replay<S>,
    /// Which channel it is.
    pub channel: Channel,
    read: fn(Stored) -> Option<Entry<S>>,
    /// What a replica that lags behind may still show though it was removed.
    forgotten: Option<Forgotten>,
    /// The last message that was read since the folds began, malformed or not; before the first, the sequence before the
    /// reading.
    seen: Event,
}

/// What one step has brought.
pub struct Read<S> {
    /// What was read, in the order of the log.
    pub entries: Vec<Entry<S>>,
    /// What came of it.
    pub taken: Taken<S>,
}

impl ChannelReplay<usize> {
    /// Begins at the last of these checkpoints, or before the first message; of messages only what they say is kept, not
    /// their bytes.
    pub fn of_what_they_say(channel: Channel, goal: Goal, bases: Vec<Checkpoint>) -> Self {
        let replay = Replay::from_checkpoints(goal, bases, reading_room(), |size| *size);
        Self::new(channel, replay, |stored| stored.read_light())
    }
}

impl ChannelReplay<Stored> {
    /// The same, and keeps their bytes.
    pub fn of_whole_messages(channel: Channel, goal: Goal, bases: Vec<Checkpoint>) -> Self {
        let replay = Replay::from_checkpoints(goal, bases, reading_room(), Stored::size);
        Self::new(channel, replay, |stored| stored.read().ok())
    }
}

impl<S> ChannelReplay<S> {
    fn new(channel: Channel, replay: Replay<S>, read: fn(Stored) -> Option<Entry<S>>) -> Self {
        let seen = nothing_before(&replay);
        Self { replay, channel, read, forgotten: None, seen }
    }

    /// Has only the overrides up to this sequence count, if one is given.
    pub fn through(self, last: Option<Sequence>) -> Self {
        let replay = match last {
            Some(last) => self.replay.through(last),
            None => self.replay,
        };
        Self { replay, ..self }
    }

    /// With the overrides being new that were stored after this time ([`Replay::since_at`]).
    pub fn since_at(self, at: Option<StoredAt>) -> Self {
        Self { replay: self.replay.since_at(at), ..self }
    }

    /// Without the messages that were forgotten.
    pub fn without(self, forgotten: Option<Forgotten>) -> Self {
        Self { forgotten, ..self }
    }

    /// Reads a page, or messages whose turn it is; nothing where there is no more.
    pub async fn step(&mut self, log: &impl LogReader) -> Result<Option<Read<S>>, BrokerError> {
        let Some(wanted) = self.replay.wanted() else { return Ok(None) };
        let (messages, next) = match &wanted {
            Wanted::Page(from) => {
                let page = log.read_page(&self.channel, *from).await?;
                (page.messages, page.next)
            }
            Wanted::Messages(places) => (log.read_messages(places).await?, None),
        };
        // Nobody can tell what it does before a newer program does, nor go on from behind it.
        if let Some(format) = messages.iter().filter_map(Stored::newer_format).max() {
            return Err(BrokerError::Newer(format));
        }
        let last = messages.last().map_or(self.seen, Stored::event);
        let next = match &wanted {
            Wanted::Page(_) if next.is_none() && !self.replay.is_read_once() => self.not_shown(log, last).await?,
            _ => next,
        };
        if messages.is_empty() && next.is_some() {
            log.wait_for_replica().await;
        }
        let is_there = |stored: &Stored| self.forgotten.is_none_or(|forgotten| !forgotten.has(stored.event()));
        let entries: Vec<_> = messages.into_iter().filter(is_there).filter_map(self.read).collect();
        let taken = match wanted {
            Wanted::Page(_) => self.replay.take(&entries, next),
            Wanted::Messages(_) => self.replay.supply(&entries),
        };
        self.seen = if matches!(taken, Taken::StartOver) { nothing_before(&self.replay) } else { self.seen.max(last) };
        Ok(Some(Read { entries, taken }))
    }

    /// From where on the leader has messages that were not shown, because a replica lags behind. An override is
    /// judged by what has arrived before and after it, so all of that is seen first.
    async fn not_shown(&self, log: &impl LogReader, shown: Event) -> Result<Option<Sequence>, BrokerError> {
        let shown = self.seen.max(shown).sequence;
        let last = log.last_of(&self.channel).await?;
        Ok(last.filter(|last| *last > shown).map(|_| Sequence(shown.0 + 1)))
    }

    /// Reads on until there is no more or `hear` breaks off.
    pub async fn run(
        &mut self,
        log: &impl LogReader,
        mut hear: impl FnMut(&Replay<S>, Read<S>) -> ControlFlow<()>,
    ) -> Result<(), BrokerError> {
        while let Some(read) = self.step(log).await? {
            if hear(&self.replay, read).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Whether everything was seen that the leader has of the channel at this moment. A replica that lags behind may not
    /// have shown the newest messages.
    pub async fn has_seen_all(&self, log: &impl LogReader) -> Result<bool, BrokerError> {
        Ok(self.has_seen_through(log.last_of(&self.channel).await?))
    }

    /// Whether everything was seen up to the place that was the channel's last at some time.
    pub fn has_seen_through(&self, last: Option<Sequence>) -> bool {
        last.is_none_or(|last| self.seen.sequence >= last) && self.replay.is_complete()
    }

    /// A checkpoint after the last number that is applied. It need not have seen the newest messages: whatever it
    /// has not seen lies behind what it has.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.replay.checkpoint(self.seen)
    }

    /// The same, if the log has everything of which the record knew that was written before the reading began, and every
    /// override in it was followed: what no tracker has followed yet may still fail.
    pub async fn complete_checkpoint(
        &self,
        log: &impl LogReader,
        written: &Record,
    ) -> Result<Option<Checkpoint>, BrokerError> {
        let Some(made) = self.checkpoint().filter(|made| written.has_followed_all_of(&made.record)) else {
            return Ok(None);
        };
        let (folded, overrides) = (self.replay.folds().last().map(|fold| fold.state()), self.replay.overrides());
        let lacks = |is_whole| shortfall(written, folded.as_ref()?, &overrides, Base::Log { is_whole });
        let is_complete = lacks(false).is_none() || (log.is_whole().await? && lacks(true).is_none());
        Ok(Some(made).filter(|_| is_complete))
    }
}

/// What was seen before the first message is read: everything that lies before the place where the reading begins.
fn nothing_before<S>(replay: &Replay<S>) -> Event {
    let (before, base) = (Sequence(replay.first_place().0 - 1), replay.base());
    // If the checkpoint had seen messages from there on, they are read again. If it had seen just this one, its time is known.
    let seen = base.map(|base| base.seen).filter(|seen| seen.sequence == before);
    seen.unwrap_or(Event { sequence: before, ..Event::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::channel;
    use crate::simulation::testing::ModelBroker;

    #[tokio::test]
    async fn nothing_is_folded_past_a_message_that_takes_a_newer_program() {
        let broker = ModelBroker::default();
        for number in 1..=3 {
            broker.publish(channel(), number);
        }
        broker.state().model.set_format(Some(2), 2);
        let mut replay = ChannelReplay::of_what_they_say(channel(), Goal::State, Vec::new());
        let run = replay.run(&broker, |_, _| ControlFlow::Continue(())).await;
        assert_eq!((run, replay.checkpoint()), (Err(BrokerError::Newer(2)), None));
    }

    #[tokio::test]
    async fn a_replica_that_lags_behind_is_given_time() {
        let broker = ModelBroker::default();
        for number in 1..=5 {
            broker.publish(channel(), number);
        }
        broker.state().sight.newest_missing = 3;
        let mut replay = ChannelReplay::of_what_they_say(channel(), Goal::State, Vec::new());
        for _ in 0..10 {
            replay.step(&broker).await.unwrap();
        }
        let last = replay.replay.folds()[0].record().last.as_ref().map(|last| last.number.get());
        assert_eq!((last, broker.state().sight.newest_missing), (Some(5), 0));
    }
}
