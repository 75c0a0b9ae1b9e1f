//! A batch of deliveries: sorted by channel, and then all of it stored at once, each channel by itself.
//!
//! What is not here: what becomes of the deliveries then; that is the worker's to decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::Counters;
use super::cache::Cache;
use super::decide::bury_malformed;
use super::desk::Desk;
use super::reported::reported;
use super::settle::{Settled, settle};
use crate::broker::{AckHandle, BrokerError, Delivery, Malformed, Stored, TrackBroker};
use crate::domain::{Arrival, Channel, Entry, Sequence};

/// The messages of one channel in a batch.
pub struct Group {
    /// What is in memory of the channel.
    pub desk: Desk,
    /// Its plain messages.
    pub arrivals: Vec<Arc<Arrival<Stored>>>,
    /// What each of them is acknowledged by.
    pub handles: Vec<AckHandle>,
    /// What operators said of it.
    pub acts: Vec<(Sequence, AckHandle)>,
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
            act => group.acts.push((act.sequence(), handle)),
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

    /// Everything that was delivered, and the format that it takes, if that of one of the messages is newer.
    pub fn into_deliveries(self) -> (Option<u32>, Vec<(Sequence, AckHandle)>) {
        let plain = self.arrivals.iter().map(|arrival| arrival.sequence).zip(self.handles);
        (self.format, plain.chain(self.acts).chain(self.newer).collect())
    }
}
