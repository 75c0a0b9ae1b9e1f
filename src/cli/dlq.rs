//! `rockets dlq`: what could not be applied, shown, replayed and dropped. Many at once: [`bulk`].

mod bulk;

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::Settings;
use super::common::{can_ask, cell, is_confirmed, run as run_tool, say, say_json, table};
use crate::admin::Operations;
use crate::admin::dead_letter::{DeadLetterDetail, DeadLetterRow};
use crate::admin::list::{LIMIT_DEFAULT, ListRequest};
use crate::broker::Reason;
use crate::broker::dead_letters::list::DeadLetterFilter;
use crate::http::params::LIMIT_MAX;
use crate::text::printable;

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
        /// JSON lines instead of a table
        #[arg(long)]
        json: bool,
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
        /// Tell what it would do, and do nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Remove one for good, or many with --all
    Drop {
        #[arg(value_parser = id(), required_unless_present = "all")]
        id: Option<u64>,
        #[command(flatten)]
        many: Many,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Tell what it would do, and do nothing
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
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

/// Does what was said, and returns how the process ends.
pub(super) async fn run(command: Command) -> ExitCode {
    match command {
        Command::List { filters, limit, json, settings } => {
            let filter = DeadLetterFilter::new(filters.reason, filters.channel.as_deref());
            run_tool(settings, async |operations| list(&operations, filter, limit as usize, json).await).await
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
        Command::Replay { id: Some(id), body, dry_run, settings, .. } => {
            run_tool(settings, async |operations| replay(&operations, id, body, dry_run).await).await
        }
        Command::Replay { id: None, many, dry_run, settings, .. } => {
            let filter = DeadLetterFilter::new(many.reason, many.channel.as_deref());
            run_tool(settings, async |operations| match dry_run {
                true => bulk::count(&operations, &filter, "replayed as they are").await,
                false => bulk::replay(&operations, &filter).await,
            })
            .await
        }
        Command::Drop { id: Some(id), dry_run: true, settings, .. } => {
            run_tool(settings, async |operations| tell(&operations.preview_drop(id).await?.effect)).await
        }
        Command::Drop { id: None, many, dry_run: true, settings, .. } => {
            let filter = DeadLetterFilter::new(many.reason, many.channel.as_deref());
            run_tool(settings, async |operations| bulk::count(&operations, &filter, "removed for good").await).await
        }
        Command::Drop { yes, .. } if can_ask(yes).is_err() => ExitCode::from(super::WRONG_USAGE),
        Command::Drop { id: Some(id), yes, settings, .. } => {
            run_tool(settings, async |operations| drop_one(&operations, id, yes).await).await
        }
        Command::Drop { id: None, many, yes, settings, .. } => {
            let filter = DeadLetterFilter::new(many.reason, many.channel.as_deref());
            run_tool(settings, async |operations| bulk::drop_all(&operations, &filter, yes).await).await
        }
    }
}

fn id() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(..=i64::MAX as u64)
}

async fn list(operations: &Operations, filter: DeadLetterFilter, limit: usize, json: bool) -> anyhow::Result<ExitCode> {
    let mut left = limit;
    let mut table = table(&["id", "reason", "channel", "number", "type", "event", "dead at", "attempts", "error"]);
    let mut next = Some(ListRequest { filter, limit, before: None }).filter(|_| limit > 0);
    while let Some(request) = next.take().filter(|_| left > 0) {
        let page = operations.list(&ListRequest { limit: left.min(LIMIT_MAX), ..request }).await?;
        left = left.saturating_sub(page.rows.len());
        for row in &page.rows {
            if json {
                say_json(row)?;
            } else {
                table.add_row(cells(row));
            }
        }
        next = page.next;
    }
    if !json {
        say(&table.to_string())?;
        if next.is_some() {
            say("there are more (--limit)")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(row: &DeadLetterRow) -> [String; 9] {
    [
        row.id.to_string(),
        printable(&row.reason),
        printable(&row.channel),
        cell(row.message_number),
        cell(row.message_type.as_ref()),
        cell(row.event_id),
        printable(&row.dead_at),
        row.attempts.to_string(),
        printable(&row.error_message),
    ]
}

fn show(dead_letter: &DeadLetterDetail) -> anyhow::Result<()> {
    let DeadLetterDetail { row, payload, encoding } = dead_letter;
    let mut table = table(&[]);
    for (name, value) in [
        ("id", cell(Some(row.id))),
        ("reason", printable(&row.reason)),
        ("error", printable(&row.error_message)),
        ("channel", printable(&row.channel)),
        ("number", cell(row.message_number)),
        ("type", cell(row.message_type.as_ref())),
        ("event", cell(row.event_id)),
        ("received at", cell(row.received_at.as_ref())),
        ("dead at", printable(&row.dead_at)),
        ("attempts", cell(Some(row.attempts))),
        ("payload", encoding.unwrap_or("text").to_owned()),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    say(&table.to_string())?;
    // Its own lines stay lines; everything else that a terminal would obey is escaped.
    payload.split('\n').try_for_each(|line| say(&printable(line.trim_end_matches('\r'))))
}

async fn replay(operations: &Operations, id: u64, body: Option<PathBuf>, dry_run: bool) -> anyhow::Result<ExitCode> {
    let body = body.map(read_body).transpose()?;
    if dry_run {
        return tell(&operations.preview_replay(id, body.map(Into::into)).await?.effect);
    }
    let said = operations.replay(id, body.map(Into::into), request_id().into()).await?;
    say(&format!("dead letter {id} replayed: event {} ({})", said.event_id, said.status))?;
    Ok(ExitCode::SUCCESS)
}

fn read_body(file: PathBuf) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() != "-" {
        return std::fs::read(&file).with_context(|| format!("--body: cannot read {}", file.display()));
    }
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).context("--body: cannot read standard input")?;
    Ok(body)
}

async fn drop_one(operations: &Operations, id: u64, yes: bool) -> anyhow::Result<ExitCode> {
    if !is_confirmed(yes, &operations.preview_drop(id).await?.effect)? {
        return Ok(ExitCode::FAILURE);
    }
    operations.drop_dead_letter(id, &request_id()).await?;
    say(&format!("dead letter {id} dropped"))?;
    Ok(ExitCode::SUCCESS)
}

/// Tells what would be done.
fn tell(effect: &str) -> anyhow::Result<ExitCode> {
    say(&printable(effect))?;
    Ok(ExitCode::SUCCESS)
}

/// An id as a request has one, so that the log tells what was done together.
fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
