//! `rockets health`: asks a running role whether it is ready, for health checks where there is no other HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use reqwest::Client;

use super::common::say;
use super::{Settings, failed, loaded};
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
    ask(here(config.http.addr)).await.unwrap_or_else(|error| failed(&error))
}

async fn ask(addr: SocketAddr) -> anyhow::Result<ExitCode> {
    let (is_ready, answer) = readiness(addr).await?;
    say(&printable(&answer))?;
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the role that serves HTTP there is ready, and its answer.
pub(super) async fn readiness(addr: SocketAddr) -> anyhow::Result<(bool, String)> {
    let client = Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let answer = client.get(format!("http://{addr}/readyz")).send().await;
    let answer = answer.with_context(|| format!("nothing answers at {addr} (http.addr)"))?;
    Ok((answer.status().is_success(), answer.text().await?))
}

/// An address to ask at: one that is listened at everywhere is also here.
pub(super) fn here(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everywhere_is_also_here() {
        for (addr, expected) in
            [("0.0.0.0:8088", "127.0.0.1:8088"), ("[::]:80", "[::1]:80"), ("10.0.0.7:1", "10.0.0.7:1")]
        {
            assert_eq!(here(addr.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
