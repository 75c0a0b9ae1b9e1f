//! P2c: single messages where the broker syncs each of them, beside a naive POST that publishes and answers, at the same broker:
//! what group commit brings.

use std::time::Duration;

use crate::bench::Bench;
use crate::figures::{Figures, Goal, Measured, Unit};
use crate::load::Load;
use crate::partners::naive;
use crate::site::{Site, Sync};

const LASTING: Duration = Duration::from_secs(3);
const GOALS: [(u32, f64); 3] = [(64, 1.8), (256, 4.5), (1_024, 7.0)];

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let site = Site::start(Sync::Always).await?;
    let (ingest, naive) = (site.role("ingest").await?, naive::start(&site.url()).await?);
    for (connections, goal) in GOALS {
        let (load, lasting) = (Load::singly(connections as usize), bench.time(LASTING));
        let mut pairs = bench
            .in_turn(async || load.send(ingest.addr(), lasting).await, async || load.send(naive.addr(), lasting).await)
            .await?;
        let what = format!("POST to ingest, {connections} connections, synced");
        let measured = Measured::new(&what, "naive POST", Unit::PerSecond);
        let rates = pairs.iter().map(|pair| pair.each_ref().map(|sent| sent.a_second())).collect();
        figures.add(measured.goal(Goal::RatioMin(goal)).at("group", connections), rates);
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let times = pairs.iter_mut().map(|pair| pair.each_mut().map(|sent| sent.quantile(share))).collect();
            let measured = Measured::new(format!("{what}, {name}"), "naive POST", Unit::Seconds);
            figures.add(measured.at(&format!("group-{name}"), connections), times);
        }
    }
    Ok(())
}
