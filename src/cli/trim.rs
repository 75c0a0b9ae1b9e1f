//! `rockets trim`: what is said to it, and what it prints.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Settings;
use super::common::{at_broker, can_ask, cell, channel, is_confirmed, say, table};
use crate::domain::Channel;
use crate::retention::{Amount, Order, Trimmed, trim};

/// How it is called.
#[derive(Debug, Args)]
#[command(
    long_about = "Remove what was applied and is older than asked from the log.\n\nSafe while everything runs. Rockets, gaps \
                  and new messages are as before; of what is removed only the rocket's state after it is kept: its history \
                  begins behind it, its events are gone, and it cannot be corrected any more. What waits behind a gap stays."
)]
pub(super) struct Options {
    /// How old what is removed is at least, such as 30d or 12h
    #[arg(long, value_name = "AGE", value_parser = age)]
    keep: Duration,
    /// Only this rocket
    #[arg(long, value_name = "CHANNEL", value_parser = channel)]
    channel: Option<Channel>,
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    settings: Settings,
}

fn age(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "must be a time such as 30d or 12h")
}

/// Runs it.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { keep, channel, dry_run, yes, settings } = options;
    if !dry_run && let Err(code) = can_ask(yes) {
        return code;
    }
    at_broker(settings, async |broker, partitions| {
        let order = Order { keep, slack: Duration::ZERO, channel, dry_run };
        let of = channel.map_or_else(|| "every rocket".to_owned(), |channel| format!("rocket {channel}"));
        let what = format!(
            "Every message of {of} that was applied and is older than {} is removed for good.",
            humantime::format_duration(keep)
        );
        if !dry_run && !is_confirmed(yes, &what)? {
            return Ok(ExitCode::FAILURE);
        }
        print(&trim(&broker, partitions, order).await?, dry_run)?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

fn print(trimmed: &Trimmed, dry_run: bool) -> anyhow::Result<()> {
    if !trimmed.is_empty() {
        let mut table = table(&["channel", "messages", "bytes"]);
        table.add_rows(trimmed.iter().map(|(token, amount)| row(token, amount)));
        say(&table.to_string())?;
    }
    let sum = |of: fn(&Amount) -> u64| trimmed.values().map(of).sum::<u64>();
    let (messages, bytes) = (sum(|amount| amount.messages), sum(|amount| amount.bytes));
    let verb = if dry_run { "would be removed" } else { "removed" };
    say(&format!("{messages} messages of {bytes} bytes {verb}"))
}

fn row(token: &str, amount: &Amount) -> Vec<String> {
    vec![cell(Some(token)), cell(Some(amount.messages)), cell(Some(amount.bytes))]
}
