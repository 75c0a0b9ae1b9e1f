//! `rockets gaps`: what `GET /gaps` answers, from the command line and straight from the broker.

use std::process::ExitCode;

use clap::Args;

use super::Settings;
use super::common::{self, at_broker, following};
use super::listing::{Row, Shown};
use crate::broker::store::Store;
use crate::domain::{Channel, Record};
use crate::query::gaps::{PublicGap, rows};
use crate::query::view::Gap;

/// What can be said behind `rockets gaps`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only this channel
    #[arg(long, value_name = "ID", value_parser = common::channel)]
    channel: Option<Channel>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    settings: Settings,
}

/// Shows the gaps, the oldest first.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { channel, shown, settings } = options;
    at_broker(settings, async |broker, _| match channel {
        Some(channel) => {
            let store = Store::new(&broker).await?;
            shown.show(async || Ok(rows(&broker, &gap(&store, channel).await?).await?)).await
        }
        None => {
            following(&broker, async |live| {
                shown.show(async || Ok(rows(&broker, &live.view.gaps(None, usize::MAX)).await?)).await
            })
            .await
        }
    })
    .await
}

/// That of one channel, if there is one.
async fn gap(store: &Store, channel: Channel) -> anyhow::Result<Vec<Gap>> {
    let found = store.load_latest(&channel).await?;
    let record = found.record.map(|bytes| Record::from_bytes(&bytes)).transpose()?;
    Ok(record.and_then(|record| Gap::of(channel, &record)).into_iter().collect())
}

impl Row for PublicGap {
    const COLUMNS: &'static [&'static str] = &["channel", ">waiting for", ">pending", "since"];
    const NONE: &'static str = "nothing waits behind a gap";

    fn key(&self) -> String {
        self.channel.clone()
    }

    fn cells(&self) -> Vec<String> {
        let Self { channel, waiting_for, pending_messages, since } = self;
        let since = since.as_deref().unwrap_or("-").to_owned();
        vec![channel.clone(), waiting_for.to_string(), pending_messages.to_string(), since]
    }
}
