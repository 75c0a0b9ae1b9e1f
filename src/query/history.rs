//! A rocket's history: one row a number, with the rocket after it, folded from the stream whenever it is asked for.
//!
//! The stream is the history, and the overrides (skips, corrections) give every number the meaning that it has
//! now: the last message of all may be a correction of the first. So a page costs a reading of the channel, from the last
//! checkpoint before what it shows, and the memory of what it shows ([`window`]).
//!
//! A time means the message times, and those need not rise with the numbers: the rocket at a time is the one after the
//! last number, in order, whose message time is not later.

mod request;
pub mod routes;
mod row;
mod window;

use std::ops::ControlFlow;

pub use request::{HistoryRequest, LIMIT_DEFAULT, Moment, PageRequest};
pub use row::{PublicRow, Row};

use super::view::{Entry, Order};
use crate::broker::topology::partition_of;
use crate::broker::{Broker, BrokerError, LogReader as _, NatsLog};
use crate::domain::checkpoint::trimmed_through;
use crate::domain::time::Instant;
use crate::domain::{Channel, Checkpoint, Goal, MessageNumber, Record, Replay, Taken};
use crate::http::cursor;
use crate::replay::ChannelReplay;
use request::Cursor;
use row::{rocket_of, rows_of};
use window::{Step, Wanted, Window};

/// Some rows of a history, in the order that was asked for.
#[derive(Debug)]
pub struct HistoryPage {
    /// The rows.
    pub rows: Vec<Row>,
    /// Where the next page begins; none on the last one.
    pub next_cursor: Option<String>,
    /// Up to which number the log was trimmed, if it was: rows begin behind it.
    pub trimmed_through: Option<MessageNumber>,
}

/// A rocket as it was at a moment.
#[derive(Debug)]
pub enum Then {
    /// As it was.
    Rocket(Box<Entry>),
    /// It had not been launched.
    NotLaunched,
    /// What it was is not known any more: that part of the log was trimmed.
    Trimmed,
}

/// Where histories are read.
#[derive(Clone)]
pub struct Histories {
    broker: Broker,
    partitions: u16,
}

impl Histories {
    /// The histories of the channels of this broker's stream.
    pub fn new(broker: Broker, partitions: u16) -> Self {
        Self { broker, partitions }
    }

    /// A page of a history; none where no number of the channel is applied.
    pub async fn page(&self, channel: &Channel, request: &PageRequest) -> Result<Option<HistoryPage>, BrokerError> {
        let mut bases = self.log(channel).checkpoints(channel).await?;
        loop {
            let page = self.page_from(channel, request, bases.clone()).await?;
            // What is trimmed while it is read looks like a gap.
            let before = trimmed_through(&bases);
            bases = self.log(channel).checkpoints(channel).await?;
            if trimmed_through(&bases) == before {
                return Ok(page);
            }
        }
    }

    async fn page_from(
        &self,
        channel: &Channel,
        request: &PageRequest,
        bases: Vec<Checkpoint>,
    ) -> Result<Option<HistoryPage>, BrokerError> {
        let trimmed_through = trimmed_through(&bases);
        let first = MessageNumber::count_through(trimmed_through) + 1;
        // Where a page can hold nothing, it is still to be known whether there is a history at all.
        let wanted = request.wanted(first);
        let wanted = wanted.unwrap_or(Wanted { from: first, until: first, limit: 0 });
        let (window, fold) = self.window_from(channel, wanted, bases).await?;
        let passed = window.passed();
        if passed == 0 {
            return Ok(None);
        }
        let (mut record, steps) = window.into_steps();
        let last_fold = fold.replay.folds().last();
        let stands_in_for = |number, event| last_fold.and_then(|fold| fold.stands_in_for(number, event));
        let mut rows: Vec<_> =
            steps.into_iter().flat_map(|step| rows_of(*channel, &mut record, step, stands_in_for)).collect();
        if request.order == Order::Desc {
            rows.reverse();
        }
        let last = rows.last().map(|row| row.number);
        let has_more = |last: &MessageNumber| match request.order {
            Order::Desc => last.get() > first,
            Order::Asc => last.get() < passed,
        };
        let next_cursor = last.filter(has_more).map(|after| cursor::write(&Cursor { order: request.order, after }));
        Ok(Some(HistoryPage { rows, next_cursor, trimmed_through }))
    }

    /// The rocket as it was.
    pub async fn rocket_at(&self, channel: &Channel, moment: Moment) -> Result<Then, BrokerError> {
        let bases = self.log(channel).checkpoints(channel).await?;
        match moment {
            Moment::Time(instant) => self.rocket_at_time(channel, instant, bases).await,
            Moment::Number(number) if Some(number) < trimmed_through(&bases) => Ok(Then::Trimmed),
            Moment::Number(number) => {
                let from = MessageNumber::count_through(trimmed_through(&bases)) + 1;
                let until = number.get();
                let window = match until < from {
                    true => Window::behind(bases.first(), Wanted { from, until: from, limit: 0 }),
                    false => self.window_from(channel, Wanted { from, until, limit: 0 }, bases).await?.0,
                };
                Ok(Then::of(*channel, &window.into_steps().0))
            }
        }
    }

