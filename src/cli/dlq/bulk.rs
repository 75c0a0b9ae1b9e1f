//! Many dead letters at once: those that are there when it begins, of each channel in the order in which they died.
//!
//! What fails again meanwhile is a new dead letter and not touched, so that it ends.

use std::collections::BTreeMap;
use std::process::ExitCode;

use futures_util::stream::{self, StreamExt as _};

use super::super::common::{by_hand, say};
use crate::admin::{AdminError, Operations};
use crate::broker::Origin;
use crate::broker::dead_letters::list::DeadLetterFilter;
use crate::terminal::{Table, bar};

/// Channels whose dead letters are worked on at once.
const CHANNELS_AT_ONCE: usize = 16;
/// Reasons why not that are shown one by one; the others are counted together.
const REASONS_SHOWN_MAX: usize = 20;
const WORKING: &str = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} dead letters, {per_sec}, left {eta}";

/// What became of the dead letters.
#[derive(Debug, Default)]
struct Tally {
    done: u64,
    not_done: u64,
    /// Why not, and of how many dead letters.
    why: BTreeMap<String, u64>,
}

/// What is done with each of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// It is replayed as it is.
    Replay,
    /// It is removed for good.
    Drop,
}

impl Work {
    fn in_words(self) -> &'static str {
        match self {
            Self::Replay => "replayed as they are",
            Self::Drop => "removed for good",
        }
    }

    async fn on(self, operations: &Operations, id: u64, origin: &Origin) -> Result<(), AdminError> {
        match self {
            Self::Replay => operations.replay(id, None, origin.clone()).await.map(drop),
            Self::Drop => operations.drop_dead_letter(id, origin.clone()).await,
        }
    }
}

/// Tells with how many dead letters it would be done.
pub(super) async fn effect(operations: &Operations, filter: &DeadLetterFilter, work: Work) -> anyhow::Result<String> {
    let count = operations.count(filter).await?;
    let reason = filter.reason().map(|reason| format!(" of reason {}", <&str>::from(reason))).unwrap_or_default();
    let channel = filter.channel_token().map(|token| format!(" of channel {token}")).unwrap_or_default();
    Ok(format!("{count} dead letters{reason}{channel} are {}.", work.in_words()))
}

/// Does it with all of them.
pub(super) async fn work(operations: &Operations, filter: &DeadLetterFilter, work: Work) -> anyhow::Result<ExitCode> {
    let origin = by_hand();
    let tally = for_each(operations, filter, async |id| work.on(operations, id, &origin).await).await?;
    tell(&tally, work.in_words())
}

async fn for_each(
    operations: &Operations,
    filter: &DeadLetterFilter,
    work: impl AsyncFn(u64) -> Result<(), AdminError>,
) -> anyhow::Result<Tally> {
    let mut of_channels: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (id, token) in operations.ids(filter).await? {
        of_channels.entry(token).or_default().push(id);
    }
    let bar = bar(of_channels.values().map(|ids| ids.len() as u64).sum(), WORKING);
    let of_channel = async |ids: Vec<u64>| {
        let mut tally = Tally::default();
        for id in ids {
            tally.count(work(id).await);
            bar.inc(1);
        }
        tally
    };
    let tallies = stream::iter(of_channels.into_values().map(of_channel)).buffer_unordered(CHANNELS_AT_ONCE);
    let tally = tallies.fold(Tally::default(), async |sum, tally| sum.and(tally)).await;
    bar.finish_and_clear();
    Ok(tally)
}

/// The summary: how many, how many not, and why not.
fn tell(tally: &Tally, done: &str) -> anyhow::Result<ExitCode> {
    let mut table = Table::new(&["", ">"]);
    table.add([done, &tally.done.to_string()]);
    table.add([&format!("could not be {done}"), &tally.not_done.to_string()]);
    let mut why: Vec<_> = tally.why.iter().collect();
    why.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (why, count) in why.iter().take(REASONS_SHOWN_MAX) {
        table.add([&format!("  {why}"), &count.to_string()]);
    }
    let others: u64 = why.iter().skip(REASONS_SHOWN_MAX).map(|(_, count)| **count).sum();
    if others > 0 {
        table.add(["  for other reasons", &others.to_string()]);
    }
    say(&table.to_text())?;
    Ok(if tally.not_done == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Tally {
    fn count(&mut self, result: Result<(), AdminError>) {
        match result {
            Ok(()) => self.done += 1,
            Err(error) => {
                self.not_done += 1;
                *self.why.entry(error.to_string()).or_default() += 1;
            }
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.done += other.done;
        self.not_done += other.not_done;
        for (why, count) in other.why {
            *self.why.entry(why).or_default() += count;
        }
        self
    }
}
