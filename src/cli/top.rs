//! `rockets top`: how all of it goes, on one screen: how much comes in and is applied, what is before the trackers, and what
//! waits.

use std::cmp::Reverse;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use super::Settings;
use super::common::{at_broker, cell, following};
use super::listing::{self, Output, again, pause, until_stopped};
use super::partitions::{self, Overview, Row, Totals, overview};
use crate::broker::Broker;
use crate::query::feed::LiveView;
use crate::query::gaps::{PublicGap, rows};
use crate::query::live::pulse::{Sample, Vitals};
use crate::terminal::{Table, emphasised};

/// Partitions that are shown: those with the most before them.
const PARTITIONS_SHOWN_MAX: usize = 6;
/// Gaps that are shown: those that have waited for longest.
const GAPS_SHOWN_MAX: usize = 5;

/// What can be said behind `rockets top`.
#[derive(Debug, Args)]
#[command(
    long_about = "Show how all of it goes, on one screen.\n\nin: messages that were stored a second. applied: numbers that \
                  rockets have come on a second. lag, in hand, redelivered, oldest: as `rockets partitions` says, which \
                  has all partitions; here are those with the most before them. pending: numbers behind gaps, which \
                  `rockets gaps` lists; here are the oldest. Without a terminal it is JSON lines."
)]
pub(super) struct Options {
    /// Time between two pictures
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = pause)]
    every: Duration,
    /// One picture, and the end
    #[arg(long)]
    once: bool,
    /// JSON lines, an object a picture
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Shows it again and again until it is told to end.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { every, once, json, settings } = options;
    at_broker(settings, async |broker, partitions| {
        following(&broker, async |live| {
            let look = async || Look::take(&broker, live, partitions).await;
            let (mut before, mut output) = (look().await?, Output::new(json, !once));
            let mut show = async |now: Look| {
                let picture = Picture::of(&before, &now);
                output.show(|| picture.to_string(), || Ok(vec![serde_json::to_string(&picture)?]))?;
                before = now;
                anyhow::Ok(())
            };
            if once {
                sleep(every).await;
                show(look().await?).await?;
                return Ok(ExitCode::SUCCESS);
            }
            until_stopped(again(every, look, show)).await
        })
        .await
    })
    .await
}

/// All that is known at one moment.
struct Look {
    overview: Overview,
    sample: Sample,
    gaps: Vec<PublicGap>,
}

impl Look {
    async fn take(broker: &Broker, live: &LiveView, partitions: u16) -> anyhow::Result<Self> {
        let (overview, sample) = (overview(broker, live, partitions).await?, Sample::take(broker, live).await);
        let gaps = rows(broker, &live.view.gaps(None, GAPS_SHOWN_MAX)).await?;
        Ok(Self { overview, sample, gaps })
    }
}

/// What is shown of two looks.
#[derive(Serialize)]
struct Picture<'a> {
    #[serde(flatten)]
    vitals: Vitals,
    #[serde(flatten)]
    totals: Totals,
    partitions: &'a [Row],
    oldest_gaps: &'a [PublicGap],
}

impl<'a> Picture<'a> {
    fn of(before: &Look, now: &'a Look) -> Self {
        Self {
            vitals: Vitals::of(&now.sample, Some(&before.sample)),
            totals: now.overview.totals(&before.overview),
            partitions: &now.overview.rows,
            oldest_gaps: &now.gaps,
        }
    }

    /// The partitions that have anything before them, those with the most first.
    fn busiest(&self) -> Vec<&'a Row> {
        let work = |row: &Row| row.lag + row.in_hand + row.waiting;
        let mut busy: Vec<_> = self.partitions.iter().filter(|row| work(row) > 0).collect();
        busy.sort_by_key(|row| Reverse(work(row)));
        busy.truncate(PARTITIONS_SHOWN_MAX);
        busy
    }

    /// The numbers, three beside each other.
    fn numbers(&self) -> String {
        let Vitals { rockets, by_status, gaps, pending_messages, .. } = &self.vitals;
        let (all, rate) = (&self.totals.row, |rate: Option<f64>| cell(rate.map(|rate| format!("{rate:.1}/s"))));
        let mut table = Table::new(&["", ">", "", ">", "", ">"]);
        for [a, b, c] in [
            [("in", rate(self.vitals.ingested_per_second)), ("lag", all.lag.to_string()), ("gaps", gaps.to_string())],
            [
                ("applied", rate(self.vitals.applied_per_second)),
                ("in hand", all.in_hand.to_string()),
                ("pending", pending_messages.to_string()),
            ],
            [
                ("rockets", rockets.to_string()),
                ("redelivered", all.redelivered.to_string()),
                ("dead letters", cell(self.vitals.dead_letters)),
            ],
            [
                ("exploded", by_status.exploded.to_string()),
                ("oldest", all.age()),
                ("trackers", all.trackers.len().to_string()),
            ],
        ] {
            table.add([a.0, &a.1, b.0, &b.1, c.0, &c.1]);
        }
        table.to_text()
    }
}

impl std::fmt::Display for Picture<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = self.vitals.time.as_deref().and_then(|time| time.split('.').next()).unwrap_or_default();
        let stale = if self.vitals.stale { ", rockets and gaps as they were before" } else { "" };
        let title = emphasised(&format!("rockets at {time} UTC{stale}"));
        write!(f, "{title}\n\n{}\n\n{}", self.numbers(), self.totals.need)?;
        let busiest = self.busiest();
        if !busiest.is_empty() {
            write!(f, "\n\n{}", partitions::table(busiest))?;
        }
        if !self.oldest_gaps.is_empty() {
            write!(f, "\n\n{}", listing::table(self.oldest_gaps))?;
        }
        Ok(())
    }
}
