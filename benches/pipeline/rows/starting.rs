//! P11: from starting a process to its being ready, where there are many rockets: a query process, beside only reading the
//! bucket; and a tracker at a broker that has just started, beside one where there is nothing.

use tokio::time::Instant;

use super::million::many;
use crate::bench::Bench;
use crate::figures::{Figures, Goal, Measured, Unit, thousands};
use crate::partners::bucket;
use crate::site::{Site, Sync};

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let (site, fleet) = many(bench).await?;
    let (context, rockets) = (site.jetstream().await?, fleet.rockets() as u64);
    let pairs = bench.in_turn(
        async || starting(&site, "query").await,
        async || {
            let start = Instant::now();
            let (records, _) = bucket::read_all(&context).await?;
            anyhow::ensure!(records == rockets, "{records} of {rockets} records were read");
            Ok(start.elapsed().as_secs_f64())
        },
    );
    let what = format!("start of query to ready, {} rockets", thousands(rockets));
    let measured = Measured::new(what, "reading the bucket", Unit::Seconds);
    figures.add(measured.goal(Goal::OursMax(5.0)), pairs.await?);

    let (mut site, empty) = (Some(site), Site::start(Sync::TwoMinutes).await?);
    let pairs = bench.in_turn(
        async || {
            let restarted = match site.take() {
                Some(site) => site.restart(Sync::TwoMinutes).await?,
                None => anyhow::bail!("the broker did not start again"),
            };
            starting(site.insert(restarted), "track").await
        },
        async || starting(&empty, "track").await,
    );
    let what = format!("start of track to ready after the broker, {} rockets", thousands(rockets));
    let measured = Measured::new(what, "without any rocket", Unit::Seconds);
    figures.add(measured.goal(Goal::OursMax(1.0)), pairs.await?);
    Ok(())
}

/// How many seconds a role takes until it is ready.
async fn starting(site: &Site, role: &str) -> anyhow::Result<f64> {
    let start = Instant::now();
    let process = site.role(role).await?;
    let within = start.elapsed();
    process.stop().await?;
    Ok(within.as_secs_f64())
}
