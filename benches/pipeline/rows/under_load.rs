//! P10: how long a POST takes at half of the pace that the service can take, while a tracker drains what has gathered, and
//! while the log is folded and trimmed; beside the same pace while nothing else goes on. Synced, as the project ships it.

use std::time::Duration;

use crate::bench::Bench;
use crate::figures::{Figures, Goal, Measured, Unit, thousands};
use crate::load::{Load, Sent, send_at_a_pace};
use crate::messages::Fleet;
use crate::note;
use crate::process::Process;
use crate::progress::until_through;
use crate::site::{Site, Sync};

const LASTING: Duration = Duration::from_secs(5);
/// Connections by which it is found out how much it can take.
const CONNECTIONS: usize = 64;
const MESSAGES: u64 = 500_000;
const ROCKETS: u64 = 20_000;
const THROUGH_MAX: Duration = Duration::from_secs(300);
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// What goes on meanwhile.
const OTHERS: [&str; 3] = ["quiet", "while a tracker drains", "while rebuild --check and trim run"];

struct Loaded {
    site: Site,
    ingest: Process,
    /// Requests a second.
    pace: f64,
    lasting: Duration,
}

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let (loaded, mut fleet) = (Loaded::start(bench).await?, Fleet::new(bench.count(ROCKETS)));
    let mut latencies: Vec<[[f64; QUANTILES.len()]; OTHERS.len()]> = Vec::new();
    for _ in 0..bench.repetitions {
        let quiet = loaded.quiet().await?;
        let (draining, tracker) = loaded.while_draining(&mut fleet, bench.count(MESSAGES)).await?;
        let folding = loaded.while_folding().await?;
        tracker.stop().await?;
        latencies.push([quiet, draining, folding]);
    }
    let half = format!("POST at {} a second", thousands(loaded.pace as u64));
    for (other, name) in OTHERS.iter().enumerate().skip(1) {
        for (at, (quantile, _)) in QUANTILES.iter().enumerate() {
            let pairs = latencies.iter().map(|of_turn| [of_turn[other][at], of_turn[0][at]]).collect();
            let measured = Measured::new(format!("{half} {name}, {quantile}"), "quiet", Unit::Seconds);
            figures.add(measured.goal(Goal::RatioMax(3.0)), pairs);
        }
    }
    Ok(())
}

impl Loaded {
    /// Finds out how much it can take, and takes half of that.
    async fn start(bench: Bench) -> anyhow::Result<Self> {
        let (site, lasting) = (Site::start(Sync::Always).await?, bench.time(LASTING));
        let ingest = site.role("ingest").await?;
        let most = Load::singly(CONNECTIONS).send(ingest.addr(), lasting).await?.a_second();
        Ok(Self { site, ingest, pace: most / 2.0, lasting })
    }

    async fn quiet(&self) -> anyhow::Result<[f64; QUANTILES.len()]> {
        Ok(quantiles(self.send().await?))
    }

    /// What has gathered before is drained meanwhile, and then to its end.
    async fn while_draining(
        &self,
        fleet: &mut Fleet,
        messages: u64,
    ) -> anyhow::Result<([f64; QUANTILES.len()], Process)> {
        self.site.fill(fleet, messages).await?;
        let (tracker, context) = (self.site.role("track").await?, self.site.jetstream().await?);
        let sent = self.send().await?;
        if until_through(&context, Duration::ZERO).await? == 0 {
            note("  the drain was through before the load was");
        }
        let left = until_through(&context, THROUGH_MAX).await?;
        anyhow::ensure!(left == 0, "{left} messages are not applied");
        Ok((quantiles(sent), tracker))
    }

    async fn while_folding(&self) -> anyhow::Result<[f64; QUANTILES.len()]> {
        tokio::select! {
            sent = self.send() => Ok(quantiles(sent?)),
            Err(failed) = self.fold_and_trim() => Err(failed),
        }
    }

    /// Again and again, until it is dropped.
    async fn fold_and_trim(&self) -> anyhow::Result<()> {
        loop {
            self.site.command("trim", &["--keep", "1s", "--yes"]).await?;
            self.site.command("rebuild", &["--check"]).await?;
        }
    }

    async fn send(&self) -> anyhow::Result<Sent> {
        send_at_a_pace(self.ingest.addr(), self.pace, self.lasting).await
    }
}

fn quantiles(mut sent: Sent) -> [f64; QUANTILES.len()] {
    QUANTILES.map(|(_, share)| sent.quantile(share))
}
