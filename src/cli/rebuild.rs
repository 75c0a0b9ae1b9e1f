//! `rockets rebuild`: what is said to it, and what it prints.

use std::process::ExitCode;

use clap::Args;

use super::common::{at_broker, channel, say, say_json};
use super::{Settings, is_closed};
use crate::domain::Channel;
use crate::rebuild::{self, Mode, Remark, Summary};
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
    /// JSON lines instead of text: an object a difference, and one for all of them
    #[arg(long)]
    json: bool,
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
    let Options { mode, channel, json, settings } = options;
    let mode = if mode.apply { Mode::Apply } else { Mode::Check };
    at_broker(settings, async |broker, _| {
        let mut said = Ok(());
        let say_unless_closed = |remark: Remark<'_>| {
            if said.is_ok() {
                said = if json { say_json(&remark) } else { say(&printable(&remark.to_string())) };
            }
        };
        let summary = rebuild::run(&broker, mode, channel, say_unless_closed).await?;
        said = said.and_then(|()| if json { say_json(&summary) } else { say(&in_words(mode, summary)) });
        match said {
            // Whoever reads the output has seen enough of it; what was found counts all the same.
            Err(error) if !is_closed(&error) => Err(error),
            _ if summary.all_right() => Ok(ExitCode::SUCCESS),
            _ => Ok(ExitCode::FAILURE),
        }
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
