//! What becomes of the log in time: what was applied and is old enough goes, as `rockets trim` or `retention.keep` says.
//!
//! `[log] ▸` [`mod@plan`] (of each channel a checkpoint at the age that is kept, stored first) `▸` [`mod@sweep`] (what
//! goes: the log's head at once, and what lies behind a message that stays one by one) `▸ broker/trim`
//!
//! [`mod@forget`] is the other way in which messages go: all of one channel, at once.
//!
//! Everything that is needed to go on stays: what is pending behind a gap, what no tracker has applied, what is not older
//! than asked. Two trims at once do no harm: each removes only what lies behind a checkpoint that was stored before.

pub mod forget;
pub mod plan;
pub mod sweep;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use time::OffsetDateTime;

use crate::audit::{self, Deed};
use crate::broker::log_reader::read_partition;
use crate::broker::topology::partition_of;
use crate::broker::trim::{extent, remove_dead_letters_before, remove_outcomes_before};
use crate::broker::{Broker, BrokerError, NatsPartition, Origin};
use crate::domain::{Channel, Sequence, StoredAt};
use crate::fail_point;
use plan::{Plan, plan};
use sweep::Sweep;

/// Channels that are planned for at once; each is read.
const PLANS_AT_ONCE: usize = 4;

/// What is to be trimmed.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// What is not older than this stays.
    pub keep: Duration,
    /// A channel of which nothing is older than what is kept and this is left alone: so it is not read for every few of
    /// its messages.
    pub slack: Duration,
    /// Only this channel.
    pub channel: Option<Channel>,
    /// Whether nothing is to be changed.
    pub dry_run: bool,
}

/// Messages that go, and their bytes without subjects, headers and what the broker adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

/// What went, or would go: of each channel, by the token of its subject.
pub type Trimmed = BTreeMap<String, Amount>;

/// Trims the log of a stream of so many partitions.
pub async fn trim(broker: &Broker, partitions: u16, order: Order, origin: &Origin) -> Result<Trimmed, BrokerError> {
    let began = extent(broker).await?.first;
    let now = StoredAt::from(OffsetDateTime::now_utc());
    let cut = before(now, order.keep);
    let channels = match order.channel {
        Some(channel) => vec![channel],
        None => old_channels(broker, partitions, cut, before(cut, order.slack)).await?,
    };
    let plans = plans(broker, partitions, &channels, cut, order.dry_run).await?;
    fail_point::reached("trim.checkpoints-stored");
    let sweep = Sweep { broker, cut, plans, dry_run: order.dry_run };
    let trimmed = match order.channel {
        Some(channel) => sweep.channel(partition_of(&channel, partitions), &channel).await?,
        None => sweep.all(partitions).await?,
    };
    if !order.dry_run {
        let after = extent(broker).await?.first;
        remove_outcomes_before(broker, after).await?;
        note(origin, &trimmed, began, after);
    }
    Ok(trimmed)
}

/// Removes dead letters that are older than this; returns how many there were.
pub async fn trim_dead_letters(broker: &Broker, keep: Duration, origin: &Origin) -> Result<u64, BrokerError> {
    let removed = remove_dead_letters_before(broker, before(OffsetDateTime::now_utc().into(), keep)).await?;
    if removed > 0 {
        audit::note(origin, Deed::Trim, "the dead letters", format!("{removed} that were old"), "gone");
    }
    Ok(removed)
}

fn note(origin: &Origin, trimmed: &Trimmed, before: Sequence, after: Sequence) {
    if trimmed.is_empty() {
        return;
    }
    let Amount { messages, .. } = total(trimmed);
    let [before, after] = [before, after].map(|first| format!("from {}", first.0));
    let after = format!("{after}, without {messages} messages of {} rockets", trimmed.len());
    audit::note(origin, Deed::Trim, "the log", before, after);
}

/// What goes of all channels.
pub fn total(trimmed: &Trimmed) -> Amount {
    let sum = |of: fn(&Amount) -> u64| trimmed.values().map(of).sum();
    Amount { messages: sum(|amount| amount.messages), bytes: sum(|amount| amount.bytes) }
}

fn before(time: StoredAt, by: Duration) -> StoredAt {
    StoredAt(time.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

/// The channels that have a message that is older than this, as far as the log goes back behind the cut.
async fn old_channels(
    broker: &Broker,
    partitions: u16,
    cut: StoredAt,
    older_than: StoredAt,
) -> Result<Vec<Channel>, BrokerError> {
    let mut channels = Vec::new();
    for partition in 0..partitions {
        let (mut oldest, mut next) = (HashMap::new(), Some(Sequence(1)));
        while let Some(from) = next {
            let page = read_partition(broker, partition, from).await?;
            let is_young = page.messages.last().is_none_or(|last| StoredAt::from(last.time) >= cut);
            for stored in page.messages {
                if let Some(channel) = Channel::from_token(&stored.channel_token) {
                    oldest.entry(channel).or_insert(StoredAt::from(stored.time));
                }
            }
            next = page.next.filter(|_| !is_young);
        }
        let old = oldest.into_iter().filter(|(_, oldest)| *oldest < older_than);
        channels.extend(old.map(|(channel, _)| channel));
    }
    Ok(channels)
}

async fn plans(
    broker: &Broker,
    partitions: u16,
    channels: &[Channel],
    cut: StoredAt,
    dry_run: bool,
) -> Result<HashMap<Channel, Plan>, BrokerError> {
    let mut brokers = Vec::new();
    for partition in 0..partitions {
        brokers.push(NatsPartition::new(broker, partition, None).await?);
    }
    let brokers = &brokers;
    let plans: Vec<_> = channels
        .iter()
        .copied()
        .map(|channel| async move {
            let broker = &brokers[usize::from(partition_of(&channel, partitions))];
            let plan = match plan(broker, &channel, cut, dry_run).await {
                // Only a newer program can judge what is pending there.
                Err(BrokerError::Newer(_)) => None,
                plan => plan?,
            };
            Ok(plan.map(|plan| (channel, plan)))
        })
        .collect();
    let plans = stream::iter(plans).buffer_unordered(PLANS_AT_ONCE);
    plans.try_filter_map(|plan| async move { Ok(plan) }).try_collect().await
}
