//! A batch of deliveries on its way: received and sorted by channel ([`Group`]), recorded, each channel by itself
//! ([`Recorded`]), and reported in one go while the next batch is recorded.
//!
//! Nothing is lost if it cannot be reported: the deliveries come again, and the records go on to list it as unreported.
//!
//! What is not here: what becomes of the deliveries then; that is the worker's to decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::Counters;
use super::cache::Cache;
use super::channel_state::ChannelState;
use super::disposition::Kept;
use super::once::{dead_letter_malformed, reported_as_failed};
use super::settle::{Settled, settle};
use crate::broker::{AckHandle, BrokerError, Delivery, Malformed, Stored, TrackBroker};
use crate::domain::{Arrival, Channel, Entry, Event, OutcomeRecord, Sequence};
use crate::traces::Trace;

/// The messages of one channel in a batch.
pub struct Group {
    /// What is in memory of the channel.
    pub state: ChannelState,
    /// Its plain messages.
    pub arrivals: Vec<Arc<Arrival<Stored>>>,
    /// What each of them is acknowledged by.
    pub handles: Vec<AckHandle>,
    /// The overrides.
    pub overrides: Vec<(Event, AckHandle)>,
    /// What takes a newer program to judge it, and the newest format of these.
    pub newer: Vec<(Sequence, AckHandle)>,
    /// What is done about them is a part of this, where one of them is traced.
    pub trace: Trace,
    format: Option<u32>,
}

/// What is no message, and whether it is a dead letter now.
pub type StoredMalformed = (Box<Malformed>, AckHandle, Result<(), BrokerError>);

/// Sorts a batch by channel, the messages of each in the order of the stream.
pub fn sort(batch: Vec<Delivery>, cache: &mut Cache, trace: &Trace) -> (Vec<Group>, Vec<(Box<Malformed>, AckHandle)>) {
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
        let is_traced = stored.cause.is_some();
        let entry = match stored.read() {
            Ok(entry) => entry,
            Err(error) => {
                malformed.push((error, handle));
                continue;
            }
        };
        let channel = entry.channel();
        let group = groups.entry(channel).or_insert_with(|| Group::new(cache.take(channel)));
        if is_traced {
            group.trace = trace.clone();
        }
        match entry {
            Entry::Message(arrival) if !arrival.corrects => {
                group.arrivals.push(arrival);
                group.handles.push(handle);
            }
            overriding => group.overrides.push((overriding.event(), handle)),
        }
    }
    (groups.into_values().collect(), malformed)
}

/// Applies the messages of all channels at once.
pub async fn settle_all(
    broker: &impl TrackBroker,
    groups: Vec<Group>,
    counters: &Counters,
) -> Vec<(Group, Result<Settled, BrokerError>)> {
    let settled = groups.into_iter().map(|mut group| async move {
        let settled = match (group.format, group.arrivals.as_slice()) {
            (Some(format), _) => Err(BrokerError::Newer(format)),
            (None, []) => Ok(Settled::default()),
            (None, arrivals) => settle(broker, &mut group.state, arrivals, counters, &group.trace).await,
        };
        (group, settled)
    });
    join_all(settled).await
}

/// Stores malformed messages as dead letters, once for all.
pub async fn store_malformed(
    broker: &impl TrackBroker,
    malformed: Vec<(Box<Malformed>, AckHandle)>,
    counters: &Counters,
) -> Vec<StoredMalformed> {
    let failed = reported_as_failed(broker, malformed.iter().map(|(malformed, _)| &malformed.stored), |_| true).await;
    let failed = &failed;
    let stored = malformed.into_iter().map(|(malformed, handle)| async move {
        let stored = match failed {
            Ok(failed) if failed.contains(&malformed.stored.event()) => Ok(()),
            Ok(_) => dead_letter_malformed(broker, &malformed, counters).await,
            Err(error) => Err(error.clone()),
        };
        (malformed, handle, stored)
    });
    join_all(stored).await
}

impl Group {
    fn new(state: ChannelState) -> Self {
        let (arrivals, handles, overrides, newer) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { state, arrivals, handles, overrides, newer, trace: Trace::default(), format: None }
    }

    /// Takes out a plain message.
    pub fn take(&mut self, sequence: Sequence) -> Option<(Arc<Arrival<Stored>>, AckHandle)> {
        let at = self.arrivals.iter().position(|arrival| arrival.sequence == sequence)?;
        Some((self.arrivals.remove(at), self.handles.remove(at)))
    }

