//! P2b: batches from senders, beside publishing to the same broker from this process without any HTTP or check: one by one
//! where the broker syncs nothing, and as atomic batches of the same size where it does.

use std::time::Duration;

use async_nats::jetstream::Context;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::figures::{Figures, Goal, Measured, Unit};
use crate::load::Load;
use crate::messages::Fleet;
use crate::partners::publish::{bare, in_batches, singly};
use crate::site::{Site, Sync};

const LASTING: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 8;
const SIZES: [u32; 4] = [10, 100, 500, 1_000];
/// The size for which there is a goal.
const SIZE: u32 = 500;
/// As many as the senders have.
const ROCKETS: u64 = 200;

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    for sync in [Sync::TwoMinutes, Sync::Always] {
        let site = Site::start(sync).await?;
        let (ingest, context) = (site.role("ingest").await?, site.jetstream().await?);
        for size in SIZES {
            let lasting = bench.time(LASTING);
            let load = Load::batches(CONNECTIONS, size.into());
            let pairs = bench.in_turn(
                async || Ok(load.send(ingest.addr(), lasting).await?.a_second()),
                async || published_a_second(&context, sync, size as usize, lasting).await,
            );
            let (of, plot) = match sync {
                Sync::TwoMinutes => ("bare publishes".to_owned(), "batches-unsynced"),
                Sync::Always => (format!("bare atomic batches of {size}"), "batches-synced"),
            };
            let what = format!("batches of {size} over {CONNECTIONS} connections, {}", sync.word());
            let measured = Measured::new(what, of, Unit::PerSecond).at(plot, size);
            let measured = if size == SIZE { measured.goal(Goal::RatioMin(0.5)) } else { measured };
            figures.add(measured, pairs.await?);
        }
    }
    Ok(())
}

async fn published_a_second(context: &Context, sync: Sync, size: usize, lasting: Duration) -> anyhow::Result<f64> {
    let (mut fleet, start) = (Fleet::new(ROCKETS), Instant::now());
    let messages = std::iter::from_fn(|| (start.elapsed() < lasting).then(|| bare(&fleet.next())));
    let published = match sync {
        Sync::TwoMinutes => singly(context, messages).await?,
        Sync::Always => in_batches(context, messages, size, CONNECTIONS).await?,
    };
    Ok(published as f64 / start.elapsed().as_secs_f64())
}
