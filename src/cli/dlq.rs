//! `rockets dlq`: what could not be applied, shown, replayed and dropped. Many at once: [`bulk`].

mod bulk;

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand};

use super::common::{by_hand, cell, run as run_tool, say, say_json};
use super::consent::Consent;
use super::listing::{Row, Shown};
use super::{Settings, tell};
use crate::admin::Operations;
use crate::admin::dead_letter::{DeadLetterDetail, DeadLetterRow};
use crate::admin::list::{LIMIT_DEFAULT, ListRequest};
use crate::broker::Reason;
use crate::broker::dead_letters::list::DeadLetterFilter;
use crate::http::params::LIMIT_MAX;
use crate::terminal::Table;
use crate::text::printable;
use bulk::Work;

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List them, newest first
    List {
        #[command(flatten)]
        filters: Filters,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT as u64, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show one, with its bytes
    Show {
        #[arg(value_parser = id())]
        id: u64,
        /// JSON instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Try one again, as it is or corrected, or many with --all
    Replay {
        #[arg(value_parser = id(), required_unless_present = "all")]
        id: Option<u64>,
        /// A corrected message in its place, from a file or (-) from standard input
        #[arg(long, value_name = "FILE", conflicts_with = "all")]
        body: Option<PathBuf>,
        #[command(flatten)]
        many: Many,
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        settings: Settings,
    },
    /// Remove one for good, or many with --all
    Drop {
        #[arg(value_parser = id(), required_unless_present = "all")]
        id: Option<u64>,
        #[command(flatten)]
        many: Many,
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        settings: Settings,
    },
}

/// Which ones.
#[derive(Debug, Args)]
pub(super) struct Filters {
    /// Only those of this channel: exactly the token of the subject
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// Only those of this reason
    #[arg(long, value_enum)]
    reason: Option<Reason>,
}

/// All of some, instead of one.
#[derive(Debug, Args)]
pub(super) struct Many {
    /// All that there are now, or all of --channel and --reason
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// With --all: only those of this channel, exactly the token of the subject
    #[arg(long, value_name = "CHANNEL", requires = "all")]
    channel: Option<String>,
    /// With --all: only those of this reason
    #[arg(long, value_enum, requires = "all")]
    reason: Option<Reason>,
}

impl Many {
    fn filter(&self) -> DeadLetterFilter {
        DeadLetterFilter::new(self.reason, self.channel.as_deref())
    }
}

/// Does what was said, and returns how the process ends.
pub(super) async fn run(command: Command) -> ExitCode {
    match command {
        Command::List { filters, limit, shown, settings } => {
            let filter = DeadLetterFilter::new(filters.reason, filters.channel.as_deref());
            run_tool(settings, async |operations| list(&operations, &filter, limit as usize, &shown).await).await
        }
        Command::Show { id, json, settings } => {
            run_tool(settings, async |operations| {
                let dead_letter = operations.show(id).await?;
                if json {
                    say_json(&dead_letter)?
                } else {
                    show(&dead_letter)?
                }
                Ok(ExitCode::SUCCESS)
            })
            .await
        }
        Command::Replay { id, body, many, consent, settings } => {
            // A replay loses nothing: one is done as it is said, and many are asked about where there is somebody to ask.
            let consent = if id.is_some() { consent.given() } else { consent.given_in_scripts() };
            changing(consent, settings, async |operations| match id {
                Some(id) => replay(&operations, id, body, consent).await,
                None => all(&operations, &many.filter(), Work::Replay, consent).await,
            })
            .await
        }
        Command::Drop { id, many, consent, settings } => {
            changing(consent, settings, async |operations| match id {
                Some(id) => drop_one(&operations, id, consent).await,
                None => all(&operations, &many.filter(), Work::Drop, consent).await,
            })
            .await
        }
    }
}

/// Runs what changes something, unless it is clear beforehand that it will not be allowed to.
async fn changing(
    consent: Consent,
    settings: Settings,
    tool: impl AsyncFnOnce(Operations) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    match consent.can_be_given() {
        Ok(()) => run_tool(settings, tool).await,
        Err(code) => code,
    }
}

fn id() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(..=i64::MAX as u64)
}

