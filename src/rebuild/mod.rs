//! Folds every channel from the stream, compares with the bucket, and writes what differs: `rockets rebuild`.
//!
//! `[stream] ▸` [`scan`] (a partition in one reading) `▸` the records, many at once `▸` [`mod@examine`] (once more at
//! each one that differs, because trackers go on meanwhile) `▸` [`difference`] (in words) `▸` [`mod@repair`] (dead
//! letters, the record by compare-and-set, outcomes; of which [`reported_events`] knows what was reported).
//!
//! Safe while everything runs: a record is written only over the revision that was looked at, and nothing is reported
//! that is merely late. Memory is bounded by the channels of one partition, whatever their messages; beside it, every
//! channel's id is kept until the end, for finding records of which the stream has no message.

pub(crate) mod difference;
pub(crate) mod examine;
mod progress;
mod repair;
mod reported_events;
mod scan;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::broker::inspect::overview;
use crate::broker::lost_end::lost_end;
use crate::broker::objects::Object;
use crate::broker::outcomes::OutcomeWriter;
use crate::broker::store::{Store, channels_with_records};
use crate::broker::topology::partition_of;
use crate::broker::{Broker, BrokerError, NatsPartition, checkpoints};
use crate::domain::{Channel, Record};
use difference::agree;
use examine::{Finding, Wrong, examine, look_quickly};
use progress::Progress;
use repair::{repair, report_again};
use reported_events::ReportedEvents;
use scan::{Folded, Scan};

/// Records that are read at once.
const READS_AT_ONCE: usize = 256;
/// Channels that are looked at once more at once.
const LOOKS_AT_ONCE: usize = 64;
/// Those of them that are read: each is folded twice, with some megabytes of what is pending at most.
const CLOSE_LOOKS_AT_ONCE: usize = 4;
/// Looks at one channel that keeps changing, before what was seen last counts.
const LOOKS_MAX: u32 = 6;
/// Pause before the second look; before each further one it is so much longer.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What to do about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Tell it.
    Check,
    /// Tell it, and write what should be.
    Apply,
}

/// What came of it all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Records that were not as they should be.
    pub different: usize,
    /// Those of them that are now.
    pub repaired: usize,
    /// Whether the log has lost its end: then a record may be what the log says, and still not what it was.
    pub lost_end: bool,
}

/// What is said of a channel, or of the log as a whole.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Remark<'a> {
    /// Whose record it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// What is wrong there, and what was done about it.
    pub difference: &'a str,
}

impl fmt::Display for Remark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(channel) = self.channel {
            write!(f, "{channel} ")?;
        }
        f.write_str(self.difference)
    }
}

/// What is to be said of one channel, if its record was not right.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
    repaired: bool,
}

/// A channel whose record is to be looked at, and what it should be, if that is known.
struct Suspect {
    channel: Channel,
    folded: Option<Folded>,
}

impl Suspect {
    fn of(channel: Channel) -> Self {
        Self { channel, folded: None }
    }
}

/// What is needed of the broker.
struct Site<'a> {
    broker: &'a Broker,
    mode: Mode,
    store: Store,
    /// Each partition, for writing.
    partitions: Vec<NatsPartition>,
    /// What was reported; only who means to write needs to know.
    reported: Option<ReportedEvents>,
    /// Close looks that may go on at once.
    close_looks: Semaphore,
}

