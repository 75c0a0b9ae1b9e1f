//! `rockets skip`: an operator gives up waiting for numbers of a rocket.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::common::{by_hand, channel, run as run_tool, say};
use super::consent::Consent;
use super::{Settings, tell};
use crate::admin::{AdminError, Operations};
use crate::domain::wire::{SkipRequest, read_skip_request};
use crate::domain::{Channel, MessageNumber};

/// What can be said.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The rocket's channel, a UUID
    #[arg(value_name = "CHANNEL", value_parser = channel)]
    channel: Channel,
    /// The highest number to skip; numbers up to it that have arrived are not skipped
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MessageNumber::MAX))]
    up_to: u64,
    /// Why, for the rocket's history: 1 to 255 characters
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    settings: Settings,
}

/// Skips, once the user has seen what that will do.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { channel, up_to, reason, consent, settings } = options;
    if let Err(code) = consent.can_be_given() {
        return code;
    }
    run_tool(settings, async |operations| {
        let request = request(up_to, &reason)?;
        let effect = async || {
            let preview = operations.preview_skip(&channel, request.up_to).await;
            Ok(preview.with_context(|| channel.to_string())?.effect)
        };
        consent.then(effect, async || skip(&operations, channel, request.clone()).await).await
    })
    .await
}

async fn skip(operations: &Operations, channel: Channel, request: SkipRequest) -> anyhow::Result<ExitCode> {
    let up_to = request.up_to;
    let skipped = operations.skip(channel, request, by_hand()).await;
    let said = skipped.with_context(|| channel.to_string())?;
    say(&format!("skipped up to {up_to}: event {} ({})", said.event_id, said.status))?;
    if let Some(warning) = said.warning {
        tell(&format!("warning: {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The same request as over HTTP, read by the same rules.
fn request(up_to: u64, reason: &str) -> Result<SkipRequest, AdminError> {
    let body = serde_json::json!({ "up_to": up_to, "reason": reason }).to_string();
    read_skip_request(body.as_bytes()).map_err(|error| AdminError::BadRequest(error.to_string()))
}
