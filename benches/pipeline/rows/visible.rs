//! P4: how long after a POST was answered its effect can be read: one message at a time through ingest, track and query,
//! each a process, asking again and again. Beside it the same way without anything on it: from a publish to its record
//! seen by a watch.

use std::time::Duration;

use tokio::time::Instant;

use crate::bench::Bench;
use crate::client::{Client, Connections};
use crate::figures::{Figures, Goal, Measured, Unit};
use crate::load::quantile;
use crate::messages::Fleet;
use crate::partners::chain;
use crate::process::Process;
use crate::site::{Site, Sync};

const MESSAGES: u64 = 1_000;
const ROCKETS: u64 = 20;
/// How long one message may take before something is wrong.
const VISIBLE_MAX: Duration = Duration::from_secs(10);
const GOALS: [(&str, f64, f64); 2] = [("p50", 0.5, 2.0), ("p99", 0.99, 2.5)];

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    for sync in [Sync::TwoMinutes, Sync::Always] {
        let (site, messages) = (Site::start(sync).await?, bench.count(MESSAGES));
        let (ingest, _track) = (site.role("ingest").await?, site.role("track").await?);
        let (query, context) = (site.role("query").await?, site.jetstream().await?);
        let body = Fleet::new(1).next().body();
        let mut pairs = bench
            .in_turn(
                async || times(&ingest, &query, messages).await,
                async || chain::time(&context, messages, &body).await,
            )
            .await?;
        for (name, share, goal) in GOALS {
            let quantiles =
                pairs.iter_mut().map(|pair| pair.each_mut().map(|times| quantile(times, share).as_secs_f64()));
            let what = format!("POST answered to visible, {}, {name}", sync.word());
            let measured = Measured::new(what, "publish, put, watch", Unit::Seconds);
            figures.add(measured.goal(Goal::RatioMax(goal)), quantiles.collect());
        }
    }
    Ok(())
}

/// How long each message took from its answer until it could be read.
async fn times(ingest: &Process, query: &Process, messages: u64) -> anyhow::Result<Vec<Duration>> {
    let mut sender = Client::new(ingest.addr(), Connections::KeptAlive);
    let mut reader = Client::new(query.addr(), Connections::KeptAlive);
    let (mut fleet, mut times) = (Fleet::new(ROCKETS), Vec::new());
    for _ in 0..ROCKETS + messages {
        let message = fleet.next();
        let path = format!("/rockets/{}", message.channel()?);
        sender.post(&message.body()).await?;
        times.push(until_visible(&mut reader, &path, message.number).await?);
    }
    // The launches are for warming up.
    Ok(times.split_off(ROCKETS as usize))
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
