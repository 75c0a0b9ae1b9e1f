//! `rockets rebuild`: what is said to it, and what it prints.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::printable::printable;
use super::{Settings, with_broker, wrong_usage};
use crate::domain::Channel;
use crate::rebuild::{self, Mode, Summary};

/// How it is called.
#[derive(Debug, Args)]
#[command(
    long_about = "Fold every rocket from the stream, compare with the bucket, and repair it if asked to.\n\nSafe while \
                  everything runs. Each difference is a line `channel field: is X, should be Y`. Exit code 1 if \
                  --check found any, or if --apply left any."
)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    mode: ModeFlags,
    /// Only this rocket
    #[arg(long, value_name = "ID")]
    channel: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// One of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ModeFlags {
    /// Only tell what differs
    #[arg(long)]
    check: bool,
    /// Write what should be
    #[arg(long)]
    apply: bool,
}

/// Runs it.
pub async fn run(options: Options) -> ExitCode {
    let Options { mode, channel, settings } = options;
    let channel = match channel.as_deref().map(Channel::parse) {
        None => None,
        Some(Some(channel)) => Some(channel),
        Some(None) => return wrong_usage("--channel: must be a UUID such as 193270a9-c9cf-404a-8f83-838e71d9ae67"),
    };
    let mode = if mode.apply { Mode::Apply } else { Mode::Check };
    with_broker(settings, "rebuild", async |broker| {
        let mut output = std::io::stdout();
        let mut written = Ok(());
        let say = |line: &str| {
            if written.is_ok() {
                written = writeln!(output, "{}", printable(line));
            }
        };
        let summary = rebuild::run(&broker, mode, channel, say).await?;
        written?;
        writeln!(output, "{}", in_words(mode, summary))?;
        Ok(summary.all_right())
    })
    .await
}

fn in_words(mode: Mode, summary: Summary) -> String {
    let Summary { different, repaired } = summary;
    match (mode, different) {
        (_, 0) => "every record is as it should be".to_owned(),
        (Mode::Check, different) => format!("{different} not as they should be"),
        (Mode::Apply, different) => format!("{different} not as they should be, {repaired} repaired"),
    }
}
