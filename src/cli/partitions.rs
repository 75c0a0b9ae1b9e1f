//! `rockets partitions`: who works on what, what is waiting to be applied, and whether more trackers would help.

mod advice;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::future::try_join_all;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::sleep;

use super::Settings;
use super::common::{at_broker, cell, following};
use super::listing::{Output, again, pause, until_stopped};
use crate::broker::Broker;
use crate::broker::inspect::{Backlog, backlog};
use crate::broker::membership::{Heartbeat, roll_call};
use crate::broker::topology::partition_of;
use crate::query::feed::LiveView;
use crate::terminal::Table;
use advice::{Need, Sample};

/// Time between two looks, from which it is seen whether what waits becomes more or less.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

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
    /// Look again and again: redrawn on a terminal, elsewhere JSON lines of all partitions each time
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
          value_parser = pause)]
    watch: Option<Duration>,
    /// One JSON object a partition, and one for all of them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// One partition, or all of them.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<u16>,
    /// Who has rank 0; of all partitions, who is there.
    pub(super) trackers: Vec<String>,
    pub(super) lag: u64,
    pub(super) in_hand: u64,
    pub(super) waiting: u64,
    pub(super) redelivered: u64,
    pub(super) oldest_seconds: Option<f64>,
}

/// All partitions, and whether more trackers would help them.
#[derive(Debug, Serialize)]
pub(super) struct Totals {
    #[serde(flatten)]
    pub(super) row: Row,
    #[serde(flatten)]
    pub(super) need: Need,
}

/// Shows the partitions, once or until it is told to end.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { watch, json, settings } = options;
    at_broker(settings, async |broker, partitions| {
        following(&broker, async |live| {
            let look = async || overview(&broker, live, partitions).await;
            let (mut before, mut output) = (look().await?, Output::new(json, watch.is_some()));
            let mut show = async |now: Overview| {
                output.show(|| text(&before, &now), || lines(&before, &now))?;
                before = now;
                anyhow::Ok(())
            };
            let Some(pause) = watch else {
                sleep(LOOK_PAUSE).await;
                show(look().await?).await?;
                return Ok(ExitCode::SUCCESS);
            };
            until_stopped(again(pause, look, show)).await
        })
        .await
    })
    .await
}

/// All that is known at one moment.
pub(super) struct Overview {
    words: Vec<Heartbeat>,
    pub(super) rows: Vec<Row>,
    sample: Sample,
}

impl Overview {
    /// All partitions, seen after a look before.
    pub(super) fn totals(&self, before: &Self) -> Totals {
        let need = Need::of(&self.words, &before.sample, &self.sample);
        Totals { row: Row::total(&self.words, &self.rows), need }
    }
}

/// Looks at all partitions.
pub(super) async fn overview(broker: &Broker, live: &LiveView, partitions: u16) -> anyhow::Result<Overview> {
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

fn lines(before: &Overview, now: &Overview) -> anyhow::Result<Vec<String>> {
    let mut lines = now.rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    lines.push(serde_json::to_string(&now.totals(before))?);
    Ok(lines)
}

fn text(before: &Overview, now: &Overview) -> String {
    let Totals { row, need } = now.totals(before);
    format!("{}\n{need}", table(now.rows.iter().chain([&row])))
}

/// These rows as a table.
pub(super) fn table<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut table = Table::new(&[">partition", "tracker", ">lag", ">in hand", ">waiting", ">redelivered", ">oldest"]);
    rows.into_iter().for_each(|row| table.add(row.cells()));
    table.to_text()
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

    fn cells(&self) -> Vec<String> {
        let who = match (self.partition, self.trackers.len()) {
            (_, 0) => "-".to_owned(),
            (None, count) => format!("{count} in all"),
            _ => self.trackers.join(", "),
        };
        let partition = self.partition.map_or_else(|| "all".to_owned(), |partition| partition.to_string());
        let counts = [self.lag, self.in_hand, self.waiting, self.redelivered].map(|count| count.to_string());
        [partition, who].into_iter().chain(counts).chain([self.age()]).collect()
    }

    /// How old the oldest message is.
    pub(super) fn age(&self) -> String {
        cell(self.oldest_seconds.map(|seconds| format!("{seconds:.1}s")))
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
