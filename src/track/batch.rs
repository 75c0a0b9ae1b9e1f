//! A batch of deliveries on its way: received and sorted by channel ([`Group`]), recorded, each channel by itself
//! ([`Recorded`]), and reported in one go while the next batch is recorded.
//!
//! Nothing is lost if it cannot be reported: the deliveries come again, and the records go on owing it.
//!
//! What is not here: what becomes of the deliveries then; that is the worker's to decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::Counters;
use super::cache::Cache;
use super::desk::Desk;
use super::disposition::Kept;
use super::reported::bury_malformed;
use super::reported::reported;
use super::settle::{Settled, settle};
use crate::broker::{AckHandle, BrokerError, Delivery, Malformed, Stored, TrackBroker};
use crate::domain::{Arrival, Channel, Entry, Event, Outcome, Sequence};

/// The messages of one channel in a batch.
pub struct Group {
    /// What is in memory of the channel.
    pub desk: Desk,
    /// Its plain messages.
    pub arrivals: Vec<Arc<Arrival<Stored>>>,
    /// What each of them is acknowledged by.
    pub handles: Vec<AckHandle>,
    /// What operators said of it.
    pub acts: Vec<(Event, AckHandle)>,
    /// What takes a newer program to judge it, and the newest format of these.
    pub newer: Vec<(Sequence, AckHandle)>,
    format: Option<u32>,
}

/// What is no message, and whether it is a dead letter now.
pub type Buried = (Box<Malformed>, AckHandle, Result<(), BrokerError>);

/// Sorts a batch by channel, the messages of each in the order of the stream.
pub fn sort(batch: Vec<Delivery>, cache: &mut Cache) -> (Vec<Group>, Vec<(Box<Malformed>, AckHandle)>) {
    let (mut groups, mut malformed) = (BTreeMap::new(), Vec::new());
    for Delivery { stored, handle } in batch {
        if let Some(format) = stored.newer_format()
            && let Some(channel) = Channel::from_token(&stored.channel_token)
        {
            let group = groups.entry(channel).or_insert_with(|| Group::new(cache.take(channel)));
            group.newer.push((stored.sequence, handle));
            group.format = group.format.max(Some(format));
            continue;
        }
        let entry = match stored.read() {
            Ok(entry) => entry,
            Err(error) => {
                malformed.push((error, handle));
                continue;
            }
        };
        let channel = entry.channel();
        let group = groups.entry(channel).or_insert_with(|| Group::new(cache.take(channel)));
        match entry {
            Entry::Message(arrival) if !arrival.corrects => {
                group.arrivals.push(arrival);
                group.handles.push(handle);
            }
            act => group.acts.push((act.event(), handle)),
        }
    }
    (groups.into_values().collect(), malformed)
}

/// Takes up the messages of all channels at once.
pub async fn settle_all(
    broker: &impl TrackBroker,
    groups: Vec<Group>,
    counters: &Counters,
) -> Vec<(Group, Result<Settled, BrokerError>)> {
    let settled = groups.into_iter().map(|mut group| async move {
        let settled = match (group.format, group.arrivals.as_slice()) {
            (Some(format), _) => Err(BrokerError::Newer(format)),
            (None, []) => Ok(Settled::default()),
            (None, arrivals) => settle(broker, &mut group.desk, arrivals, counters).await,
        };
        (group, settled)
    });
    join_all(settled).await
}

/// Keeps what is no message, once for all.
pub async fn bury_all(
    broker: &impl TrackBroker,
    malformed: Vec<(Box<Malformed>, AckHandle)>,
    counters: &Counters,
) -> Vec<Buried> {
    let reported = reported(broker, malformed.iter().map(|(malformed, _)| &malformed.stored), |_| true).await;
    let reported = &reported;
    let buried = malformed.into_iter().map(|(malformed, handle)| async move {
        let buried = match reported {
            Ok(reported) if reported.contains(&malformed.stored.event()) => Ok(()),
            Ok(_) => bury_malformed(broker, &malformed, counters).await,
            Err(error) => Err(error.clone()),
        };
        (malformed, handle, buried)
    });
    join_all(buried).await
}

impl Group {
    fn new(desk: Desk) -> Self {
        let (arrivals, handles, acts, newer) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { desk, arrivals, handles, acts, newer, format: None }
    }

    /// Takes out a plain message.
    pub fn take(&mut self, sequence: Sequence) -> Option<(Arc<Arrival<Stored>>, AckHandle)> {
        let at = self.arrivals.iter().position(|arrival| arrival.sequence == sequence)?;
        Some((self.arrivals.remove(at), self.handles.remove(at)))
    }

