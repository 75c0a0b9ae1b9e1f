//! `rockets launch`, the load generator: sends what the field's sender sends, worse on demand, and verifies the result.
//!
//! It is a user of the service like any other: it speaks HTTP and shares nothing with the rest of the crate, neither
//! the message types nor the state machine, so that no mistake there can hide itself here. Therefore it imports nothing
//! from outside this directory (but how text is made safe to print, what a terminal is, and how HTTP is spoken).
//!
//! The way of the data, left to right:
//!
//! ```text
//! options ▸ generate ▸ oracle ▸ message ▸ disorder ▸ send ▸ report
//!                        │
//!                        └▸ verify ▸ operator ▸ HTTP
//! ```
//!
//! What it deliberately does not do: read the clock for what it sends, give up on a message, or know how
//! the service works inside.

mod disorder;
mod generate;
mod message;
mod operator;
mod options;
mod oracle;
mod report;
mod send;
#[cfg(test)]
mod tests;
mod verify;

use std::future::Future;
use std::io::{Write, stdout};
use std::mem::take;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

pub use self::options::Options;

use self::disorder::{Duplicated, Outgoing, Radio, Shuffled};
use self::generate::{Generator, Recipe};
use self::operator::Operator;
use self::oracle::Oracle;
use self::report::Tally;
use self::send::{Pacer, Queue, Sender, send_all};
use self::verify::Verdict;
use crate::client::{LOOK_AGAIN_AFTER, RETRY_AFTER};

/// How many differences are printed one by one.
const PRINTED_DIFFERENCES_MAX: usize = 50;

/// Sends, prints the table to stdout, and verifies if asked to. The future `shutdown` ends it at once, with the table
/// of what has happened so far.
///
/// True means that everything got through and, with `--verify`, that every rocket is as it must be.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> anyhow::Result<bool> {
    run_with(options, RETRY_AFTER, shutdown, &mut stdout()).await
}

async fn run_with(
    options: Options,
    retry_after: Duration,
    shutdown: impl Future<Output = ()>,
    output: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut shutdown = pin!(shutdown);
    let oracle = if options.corrections > 0 { Oracle::with_messages() } else { Oracle::default() };
    let oracle = Arc::new(Mutex::new(oracle));
    let sender = Arc::new(sender(&options, retry_after, &oracle)?);
    let is_sent = send(&sender, &oracle, &options, shutdown.as_mut(), output).await?;
    let Some(base) = options.verify.as_ref().filter(|_| is_sent) else { return Ok(is_sent) };

    let oracle = take(&mut *lock(&oracle));
    let deadline = Instant::now() + options.verify_deadline;
    let progress = report::verifying(oracle.messages());
    let pause = retry_after.min(LOOK_AGAIN_AFTER);
    let operator = Operator { client: options.access.client(true)?, base: base.clone(), deadline, pause, progress };
    verify(operator, oracle, &options, shutdown, output).await
}

fn sender(options: &Options, retry_after: Duration, oracle: &Arc<Mutex<Oracle>>) -> anyhow::Result<Sender> {
    Ok(Sender {
        client: options.access.client(options.keep_alive)?,
        url: options.url.clone(),
        queue: Queue::new(feed(options, Arc::clone(oracle)), retry_after),
        pacer: options.rate.map(Pacer::new),
        message_delay: options.message_delay,
        batch: options.batch as usize,
        tally: Mutex::new(Tally::new()?),
        progress: report::sending((options.max_messages as f64 * f64::from(1.0 - options.lost)) as u64),
    })
}

fn lock(oracle: &Mutex<Oracle>) -> MutexGuard<'_, Oracle> {
    oracle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All messages as they will be sent. The oracle sees each of them while they are still in order.
fn feed(options: &Options, oracle: Arc<Mutex<Oracle>>) -> impl Iterator<Item = Outgoing> + Send + 'static {
    let Options { seed, rockets, max_messages, hostile, lost, .. } = *options;
    let recipe = Recipe { seed, rockets, max_messages, hostile, lost };
    let mut radio = Radio::new(lost, recipe.loss_random());
    let bodies = Generator::new(&recipe).filter_map(move |message| match radio.loses() {
        true => {
            lock(&oracle).lose();
            None
        }
        false => {
            lock(&oracle).observe(&message);
            Some(message.to_body())
        }
    });
    let mut random = recipe.disorder_random();
    let duplicated = Duplicated::new(bodies, options.duplicates, random.clone());
    random.set_stream(random.get_stream() + 1);
    Shuffled::new(duplicated, options.shuffle, random)
}

/// Whether everything got through, as opposed to having been stopped.
async fn send(
    sender: &Arc<Sender>,
    oracle: &Mutex<Oracle>,
    options: &Options,
    shutdown: impl Future<Output = ()>,
    output: &mut impl Write,
) -> anyhow::Result<bool> {
    let start = Instant::now();
    let is_stopped = tokio::select! {
        sent = send_all(sender, options.concurrency_level) => { sent?; false }
        () = shutdown => true,
    };
    sender.progress.finish();
    let mut tally = sender.tally();
    tally.lost = lock(oracle).lost();
    let report = match options.json {
        true => report::json(&tally, start.elapsed()).to_string(),
        false => report::table(&tally, start.elapsed()).to_text(),
    };
    writeln!(output, "{report}").context("the report cannot be written")?;
    if is_stopped {
        tell_stopped(options, "sent", output)?;
    }
    Ok(!is_stopped && tally.is_all_through())
}

async fn verify(
    operator: Operator,
    oracle: Oracle,
    options: &Options,
    shutdown: impl Future<Output = ()>,
    output: &mut impl Write,
) -> anyhow::Result<bool> {
    let verdict = tokio::select! {
        verdict = verify::verify(operator, oracle, options.corrections) => Some(verdict),
        () = shutdown => None,
    };
    let Some(verdict) = verdict else {
        tell_stopped(options, "verified", output)?;
        return Ok(false);
    };
    if options.json {
        writeln!(output, "{}", verdict.to_json()).context("the verdict cannot be written")?;
        return Ok(verdict.differences.is_empty());
    }
    if options.lost > 0.0 || options.corrections > 0 {
        writeln!(output, "{}", report::repairs_table(&verdict.repairs).to_text())
            .context("the table cannot be written")?;
    }
    print_verdict(&verdict, output).context("the differences cannot be written")?;
    Ok(verdict.differences.is_empty())
}

/// Says how far it came. A program sees it by the exit code.
fn tell_stopped(options: &Options, done: &str, output: &mut impl Write) -> anyhow::Result<()> {
    if !options.json {
        writeln!(output, "stopped before everything was {done}").context("the result cannot be written")?;
    }
    Ok(())
}

fn print_verdict(verdict: &Verdict, output: &mut impl Write) -> std::io::Result<()> {
    for difference in verdict.differences.iter().take(PRINTED_DIFFERENCES_MAX) {
        writeln!(output, "{difference}")?;
    }
    let Verdict { rockets, unknown, differences, .. } = verdict;
    if differences.len() > PRINTED_DIFFERENCES_MAX {
        writeln!(output, "and {} more", differences.len() - PRINTED_DIFFERENCES_MAX)?;
    }
    let result = match differences.len() {
        0 => format!("all {rockets} rockets right"),
        count => format!("{count} differences in {rockets} rockets"),
    };
    match unknown {
        0 => writeln!(output, "{result}"),
        _ => writeln!(output, "{result}, and {unknown} channels without a launch"),
    }
}
