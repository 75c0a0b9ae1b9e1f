//! P9: how much memory each role takes: query for each rocket, beside what the bucket has of one; a tracker that has seen a
//! message of each of many rockets, beside one with a few; ingest under load, beside itself at rest.

use std::time::Duration;

use super::million::{FEW, launched, many};
use crate::bench::Bench;
use crate::figures::{Figures, Goal, Measured, Unit, thousands};
use crate::load::Load;
use crate::messages::Fleet;
use crate::partners::bucket;
use crate::process::Memory;
use crate::progress::until_through;
use crate::site::{Site, Sync};

const MEBIBYTE: f64 = 1024.0 * 1024.0;
const LASTING: Duration = Duration::from_secs(3);
const THROUGH_MAX: Duration = Duration::from_secs(300);
/// What was needed only on the way has been freed by then.
const REST: Duration = Duration::from_secs(1);

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let (site, mut fleet) = many(bench).await?;
    query(bench, &site, figures).await?;
    track(&site, &mut fleet, figures).await?;
    ingest(bench, Load::singly(256), "256 connections", figures).await?;
    ingest(bench, Load::batches(64, 1_000), "batches of 1,000 over 64 connections", figures).await
}

async fn query(bench: Bench, site: &Site, figures: &mut Figures) -> anyhow::Result<()> {
    let (empty, (rockets, bytes)) =
        (Site::start(Sync::TwoMinutes).await?, bucket::read_all(&site.jetstream().await?).await?);
    let resident = async |site: &Site| {
        let query = site.role("query").await?;
        tokio::time::sleep(REST).await;
        query.resident_bytes(Memory::Now)
    };
    let pairs = bench.in_turn(
        async || Ok(resident(site).await?.saturating_sub(resident(&empty).await?) as f64 / rockets as f64),
        async || Ok(bytes as f64 / rockets as f64),
    );
    let what = format!("memory of query for each of {} rockets", thousands(rockets));
    let measured = Measured::new(what, "the record itself", Unit::Bytes);
    figures.add(measured.goal(Goal::OursMax(1_024.0)), pairs.await?);
    Ok(())
}

/// Once: what it has kept it keeps, and so many messages take their time.
async fn track(site: &Site, fleet: &mut Fleet, figures: &mut Figures) -> anyhow::Result<()> {
    let messages = fleet.rockets() as u64;
    let ours = peak_of_track(site, fleet, messages).await?;
    let (few, mut few_fleet) = launched(FEW).await?;
    let partner = peak_of_track(&few, &mut few_fleet, messages).await?;
    let what = format!("most memory of track, a message of each of {} rockets", thousands(messages));
    let measured = Measured::new(what, format!("as many of {FEW} rockets"), Unit::Bytes);
    figures.add(measured.goal(Goal::OursMax(400.0 * MEBIBYTE)), vec![[ours, partner]]);
    Ok(())
}

async fn peak_of_track(site: &Site, fleet: &mut Fleet, messages: u64) -> anyhow::Result<f64> {
    let tracker = site.role("track").await?;
    site.fill(fleet, messages).await?;
    let left = until_through(&site.jetstream().await?, THROUGH_MAX).await?;
    anyhow::ensure!(left == 0, "{left} of {messages} messages are not applied");
    Ok(tracker.resident_bytes(Memory::Peak)? as f64)
}

async fn ingest(bench: Bench, load: Load, how: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let (site, lasting) = (Site::start(Sync::Always).await?, bench.time(LASTING));
    let pairs = bench.in_turn(
        async || {
            let ingest = site.role("ingest").await?;
            load.send(ingest.addr(), lasting).await?;
            Ok(ingest.resident_bytes(Memory::Peak)? as f64)
        },
        async || Ok(site.role("ingest").await?.resident_bytes(Memory::Peak)? as f64),
    );
    let measured = Measured::new(format!("most memory of ingest, {how}"), "at rest", Unit::Bytes);
    figures.add(measured.goal(Goal::OursMax(100.0 * MEBIBYTE)), pairs.await?);
    Ok(())
}
