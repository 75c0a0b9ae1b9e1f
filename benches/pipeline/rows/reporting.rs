//! What it costs to report what became of each message: the same tracker, with it and without it, in turn.

use rockets::internals::topology::{STREAM, durable_name};

use super::drain::{LASTING_MAX, filled};
use crate::bench::Bench;
use crate::figures::{Figures, Measured, Unit, thousands};
use crate::partners::quiet_tracker;
use crate::progress::watch;
use crate::site::{Site, Sync};

const MESSAGES: u64 = 200_000;
const ROCKETS: [u64; 2] = [20, 20_000];

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    for sync in [Sync::TwoMinutes, Sync::Always] {
        for rockets in ROCKETS {
            let (messages, rockets) = (bench.count(MESSAGES), bench.count(rockets));
            let (site, _) = filled(messages, rockets, sync).await?;
            let pairs = bench.in_turn(async || drain(&site, true).await, async || drain(&site, false).await).await?;
            let what =
                format!("drain of {} messages of {} rockets, {}", thousands(messages), thousands(rockets), sync.word());
            figures.add(Measured::new(what, "without outcomes", Unit::PerSecond), pairs);
        }
    }
    Ok(())
}

async fn drain(site: &Site, outcomes: bool) -> anyhow::Result<f64> {
    site.forget_progress().await?;
    let stream = site.jetstream().await?.get_stream(STREAM).await?;
    let (_tracker, drained) = watch(&stream, durable_name, LASTING_MAX, quiet_tracker::start(site, outcomes)).await?;
    Ok(drained.a_second())
}
