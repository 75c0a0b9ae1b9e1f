//! `rockets history`: a rocket's history as a table, or as JSON lines.

use std::process::ExitCode;

use clap::Args;

use super::common::{at_broker, channel, say, say_json};
use super::{Settings, tell, wrong_usage};
use crate::domain::{Channel, Status};
use crate::query::PublicRocket;
use crate::query::history::{Histories, LIMIT_DEFAULT, Moment, PageRequest, Row, Then};
use crate::query::view::{Entry, Order};
use crate::terminal::Table;

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
    /// JSON lines instead of a table: an object a number, with the names that HTTP has
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
        false => {
            let mut table = Table::new(&[">number", "time", "rocket"]);
            table.add(rocket_cells(&entry));
            say(&table.to_text())
        }
    }
}

fn rocket_cells(entry: &Entry) -> Vec<String> {
    vec![entry.last.number.to_string(), entry.last.time.to_string(), rocket(entry)]
}

/// Prints page by page, under one header, so that a history of any length takes no more memory than a page.
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
        match json {
            true => page.rows.iter().try_for_each(say_json)?,
            false if page.rows.is_empty() => {}
            false => say(&table(&page.rows, after.is_none()).to_text())?,
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

/// Some rows, under the names of their columns if they are the first ones.
fn table(rows: &[Row], are_first: bool) -> Table {
    let mut table = Table::new(&[">number", "type", ">event", "time", "status", "why", ">corrects", "rocket"]);
    rows.iter().for_each(|row| table.add(cells(row)));
    if are_first { table } else { table.without_header() }
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
