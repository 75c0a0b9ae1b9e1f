//! All rockets, in memory, and which channels are pending behind a gap: fed from the bucket one change at a time, read by
//! every request.
//!
//! Whoever feeds it holds the write lock for one insertion per change; the entry is made before and the old one freed
//! after. A reader holds the read lock for one look-up, or for a bounded part of a [`scan`], and takes entries out as
//! [`Arc`]s: no JSON is written and nothing is sorted under the lock, so that a list of a million rockets does not hold
//! up the feed.
//!
//! Which key changed when is kept beside them ([`mod@changes`]), for those who follow, and how many rockets there are of
//! each kind ([`totals`]).
//!
//! Deliberately not here: the broker, and knowing whether the view is loaded or stale. Its feeder compares
//! [`View::last_revision`] and [`View::keys`] with the bucket, and loads a new view in place of this one.

use std::collections::BTreeMap;
use std::mem;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use time::OffsetDateTime;

use crate::domain::record::Last;
use crate::domain::{Channel, Record, Rocket};
use changes::{Changes, Epoch};
use gaps::Gaps;
use totals::Totals;

pub mod changes;
pub mod gaps;
pub mod once;
pub mod scan;
pub mod totals;

pub use changes::Position;
pub use gaps::Gap;
pub use once::Once;
pub use scan::Order;

/// What is known of one rocket that was launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its channel, and so its id.
    pub channel: Channel,
    /// Its state.
    pub rocket: Rocket,
    /// The last message of its sequence that was applied, refused or not.
    pub last: Last,
    /// How many later numbers are pending behind a gap.
    pub pending: u64,
    /// Its public JSON, for all who ask for it.
    pub json: Once,
}

/// The rockets of the bucket.
#[derive(Debug, Default)]
pub struct View {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: BTreeMap<Channel, Slot>,
    /// Of channels that wait, launched or not. Others have nothing there.
    gaps: Gaps,
    /// Which key changed when.
    changes: Changes,
    totals: Totals,
    /// Of which bucket all this is.
    epoch: Epoch,
    /// Changes of keys that are no channels. Their names are not kept, so that their number is known only in bounds.
    foreign_changes: u64,
    foreign_revision: u64,
    last_revision: u64,
}

/// One key of the bucket. Without an entry it stays, so that an older change cannot bring a deleted rocket back.
#[derive(Debug)]
struct Slot {
    revision: u64,
    /// Since which revision it is in the same lists as now; 0, which no change has, as long as it has been in no others.
    alike_since: u64,
    entry: Option<Arc<Entry>>,
}

impl View {
    /// Takes in one change of the bucket, unless one of a higher or the same revision is there for its key.
    ///
    /// No channel stands for a key that is none; no record for one that was deleted, or that this program cannot read:
    /// such a rocket is hidden, as its old state would be served as if it were the present one.
    pub fn apply(&self, channel: Option<Channel>, record: Option<Record>, revision: u64) {
        let gap = channel.zip(record.as_ref()).and_then(|(channel, record)| Gap::of(channel, record));
        let entry = channel.zip(record).and_then(|(channel, record)| Entry::new(channel, record)).map(Arc::new);
        let mut state = self.write();
        state.last_revision = state.last_revision.max(revision);
        let outdated = match channel {
            Some(channel) => state.put(channel, Slot { revision, alike_since: 0, entry }, gap),
            None => state.count_foreign(revision),
        };
        drop(state);
        drop(outdated);
    }

    /// Puts everything that another view holds, of the bucket that was made at this time, in the place of what this one
    /// holds, in one step.
    pub fn replace_with(&self, loaded: Self, created: OffsetDateTime) {
        let mut loaded = loaded.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.write();
        loaded.epoch = state.epoch.next(created);
        let outdated = mem::replace(&mut *state, loaded);
        drop(state);
        drop(outdated);
    }

    /// The highest revision that was offered; 0, which no change has, before the first.
    pub fn last_revision(&self) -> u64 {
        self.read().last_revision
    }

    /// How many keys the bucket has if the view is complete, those of deleted records and of no channels included.
    ///
    /// Exactly one number as long as every key is a channel. Of the changes of other keys it is not known whether they
    /// were of one key or of many.
    pub fn keys(&self) -> RangeInclusive<u64> {
        let state = self.read();
        let channels = state.slots.len() as u64;
        channels + state.foreign_changes.min(1)..=channels + state.foreign_changes
    }