/// Folds all channels, or one, and gives everything that is to be said to `say`.
///
/// Where the log has lost its end, that is said first, and the whole is never right. What is to be written is written
/// even so: each fold is complete by itself, since all was read that the leader has in one unbroken chain, and a record
/// that has come further is never lowered. Not to make the missing records would help nobody: their rockets would wait
/// for number 1, which was applied long ago.
pub async fn run(
    broker: &Broker,
    mode: Mode,
    channel: Option<Channel>,
    mut say: impl FnMut(Remark<'_>),
) -> anyhow::Result<Summary> {
    let overview = overview(broker).await?;
    let site = Site::new(broker, overview.partitions, mode).await?;
    let lost_end = lost_end(broker).await?;
    let mut summary = Summary { lost_end: lost_end.is_some(), ..Summary::default() };
    if let Some(lost) = lost_end {
        say(Remark { channel: None, difference: &format!("{} {lost}", Object::Log) });
    }
    let progress = Progress::of(if channel.is_some() { 0 } else { overview.messages });
    if let Some(channel) = channel {
        site.settle_all(vec![Suspect::of(channel)], &progress, &mut summary, &mut say).await?;
        return Ok(summary);
    }
    let (mut known, mut trimmed) = (HashSet::new(), trimmed(broker).await?);
    for partition in 0..overview.partitions {
        let of_partition = |channel: &Channel, _: &mut Record| partition_of(channel, overview.partitions) == partition;
        let trimmed = trimmed.extract_if(of_partition).collect();
        let count = |messages| progress.count(messages);
        let scan = Scan::read(broker, partition, trimmed, site.reported.as_ref(), count).await?;
        let (folded, aside) = scan.into_parts();
        known.extend(folded.iter().map(|folded| folded.channel).chain(aside.iter().copied()));
        let aside = aside.into_iter().map(Suspect::of);
        let mut suspects: Vec<_> = site.differing(folded).await?.into_iter().chain(aside).collect();
        suspects.sort_unstable_by_key(|suspect| suspect.channel);
        site.settle_all(suspects, &progress, &mut summary, &mut say).await?;
    }
    let mut next = Some(1);
    while let Some(from) = next {
        let (mut channels, after) = channels_with_records(broker, from).await?;
        // A new rocket's record may be there by now; a close look tells it from one without messages.
        channels.retain(|channel| known.insert(*channel));
        let suspects = channels.into_iter().map(Suspect::of).collect();
        site.settle_all(suspects, &progress, &mut summary, &mut say).await?;
        next = after;
    }
    progress.finish();
    Ok(summary)
}

/// The channels of which the log was trimmed, each with its record then.
async fn trimmed(broker: &Broker) -> Result<HashMap<Channel, Record>, BrokerError> {
    let (mut trimmed, mut next) = (HashMap::new(), Some(1));
    while let Some(from) = next {
        let (checkpoints, after) = checkpoints::trimmed(broker, from).await?;
        for (channel, checkpoint) in checkpoints {
            let of_channel = trimmed.entry(channel).or_insert_with(Record::default);
            if checkpoint.record.has_come_as_far_as(of_channel) {
                *of_channel = checkpoint.record;
            }
        }
        next = after;
    }
    Ok(trimmed)
}

impl Summary {
    /// Whether everything is right at the end.
    pub fn all_right(self) -> bool {
        self.different == self.repaired && !self.lost_end
    }
}

impl<'a> Site<'a> {
    async fn new(broker: &'a Broker, partitions: u16, mode: Mode) -> Result<Self, BrokerError> {
        let (writer, mut all) = (OutcomeWriter::new(broker), Vec::new());
        for partition in 0..partitions {
            all.push(NatsPartition::new(broker, partition, Some(writer.clone())).await?);
        }
        let reported = match mode {
            Mode::Check => None,
            Mode::Apply => Some(ReportedEvents::read(broker).await?),
        };
        let (store, close_looks) = (Store::new(broker).await?, Semaphore::new(CLOSE_LOOKS_AT_ONCE));
        Ok(Self { broker, mode, store, partitions: all, reported, close_looks })
    }

    /// The channels whose records are not at once what they should be.
    async fn differing(&self, folded: Vec<Folded>) -> Result<Vec<Suspect>, BrokerError> {
        let compare = |folded: Folded| async move {
            let held = self.store.load(&folded.channel).await?.record;
            let is = held.and_then(|bytes| Record::from_bytes(&bytes).ok());
            let differs = !folded.unstored.is_empty() || !is.is_some_and(|is| agree(&is, &folded.record));
            Ok::<_, BrokerError>(differs.then_some(Suspect { channel: folded.channel, folded: Some(folded) }))
        };
        let compared = stream::iter(folded.into_iter().map(compare)).buffer_unordered(READS_AT_ONCE);
        compared.try_filter_map(|differing| async move { Ok(differing) }).try_collect().await
    }

    /// Looks at channels closely, and says what is wrong with them.
    async fn settle_all(
        &self,
        suspects: Vec<Suspect>,
        progress: &Progress,
        summary: &mut Summary,
        say: &mut impl FnMut(Remark<'_>),
    ) -> Result<(), BrokerError> {
        let settle =
            |suspect: Suspect| async move { Ok::<_, BrokerError>((suspect.channel, self.settle(suspect).await?)) };
        let mut reports = stream::iter(suspects.into_iter().map(settle)).buffered(LOOKS_AT_ONCE);
        while let Some((channel, report)) = reports.try_next().await? {
            let Some(report) = report else { continue };
            summary.different += 1;
            summary.repaired += usize::from(report.repaired);
            let remark = |difference| Remark { channel: Some(channel), difference };
            progress.aside(|| report.lines.iter().for_each(|line| say(remark(line))));
        }
        Ok(())
    }

    /// Looks until it is known what is wrong with a channel's record, if anything is, and does what is to be done.
    async fn settle(&self, suspect: Suspect) -> Result<Option<Report>, BrokerError> {
        let channel = &suspect.channel;
        let partition = partition_of(channel, u16::try_from(self.partitions.len()).unwrap_or(u16::MAX));
        let mut report = Report::default();
        for looks in 0..LOOKS_MAX {
            sleep(LOOK_PAUSE * looks).await;
            let wrong = match self.examine(partition, &suspect).await? {
                // Somebody else has written it meanwhile, perhaps for what we have reported.
                Finding::Right => return Ok(None),
                Finding::Incomplete => continue,
                Finding::MissingOutcomes(missing) => {
                    let count = report_again(&self.partitions[usize::from(partition)], missing).await?;
                    let line = format!("outcomes: {count} messages had none, reported again");
                    return Ok((count > 0).then(|| Report { lines: vec![line], repaired: true }));
                }
                Finding::NotOurs(line) => return Ok(Some(Report { lines: vec![line], repaired: false })),
                Finding::Wrong(wrong) => wrong,
            };
            report.lines.clone_from(&wrong.differences);
            match self.mode {
                Mode::Check if wrong.is_settled => break,
                Mode::Check => {}
                Mode::Apply if self.write(partition, channel, &wrong, &mut report).await? => return Ok(Some(report)),
                Mode::Apply => {}
            }
        }
        if report.lines.is_empty() {
            report.lines.push("record: cannot be judged, the channel was never read to its end; try again".into());
        }
        Ok(Some(report))
    }

    async fn examine(&self, partition: u16, suspect: &Suspect) -> Result<Finding, BrokerError> {
        if let Some(folded) = &suspect.folded
            && let Some(finding) = look_quickly(self.broker, &self.store, partition, folded).await?
        {
            return Ok(finding);
        }
        let _turn = self.close_looks.acquire().await;
        examine(self.broker, &self.store, partition, &suspect.channel, self.reported.as_ref()).await
    }

    /// Writes what should be, if it can be written now, and returns whether it was.
    async fn write(
        &self,
        partition: u16,
        channel: &Channel,
        wrong: &Wrong,
        report: &mut Report,
    ) -> Result<bool, BrokerError> {
        if let Some(overriding) = wrong.override_to_come {
            let why = "not repaired: an override waits for a tracker, which will replay the channel";
            report.lines.push(format!("{why} (event {overriding})"));
            return Ok(false);
        }
        match repair(self.broker, &self.partitions[usize::from(partition)], channel, wrong).await {
            Ok(()) => {
                report.lines.push("repaired".into());
                report.repaired = true;
                Ok(true)
            }
            Err(BrokerError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
