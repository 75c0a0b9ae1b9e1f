//! A channel of the stream, folded from its beginning: what a rocket's history and a rebuild are made of.
//!
//! `[stream] ▸ broker/read_back ▸ domain/refold`, page by page, until the channel ends or whoever listens has heard
//! enough. What is malformed was a dead letter when it was delivered, and is passed over. The tracker has a driver of its
//! own (`track/act`): it takes a page a step, and writes.

use std::ops::ControlFlow;

use crate::broker::read_back::read_back;
use crate::broker::{Broker, BrokerError};
use crate::domain::{Channel, Entry, Goal, Refold, Sequence, Turn};

/// A channel that is folded anew. Of messages only what they say is kept, not their bytes.
pub struct ChannelFold {
    /// How far it has come.
    pub refold: Refold<usize>,
    /// The last place that was read since the folds began, malformed bytes included. A replica that lags behind may show
    /// less than the one before it did.
    pub seen: Sequence,
}

impl ChannelFold {
    /// Begins before the first message.
    pub fn new(goal: Goal) -> Self {
        Self { refold: Refold::new(goal, |size| *size), seen: Sequence(0) }
    }

    /// Reads on, and tells of each page what it held and what came of it, until there is no more or `hear` breaks off.
    pub async fn run(
        &mut self,
        broker: &Broker,
        partition: u16,
        channel: &Channel,
        mut hear: impl FnMut(&Refold<usize>, &[Entry<usize>], Turn<usize>) -> ControlFlow<()>,
    ) -> Result<(), BrokerError> {
        while let Some(from) = self.refold.next() {
            let page = read_back(broker, partition, channel, from).await?;
            let entries: Vec<_> = page.messages.iter().filter_map(|stored| stored.read_light()).collect();
            let turn = self.refold.take(&entries, page.next);
            let last = page.messages.last().map_or(Sequence(0), |stored| stored.sequence);
            self.seen = if matches!(turn, Turn::StartOver) { Sequence(0) } else { self.seen.max(last) };
            if hear(&self.refold, &entries, turn).is_break() {
                break;
            }
        }
        Ok(())
    }
}