    /// Nothing that can panic runs under the lock, so that a poisoned one still guards a whole state.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// None without a launch.
    fn new(channel: Channel, record: Record) -> Option<Self> {
        let (rocket, last) = record.rocket.zip(record.last)?;
        Some(Self { channel, rocket, last, pending: record.pending.count(), json: Once::default() })
    }

    /// Whether there is no list that has one of them and not the other: what a list can be filtered by is the same,
    /// but for the speed.
    fn is_listed_like(&self, other: &Self) -> bool {
        let (rocket, other) = (&self.rocket, &other.rocket);
        mem::discriminant(&rocket.status) == mem::discriminant(&other.status)
            && rocket.mission == other.mission
            && rocket.rocket_type == other.rocket_type
            && rocket.launch_time.instant() == other.launch_time.instant()
    }
}

impl Slot {
    /// Takes over from the one before since when it is in the same lists.
    fn after(self, before: &Self) -> Self {
        let is_alike = match (&self.entry, &before.entry) {
            (Some(entry), Some(before)) => entry.is_listed_like(before),
            (entry, before) => entry.is_none() && before.is_none(),
        };
        Self { alike_since: if is_alike { before.alike_since } else { self.revision }, ..self }
    }
}

impl State {
    /// Gives back the slot that is of no more use, the older one of two.
    fn put(&mut self, channel: Channel, new: Slot, gap: Option<Gap>) -> Option<Slot> {
        let (revision, entry) = (new.revision, new.entry.clone());
        let outdated = match self.slots.get_mut(&channel) {
            Some(held) if held.revision >= revision => return Some(new),
            Some(held) => {
                let new = new.after(held);
                Some(mem::replace(held, new))
            }
            None => self.slots.insert(channel, new),
        };
        self.changes.put(channel, revision, outdated.as_ref().map(|slot| slot.revision));
        self.totals.put(entry.as_deref(), outdated.as_ref().and_then(|slot| slot.entry.as_deref()));
        self.gaps.put(channel, gap);
        outdated
    }

    fn count_foreign(&mut self, revision: u64) -> Option<Slot> {
        if revision > self.foreign_revision {
            self.foreign_revision = revision;
            self.foreign_changes += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Sample, channel};
    use super::*;

    fn speed(view: &View, id: u32) -> Option<i64> {
        view.get(&channel(id)).map(|entry| entry.rocket.speed)
    }

    fn offer(view: &View, id: u32, speed: Option<i64>, revision: u64) {
        view.apply(Some(channel(id)), speed.map(|speed| Sample { speed, ..Sample::new(id) }.record()), revision);
    }

    #[test]
    fn only_what_is_newer_is_taken() {
        let view = View::default();
        offer(&view, 1, Some(10), 5);
        for (given, revision, expected) in [
            (Some(11), 4, Some(10)),
            (Some(11), 5, Some(10)),
            (Some(12), 6, Some(12)),
            (None, 5, Some(12)),
            (None, 8, None),
            (Some(13), 7, None),
            (Some(14), 9, Some(14)),
        ] {
            offer(&view, 1, given, revision);
            assert_eq!(speed(&view, 1), expected, "{given:?} at {revision}");
        }
        offer(&view, 2, Some(20), 3);
        assert_eq!((speed(&view, 2), view.last_revision(), view.keys()), (Some(20), 9, 2..=2));
    }

    #[test]
    fn a_channel_without_a_launch_is_a_key_and_no_rocket() {
        let view = View::default();
        assert_eq!((view.last_revision(), view.keys()), (0, 0..=0));
        view.apply(Some(channel(1)), Some(Record::default()), 1);
        view.apply(Some(channel(2)), Some(Record { last: None, ..Sample::new(2).record() }), 2);
        offer(&view, 3, None, 3);
        assert_eq!((view.scan(Order::Asc, None).count(), view.keys()), (0, 3..=3));
        assert_eq!(view.get(&channel(1)), None);
    }

    #[test]
    fn keys_that_are_no_channels_are_counted_in_bounds() {
        let view = View::default();
        offer(&view, 1, Some(10), 1);
        for revision in [2, 4, 4, 3] {
            view.apply(None, None, revision);
        }
        assert_eq!((view.keys(), view.last_revision()), (2..=3, 4));
    }

    #[test]
    fn a_new_view_takes_the_place_of_all() {
        let (view, loaded) = (View::default(), View::default());
        offer(&view, 1, Some(10), 100);
        offer(&loaded, 2, Some(20), 3);
        view.replace_with(loaded, OffsetDateTime::UNIX_EPOCH);
        assert_eq!((speed(&view, 1), speed(&view, 2)), (None, Some(20)));
        assert_eq!((view.last_revision(), view.keys()), (3, 1..=1));
    }
}
