//! P3: how fast messages are applied that have gathered while no tracker was there, as a share of consuming and
//! acknowledging the same messages and doing nothing else. The trackers begin again with the same messages each time.

use std::time::Duration;

use anyhow::Context as _;
use rockets::internals::topology::{STREAM, durable_name};

use crate::bench::Bench;
use crate::figures::{Figures, Goal, Measured, Unit, thousands};
use crate::messages::Fleet;
use crate::note;
use crate::partners::consume::consume_all;
use crate::progress::{Drained, check_records, watch};
use crate::site::{Site, Sync};

pub const MESSAGES: u64 = 500_000;
/// As long as a drain is watched; where it is not through by then, the rate is that up to then.
pub const LASTING_MAX: Duration = Duration::from_secs(12);
/// Records that are looked at.
const CHECKED_RECORDS: usize = 50;
/// Rockets, with the goals unsynced and synced.
const GOALS: [(u64, [f64; 2]); 3] = [(20, [0.8, 0.7]), (20_000, [0.45, 0.25]), (200_000, [0.35, 0.2])];

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    for (rockets, goals) in GOALS {
        for (sync, goal) in [Sync::TwoMinutes, Sync::Always].into_iter().zip(goals) {
            let (messages, rockets) = (bench.count(MESSAGES), bench.count(rockets));
            let pairs = drain(bench, messages, rockets, sync).await;
            let pairs = pairs.with_context(|| format!("draining the messages of {rockets} rockets"))?;
            let plot = format!("drain-{}", sync.word());
            let what =
                format!("drain of {} messages of {} rockets, {}", thousands(messages), thousands(rockets), sync.word());
            let measured = Measured::new(what, "consume and acknowledge", Unit::PerSecond);
            figures.add(measured.goal(Goal::RatioMin(goal)).at(&plot, rockets as f64), pairs);
        }
    }
    Ok(())
}

async fn drain(bench: Bench, messages: u64, rockets: u64, sync: Sync) -> anyhow::Result<Vec<[f64; 2]>> {
    let (site, fleet) = filled(messages, rockets, sync).await?;
    let stream = site.jetstream().await?.get_stream(STREAM).await?;
    let pairs = bench.in_turn(
        async || {
            let drained = track_all(&site, &fleet).await?;
            Ok(drained.a_second())
        },
        async || Ok(consume_all(&stream, LASTING_MAX).await?.a_second()),
    );
    pairs.await
}

/// A broker with messages that nobody has applied.
pub async fn filled(messages: u64, rockets: u64, sync: Sync) -> anyhow::Result<(Site, Fleet)> {
    let (mut fleet, site) = (Fleet::new(rockets), Site::start(Sync::TwoMinutes).await?);
    // Filling is not what is measured, so it is done the quick way.
    site.fill(&mut fleet, messages).await?;
    Ok((site.restart(sync).await?, fleet))
}

/// Has a tracker apply all of it, from the beginning; some records must then be what they should be.
async fn track_all(site: &Site, fleet: &Fleet) -> anyhow::Result<Drained> {
    site.forget_progress().await?;
    let context = site.jetstream().await?;
    let stream = context.get_stream(STREAM).await?;
    let (tracker, drained) = watch(&stream, durable_name, LASTING_MAX, site.role("track")).await?;
    match drained.is_through() {
        true => check_records(&context, fleet.some(CHECKED_RECORDS)).await?,
        false => note(&format!("  the first {:.0} % in {LASTING_MAX:?}", 100.0 * drained.share_done())),
    }
    tracker.stop().await?;
    Ok(drained)
}
