//! A rocket's history: one row a number, with the rocket after it, folded from the stream whenever it is asked for.
//!
//! Nothing of it is stored: the stream is the history, and what operators said of it (skips, corrections) gives every
//! number the meaning that it has now: the last message of all may be a correction of the first. So a page costs a
//! reading of the channel, and the memory of what it shows ([`window`]).
//!
//! A time means the message times, and those need not rise with the numbers: the rocket at a time is the one after the
//! last number, in order, whose message time is not later.

mod cursor;
mod request;
pub mod routes;
mod row;
mod window;

use std::ops::ControlFlow;

pub use request::{HistoryRequest, LIMIT_DEFAULT, Moment, PageRequest};
pub use row::{Row, RowStatus};

use super::view::{Entry, Order};
use crate::broker::topology::partition_of;
use crate::broker::{Broker, BrokerError, NatsLog};
use crate::domain::time::Instant;
use crate::domain::{Channel, Goal, MessageNumber, Record, Turn};
use crate::replay::ChannelReplay;
use cursor::Cursor;
use row::{rocket_of, rows_of};
use window::{Step, Wanted, Window};

/// Some rows of a history, in the order that was asked for.
#[derive(Debug)]
pub struct HistoryPage {
    /// The rows.
    pub rows: Vec<Row>,
    /// Where the next page begins; none on the last one.
    pub next_cursor: Option<String>,
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

    /// A page of a history; none where no number of the channel has taken its place.
    pub async fn page(&self, channel: &Channel, request: &PageRequest) -> Result<Option<HistoryPage>, BrokerError> {
        // Where a page can hold nothing, it is still to be known whether there is a history at all.
        let wanted = request.wanted().unwrap_or(Wanted { from: 1, until: 1, limit: 0 });
        let (window, fold) = self.window(channel, wanted).await?;
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
            Order::Desc => last.get() > 1,
            Order::Asc => last.get() < passed,
        };
        let next_cursor = last.filter(has_more).map(|after| Cursor { order: request.order, after }.encode());
        Ok(Some(HistoryPage { rows, next_cursor }))
    }

    /// The rocket as it was; none before its launch.
    pub async fn rocket_at(&self, channel: &Channel, moment: Moment) -> Result<Option<Entry>, BrokerError> {
        match moment {
            Moment::Time(instant) => self.rocket_at_time(channel, instant).await,
            Moment::Number(number) => {
                let (window, _) = self.window(channel, Wanted { from: 1, until: number.get(), limit: 0 }).await?;
                Ok(rocket_of(*channel, &window.into_steps().0))
            }
        }
    }

    fn log(&self, channel: &Channel) -> NatsLog<'_> {
        NatsLog { broker: &self.broker, partition: partition_of(channel, self.partitions) }
    }

    async fn window(&self, channel: &Channel, wanted: Wanted) -> Result<(Window, ChannelReplay<usize>), BrokerError> {
        let (mut window, mut fold) = (Window::new(wanted), ChannelReplay::of_what_they_say(*channel, Goal::State));
        let log = self.log(channel);
        let run = fold.run(&log, |replay, read| {
            match read.turn {
                Turn::StartOver => window = Window::new(wanted),
                Turn::Placed(placed) => {
                    let acts = replay.acts();
                    let steps = placed.into_iter().flatten().filter_map(|placed| Step::of(placed, &acts));
                    steps.for_each(|step| window.pass(step));
                }
            }
            // What a correction stands in for may lie behind it, if an outsider stored it.
            let stands_in = |(number, event)| replay.folds().last()?.stands_in_for(number, event);
            let is_full = window.passed() > wanted.until && window.corrections().all(|it| stands_in(it).is_some());
            // The last message of all may be a correction of the first: only a complete reading knows.
            match is_full && replay.is_surveyed() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        run.await?;
        Ok((window, fold))
    }

    async fn rocket_at_time(&self, channel: &Channel, instant: Instant) -> Result<Option<Entry>, BrokerError> {
        let (mut record, mut then) = (Record::default(), None);
        let (mut fold, log) = (ChannelReplay::of_what_they_say(*channel, Goal::State), self.log(channel));
        let run = fold.run(&log, |replay, read| {
            match read.turn {
                Turn::StartOver => (record, then) = (Record::default(), None),
                Turn::Placed(placed) => {
                    let acts = replay.acts();
                    for step in placed.into_iter().flatten().filter_map(|placed| Step::of(placed, &acts)) {
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
        Ok(then.and_then(|record| rocket_of(*channel, &record)))
    }
}
