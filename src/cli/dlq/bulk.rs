//! Many dead letters at once: those that are there when it begins, of each channel in the order in which they died.
//!
//! What fails again meanwhile is a new dead letter and not touched, so that it ends.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stderr};
use std::process::ExitCode;

use futures_util::stream::{self, StreamExt as _};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::common::{is_confirmed, say, table};
use super::request_id;
use crate::admin::{AdminError, Operations};
use crate::broker::dead_letters::list::DeadLetterFilter;
use crate::text::printable;

/// Channels whose dead letters are worked on at once.
const CHANNELS_AT_ONCE: usize = 16;
/// Reasons why not that are shown one by one; the others are counted together.
const REASONS_SHOWN_MAX: usize = 20;

/// What became of the dead letters.
#[derive(Debug, Default)]
struct Tally {
    done: u64,
    not_done: u64,
    /// Why not, and of how many dead letters.
    why: BTreeMap<String, u64>,
}

/// Tells of how many dead letters something would be done.
pub(super) async fn count(operations: &Operations, filter: &DeadLetterFilter, done: &str) -> anyhow::Result<ExitCode> {
    let count = operations.ids(filter).await?.len();
    say(&format!("{count} dead letters would be {done}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Replays all dead letters as they are.
pub(super) async fn replay(operations: &Operations, filter: &DeadLetterFilter) -> anyhow::Result<ExitCode> {
    let request_id = request_id();
    let tally =
        for_each(operations, filter, async |id| operations.replay(id, None, request_id.clone().into()).await.map(drop))
            .await?;
    tell(&tally, "replayed")
}

/// Removes all dead letters, once that is confirmed.
pub(super) async fn drop_all(
    operations: &Operations,
    filter: &DeadLetterFilter,
    yes: bool,
) -> anyhow::Result<ExitCode> {
    let which = match (filter.reason(), filter.channel_token()) {
        (None, None) => "All dead letters".to_owned(),
        (reason, token) => {
            let reason = reason.map_or("any", <&str>::from);
            format!("All dead letters of reason {reason} and channel {}", token.unwrap_or("any"))
        }
    };
    if !is_confirmed(yes, &format!("{which} are removed for good."))? {
        return Ok(ExitCode::FAILURE);
    }
    let request_id = request_id();
    let tally = for_each(operations, filter, async |id| operations.drop_dead_letter(id, &request_id).await).await?;
    tell(&tally, "dropped")
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
    let bar = bar(of_channels.values().map(|ids| ids.len() as u64).sum());
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

fn bar(dead_letters: u64) -> ProgressBar {
    let target = match stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let template = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} dead letters, {per_sec}, left {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(dead_letters), target).with_style(style)
}

/// The summary: how many, how many not, and why not.
fn tell(tally: &Tally, done: &str) -> anyhow::Result<ExitCode> {
    let mut table = table(&[]);
    table.add_row([done.to_owned(), tally.done.to_string()]);
    table.add_row([format!("could not be {done}"), tally.not_done.to_string()]);
    let mut why: Vec<_> = tally.why.iter().collect();
    why.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (why, count) in why.iter().take(REASONS_SHOWN_MAX) {
        table.add_row([format!("  {}", printable(why)), count.to_string()]);
    }
    let others: u64 = why.iter().skip(REASONS_SHOWN_MAX).map(|(_, count)| **count).sum();
    if others > 0 {
        table.add_row(["  for other reasons".to_owned(), others.to_string()]);
    }
    say(&table.to_string())?;
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
