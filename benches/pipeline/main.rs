//! The benchmark of the whole way of a message: `make bench`, or `cargo bench --bench pipeline -- --quick` for a try with
//! a tenth of the numbers, `--reporting` for what reporting outcomes costs alone, `--trackers` for what several trackers cost.
//! Prints one table, ready for docs/benchmarks.md; what it is doing meanwhile goes to standard error.
//!
//! Every figure is compared with a bare one from the same run, because the machine, its disk and its other users are no
//! two days the same: POSTs with a POST that does nothing, draining the stream with consuming it and nothing else.
//!
//! - [`posts`], [`drain`], [`visible`], [`memory`], [`trackers`] measure one thing each; [`report`] is what they fill.
//! - [`site`] is a broker with roles, all of them real processes that were started as a user starts them; [`process`] is
//!   one of them. [`noop`] is this program once more, as the server that does nothing, and [`tracker`] as a tracker that
//!   does not tell what became of messages.
//! - [`client`] and [`messages`] are the load; the load generator is this process.
//!
//! What it deliberately does not do: judge. There is no goal in it, and it fails only where something does not work.

mod client;
mod drain;
mod machine;
mod memory;
mod messages;
mod noop;
mod posts;
mod process;
mod report;
mod site;
mod tracker;
mod trackers;
mod visible;

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use machine::SyncTime;
use report::Report;
use site::Sync;
use tokio::signal::unix::{SignalKind, signal};

/// How much is measured.
#[derive(Clone, Copy)]
struct Scale {
    /// What every number is divided by.
    divisor: u32,
    /// Only this.
    only: Option<Only>,
}

/// What can be measured alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    /// What reporting outcomes costs.
    Reporting,
    /// What several trackers cost.
    Trackers,
}

impl Scale {
    const FULL: Self = Self { divisor: 1, only: None };
    const QUICK: Self = Self { divisor: 10, ..Self::FULL };
    const REPORTING: Self = Self { only: Some(Only::Reporting), ..Self::FULL };
    const TRACKERS: Self = Self { only: Some(Only::Trackers), ..Self::FULL };

    fn includes(self, part: Only) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    fn count(self, full: u64) -> u64 {
        full / u64::from(self.divisor)
    }

    fn time(self, full: Duration) -> Duration {
        full / self.divisor
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    // Cargo adds `--bench` to what the user says.
    let arguments: Vec<_> = arguments.iter().map(String::as_str).filter(|argument| *argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.as_slice() {
        [] => runtime.block_on(until_interrupted(Scale::FULL)),
        ["--quick"] => runtime.block_on(until_interrupted(Scale::QUICK)),
        ["--reporting"] => runtime.block_on(until_interrupted(Scale::REPORTING)),
        ["--trackers"] => runtime.block_on(until_interrupted(Scale::TRACKERS)),
        [tracker::ARGUMENT, port, url, outcomes] => runtime.block_on(tracker::run(port, url, outcomes)),
        [noop::ARGUMENT, port] => runtime.block_on(noop::serve(port.parse().context("the port")?)),
        other => anyhow::bail!("{other:?} is not understood; there are only --quick, --reporting and --trackers"),
    }
}

/// Ends early, with everything that was started, when it is told to.
async fn until_interrupted(scale: Scale) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        measured = measure(scale) => measured,
        _ = term.recv() => anyhow::bail!("told to end"),
        _ = int.recv() => anyhow::bail!("interrupted"),
    }
}

async fn measure(scale: Scale) -> anyhow::Result<()> {
    let (mut report, before) = (Report::default(), SyncTime::measure()?);
    for sync in Sync::ALL {
        let rows = report.under(sync);
        if scale.includes(Only::Reporting) {
            drain::measure_reporting(scale, sync, rows).await?;
        }
        if scale.only.is_none() {
            posts::measure(scale, sync, rows).await?;
            drain::measure(scale, sync, rows).await?;
            visible::measure(scale, sync, rows).await?;
        }
    }
    // Neither processor time nor what is in memory depends on when the disk is synced; how long it takes does.
    if scale.includes(Only::Trackers) {
        trackers::measure(scale, Sync::TwoMinutes, report.under(Sync::TwoMinutes)).await?;
    }
    if scale.only.is_none() {
        memory::measure(scale, report.under(Sync::TwoMinutes)).await?;
    }
    let machine = machine::describe(before, SyncTime::measure()?)?;
    writeln!(std::io::stdout(), "\n{machine}\n\n{}", report.table())?;
    Ok(())
}

/// Says on standard error what is being done.
fn note(text: &str) {
    // Whoever does not listen misses nothing.
    let _ = writeln!(std::io::stderr(), "{text}");
}
