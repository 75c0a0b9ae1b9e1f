//! Goes on with what is pending behind a gap that has closed, when it is not in memory any more: reads it back from the
//! stream page by page, a step at a time, so that other channels get their turn in between.
//!
//! A drain holds one delivery unacknowledged. If the tracker dies, it comes to another one, which finds that the record is
//! drainable and goes on from there.

use std::sync::Arc;

use futures_util::future::OptionFuture;

use super::Counters;
use super::channel_state::ChannelState;
use super::job::{Job, Step};
use super::settle::settle;
use crate::broker::log_reader::{PAGE_MESSAGES_MAX, Page};
use crate::broker::{AckHandle, BrokerError, Stored, TrackBroker};
use crate::domain::bounds::bounds;
use crate::domain::pending::PendingMap;
use crate::domain::reorder::ReorderBuffer;
use crate::domain::{Arrival, Channel, MessageNumber, PendingRanges, Record, Sequence};
use crate::fail_point;
use crate::replay::reading_room;
use crate::traces::Trace;

/// Messages that are fetched at once.
const FETCH_MAX: usize = 256;
/// Messages without a gap after which more of them are likely to follow.
const GOES_ON_MIN: usize = if cfg!(test) { 2 } else { 500 };
/// Bytes of messages that are applied in one step; the last one may exceed it.
const STEP_BYTES_MAX: usize = 1024 * 1024;
/// Steps and readings in a row that brought nothing of what is said to wait, before the drain gives up for a while.
const READINGS_WITHOUT_PROGRESS_MAX: u32 = 3;

/// One channel that goes on from the stream.
pub struct Drain {
    channel: Channel,
    /// The deliveries that are held until nothing is drainable any more, each with its sequence.
    tokens: Vec<(Sequence, AckHandle)>,
    reading: Option<Reading>,
    readings_without_progress: u32,
}

/// One reading of the channel, from the lowest pending sequence to the end.
struct Reading {
    began_at: Sequence,
    /// Messages of the next page.
    page_messages: usize,
    /// Where the next page begins; none at the end.
    next: Option<Sequence>,
    /// The last sequence that was read, malformed bytes included.
    seen: Sequence,
    buffer: ReorderBuffer<Stored>,
}

impl Job for Drain {
    fn new(channel: Channel) -> Self {
        Self { channel, tokens: Vec::new(), reading: None, readings_without_progress: 0 }
    }

    fn handles(&self) -> impl Iterator<Item = AckHandle> {
        self.tokens.iter().map(|(_, handle)| handle.clone())
    }

    async fn step(
        &mut self,
        broker: &impl TrackBroker,
        state: &mut ChannelState,
        counters: &Counters,
    ) -> Result<Step, BrokerError> {
        let step = self.advance(broker, state, counters).await?;
        state.report(broker).await?;
        Ok(step)
    }
}

impl Drain {
    /// Keeps deliveries; where these are enough, returns which can be acknowledged that were kept before. A delivery that
    /// comes again takes the place of itself.
    pub fn keep(&mut self, deliveries: Vec<(Sequence, AckHandle)>, are_enough: bool) -> Vec<AckHandle> {
        let before = std::mem::replace(&mut self.tokens, deliveries);
        let is_new = |sequence: Sequence| self.tokens.iter().any(|(other, _)| *other == sequence);
        let mut before: Vec<_> = before.into_iter().filter(|(sequence, _)| !is_new(*sequence)).collect();
        if are_enough {
            return before.into_iter().map(|(_, handle)| handle).collect();
        }
        self.tokens.append(&mut before);
        Vec::new()
    }

    /// Everything is done with.
    fn done(&mut self) -> Step {
        Step::Done(self.tokens.drain(..).map(|(_, handle)| handle).collect())
    }

    async fn advance(
        &mut self,
        broker: &impl TrackBroker,
        state: &mut ChannelState,
        counters: &Counters,
    ) -> Result<Step, BrokerError> {
        let known = state.known(broker).await?;
        let (record, forgotten) = (known.record.clone(), known.forgotten_place());
        let Some(next) = record.next_number().filter(|_| record.is_drainable()) else {
            // What is remembered may be old, and the token is all that holds the channel.
            let moves = state.reload(broker).await?.record.is_drainable();
            return Ok(if moves { Step::GoOn } else { self.done() });
        };
        // What is to be replayed since then is no drain's: the deliveries come again, for whoever folds it.
        if record.corrections_wait {
            return Err(BrokerError::Conflict);
        }
        let mut reading = self.reading_for(&record, forgotten);
        reading.take_over(state, &record);
        reading.fetch(broker, next).await?;
        if reading.buffer.holds(next) {
            return self.apply(broker, state, reading, &record, counters).await;
        }
        if let Some(from) = reading.next {
            let page = broker.read_some(&self.channel, from, reading.page_messages).await?;
            reading.take(page, &record);
            self.reading = Some(reading);
            return Ok(Step::GoOn);
        }
        self.at_the_end(broker, state, reading, record).await
    }

