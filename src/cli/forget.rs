//! `rockets forget`: what is said to it, and what it prints.

use std::process::ExitCode;

use clap::Args;

use super::Settings;
use super::common::{at_broker, can_ask, channel, is_confirmed, say};
use crate::domain::Channel;
use crate::retention::forget::forget;

/// How it is called.
#[derive(Debug, Args)]
#[command(
    long_about = "Remove everything that is stored of one rocket: messages, record, checkpoints, dead letters.\n\nSafe while \
                  everything runs. The channel can begin again with number 1. Within the dedup window, two minutes, a \
                  message that is identical to a forgotten one is still answered as a duplicate, and is not stored."
)]
pub(super) struct Options {
    /// The rocket's channel, a UUID
    #[arg(value_name = "CHANNEL", value_parser = channel)]
    channel: Channel,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Runs it.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { channel, yes, settings } = options;
    if let Err(code) = can_ask(yes) {
        return code;
    }
    at_broker(settings, async |broker, partitions| {
        if !is_confirmed(yes, &format!("Everything that is stored of rocket {channel} is removed for good."))? {
            return Ok(ExitCode::FAILURE);
        }
        let forgot = forget(&broker, partitions, &channel).await?;
        say(&format!("forgot {} messages and {} dead letters of {channel}", forgot.messages, forgot.dead_letters))?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}
