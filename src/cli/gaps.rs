//! `rockets gaps`: what `GET /gaps` answers, from the command line and straight from the broker.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use super::{Settings, tool_broker, with_config_quietly};
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
    #[arg(long, value_name = "ID", value_parser = channel)]
    channel: Option<Channel>,
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Shows the gaps, the oldest first.
pub(super) async fn main(options: Options) -> ExitCode {
    let Options { channel, json, settings } = options;
    with_config_quietly(settings, async |config| {
        let broker = tool_broker(&config, "gaps").await?;
        let rows = rows(&broker, &gaps(&broker, channel).await?).await?;
        let mut output = io::stdout().lock();
        match json {
            true => rows.iter().try_for_each(|row| writeln!(output, "{}", serde_json::to_string(row)?))?,
            false if rows.is_empty() => writeln!(output, "nothing waits behind a gap")?,
            false => writeln!(output, "{}", table(&rows))?,
        }
        Ok(())
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
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["CHANNEL", "WAITING FOR", "PENDING", "SINCE"]);
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

fn channel(text: &str) -> Result<Channel, &'static str> {
    Channel::parse(text).ok_or("must be a UUID such as 193270a9-c9cf-404a-8f83-838e71d9ae67")
}
