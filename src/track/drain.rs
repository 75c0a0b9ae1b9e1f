//! Goes on with what waits behind a gap that has closed, when it is not in memory any more: reads it back from the stream
//! page by page, a step at a time, so that other channels get their turn in between.
//!
//! A drain holds one delivery unacknowledged. If we are gone, it comes back to somebody, who finds that the record could
//! move and goes on from there.

use std::sync::Arc;

use super::Counters;
use super::desk::Desk;
use super::settle::settle;
use crate::broker::read_back::Page;
use crate::broker::{AckHandle, BrokerError, Stored, TrackBroker};
use crate::domain::parked::Beyond;
use crate::domain::sequencer::{offer, trim};
use crate::domain::{Acts, Arrival, Channel, Hand, Parked, Record, Sequence};
use crate::fail_point;

/// Bytes of messages that a drain holds in memory, so that those that lie far apart in the stream can be put in order.
/// Beyond it those with the highest numbers are let go, and read again on the next pass.
const HAND_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Passes in a row that found nothing of what is said to wait, before the drain gives up for a while.
const VAIN_PASSES_MAX: u32 = 3;

/// One channel that goes on from the stream.
pub struct Drain {
    /// The channel.
    pub channel: Channel,
    /// The deliveries that are held until nothing could move any more, each with its place in the stream.
    pub tokens: Vec<(Sequence, AckHandle)>,
    pass: Pass,
    hand: Hand<Stored>,
    vain_passes: u32,
}

/// One reading of the channel from the lowest sequence that waits to the end.
#[derive(Default)]
struct Pass {
    /// Where the next page begins; none before the first.
    next: Option<Sequence>,
    /// Whether anything was applied or had to be let go for lack of room.
    fruitful: bool,
    /// What waits, where the record does not know it.
    survey: Option<Survey>,
}

/// What a reading has found to wait.
#[derive(Default)]
struct Survey {
    parked: Parked,
    /// Where the reading began, and the last message that it has seen.
    lowest: Sequence,
    highest: Sequence,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more: go on.
    GoOn,
    /// The record cannot move any more: let the token go.
    Done,
    /// What is said to wait is not there now: give the token back for a while.
    Vain,
}

impl Survey {
    fn of(beyond: Beyond) -> Self {
        Self { lowest: beyond.lowest, ..Self::default() }
    }
}

impl Drain {
    /// A drain of a channel whose record could move, holding nothing yet.
    pub fn new(channel: Channel) -> Self {
        Self { channel, tokens: Vec::new(), pass: Pass::default(), hand: Hand::new(), vain_passes: 0 }
    }

    /// What all held deliveries are acknowledged by.
    pub fn handles(&self) -> impl Iterator<Item = AckHandle> {
        self.tokens.iter().map(|(_, handle)| handle.clone())
    }

    /// Holds deliveries. Where nothing had been stored of one of them before, nobody else can let go of that one, and it
    /// is enough: tells what can be let go for it. A delivery that comes again takes the place of itself.
    pub fn hold(
        &mut self,
        deliveries: Vec<(Sequence, AckHandle)>,
        enough: Option<Sequence>,
    ) -> Vec<(Sequence, AckHandle)> {
        self.tokens.retain(|(held, _)| deliveries.iter().all(|(sequence, _)| sequence != held));
        self.tokens.extend(deliveries);
        let Some(enough) = enough else { return Vec::new() };
        self.tokens.extract_if(.., |(sequence, _)| *sequence != enough).collect()
    }

