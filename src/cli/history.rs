//! `rockets history`: a rocket's history as a table, or as JSON lines.

use std::process::ExitCode;

use clap::Args;

use super::common::{at_broker, channel, say, say_json, table};
use super::{Settings, tell, wrong_usage};
use crate::domain::{Channel, Status};
use crate::query::PublicRocket;
use crate::query::history::{Histories, LIMIT_DEFAULT, Moment, PageRequest, Row, Then};
use crate::query::view::{Entry, Order};
use crate::text::printable;

/// Rows that are in memory at once. For each further page the channel is read again.
const PAGE_ROWS_MAX: u64 = 10_000;

/// How it is called.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The rocket's channel, a UUID
    #[arg(value_name = "CHANNEL", value_parser = channel)]
    channel: Channel,
    /// Which numbers come first
    #[arg(long, value_enum, default_value = "desc")]
    order: Order,
    /// How many numbers at most
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT as u64, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Only the rocket as it was: after this message number, or at this message time (RFC 3339)
    #[arg(long, value_name = "NUMBER|TIME", conflicts_with_all = ["order", "limit"])]
    at: Option<String>,
    /// A JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Runs it.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { channel, order, limit, at, json, settings } = options;
    let moment = match at.as_deref().map(Moment::parse).transpose() {
        Ok(moment) => moment,
        Err(problem) => return wrong_usage(&format!("--{problem}")),
    };
    at_broker(settings, async |broker, partitions| {
        let histories = Histories::new(broker, partitions);
        match moment {
            Some(moment) => show_rocket(&histories, &channel, moment, json).await?,
            None => show_rows(&histories, &channel, order, limit, json).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn show_rocket(histories: &Histories, channel: &Channel, moment: Moment, json: bool) -> anyhow::Result<()> {
    let entry = match histories.rocket_at(channel, moment).await? {
        Then::Rocket(entry) => entry,
        Then::NotLaunched => anyhow::bail!("rocket {channel} not found: it had not been launched then"),
        Then::Trimmed => anyhow::bail!("rocket {channel}: what it was then was trimmed"),
    };
    match json {
        true => say_json(&PublicRocket::from(&*entry)),
        false => say(&filled(&["number", "time", "rocket"], [rocket_cells(&entry)])),
    }
}

fn rocket_cells(entry: &Entry) -> Vec<String> {
    vec![entry.last.number.to_string(), entry.last.time.to_string(), rocket(entry)]
}

/// Prints page by page, each as a table of its own, so that a history of any length takes no more memory than a page.
async fn show_rows(
    histories: &Histories,
    channel: &Channel,
    order: Order,
    limit: u64,
    json: bool,
) -> anyhow::Result<()> {
    let (mut left, mut after) = (limit, None);
    loop {
        let limit = left.min(PAGE_ROWS_MAX) as usize;
        let Some(page) = histories.page(channel, &PageRequest { order, limit, after }).await? else {
            anyhow::bail!("rocket {channel} not found: no message of it is applied");
        };
        if json {
            page.rows.iter().try_for_each(say_json)?;
        } else if !page.rows.is_empty() || after.is_none() {
            let header = ["number", "type", "event", "time", "status", "why", "corrects", "rocket"];
            say(&filled(&header, page.rows.iter().map(cells)))?;
        }
        left -= page.rows.len() as u64;
        after = page.rows.last().map(|row| row.number);
        if page.next_cursor.is_none() || left == 0 {
            if let Some(number) = page.trimmed_through {
                tell(&format!("numbers up to {number} were trimmed"));
            }
            return Ok(());
        }
    }
}

fn filled(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = table(header);
    table.add_rows(rows.into_iter().map(|row| row.iter().map(|cell| printable(cell)).collect::<Vec<_>>()));
    table.to_string()
}

fn cells(row: &Row) -> Vec<String> {
    vec![
        row.number.to_string(),
        row.message_type.to_owned(),
        row.event.to_string(),
        row.time.to_string(),
        row.status.name().to_owned(),
        row.status.error().unwrap_or_default(),
        row.corrects.map(|event| event.to_string()).unwrap_or_default(),
        row.rocket.as_ref().map(rocket).unwrap_or_default(),
    ]
}

/// A rocket in one cell.
fn rocket(entry: &Entry) -> String {
    let rocket = &entry.rocket;
    let status = match &rocket.status {
        Status::Active => "active".to_owned(),
        Status::Exploded { reason } => format!("exploded ({reason})"),
    };
    format!("{}, {}, speed {}, {status}", rocket.rocket_type, rocket.mission, rocket.speed)
}
