//! `rockets doctor`: what an operator should know of an installation before something goes wrong, with what to do about it,
//! a line a finding.
//!
//! Each check asks once and changes nothing. What cannot be found out is said as such, and never taken for well or for bad.
//! [`server`] is about the broker's processes, [`streams`] about what is stored there, [`work`] about what is made of it,
//! [`role`] about a process that serves HTTP with these settings.

mod role;
mod server;
mod streams;
mod work;

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::Settings;
use super::common::{cell, configured, say, say_json};
use super::listing::{Row, table};
use crate::broker::{Broker, ConnectionSettings};
use crate::config::Config;

/// For how long a broker is tried to be reached.
const REACH_MAX: Duration = Duration::from_secs(3);

/// What can be said behind `rockets doctor`.
#[derive(Debug, Args)]
#[command(
    long_about = "Look at the broker, what is stored there and what is made of it: a line a finding, with what to do about it.\n\n\
                  ok: as it should be. warn: it works, and somebody should know. bad: it does not work, or something is lost if \
                  it stays so; then the exit code is 1. Nothing is changed."
)]
pub(super) struct Options {
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Shows all findings; 1 where one is bad.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { json, settings } = options;
    configured(settings, async |config, connection| {
        let findings = examine(&config, &connection).await;
        match json {
            true => findings.iter().try_for_each(say_json)?,
            false => say(&table(&findings))?,
        }
        let is_bad = findings.iter().any(|finding| finding.level == Level::Bad);
        Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
    .await
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warn,
    /// It does not work, or something is lost if it stays so.
    Bad,
}

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// How grave it is.
    level: Level,
    /// What was looked at, in a word.
    check: &'static str,
    /// What is the case.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        })
    }
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { level: Level::Ok, check, detail: detail.into(), remedy: None }
    }

    fn warn(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, check, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    fn bad(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Bad, check, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    /// What is said where the broker was asked and has not answered.
    fn unanswered(check: &'static str, error: &dyn fmt::Display) -> Self {
        let remedy = "ask again; if it stays so, look at the broker's log, and whether this login may ask";
        Self::bad(check, format!("cannot be found out: {error}"), remedy)
    }
}

/// All findings, in the order in which one would look.
async fn examine(config: &Config, connection: &ConnectionSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    match Broker::reach(connection, "tool", REACH_MAX).await {
        Err(error) => {
            let remedy = "start it, or name where it is and how to be let in (nats.url, nats.creds)";
            findings.push(Finding::bad("broker", format!("{error:#}"), remedy));
        }
        Ok(broker) => {
            let usages = streams::usages(&broker, &config.topology()).await;
            findings.extend(server::examine(&broker, config, connection, usages.as_deref().unwrap_or_default()).await);
            findings.extend(streams::examine(&broker, &config.topology(), usages).await);
            findings.extend(work::examine(&broker, config).await);
        }
    }
    findings.extend(role::examine(config.http.addr).await);
    findings
}

impl Row for Finding {
    const COLUMNS: &'static [&'static str] = &["level", "check", "detail", "remedy"];
    const NONE: &'static str = "there is nothing to look at";

    fn key(&self) -> String {
        self.detail.clone()
    }

    fn cells(&self) -> Vec<String> {
        let Self { level, check, detail, remedy } = self;
        vec![level.to_string(), (*check).to_owned(), detail.clone(), cell(remedy.as_ref())]
    }
}
