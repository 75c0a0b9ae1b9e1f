//! `rockets health`: asks a running role whether it is ready, for health checks where there is no other HTTP client.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use reqwest::{Client, Response};

use super::common::say;
use super::{Settings, failed, loaded};
use crate::config::Config;
use crate::text::printable;

/// How long the answer may take: what is asked never waits for anything.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What can be said behind `rockets health`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    settings: Settings,
}

/// Prints what `/readyz` answers at the address where these settings serve HTTP; 0 if it is ready, 1 if not.
pub(super) async fn run(options: Options) -> ExitCode {
    let config = match loaded(options.settings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    ask(&config).await.unwrap_or_else(|error| failed(&error))
}

async fn ask(config: &Config) -> anyhow::Result<ExitCode> {
    let (is_ready, answer) = readiness(config).await?;
    say(&printable(&answer))?;
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the role that serves HTTP with these settings is ready, and its answer.
pub(super) async fn readiness(config: &Config) -> anyhow::Result<(bool, String)> {
    let answer = answer(config, "/readyz").await?;
    Ok((answer.status().is_success(), answer.text().await?))
}

/// What the role that serves HTTP with these settings answers to whoever has no key.
pub(super) async fn answer(config: &Config, path: &str) -> anyhow::Result<Response> {
    // This is a machine asking itself what is no secret: whose certificate it is does not matter.
    let client = Client::builder().timeout(TIMEOUT).no_proxy().tls_danger_accept_invalid_certs(true).build()?;
    let (addr, scheme) = (config.http.addr.here(), if config.tls.is_some() { "https" } else { "http" });
    let answer = client.get(format!("{scheme}://{addr}{path}")).send().await;
    answer.with_context(|| format!("nothing answers at {addr} (http.addr)"))
}