    /// Everything that was delivered, and the format that it takes, if that of one of the messages is newer.
    pub fn into_deliveries(self) -> (Option<u32>, Vec<(Sequence, AckHandle)>) {
        let plain = self.arrivals.iter().map(|arrival| arrival.sequence).zip(self.handles);
        let acts = self.acts.into_iter().map(|(act, handle)| (act.sequence, handle));
        (self.format, plain.chain(acts).chain(self.newer).collect())
    }

    /// What is to be reported and acknowledged, now that its effect is stored; nothing where there is neither.
    pub fn into_recorded(self, settled: Settled) -> (Desk, Option<RecordedGroup>) {
        let Self { mut desk, arrivals, handles, .. } = self;
        let deliveries: Vec<_> = arrivals.iter().map(|arrival| arrival.sequence).zip(handles).collect();
        let (why, fresh) = (Why::of(&desk, settled.blocked), settled.fresh);
        let kept = why.as_ref().filter(|_| !deliveries.is_empty()).map(|why| why.keeps(&mut desk, fresh));
        let outcomes: Vec<_> = desk.outcomes().into_iter().chain(settled.outcomes).collect();
        let is_of_use = !outcomes.is_empty() || !deliveries.is_empty();
        let (channel, why) = (desk.channel, why.unwrap_or(Why::Drainable));
        (desk, is_of_use.then_some(RecordedGroup { channel, outcomes, deliveries, kept, why }))
    }
}

/// A batch whose effect is stored.
#[derive(Default)]
pub struct Recorded {
    /// Its channels.
    pub groups: Vec<RecordedGroup>,
    /// What was no message, and is a dead letter by now.
    pub malformed: Vec<(Outcome, AckHandle)>,
}

/// The messages of one channel whose effect is stored.
pub struct RecordedGroup {
    /// The channel.
    pub channel: Channel,
    /// What became of them, and of others that took their place with them.
    pub outcomes: Vec<Outcome>,
    /// Their places in the stream, and what they are acknowledged by.
    pub deliveries: Vec<(Sequence, AckHandle)>,
    /// Which of them stay unacknowledged, if the record was drainable when it was stored.
    pub kept: Option<Kept>,
    /// What they stay unacknowledged for.
    pub why: Why,
}

/// Why deliveries of a channel stay unacknowledged.
pub enum Why {
    /// The record is drainable.
    Drainable,
    /// It has to be folded anew first: for corrections that are pending, or because what acts have changed may be owed by a
    /// record that cannot move, and somebody who followed them is gone.
    FoldsAnew,
    /// The dead letter of the message that comes next cannot be stored.
    Blocked(BrokerError),
}

impl Why {
    fn of(desk: &Desk, blocked: Option<BrokerError>) -> Option<Self> {
        let (owes, record) = (desk.since().is_some(), &desk.known.as_ref()?.record);
        match blocked {
            _ if owes || (record.could_move() && record.corrections_wait) => Some(Self::FoldsAnew),
            Some(error) => Some(Self::Blocked(error)),
            None => record.could_move().then_some(Self::Drainable),
        }
    }

    /// The error of a dead letter that cannot be stored.
    pub fn blocked(&self) -> Option<&BrokerError> {
        match self {
            Self::Blocked(error) => Some(error),
            Self::Drainable | Self::FoldsAnew => None,
        }
    }

    /// Which deliveries stay unacknowledged. Of a channel that is blocked one is enough, however many come behind it: as long
    /// as its record stands where it stood when that one was kept, that one is there, or another one in its place.
    fn keeps(&self, desk: &mut Desk, fresh: Vec<Sequence>) -> Kept {
        let here = desk.blocked_here().filter(|_| self.blocked().is_some());
        if here.is_some() && std::mem::replace(&mut desk.blocked, here) == here && !fresh.is_empty() {
            return Kept::AllBut(fresh);
        }
        fresh.first().map_or(Kept::All, |first| Kept::One(*first))
    }
}

impl Recorded {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.malformed.is_empty()
    }

    /// What the deliveries that wait are acknowledged by.
    pub fn handles(&self) -> impl Iterator<Item = &AckHandle> {
        let malformed = self.malformed.iter().map(|(_, handle)| handle);
        self.groups.iter().flat_map(|group| &group.deliveries).map(|(_, handle)| handle).chain(malformed)
    }

    /// Reports all of it; it is stored when this returns.
    pub async fn report(&self, broker: &impl TrackBroker) -> Result<(), BrokerError> {
        let of_channels = self.groups.iter().flat_map(|group| &group.outcomes);
        let outcomes = of_channels.chain(self.malformed.iter().map(|(outcome, _)| outcome));
        broker.tell(outcomes.cloned().collect()).await
    }
}
