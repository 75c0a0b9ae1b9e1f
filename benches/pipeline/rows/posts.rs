//! P1, P1b, P2: POSTs a second, as a share of those that do nothing; of the ingress alone with its broker, and of all roles
//! in one process. The broker syncs nothing meanwhile, so that it is our own work that shows.

use std::net::SocketAddr;
use std::time::Duration;

use crate::bench::Bench;
use crate::client::Connections;
use crate::figures::{Figures, Goal, Measured, Unit};
use crate::load::{Load, Sent};
use crate::partners::noop;
use crate::site::{Site, Sync, Whole};

/// How long each kind of load lasts in one repetition.
const LASTING: Duration = Duration::from_millis(1_500);
const NOOP: &str = "no-op POST";

pub async fn alone(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let site = Site::start(Sync::TwoMinutes).await?;
    let ingest = site.role("ingest").await?;
    kept_alive(bench, ingest.addr(), "POST to ingest", "posts", [0.25, 0.5, 0.55], figures).await
}

pub async fn whole(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let whole = Whole::start(Sync::TwoMinutes).await?;
    kept_alive(bench, whole.process.addr(), "POST to up", "posts-whole", [0.2, 0.4, 0.45], figures).await
}

pub async fn new_connections(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let (site, noop) = (Site::start(Sync::TwoMinutes).await?, noop::start().await?);
    let ingest = site.role("ingest").await?;
    let load = Load { kind: Connections::New, ..Load::singly(3) };
    let pairs = compare(bench, load, ingest.addr(), noop.addr()).await?;
    let measured = Measured::new("POST to ingest, a new connection each, 3 at a time", NOOP, Unit::PerSecond);
    figures.add(measured.goal(Goal::RatioMin(0.6)), rates(&pairs));
    Ok(())
}

async fn kept_alive(
    bench: Bench,
    ours: SocketAddr,
    what: &str,
    plot: &str,
    goals: [f64; 3],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let noop = noop::start().await?;
    for (connections, goal) in [3, 64, 256].into_iter().zip(goals) {
        let pairs = compare(bench, Load::singly(connections), ours, noop.addr()).await?;
        let measured = Measured::new(format!("{what}, {connections} connections"), NOOP, Unit::PerSecond);
        figures.add(measured.goal(Goal::RatioMin(goal)).at(plot, connections as u32), rates(&pairs));
    }
    Ok(())
}

async fn compare(bench: Bench, load: Load, ours: SocketAddr, noop: SocketAddr) -> anyhow::Result<Vec<[Sent; 2]>> {
    let lasting = bench.time(LASTING);
    bench.in_turn(async || load.send(ours, lasting).await, async || load.send(noop, lasting).await).await
}

fn rates(pairs: &[[Sent; 2]]) -> Vec<[f64; 2]> {
    pairs.iter().map(|pair| pair.each_ref().map(Sent::a_second)).collect()
}