    fn log(&self, channel: &Channel) -> NatsLog<'_> {
        NatsLog { broker: &self.broker, partition: partition_of(channel, self.partitions) }
    }

    /// Reads from the best checkpoint that lies before what is wanted. Where the highest numbers are, only a reading tells:
    /// where they go back behind the checkpoint at which it began, it is read again from one before them.
    async fn window_from(
        &self,
        channel: &Channel,
        wanted: Wanted,
        mut bases: Vec<Checkpoint>,
    ) -> Result<(Window, ChannelReplay<usize>), BrokerError> {
        let mut highest = wanted.until;
        loop {
            bases.retain(|base| base.is_trimmed || begun_behind(base) < wanted.lowest_below(highest));
            let (window, fold) = self.window(channel, wanted, bases.clone()).await?;
            let begun = fold.replay.base().filter(|base| !base.is_trimmed).map_or(0, begun_behind);
            highest = window.passed().min(wanted.until);
            if begun < wanted.lowest_below(highest) {
                return Ok((window, fold));
            }
        }
    }

    async fn window(
        &self,
        channel: &Channel,
        wanted: Wanted,
        bases: Vec<Checkpoint>,
    ) -> Result<(Window, ChannelReplay<usize>), BrokerError> {
        let mut fold = ChannelReplay::of_what_they_say(*channel, Goal::State, bases);
        let mut window = Window::behind(fold.replay.base(), wanted);
        let log = self.log(channel);
        let run = fold.run(&log, |replay, read| {
            match read.taken {
                Taken::StartOver => window = Window::behind(replay.base(), wanted),
                Taken::Advance(placed) => {
                    let overrides = replay.overrides();
                    let steps = placed.into_iter().flatten().filter_map(|placed| Step::of(placed, &overrides));
                    steps.for_each(|step| window.pass(step));
                }
            }
            // What a correction stands in for may lie behind it, if an outsider stored it.
            let stands_in = |(number, event)| replay.folds().last()?.stands_in_for(number, event);
            let is_full = window.passed() > wanted.until && window.corrections().all(|it| stands_in(it).is_some());
            // The last message of all may be a correction of the first: only a complete reading knows.
            match is_full && replay.is_read_once() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        run.await?;
        Ok((window, fold))
    }

    /// The last number, in order, that is not later: behind the best checkpoint, else behind the one before it.
    async fn rocket_at_time(
        &self,
        channel: &Channel,
        instant: Instant,
        mut bases: Vec<Checkpoint>,
    ) -> Result<Then, BrokerError> {
        loop {
            let (then, fold) = self.last_until(channel, instant, bases.clone()).await?;
            let base = fold.replay.base();
            match (then, base) {
                (Some(record), _) => return Ok(Then::of(*channel, &record)),
                (None, None) => return Ok(Then::NotLaunched),
                (None, Some(base)) if base.is_trimmed => return Ok(Then::Trimmed),
                (None, Some(base)) => {
                    let through = base.through();
                    bases.retain(|base| base.through() < through);
                }
            }
        }
    }

    async fn last_until(
        &self,
        channel: &Channel,
        instant: Instant,
        bases: Vec<Checkpoint>,
    ) -> Result<(Option<Record>, ChannelReplay<usize>), BrokerError> {
        let (mut fold, log) = (ChannelReplay::of_what_they_say(*channel, Goal::State, bases), self.log(channel));
        let begin = |replay: &Replay<usize>| replay.base().map_or_else(Record::default, |base| base.record.clone());
        let is_not_later = |record: &Record| record.last.as_ref().is_some_and(|last| last.time.instant() <= instant);
        let mut record = begin(&fold.replay);
        let mut then = Some(record.clone()).filter(is_not_later);
        let run = fold.run(&log, |replay, read| {
            match read.taken {
                Taken::StartOver => {
                    record = begin(replay);
                    then = Some(record.clone()).filter(is_not_later);
                }
                Taken::Advance(placed) => {
                    let overrides = replay.overrides();
                    for step in placed.into_iter().flatten().filter_map(|placed| Step::of(placed, &overrides)) {
                        step.apply(&mut record);
                        if step.time().instant() <= instant {
                            then = Some(record.clone());
                        }
                    }
                }
            }
            ControlFlow::Continue(())
        });
        run.await?;
        Ok((then, fold))
    }
}

/// How many numbers a reading does not show that begins at a checkpoint.
fn begun_behind(base: &Checkpoint) -> u64 {
    MessageNumber::count_through(base.through())
}

impl Then {
    fn of(channel: Channel, record: &Record) -> Self {
        rocket_of(channel, record).map_or(Self::NotLaunched, |entry| Self::Rocket(Box::new(entry)))
    }
}
