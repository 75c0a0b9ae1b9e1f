//! `rockets partitions`: who works on what, what is waiting to be applied, and whether more trackers would help.

mod advice;

use std::io::{IsTerminal as _, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use comfy_table::CellAlignment;
use futures_util::future::try_join_all;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::common::{self, at_broker, cell, say, say_json};
use super::{Settings, shutdown_signal};
use crate::broker::Broker;
use crate::broker::inspect::{Backlog, backlog};
use crate::broker::membership::{Heartbeat, roll_call};
use crate::broker::topology::partition_of;
use crate::query::feed::{self, Freshness, LiveView};
use advice::{Need, Sample};

/// Time between two looks, from which it is seen whether what waits becomes more or less.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// The same while watching.
const WATCH_PAUSE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// What can be said behind `rockets partitions`.
#[derive(Debug, Args)]
#[command(
    long_about = "Show who works on what, what waits to be applied, and whether more trackers would help.\n\ntracker: who \
                  has rank 0 (is its leader), by what the trackers say; several while they disagree. lag: stored and handed to no \
                  tracker. in hand: handed to one and not acknowledged. waiting: pending behind a gap (`rockets gaps`). \
                  redelivered: of those in hand, handed out before. oldest: age of the oldest message of lag and in hand."
)]
#[group(skip)]
pub(super) struct Options {
    /// Look again every two seconds
    #[arg(long)]
    watch: bool,
    /// One JSON object a partition, and one for all of them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// One partition, or all of them.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u16>,
    /// Who has rank 0; of all partitions, who is there.
    trackers: Vec<String>,
    lag: u64,
    in_hand: u64,
    waiting: u64,
    redelivered: u64,
    oldest_seconds: Option<f64>,
}

/// The last line of the JSON.
#[derive(Debug, Serialize)]
struct Totals<'a> {
    #[serde(flatten)]
    row: &'a Row,
    more_trackers_needed: bool,
    why: &'a str,
}

/// Shows the partitions, once or until it is told to end.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { watch, json, settings } = options;
    at_broker(settings, async |broker, partitions| {
        let (shutdown, live) = (shutdown_signal()?, Arc::new(LiveView::default()));
        let feeding = feed::run(broker.clone(), live.clone(), CancellationToken::new());
        let looking = async {
            let mut before = overview(&broker, &live, partitions).await?;
            loop {
                sleep(if watch { WATCH_PAUSE } else { LOOK_PAUSE }).await;
                let now = overview(&broker, &live, partitions).await?;
                show(&before, &now, json, watch)?;
                if !watch {
                    return Ok(ExitCode::SUCCESS);
                }
                before = now;
            }
        };
        tokio::select! {
            looked = looking => looked,
            () = feeding => anyhow::bail!("records are not watched any more"),
            () = shutdown.cancelled() => Ok(ExitCode::SUCCESS),
        }
    })
    .await
}

/// All that is known at one moment.
struct Overview {
    words: Vec<Heartbeat>,
    rows: Vec<Row>,
    sample: Sample,
}

async fn overview(broker: &Broker, live: &LiveView, partitions: u16) -> anyhow::Result<Overview> {
    while live.freshness() == Freshness::Loading {
        sleep(POLL).await;
    }
    let backlogs = try_join_all((0..partitions).map(|partition| backlog(broker, partition)));
    let (words, backlogs) = tokio::try_join!(roll_call(broker), backlogs)?;
    let waiting = waiting(live, partitions);
    let now = OffsetDateTime::now_utc();
    let rows = (0..).zip(&backlogs).map(|(partition, backlog)| {
        let leads = words.iter().filter(|word| word.leads.contains(&partition));
        let trackers = leads.map(|word| word.name.clone()).collect();
        Row::new(Some(partition), trackers, backlog, waiting[usize::from(partition)], now)
    });
    let rows: Vec<_> = rows.collect();
    Ok(Overview { words, rows, sample: Sample { at: now, backlogs } })
}

/// How many messages of each partition wait behind gaps.
fn waiting(live: &LiveView, partitions: u16) -> Vec<u64> {
    let mut waiting = vec![0; usize::from(partitions)];
    for gap in live.view.gaps(None, usize::MAX) {
        waiting[usize::from(partition_of(&gap.channel, partitions))] += gap.pending;
    }
    waiting
}

fn show(before: &Overview, now: &Overview, json: bool, watch: bool) -> anyhow::Result<()> {
    let total = Row::total(&now.words, &now.rows);
    let need = Need::of(&now.words, &before.sample, &now.sample);
    if json {
        now.rows.iter().try_for_each(say_json)?;
        return say_json(&Totals { row: &total, more_trackers_needed: need.more, why: &need.why });
    }
    if watch && stdout().is_terminal() {
        // From the top of an empty screen.
        say("\u{1b}[2J\u{1b}[H")?;
    }
    say(&table(&now.rows, &total))?;
    say(&need.to_string())
}

fn table(rows: &[Row], total: &Row) -> String {
    let columns = ["partition", "tracker", "lag", "in hand", "waiting", "redelivered", "oldest"];
    let mut table = common::table(&columns);
    for row in rows.iter().chain([total]) {
        let who = match (row.partition, row.trackers.len()) {
            (_, 0) => "-".to_owned(),
            (None, count) => format!("{count} in all"),
            _ => cell(Some(row.trackers.join(", "))),
        };
        let partition = row.partition.map_or_else(|| "all".to_owned(), |partition| partition.to_string());
        let counts = [row.lag, row.in_hand, row.waiting, row.redelivered].map(|count| count.to_string());
        let age = row.oldest_seconds.map(|seconds| format!("{seconds:.1}s"));
        table.add_row([partition, who].into_iter().chain(counts).chain([cell(age)]));
    }
    for (_, column) in table.column_iter_mut().enumerate().filter(|(at, _)| *at != 1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

impl Row {
    fn new(
        partition: Option<u16>,
        trackers: Vec<String>,
        backlog: &Backlog,
        waiting: u64,
        now: OffsetDateTime,
    ) -> Self {
        let Backlog { lag, in_hand, redelivered, oldest, .. } = *backlog;
        // Clocks of two machines differ.
        let age = |oldest: OffsetDateTime| (now - oldest).as_seconds_f64().max(0.0);
        Self { partition, trackers, lag, in_hand, waiting, redelivered, oldest_seconds: oldest.map(age) }
    }

    fn total(words: &[Heartbeat], rows: &[Self]) -> Self {
        let sum = |of: fn(&Self) -> u64| rows.iter().map(of).sum();
        Self {
            partition: None,
            trackers: words.iter().map(|word| word.name.clone()).collect(),
            lag: sum(|row| row.lag),
            in_hand: sum(|row| row.in_hand),
            waiting: sum(|row| row.waiting),
            redelivered: sum(|row| row.redelivered),
            oldest_seconds: rows.iter().filter_map(|row| row.oldest_seconds).max_by(f64::total_cmp),
        }
    }
}
