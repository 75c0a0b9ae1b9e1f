//! What trackers do from time to time, beside the messages: trim the log and the dead letters, and skip what will not come.
//!
//! Of several trackers the one does it that is first for a partition: the log is trimmed by the one that is first for
//! partition 0. Nothing depends on there being only one: a trim or a skip that is done twice changes nothing the second time.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminError, Operations};
use crate::broker::log_reader::read_one;
use crate::broker::store::records;
use crate::broker::topology::partition_of;
use crate::broker::{Broker, BrokerError, Origin};
use crate::config::{Gaps, Retention};
use crate::domain::wire::SkipRequest;
use crate::domain::{Channel, MessageNumber, Record};
use crate::retention::{Order, trim, trim_dead_letters};

/// Longest time between two trims.
const TRIM_EVERY_MAX: Duration = Duration::from_secs(60 * 60);
/// Longest time between two looks for gaps.
const GAPS_EVERY_MAX: Duration = Duration::from_secs(60);
/// Shortest time between two of the same.
const EVERY_MIN: Duration = Duration::from_secs(1);
/// A channel is trimmed when something of it is older than what is kept by this part: so each of its messages is read some
/// few times before it goes.
const SLACK_PART: u32 = 8;

/// What is to be done from time to time.
pub struct Upkeep {
    /// The connection.
    pub broker: Broker,
    /// Partitions of the stream.
    pub partitions: u16,
    /// What becomes of messages in time.
    pub retention: Retention,
    /// What becomes of gaps in time.
    pub gaps: Gaps,
    /// For which partitions this tracker is first.
    pub led: watch::Receiver<Arc<[u16]>>,
}

/// Does it until the shutdown.
pub async fn run(upkeep: Upkeep, shutdown: CancellationToken) -> anyhow::Result<()> {
    let all = async { tokio::join!(upkeep.trim_log(), upkeep.trim_dead_letters(), upkeep.skip_gaps()) };
    // Each can be broken off anywhere: what was begun is done again.
    shutdown.run_until_cancelled(all).await;
    shutdown.cancelled().await;
    Ok(())
}

/// Time between two looks for what gets old in this time.
fn every(age: Duration, max: Duration) -> Duration {
    (age / SLACK_PART).clamp(EVERY_MIN, max)
}

impl Upkeep {
    /// Whether there is anything to be done.
    pub fn has_to_do(&self) -> bool {
        self.retention != Retention::default() || self.gaps != Gaps::default()
    }

    fn leads(&self, partition: u16) -> bool {
        self.led.borrow().contains(&partition)
    }

    /// Waits until it is time to look again for what is older than this, and this tracker is the one to do it.
    async fn next_trim(&self, keep: Duration) {
        loop {
            sleep(every(keep, TRIM_EVERY_MAX)).await;
            if self.leads(0) {
                return;
            }
        }
    }

    async fn trim_log(&self) {
        let Some(keep) = self.retention.keep else { return };
        loop {
            self.next_trim(keep).await;
            let order = Order { keep, slack: keep / SLACK_PART, channel: None, dry_run: false };
            if let Err(error) = trim(&self.broker, self.partitions, order, &by_itself()).await {
                tracing::warn!(%error, "the log could not be trimmed, trying again later");
            }
        }
    }

    async fn trim_dead_letters(&self) {
        let Some(keep) = self.retention.dead_letters else { return };
        loop {
            self.next_trim(keep).await;
            if let Err(error) = trim_dead_letters(&self.broker, keep, &by_itself()).await {
                tracing::warn!(%error, "old dead letters could not be removed, trying again later");
            }
        }
    }

    async fn skip_gaps(&self) {
        let Some(after) = self.gaps.skip_after else { return };
        loop {
            sleep(every(after, GAPS_EVERY_MAX)).await;
            if let Err(error) = self.skip_old_gaps(after).await {
                tracing::warn!(%error, "old gaps could not be skipped, trying again later");
            }
        }
    }

    /// Skips each gap that is older, of the partitions for which this tracker is first.
    async fn skip_old_gaps(&self, after: Duration) -> Result<(), AdminError> {
        if self.led.borrow().is_empty() {
            return Ok(());
        }
        let operations = Operations::new(self.broker.clone(), self.partitions).await?;
        let mut next = Some(1);
        while let Some(from) = next {
            let (page, behind) = records(&self.broker, from).await?;
            for (channel, record) in page {
                let Some(up_to) = missing(&record).filter(|_| self.leads(partition_of(&channel, self.partitions)))
                else {
                    continue;
                };
                if self.is_older(&record, after).await? {
                    skip(&operations, channel, up_to, after).await?;
                }
            }
            next = behind;
        }
        operations.drain().await;
        Ok(())
    }

    /// Whether the first of the pending messages was stored so long ago.
    async fn is_older(&self, record: &Record, after: Duration) -> Result<bool, BrokerError> {
        let Some(lowest) = record.pending.lowest() else { return Ok(false) };
        let first = read_one(&self.broker, lowest).await?;
        Ok(first.is_some_and(|first| OffsetDateTime::now_utc() - first.time >= after))
    }
}

/// The last number that is missing before what is pending; none where nothing waits or the record is drainable.
fn missing(record: &Record) -> Option<MessageNumber> {
    let first = record.pending.ranges().first().filter(|_| !record.is_drainable())?;
    MessageNumber::new(first.first.get() - 1)
}

/// What brings what nobody has asked for.
fn by_itself() -> Origin {
    uuid::Uuid::new_v4().to_string().into()
}

/// Skips as an operator would; where things have changed meanwhile, nothing is to be done.
async fn skip(
    operations: &Operations,
    channel: Channel,
    up_to: MessageNumber,
    after: Duration,
) -> Result<(), AdminError> {
    let reason = format!("not arrived within {}", humantime::format_duration(after));
    match operations.skip(channel, SkipRequest { up_to, reason }, by_itself()).await {
        Ok(_) | Err(AdminError::Conflict(_) | AdminError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Sequence;

    #[test]
    fn what_is_missing_lies_before_the_first_that_waits() {
        let record = |waiting: &[u64]| {
            let mut record = Record::default();
            waiting.iter().for_each(|at| record.pending.insert(MessageNumber::new(*at).unwrap(), Sequence(*at)));
            record
        };
        for (waiting, expected) in [(&[][..], None), (&[1, 2], None), (&[4, 5, 9], Some(3)), (&[9, 2], Some(1))] {
            assert_eq!(missing(&record(waiting)).map(MessageNumber::get), expected, "{waiting:?}");
        }
    }

    #[test]
    fn looks_are_as_far_apart_as_what_they_look_for_lasts() {
        let seconds = Duration::from_secs;
        for (age, expected) in [(1, 1), (80, 10), (30 * 86_400, 3_600)] {
            assert_eq!(every(seconds(age), TRIM_EVERY_MAX), seconds(expected));
        }
    }
}