    /// The reading that goes on, or a new one where something waits before the place at which that one began, or it has read
    /// what was forgotten since.
    fn reading_for(&mut self, record: &Record, forgotten: Option<Sequence>) -> Reading {
        let lowest = record.pending.lowest().unwrap_or(Sequence(1));
        let is_behind = |place: Sequence| place <= lowest && Some(place) > forgotten;
        let going_on = self.reading.take().filter(|reading| is_behind(reading.began_at));
        going_on.unwrap_or_else(|| Reading::from(lowest, &record.pending))
    }

    async fn apply(
        &mut self,
        broker: &impl TrackBroker,
        state: &mut ChannelState,
        mut reading: Reading,
        before: &Record,
        counters: &Counters,
    ) -> Result<Step, BrokerError> {
        // Where so much goes on without a gap, the next page is read meanwhile.
        let goes_on = reading.fill(state, before);
        let next_page = reading.next.filter(|_| goes_on).map(|from| broker.read_page(&self.channel, from));
        let no_trace = Trace::default();
        let (settled, page) =
            tokio::join!(settle(broker, state, &[], counters, &no_trace), OptionFuture::from(next_page));
        let blocked = settled?.blocked;
        fail_point::reached("track.drain-step");
        if let Some(page) = page {
            reading.take(page?, &state.known(broker).await?.record);
        }
        let after = &state.known(broker).await?.record;
        self.readings_without_progress = if after.last == before.last { self.readings_without_progress + 1 } else { 0 };
        if after.is_drainable() && blocked.is_none() {
            self.reading = Some(reading);
            return Ok(self.unless_without_progress());
        }
        // What is in memory may be of use when the next gap closes, or the dead letters have room.
        let after = after.clone();
        reading.leave_to(state, &after);
        Ok(blocked.map_or_else(|| self.done(), Step::Blocked))
    }

    /// Everything has been read, and what comes next was not there.
    async fn at_the_end(
        &mut self,
        broker: &impl TrackBroker,
        state: &mut ChannelState,
        mut reading: Reading,
        record: Record,
    ) -> Result<Step, BrokerError> {
        if reading.lacks_what_comes_next(&record) {
            self.reading = Some(reading.again());
            return Ok(Step::GoOn);
        }
        let last = broker.last_of(&self.channel).await?;
        let has_seen_all = last.is_none_or(|last| reading.seen >= last)
            && record.pending.overflow().is_none_or(|overflow| reading.seen >= overflow.highest);
        if has_seen_all && record.pending.ranges().is_empty() {
            return self.list(broker, state, reading, record).await;
        }
        self.readings_without_progress += 1;
        reading.next = Some(Sequence(reading.seen.0 + 1)).filter(|_| !has_seen_all);
        self.reading = reading.next.is_some().then_some(reading);
        Ok(self.unless_without_progress())
    }

    fn unless_without_progress(&self) -> Step {
        if self.readings_without_progress < READINGS_WITHOUT_PROGRESS_MAX { Step::GoOn } else { Step::NoProgress }
    }

    /// Writes which numbers wait, where the record only knows that some do.
    async fn list(
        &mut self,
        broker: &impl TrackBroker,
        state: &mut ChannelState,
        reading: Reading,
        mut record: Record,
    ) -> Result<Step, BrokerError> {
        record.pending = reading.to_pending_ranges();
        match state.write(broker, record, Vec::new()).await {
            Err(BrokerError::Conflict) => drop(state.reload(broker).await?),
            written => written?,
        }
        self.readings_without_progress = 0;
        self.reading = Some(reading);
        Ok(Step::GoOn)
    }
}

