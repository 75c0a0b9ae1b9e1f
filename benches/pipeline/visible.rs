//! How long after a POST was answered its effect can be read: one message at a time through ingest, track and query,
//! each a process, asking again and again. Compared with the time that asking takes.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Client, Connections};
use crate::messages::Fleet;
use crate::report::{Rows, quantile};
use crate::site::{Site, Sync};
use crate::{Scale, note};

const MESSAGES: u64 = 1_000;
const ROCKETS: u64 = 20;
/// How long one message may take before something is wrong.
const VISIBLE_MAX: Duration = Duration::from_secs(10);

pub async fn measure(scale: Scale, sync: Sync, rows: &mut Rows) -> anyhow::Result<()> {
    note(&format!("POST answered to visible, sync {}", sync.name()));
    let site = Site::start(sync).await?;
    let (ingest, _track, query) = (site.role("ingest").await?, site.role("track").await?, site.role("query").await?);
    let mut sender = Client::new(ingest.addr(), Connections::KeptAlive);
    let mut reader = Client::new(query.addr(), Connections::KeptAlive);
    let (mut fleet, mut visible, mut asking) = (Fleet::new(ROCKETS), Vec::new(), Vec::new());
    for _ in 0..ROCKETS + scale.count(MESSAGES) {
        let message = fleet.next();
        let path = format!("/rockets/{}", message.channel()?);
        sender.post(&message.body()).await?;
        visible.push(until_visible(&mut reader, &path, message.number).await?);
        asking.push(until_visible(&mut reader, &path, message.number).await?);
    }
    // The launches are for warming up.
    let (visible, asking) = (&mut visible[ROCKETS as usize..], &mut asking[ROCKETS as usize..]);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let (visible, asking) = (quantile(visible, share), quantile(asking, share));
        rows.time(&format!("POST answered to visible, {name}"), visible, asking);
    }
    Ok(())
}

/// Asks until the answer has this number as the last one, and tells how long it took.
async fn until_visible(reader: &mut Client, path: &str, number: u64) -> anyhow::Result<Duration> {
    let (start, expected) = (Instant::now(), format!("\"lastMessageNumber\":{number},"));
    loop {
        let (_, answer) = reader.get(path).await?;
        if answer.windows(expected.len()).any(|part| part == expected.as_bytes()) {
            return Ok(start.elapsed());
        }
        anyhow::ensure!(start.elapsed() < VISIBLE_MAX, "{path} does not come to {number}");
    }
}
