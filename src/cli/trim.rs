//! `rockets trim`: what is said to it, and what it prints.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::Settings;
use super::common::{at_broker, by_hand, channel, say, say_json};
use super::consent::Consent;
use crate::domain::Channel;
use crate::retention::{Amount, Order, Trimmed, total, trim};
use crate::terminal::Table;

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
    #[command(flatten)]
    consent: Consent,
    /// JSON lines instead of a table: an object a channel, and one for all of them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

fn age(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "must be a time such as 30d or 12h")
}

/// Runs it.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { keep, channel, consent, json, settings } = options;
    if let Err(code) = consent.can_be_given() {
        return code;
    }
    at_broker(settings, async |broker, partitions| {
        let trimmed = async |dry_run| {
            let order = Order { keep, slack: Duration::ZERO, channel, dry_run };
            trim(&broker, partitions, order, &by_hand()).await
        };
        if consent.is_dry_run() {
            return print(&trimmed(true).await?, json, "would be removed");
        }
        let effect = async || {
            let goes = trimmed(true).await?;
            Ok(format!("{} of {} rockets are removed for good.", in_words(&total(&goes)), goes.len()))
        };
        consent.then(effect, async || print(&trimmed(false).await?, json, "removed")).await
    })
    .await
}

fn print(trimmed: &Trimmed, json: bool, verb: &str) -> anyhow::Result<ExitCode> {
    let total = total(trimmed);
    if json {
        let rows = trimmed.iter().map(|(token, amount)| Row { channel: Some(token), amount });
        rows.chain([Row { channel: None, amount: &total }]).try_for_each(|row| say_json(&row))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !trimmed.is_empty() {
        let mut table = Table::new(&["channel", ">messages", ">bytes"]);
        for (token, amount) in trimmed {
            table.add([token, &amount.messages.to_string(), &amount.bytes.to_string()]);
        }
        say(&table.to_text())?;
    }
    say(&format!("{} {verb}", in_words(&total)))?;
    Ok(ExitCode::SUCCESS)
}

/// What goes of one channel, or of all.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(flatten)]
    amount: &'a Amount,
}

fn in_words(amount: &Amount) -> String {
    format!("{} messages of {} bytes", amount.messages, amount.bytes)
}