impl Reading {
    /// Begins at the lowest pending sequence. Where one range waits, its messages mostly lie there in a row: a message that
    /// another tracker was served costs no whole page.
    fn from(lowest: Sequence, pending: &PendingRanges) -> Self {
        let buffer = ReorderBuffer::new(reading_room(), Stored::size);
        let page_messages = match (pending.ranges(), pending.overflow()) {
            ([_], None) => usize::try_from(pending.count()).unwrap_or(usize::MAX).min(PAGE_MESSAGES_MAX),
            _ => PAGE_MESSAGES_MAX,
        };
        let seen = Sequence(lowest.0.saturating_sub(1));
        Self { began_at: lowest, page_messages, next: Some(lowest), seen, buffer }
    }

    /// The same once more from its beginning, for what was dropped.
    fn again(mut self) -> Self {
        self.buffer.forget_dropped();
        (self.next, self.seen) = (Some(self.began_at), Sequence(self.began_at.0.saturating_sub(1)));
        self
    }

    /// Whether what comes next, or the lowest of what is pending, was dropped for want of room.
    fn lacks_what_comes_next(&self, record: &Record) -> bool {
        let Some(dropped) = self.buffer.dropped() else { return false };
        let holds_lower = self.buffer.places().next().is_some_and(|(lowest, _)| lowest < dropped);
        record.next_number() >= Some(dropped) || !holds_lower
    }

    /// Takes over what is still in memory, and forgets what the record is past.
    fn take_over(&mut self, state: &mut ChannelState, record: &Record) {
        let in_memory = std::mem::take(&mut state.buffer).into_values();
        in_memory.for_each(|arrival| self.insert(arrival, record));
        if let Some(last) = &record.last {
            self.buffer.remove_through(last.number);
        }
    }

    fn take(&mut self, page: Page, record: &Record) {
        (self.next, self.page_messages) = (page.next, PAGE_MESSAGES_MAX);
        self.seen = page.messages.last().map_or(self.seen, |stored| stored.sequence.max(self.seen));
        plain(page.messages).for_each(|arrival| self.insert(arrival, record));
    }

    fn insert(&mut self, arrival: Arc<Arrival<Stored>>, record: &Record) {
        if !record.is_through(arrival.message.number) {
            self.buffer.insert(arrival);
        }
    }

    /// Fetches the messages that come next, if they are not in memory.
    async fn fetch(&mut self, broker: &impl TrackBroker, next: MessageNumber) -> Result<(), BrokerError> {
        let places = self.buffer.to_fetch(next, FETCH_MAX);
        if !places.is_empty() {
            plain(broker.read_messages(&places).await?).for_each(|arrival| self.buffer.supply(arrival));
        }
        Ok(())
    }

    /// Gives the channel state what can be applied in one step; returns whether that is so much that more is likely to
    /// follow.
    fn fill(&mut self, state: &mut ChannelState, record: &Record) -> bool {
        let (mut next, mut bytes) = (record.next_number(), 0);
        while let Some(number) = next
            && state.buffer.len() < bounds().applied_at_once
            && bytes < STEP_BYTES_MAX
            && let Some(arrival) = self.buffer.take(number)
        {
            bytes += arrival.stored.size();
            state.buffer.insert(number, arrival);
            next = number.next();
        }
        state.buffer.len() >= GOES_ON_MIN
    }

    /// Gives the channel state what is in memory, the lowest numbers first, within the bound of one channel.
    fn leave_to(self, state: &mut ChannelState, record: &Record) {
        let arrivals = self.buffer.into_held().filter(|arrival| !record.is_through(arrival.message.number));
        state.buffer.extend(arrivals.map(|arrival| (arrival.message.number, arrival)));
    }

    fn to_pending_ranges(&self) -> PendingRanges {
        // Nothing is listed above what was dropped: more than is listed waits above all ranges, not between them.
        let (mut waiting, dropped) = (PendingMap::default(), self.buffer.dropped());
        let below = self.buffer.places().take_while(|(number, _)| dropped.is_none_or(|dropped| *number < dropped));
        below.for_each(|(number, place)| waiting.insert(number, place));
        let mut pending = waiting.to_pending_ranges();
        if dropped.is_some() {
            pending.note_overflow(self.began_at, self.seen);
        }
        pending
    }
}

/// The plain messages of a page; the others were dead letters, or followed, when they were delivered.
fn plain(messages: Vec<Stored>) -> impl Iterator<Item = Arc<Arrival<Stored>>> {
    let entries = messages.into_iter().filter_map(|stored| stored.read().ok());
    entries.filter_map(|entry| entry.message().filter(|arrival| !arrival.corrects).cloned())
}