async fn list(
    operations: &Operations,
    filter: &DeadLetterFilter,
    limit: usize,
    shown: &Shown,
) -> anyhow::Result<ExitCode> {
    let mut has_more = false;
    let look = async || {
        let (rows, more) = newest(operations, filter, limit).await?;
        has_more = more;
        Ok(rows)
    };
    let ended = shown.show(look).await?;
    if has_more {
        tell("there are more (--limit)");
    }
    Ok(ended)
}

/// So many of the newest, and whether there are more.
async fn newest(
    operations: &Operations,
    filter: &DeadLetterFilter,
    limit: usize,
) -> anyhow::Result<(Vec<DeadLetterRow>, bool)> {
    let (mut rows, mut next) = (Vec::new(), Some(ListRequest { filter: filter.clone(), limit, before: None }));
    while let Some(request) = next.take_if(|_| rows.len() < limit) {
        let limit = (limit - rows.len()).min(LIMIT_MAX);
        let page = operations.list(&ListRequest { limit, ..request }).await?;
        rows.extend(page.rows);
        next = page.next;
    }
    Ok((rows, next.is_some()))
}

impl Row for DeadLetterRow {
    const COLUMNS: &'static [&'static str] =
        &[">id", "reason", "channel", ">number", "type", ">event", "dead at", ">attempts", "error"];
    const NONE: &'static str = "no dead letters found";

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.reason.clone(),
            self.channel.clone(),
            cell(self.message_number),
            cell(self.message_type.as_ref()),
            cell(self.event_id),
            self.dead_at.clone(),
            self.attempts.to_string(),
            self.error_message.clone(),
        ]
    }
}

fn show(dead_letter: &DeadLetterDetail) -> anyhow::Result<()> {
    let DeadLetterDetail { row, payload, encoding } = dead_letter;
    let mut table = Table::new(&["", ""]);
    for (name, value) in [
        ("id", row.id.to_string()),
        ("reason", row.reason.clone()),
        ("error", row.error_message.clone()),
        ("channel", row.channel.clone()),
        ("number", cell(row.message_number)),
        ("type", cell(row.message_type.as_ref())),
        ("event", cell(row.event_id)),
        ("received at", cell(row.received_at.as_ref())),
        ("dead at", row.dead_at.clone()),
        ("attempts", row.attempts.to_string()),
        ("payload", encoding.unwrap_or("text").to_owned()),
    ] {
        table.add([name, &value]);
    }
    say(&table.to_text())?;
    // Its own lines stay lines; everything else that a terminal would obey is escaped.
    payload.split('\n').try_for_each(|line| say(&printable(line.trim_end_matches('\r'))))
}

async fn replay(operations: &Operations, id: u64, body: Option<PathBuf>, consent: Consent) -> anyhow::Result<ExitCode> {
    let body: Option<Bytes> = body.map(read_body).transpose()?.map(Into::into);
    let effect = async || Ok(operations.preview_replay(id, body.clone()).await?.effect);
    let work = async || {
        let said = operations.replay(id, body.clone(), by_hand()).await?;
        say(&format!("dead letter {id} replayed: event {} ({})", said.event_id, said.status))?;
        Ok(ExitCode::SUCCESS)
    };
    consent.then(effect, work).await
}

fn read_body(file: PathBuf) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() != "-" {
        return std::fs::read(&file).with_context(|| format!("--body: cannot read {}", file.display()));
    }
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).context("--body: cannot read standard input")?;
    Ok(body)
}

async fn drop_one(operations: &Operations, id: u64, consent: Consent) -> anyhow::Result<ExitCode> {
    let effect = async || Ok(operations.preview_drop(id).await?.effect);
    let work = async || {
        operations.drop_dead_letter(id, by_hand()).await?;
        say(&format!("dead letter {id} dropped"))?;
        Ok(ExitCode::SUCCESS)
    };
    consent.then(effect, work).await
}

async fn all(
    operations: &Operations,
    filter: &DeadLetterFilter,
    work: Work,
    consent: Consent,
) -> anyhow::Result<ExitCode> {
    let effect = async || bulk::effect(operations, filter, work).await;
    consent.then(effect, async || bulk::work(operations, filter, work).await).await
}
