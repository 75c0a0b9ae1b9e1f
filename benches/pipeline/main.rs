//! The benchmark of the whole: `make bench`, or `make bench ONLY=P1,P2b`; `cargo bench --bench pipeline -- --quick` for a try
//! with smaller numbers, `--list` for the rows, `--plots` to draw what was measured last into docs/benchmarks.
//! Prints one table, ready for docs/benchmarks.md, and writes `target/bench/report.json`; what it is doing meanwhile goes to
//! standard error.
//!
//! Every figure of ours stands beside a partner's of the same run, because the machine, its disk and its other users are no
//! two days the same: both take turns, five times, and what counts is the median of the ratios.
//!
//! - [`rows`] are the rows of the table, each a module; [`partners`] is what ours is compared with.
//! - [`bench`] is how much is measured and in which order, [`figures`] what comes out, [`report`] what is left of it, [`plots`]
//!   how it looks, [`machine`] on what it was measured.
//! - [`site`] is a broker with roles, all of them real processes that were started as a user starts them; [`process`] is
//!   one of them. [`progress`] is how far they have come.
//! - [`load`], [`client`] and [`messages`] are the load; the load generator is this process.
//!
//! What it deliberately does not do: fail because of a figure. A goal that is missed is marked; an error is a row that could
//! not be measured.

mod arguments;
mod bench;
mod client;
mod figures;
mod load;
mod machine;
mod messages;
mod partners;
mod plots;
mod process;
mod progress;
mod report;
mod rows;
mod site;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use arguments::Task;
use bench::Bench;
use figures::{Ended, Figures, Skipped};
use machine::Machine;
use report::Report;
use rows::{ROWS, Row};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    // Cargo adds `--bench` to what the user says.
    let arguments: Vec<_> = arguments.iter().map(String::as_str).filter(|argument| *argument != "--bench").collect();
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if runtime.block_on(partners::serve(&arguments))? {
        return Ok(());
    }
    match Task::read(&arguments)? {
        Task::List => list(),
        Task::Plot => plots::draw(&Report::read()?),
        Task::Measure { rows, is_quick } => runtime.block_on(until_interrupted(&rows, is_quick)),
    }
}

fn list() -> anyhow::Result<()> {
    let mut output = std::io::stdout();
    for Row { name, what, minutes, is_on_request, .. } in &ROWS {
        let on_request = if *is_on_request { ", only where it is named" } else { "" };
        writeln!(output, "{name:<10} {what} (about {minutes} min{on_request})")?;
    }
    Ok(())
}

/// Ends early, with everything that was started, when it is told to.
async fn until_interrupted(rows: &[&'static Row], is_quick: bool) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        measured = measure(rows, is_quick) => measured,
        _ = term.recv() => anyhow::bail!("told to end"),
        _ = int.recv() => anyhow::bail!("interrupted"),
    }
}

/// Measures row by row. What is there so far is written after each, so that it is not lost with a later one.
async fn measure(rows: &[&'static Row], is_quick: bool) -> anyhow::Result<()> {
    let bench = if is_quick { Bench::QUICK } else { Bench::FULL };
    let (machine, figures) = (Machine::look()?, Figures::default());
    let mut report = Report { machine, is_quick, repetitions: bench.repetitions, figures };
    for row in rows {
        let ended = ended(bench, row, &mut report.figures).await;
        report.figures.rows.push(ended);
        report.write()?;
    }
    report.machine.look_again()?;
    report.write()?;
    writeln!(std::io::stdout(), "\n{}", report.shown())?;
    let failed: Vec<_> = report.figures.rows.iter().filter(|row| row.failed.is_some()).map(|row| &*row.row).collect();
    anyhow::ensure!(failed.is_empty(), "could not be measured: {}", failed.join(", "));
    Ok(())
}

/// Measures a row, and tells how that ended.
async fn ended(bench: Bench, row: &Row, figures: &mut Figures) -> Ended {
    note(&format!("{}: {} (about {} min)", row.name, row.what, row.minutes));
    row.name.clone_into(&mut figures.row);
    let start = Instant::now();
    let measured = (row.measure)(bench, figures).await;
    let (name, seconds) = (row.name.to_owned(), start.elapsed().as_secs_f64());
    let (skipped, failed) = match measured {
        Ok(()) => (None, None),
        Err(error) => match error.downcast_ref::<Skipped>() {
            Some(reason) => (Some(reason.to_string()), None),
            None => (None, Some(format!("{error:#}"))),
        },
    };
    let how = skipped.iter().chain(&failed).fold(String::new(), |_, why| format!(": {why}"));
    note(&format!("{} took {seconds:.0} s{how}", row.name));
    Ended { row: name, seconds, skipped, failed }
}

/// Lets this process open as many files as it may: each connection is one, and many systems begin with 1,024.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the rows with many connections will say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Says on standard error what is being done.
fn note(text: &str) {
    // Whoever does not listen misses nothing.
    let _ = writeln!(std::io::stderr(), "{text}");
}