    /// Reads one page and applies what can be applied.
    pub async fn step(
        &mut self,
        broker: &impl TrackBroker,
        desk: &mut Desk,
        counters: &Counters,
    ) -> Result<Step, BrokerError> {
        let record = desk.known(broker).await?.record.clone();
        if !record.could_move() {
            // What is remembered may be old, and the token is all that holds the channel.
            desk.reload(broker).await?;
            let moves = desk.known(broker).await?.record.could_move();
            return Ok(if moves { Step::GoOn } else { Step::Done });
        }
        let unknown = record.parked.beyond().filter(|_| record.parked.ranges().is_empty());
        if unknown.is_some() != self.pass.survey.is_some() {
            // What a reading is for has changed on the way: begin a new one.
            self.pass = Pass { survey: unknown.map(Survey::of), ..Pass::default() };
        }
        let lowest = match record.parked.ranges().first() {
            Some(range) => range.sequence,
            None => unknown.map_or(Sequence(1), |beyond| beyond.lowest),
        };
        let page = broker.read_back(&self.channel, self.pass.next.unwrap_or(lowest)).await?;
        match unknown {
            Some(beyond) => self.survey(broker, desk, record, beyond, page).await,
            None => self.apply(broker, desk, record, page, counters).await,
        }
    }

    /// Applies what the record says to wait and the page has.
    async fn apply(
        &mut self,
        broker: &impl TrackBroker,
        desk: &mut Desk,
        before: Record,
        page: Page,
        counters: &Counters,
    ) -> Result<Step, BrokerError> {
        let waits = |arrival: &Arc<Arrival<Stored>>| before.parked.contains(arrival.message.number);
        desk.hand.append(&mut self.hand);
        let no_acts = Acts::none();
        let waiting = arrivals(page.messages).filter(waits);
        waiting.for_each(|arrival| offer(&mut desk.hand, &arrival, &before, &no_acts));
        // Most pages of a channel that arrived in no order only add to what is in the hand.
        if before.next_number().is_some_and(|next| desk.hand.contains_key(&next)) {
            settle(broker, desk, &[], counters).await?;
        }
        fail_point::reached("track.drain-step");
        self.hand = std::mem::take(&mut desk.hand);
        let (_, let_go) = trim(&mut self.hand, Stored::size, HAND_BYTES_MAX);
        let after = &desk.known(broker).await?.record;
        self.pass.fruitful |= let_go || after.last != before.last;
        if !after.could_move() {
            desk.hand = std::mem::take(&mut self.hand);
            return Ok(Step::Done);
        }
        Ok(self.turn_page(page.next))
    }

    /// Finds out which numbers wait, where the record only knows that some do.
    async fn survey(
        &mut self,
        broker: &impl TrackBroker,
        desk: &mut Desk,
        mut record: Record,
        beyond: Beyond,
        page: Page,
    ) -> Result<Step, BrokerError> {
        let survey = self.pass.survey.get_or_insert_with(|| Survey::of(beyond));
        for arrival in arrivals(page.messages) {
            survey.highest = arrival.sequence;
            if !record.has_passed(arrival.message.number) {
                survey.parked.insert(arrival.message.number, arrival.sequence);
            }
        }
        if page.next.is_some() {
            return Ok(self.turn_page(page.next));
        }
        // A message from before the beginning may have come again on the way, and a replica that lags behind may not
        // have shown the last ones.
        if beyond.lowest < survey.lowest || survey.highest < beyond.highest {
            return Ok(self.turn_page(None));
        }
        record.parked = std::mem::take(&mut survey.parked);
        if let Some(last) = &record.last {
            // Some may have been applied while this reading went on.
            record.parked.remove_through(last.number);
        }
        self.pass = Pass::default();
        match desk.write(broker, record, Vec::new()).await {
            Err(BrokerError::Conflict) => drop(desk.reload(broker).await?),
            written => written?,
        }
        self.vain_passes = 0;
        Ok(Step::GoOn)
    }

    fn turn_page(&mut self, next: Option<Sequence>) -> Step {
        if next.is_some() {
            self.pass.next = next;
            return Step::GoOn;
        }
        self.vain_passes = if self.pass.fruitful { 0 } else { self.vain_passes + 1 };
        self.pass = Pass::default();
        if self.vain_passes < VAIN_PASSES_MAX { Step::GoOn } else { Step::Vain }
    }
}

/// The plain messages of a page; the others were dead letters, or followed, when they were delivered.
fn arrivals(messages: Vec<Stored>) -> impl Iterator<Item = Arc<Arrival<Stored>>> {
    let entries = messages.into_iter().filter_map(|stored| stored.read().ok());
    entries.filter_map(|entry| entry.message().filter(|arrival| !arrival.corrects).cloned())
}
