//! All rockets of the view, by channel, without holding its lock from one end to the other.
//!
//! A scan takes its rockets out in chunks and lets the feed in between two of them. It is no picture of one moment; no
//! list promises that. What it promises: a rocket that is there all the time comes exactly once, because the next chunk
//! begins behind the last channel that was looked at, and channels do not change.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use std::sync::Arc;
use std::vec;
use strum::{EnumString, VariantArray, VariantNames};

use super::{Entry, Slot, State, View};
use crate::domain::Channel;

/// Slots that a scan looks at in one go, with the lock held: some microseconds' work.
pub const SCAN_SLOTS_MAX: usize = 512;

/// The end at which a list begins.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, EnumString, VariantArray, VariantNames, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Order {
    /// The lowest first
    Asc,
    /// The highest first
    Desc,
}

impl View {
    /// The rockets by channel, from the end that `order` names, or from behind the channel `after`, whether it is
    /// there or not.
    pub fn scan(&self, order: Order, after: Option<Channel>) -> Scan<'_> {
        Scan { view: self, order, next: Some(after), chunk: Vec::new().into_iter() }
    }

    /// One look of such a scan.
    pub fn chunk(&self, order: Order, after: Option<Channel>) -> Chunk {
        self.read().chunk(order, after)
    }
}

/// The rockets by channel, see [`View::scan`].
pub struct Scan<'a> {
    view: &'a View,
    order: Order,
    /// Behind which channel the next chunk begins; none at all when there is no further one.
    next: Option<Option<Channel>>,
    chunk: vec::IntoIter<Arc<Entry>>,
}

impl Iterator for Scan<'_> {
    type Item = Arc<Entry>;

    fn next(&mut self) -> Option<Arc<Entry>> {
        loop {
            if let Some(entry) = self.chunk.next() {
                return Some(entry);
            }
            let chunk = self.view.chunk(self.order, self.next?);
            self.next = chunk.next.map(Some);
            self.chunk = chunk.entries.into_iter();
        }
    }
}

/// Rockets that stand one behind the other.
pub struct Chunk {
    /// The rockets.
    pub entries: Vec<Arc<Entry>>,
    /// Where it stopped, unless that was the end.
    pub next: Option<Channel>,
}

impl Chunk {
    fn of<'a>(slots: impl Iterator<Item = (&'a Channel, &'a Slot)>) -> Self {
        let (mut entries, mut last, mut seen) = (Vec::new(), None, 0);
        for (channel, slot) in slots.take(SCAN_SLOTS_MAX) {
            entries.extend(slot.entry.clone());
            (last, seen) = (Some(*channel), seen + 1);
        }
        Self { entries, next: last.filter(|_| seen == SCAN_SLOTS_MAX) }
    }
}

impl State {
    fn chunk(&self, order: Order, after: Option<Channel>) -> Chunk {
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        match order {
            Order::Asc => Chunk::of(self.slots.range((behind, Bound::Unbounded))),
            Order::Desc => Chunk::of(self.slots.range((Bound::Unbounded, behind)).rev()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{Sample, channel};
    use super::*;

    fn offer(view: &View, id: u32, launched: bool, revision: u64) {
        view.apply(Some(channel(id)), launched.then(|| Sample::new(id).record()), revision);
    }

    #[test]
    fn a_scan_of_many_chunks_goes_either_way_from_anywhere() {
        let view = View::default();
        let count = 3 * SCAN_SLOTS_MAX as u32;
        for id in 0..count {
            let launched = id < 10 || id >= count - 10;
            offer(&view, id, launched, 1);
        }
        let ids: Vec<_> = (0..10).chain(count - 10..count).map(channel).collect();
        let scan = |order, after| view.scan(order, after).map(|entry| entry.channel).collect::<Vec<_>>();
        assert_eq!(scan(Order::Asc, None), ids);
        assert_eq!(scan(Order::Asc, Some(channel(4))), ids[5..]);
        assert_eq!(scan(Order::Asc, Some(channel(700))), ids[10..]);
        assert_eq!(scan(Order::Desc, None), ids.iter().rev().copied().collect::<Vec<_>>());
        assert_eq!(scan(Order::Desc, Some(channel(700))), ids[..10].iter().rev().copied().collect::<Vec<_>>());
        assert_eq!(scan(Order::Asc, Some(channel(count))), []);
    }

    #[test]
    fn a_scan_meets_changes_on_its_way() {
        let view = View::default();
        let count = 2 * SCAN_SLOTS_MAX as u32;
        (0..count).for_each(|id| offer(&view, 2 * id, true, 1));
        let mut scan = view.scan(Order::Asc, None);
        let first = scan.next().unwrap().channel;
        (0..count).for_each(|id| offer(&view, 2 * id, true, 2));
        offer(&view, 2 * count - 1, true, 2);
        let rest: Vec<_> = scan.map(|entry| entry.channel).collect();
        assert_eq!((first, rest.len()), (channel(0), count as usize));
    }
}
