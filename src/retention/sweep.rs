//! Takes out of the log what may go: its head with one purge, and what lies behind a message that stays one by one, because
//! a purge by subject costs the server more the longer the log is.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::plan::Plan;
use super::{Amount, Trimmed};
use crate::broker::inspect::acknowledged_through;
use crate::broker::log_reader::{Page, read_page, read_partition};
use crate::broker::trim::{extent, remove_head, remove_head_of, remove_messages};
use crate::broker::{Broker, BrokerError, Stored};
use crate::domain::{Channel, Entry, Sequence, StoredAt};
use crate::fail_point;

/// What may go.
pub struct Sweep<'a> {
    /// The connection.
    pub broker: &'a Broker,
    /// What is not older stays.
    pub cut: StoredAt,
    /// What may go of each channel; of the others nothing.
    pub plans: HashMap<Channel, Plan>,
    /// Whether nothing is to be changed.
    pub dry_run: bool,
}

/// Whose messages are gone through.
#[derive(Clone, Copy)]
struct Whose<'a> {
    partition: u16,
    /// Of one channel; else all of the partition.
    channel: Option<&'a Channel>,
    /// Up to where all messages were applied.
    floor: Sequence,
}

impl Sweep<'_> {
    /// Sweeps the whole log.
    pub async fn all(&self, partitions: u16) -> Result<Trimmed, BrokerError> {
        let mut parts = Vec::new();
        // Before anything is looked at: what comes later stays.
        let mut head = Sequence(extent(self.broker).await?.last.0 + 1);
        for partition in 0..partitions {
            let floor = acknowledged_through(self.broker, partition).await?;
            parts.push(Whose { partition, channel: None, floor });
        }
        for part in &parts {
            head = head.min(self.first_that_stays(*part, head).await?);
        }
        let mut trimmed = Trimmed::new();
        for part in &parts {
            self.count(*part, head, &mut trimmed).await?;
        }
        if !self.dry_run {
            remove_head(self.broker, head).await?;
            fail_point::reached("trim.head-removed");
        }
        for part in parts {
            self.remove_behind(part, head, &mut trimmed).await?;
        }
        Ok(trimmed)
    }

    /// Sweeps one channel.
    pub async fn channel(&self, partition: u16, channel: &Channel) -> Result<Trimmed, BrokerError> {
        let floor = acknowledged_through(self.broker, partition).await?;
        let (whose, end) = (Whose { partition, channel: Some(channel), floor }, extent(self.broker).await?.last);
        let head = self.first_that_stays(whose, Sequence(end.0 + 1)).await?;
        let mut trimmed = Trimmed::new();
        self.count(whose, head, &mut trimmed).await?;
        if !self.dry_run && !trimmed.is_empty() {
            remove_head_of(self.broker, partition, channel, head).await?;
        }
        self.remove_behind(whose, head, &mut trimmed).await?;
        Ok(trimmed)
    }

    /// Where the first message lies that stays, before this sequence.
    async fn first_that_stays(&self, whose: Whose<'_>, end: Sequence) -> Result<Sequence, BrokerError> {
        let mut first = end;
        self.walk(whose, Sequence(1), |page| match page.iter().find(|stored| !self.goes(stored, whose)) {
            Some(stays) => {
                first = end.min(stays.sequence);
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        })
        .await?;
        Ok(first)
    }

    /// Counts what goes before this sequence.
    async fn count(&self, whose: Whose<'_>, end: Sequence, trimmed: &mut Trimmed) -> Result<(), BrokerError> {
        self.walk(whose, Sequence(1), |page| {
            let before: Vec<_> = page.iter().take_while(|stored| stored.sequence < end).collect();
            before.iter().for_each(|stored| note(trimmed, stored));
            if before.len() < page.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await
    }

    /// Removes one by one what goes from this sequence on.
    async fn remove_behind(&self, whose: Whose<'_>, from: Sequence, trimmed: &mut Trimmed) -> Result<(), BrokerError> {
        let mut next = Some(from);
        while let Some(from) = next {
            let page = self.page(whose, from).await?;
            let gone: Vec<_> = page.messages.iter().filter(|stored| self.goes(stored, whose)).collect();
            gone.iter().for_each(|stored| note(trimmed, stored));
            if !self.dry_run {
                let places: Vec<_> = gone.iter().map(|stored| stored.sequence).collect();
                remove_messages(self.broker, &places).await?;
            }
            next = page.next.filter(|_| self.is_old(&page.messages));
        }
        Ok(())
    }

    /// Goes through the messages from a place on, as far as they are old enough.
    async fn walk(
        &self,
        whose: Whose<'_>,
        from: Sequence,
        mut see: impl FnMut(&[Stored]) -> ControlFlow<()>,
    ) -> Result<(), BrokerError> {
        let mut next = Some(from);
        while let Some(from) = next {
            let page = self.page(whose, from).await?;
            if see(&page.messages).is_break() {
                break;
            }
            next = page.next.filter(|_| self.is_old(&page.messages));
        }
        Ok(())
    }

    async fn page(&self, whose: Whose<'_>, from: Sequence) -> Result<Page, BrokerError> {
        match whose.channel {
            Some(channel) => read_page(self.broker, whose.partition, channel, from).await,
            None => read_partition(self.broker, whose.partition, from).await,
        }
    }

    /// Whether what comes behind these may still be old enough.
    fn is_old(&self, messages: &[Stored]) -> bool {
        messages.last().is_some_and(|last| StoredAt::from(last.time) < self.cut)
    }

    fn goes(&self, stored: &Stored, whose: Whose<'_>) -> bool {
        goes(&self.plans, self.cut, whose.floor, stored)
    }
}

/// Whether a message may go that was stored before the cut, and applied as everything up to the floor. What cannot be read is
/// a dead letter, and has no number.
pub fn goes(plans: &HashMap<Channel, Plan>, cut: StoredAt, floor: Sequence, stored: &Stored) -> bool {
    // What takes a newer program is set aside for it.
    if StoredAt::from(stored.time) >= cut || stored.sequence > floor || stored.newer_format().is_some() {
        return false;
    }
    let Some(entry) = stored.read_light() else { return true };
    let Some(plan) = plans.get(&entry.channel()) else { return false };
    match &entry {
        Entry::Message(arrival) => {
            let is_known = !arrival.corrects || Some(arrival.sequence) <= plan.overrides;
            is_known && Some(arrival.message.number) <= plan.through
        }
        Entry::Skip(arrived) => Some(arrived.sequence) <= plan.overrides && Some(arrived.skip.up_to) <= plan.through,
    }
}

fn note(trimmed: &mut Trimmed, stored: &Stored) {
    let amount: &mut Amount = trimmed.entry(stored.channel_token.clone()).or_default();
    amount.add(stored.payload.len());
}
