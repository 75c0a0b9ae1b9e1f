//! `rockets import`: sends the messages of a file, one on each line, to a service in batches, and verifies the result.
//!
//! It is a user of the service like any other, over HTTP. Of the crate it knows what a message is and what a rocket makes of
//! it ([`crate::domain`]), for `--dry-run` and `--verify`.
//!
//! The way of the data, left to right:
//!
//! ```text
//! source ▸ lines ▸ batches ▸ send ▸ HTTP ▸ answer ▸ ledger ▸ resume (the progress file) ▸ report
//!                     └▸ expected ▸ verify ▸ HTTP
//! ```
//!
//! Every line is through (stored, now or before), refused (counted, and said with its number and the reason), or sent again.
//! Batches are under way side by side, so that messages of one channel may arrive in another order than they stand in the
//! file: the service sorts by number anyway.
//!
//! What it deliberately does not do: change a message, decide in the service's place whether it is one, or remember single
//! messages. What was read is forgotten once its batch is through; only `--verify` keeps something, a rocket for each channel
//! ([`expected`]).

mod answer;
mod batches;
mod check;
mod expected;
mod ledger;
mod lines;
mod options;
mod report;
mod resume;
mod send;
mod source;
mod verify;

use std::io::{Write, stdout};
use std::time::Instant;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

pub use self::options::Options;

use self::ledger::Through;
use self::report::Reporter;
use self::resume::ProgressFile;
use self::send::{Sent, send};
use self::source::Source;

/// Sends, prints what became of it to stdout, and verifies if asked to. `shutdown` ends it: what is under way is finished, and
/// nothing new is begun.
///
/// True means that every line got through and, with `--verify`, that every rocket is as it must be.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<bool> {
    let output = &mut stdout();
    if options.dry_run {
        return check::run(&options, output);
    }
    let sent = import(&options, &shutdown, output).await?;
    if !options.verify || !sent.is_complete {
        return Ok(sent.is_well());
    }
    let is_right = verify::run(&options, &shutdown, output).await?;
    Ok(sent.is_well() && is_right)
}

async fn import(options: &Options, shutdown: &CancellationToken, output: &mut impl Write) -> anyhow::Result<Sent> {
    let start = Instant::now();
    let source = Source::of(&options.file)?;
    let file = ProgressFile::of(options, &source)?;
    let before = file.as_ref().map(ProgressFile::read).transpose()?.flatten();
    if let Some(file) = &file {
        // Where it cannot be written, that is better known now than after an hour.
        file.write(&before.unwrap_or_default())?;
    }
    let reporter = Reporter::new(options, &source);
    if let Some(Through { place, .. }) = before {
        reporter.say(&format!("going on behind line {}", place.line));
    }
    let sent = send(options, source, before.unwrap_or_default(), file.as_ref(), &reporter, shutdown).await;
    reporter.finish();
    let sent = sent.with_context(|| how_to_go_on(options, file.as_ref()))?;
    let report =
        if options.json { report::json(&sent, start.elapsed()) } else { report::table(&sent, start.elapsed()) };
    writeln!(output, "{report}").context("the report cannot be written")?;
    match &file {
        Some(file) if sent.is_complete => file.remove()?,
        _ if sent.is_complete => {}
        file => reporter.say(&how_to_go_on(options, file.as_ref())),
    }
    Ok(sent)
}

/// What somebody is told whose import has ended early.
fn how_to_go_on(options: &Options, file: Option<&ProgressFile>) -> String {
    let name = options.name();
    match file {
        Some(file) => format!(
            "not all of {name} is through; the same command goes on where it stopped, by {}",
            file.path().display()
        ),
        None => format!("not all of {name} is through; send it again: what the service has it answers as duplicate"),
    }
}
