//! `rockets gaps`: what `GET /gaps` answers, from the command line and straight from the broker.

use std::process::ExitCode;

use clap::Args;
use comfy_table::{CellAlignment, Table};

use super::Settings;
use super::common::{self, at_broker, say, say_json};
use crate::broker::Broker;
use crate::broker::store::Store;
use crate::domain::{Channel, Record};
use crate::query::feed::load_new;
use crate::query::gaps::{PublicGap, rows};
use crate::query::view::Gap;

/// What can be said behind `rockets gaps`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only this channel
    #[arg(long, value_name = "ID", value_parser = common::channel)]
    channel: Option<Channel>,
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Shows the gaps, the oldest first.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { channel, json, settings } = options;
    at_broker(settings, async |broker, _| {
        let rows = rows(&broker, &gaps(&broker, channel).await?).await?;
        match json {
            true => rows.iter().try_for_each(say_json)?,
            false if rows.is_empty() => say("nothing waits behind a gap")?,
            false => say(&table(&rows).to_string())?,
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn gaps(broker: &Broker, channel: Option<Channel>) -> anyhow::Result<Vec<Gap>> {
    let Some(channel) = channel else { return Ok(load_new(broker).await?.0.gaps(None, usize::MAX)) };
    let found = Store::new(broker).await?.load_latest(&channel).await?;
    let record = found.record.map(|bytes| Record::from_bytes(&bytes)).transpose()?;
    Ok(record.and_then(|record| Gap::of(channel, &record)).into_iter().collect())
}

fn table(rows: &[PublicGap]) -> Table {
    let mut table = common::table(&["channel", "waiting for", "pending", "since"]);
    for row in rows {
        let PublicGap { channel, waiting_for, pending_messages, since } = row;
        let since = since.as_deref().unwrap_or("-");
        table.add_row([channel, &waiting_for.to_string(), &pending_messages.to_string(), since]);
    }
    for column in [1, 2] {
        if let Some(numbers) = table.column_mut(column) {
            numbers.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
