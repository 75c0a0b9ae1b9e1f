//! `rockets forget`: what is said to it, and what it prints.

use std::process::ExitCode;

use clap::Args;

use super::Settings;
use super::common::{at_broker, by_hand, channel, say};
use super::consent::Consent;
use crate::audit::{self, Deed};
use crate::domain::Channel;
use crate::retention::forget::{Forgot, forget, stored};

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
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    settings: Settings,
}

/// Runs it.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { channel, consent, settings } = options;
    if let Err(code) = consent.can_be_given() {
        return code;
    }
    at_broker(settings, async |broker, partitions| {
        let effect = async || {
            let there = stored(&broker, partitions, &channel).await?;
            Ok(format!("Everything that is stored of rocket {channel} is removed for good: {}.", in_words(&there)))
        };
        let work = async || {
            let forgot = in_words(&forget(&broker, partitions, &channel).await?);
            audit::note(&by_hand(), Deed::Forget, channel, &forgot, "nothing");
            say(&format!("forgot {forgot} of {channel}"))?;
            Ok(ExitCode::SUCCESS)
        };
        consent.then(effect, work).await
    })
    .await
}

fn in_words(Forgot { messages, dead_letters }: &Forgot) -> String {
    format!("{messages} messages and {dead_letters} dead letters")
}