    /// Everything that was delivered, and the format that it takes, if that of one of the messages is newer.
    pub fn into_deliveries(self) -> (Option<u32>, Vec<(Sequence, AckHandle)>) {
        let plain = self.arrivals.iter().map(|arrival| arrival.sequence).zip(self.handles);
        let overrides = self.overrides.into_iter().map(|(overriding, handle)| (overriding.sequence, handle));
        (self.format, plain.chain(overrides).chain(self.newer).collect())
    }

    /// What is to be reported and acknowledged, now that its effect is stored; nothing where there is neither.
    pub fn into_recorded(self, settled: Settled) -> (ChannelState, Option<RecordedGroup>) {
        let Self { mut state, arrivals, handles, .. } = self;
        let deliveries: Vec<_> = arrivals.iter().map(|arrival| arrival.sequence).zip(handles).collect();
        let (why, first_seen) = (Why::of(&state, settled.blocked), settled.first_seen);
        let kept = why.as_ref().filter(|_| !deliveries.is_empty()).map(|why| why.keeps(&mut state, first_seen));
        let outcomes: Vec<_> = state.outcomes().into_iter().chain(settled.outcomes).collect();
        let is_of_use = !outcomes.is_empty() || !deliveries.is_empty();
        let (channel, why) = (state.channel, why.unwrap_or(Why::Drainable));
        (state, is_of_use.then_some(RecordedGroup { channel, outcomes, deliveries, kept, why }))
    }
}

/// A batch whose effect is stored.
#[derive(Default)]
pub struct Recorded {
    /// Its channels.
    pub groups: Vec<RecordedGroup>,
    /// What was no message, and is a dead letter by now.
    pub malformed: Vec<(OutcomeRecord, AckHandle)>,
}

/// The messages of one channel whose effect is stored.
pub struct RecordedGroup {
    /// The channel.
    pub channel: Channel,
    /// What became of them, and of others that were applied with them.
    pub outcomes: Vec<OutcomeRecord>,
    /// Their sequences, and what they are acknowledged by.
    pub deliveries: Vec<(Sequence, AckHandle)>,
    /// Which of them stay unacknowledged; none if all can be acknowledged.
    pub kept: Option<Kept>,
    /// What they stay unacknowledged for.
    pub why: Why,
}

/// Why deliveries of a channel stay unacknowledged.
pub enum Why {
    /// The record is drainable.
    Drainable,
    /// The channel has to be replayed first: corrections are pending, or a tracker wrote what overrides have changed, and is
    /// gone before it reported that.
    NeedsReplay,
    /// The dead letter of the message that comes next cannot be stored.
    Blocked(BrokerError),
}

impl Why {
    fn of(state: &ChannelState, blocked: Option<BrokerError>) -> Option<Self> {
        let (has_unreported, record) = (state.since().is_some(), &state.known.as_ref()?.record);
        match blocked {
            _ if has_unreported || (record.is_drainable() && record.corrections_wait) => Some(Self::NeedsReplay),
            Some(error) => Some(Self::Blocked(error)),
            None => record.is_drainable().then_some(Self::Drainable),
        }
    }

    /// The error of a dead letter that cannot be stored.
    pub fn blocked(&self) -> Option<&BrokerError> {
        match self {
            Self::Blocked(error) => Some(error),
            Self::Drainable | Self::NeedsReplay => None,
        }
    }

    /// Which deliveries stay unacknowledged. Of a blocked channel one is enough: once one is kept at this number, later
    /// messages of which nothing was stored before are acknowledged. When the record advances, one is chosen again.
    fn keeps(&self, state: &mut ChannelState, first_seen: Vec<Sequence>) -> Kept {
        // Notes, too, that one is kept here from now on.
        let here = state.position().filter(|_| self.blocked().is_some());
        if here.is_some() && std::mem::replace(&mut state.blocked, here) == here && !first_seen.is_empty() {
            return Kept::AllBut(first_seen);
        }
        first_seen.first().map_or(Kept::All, |first| Kept::One(*first))
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
        let outcomes = of_channels.chain(self.malformed.iter().map(|(outcome_record, _)| outcome_record));
        broker.report(outcomes.cloned().collect()).await
    }
}
