//! P6: what reading costs: one rocket of many, beside a GET that does nothing; and a sorted page of many rockets, beside the
//! same of a thousand.

use std::time::Duration;

use tokio::time::Instant;

use super::million::{launched, many};
use crate::bench::Bench;
use crate::client::{Client, Connections};
use crate::figures::{Figures, Goal, Measured, Unit, thousands};
use crate::load::{get_for, quantile};
use crate::partners::noop;
use crate::process::Process;

const LASTING: Duration = Duration::from_millis(1_500);
const CONNECTIONS: usize = 64;
/// Rockets that are asked for in turn.
const ASKED: usize = 1_000;
const PAGE: &str = "/rockets?sortBy=speed&limit=100";
const PAGES: usize = 100;

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let (site, fleet) = many(bench).await?;
    let (query, noop, lasting) = (site.role("query").await?, noop::start().await?, bench.time(LASTING));
    let paths = fleet.some(ASKED).map(|rocket| Ok(format!("/rockets/{}", rocket?.0)));
    let paths: Vec<_> = paths.collect::<anyhow::Result<_>>()?;
    let pairs = bench.in_turn(
        async || get_for(query.addr(), &paths, CONNECTIONS, lasting).await,
        async || get_for(noop.addr(), &paths, CONNECTIONS, lasting).await,
    );
    let what = format!("GET of one of {} rockets, {CONNECTIONS} connections", thousands(fleet.rockets() as u64));
    figures.add(Measured::new(what, "no-op GET", Unit::PerSecond).goal(Goal::RatioMin(0.85)), pairs.await?);

    let (few, _) = launched(1_000).await?;
    let few = few.role("query").await?;
    let pairs = bench.in_turn(async || page_time(&query).await, async || page_time(&few).await).await?;
    let what = format!("GET {PAGE} of {} rockets, p50", thousands(fleet.rockets() as u64));
    figures.add(Measured::new(what, "of 1,000 rockets", Unit::Seconds).goal(Goal::RatioMax(2.0)), pairs);
    Ok(())
}

/// How long a page takes that nobody else asks for.
async fn page_time(query: &Process) -> anyhow::Result<f64> {
    let (mut client, mut times) = (Client::new(query.addr(), Connections::KeptAlive), Vec::new());
    for _ in 0..PAGES {
        let start = Instant::now();
        let (status, _) = client.get(PAGE).await?;
        anyhow::ensure!(status == 200, "{PAGE} was answered with {status}");
        times.push(start.elapsed());
    }
    Ok(quantile(&mut times, 0.5).as_secs_f64())
}
