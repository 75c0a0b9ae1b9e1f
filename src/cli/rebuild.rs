//! `rockets rebuild`: what is said to it, and what it prints.

use std::process::ExitCode;

use clap::Args;

use super::Settings;
use super::common::{at_broker, channel, say};
use crate::domain::Channel;
use crate::rebuild::{self, Mode, Summary};
use crate::text::printable;

/// How it is called.
#[derive(Debug, Args)]
#[command(
    long_about = "Fold every rocket from the stream, compare with the bucket, and repair it if asked to.\n\nSafe while \
                  everything runs. Each difference is a line `channel field: is X, should be Y`. Exit code 1 if \
                  --check found any, if --apply left any, or if the log has lost messages at its end that outcomes, \
                  checkpoints or records know of; that is said first."
)]
#[group(skip)]
pub(super) struct Options {
    #[command(flatten)]
    mode: ModeFlags,
    /// Only this rocket
    #[arg(long, value_name = "CHANNEL", value_parser = channel)]
    channel: Option<Channel>,
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
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { mode, channel, settings } = options;
    let mode = if mode.apply { Mode::Apply } else { Mode::Check };
    at_broker(settings, async |broker, _| {
        let mut said = Ok(());
        let say_unless_closed = |line: &str| {
            if said.is_ok() {
                said = say(&printable(line));
            }
        };
        let summary = rebuild::run(&broker, mode, channel, say_unless_closed).await?;
        said?;
        say(&in_words(mode, summary))?;
        Ok(if summary.all_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
    .await
}

fn in_words(mode: Mode, summary: Summary) -> String {
    let Summary { different, repaired, lost_end } = summary;
    match (mode, different) {
        (_, 0) if lost_end => "every record is what the log says, but the log has lost its end".to_owned(),
        (_, 0) => "every record is as it should be".to_owned(),
        (Mode::Check, different) => format!("{different} not as they should be"),
        (Mode::Apply, different) => format!("{different} not as they should be, {repaired} repaired"),
    }
}
