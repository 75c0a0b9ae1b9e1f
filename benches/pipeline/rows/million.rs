//! Many rockets, whose records are written straight to the bucket, as a tracker would have written them: that they were
//! launched one by one is not what is measured here.

use crate::bench::Bench;
use crate::messages::Fleet;
use crate::note;
use crate::partners::publish::{BATCH_MAX, FILLING, in_batches, record};
use crate::site::{Site, Sync};

const ROCKETS: u64 = 1_000_000;
/// With how many that is compared.
pub const FEW: u64 = 20;

/// A broker with the records of many rockets, each of which has sent its launch.
pub async fn many(bench: Bench) -> anyhow::Result<(Site, Fleet)> {
    launched(bench.count(ROCKETS)).await
}

/// The same with so many.
pub async fn launched(rockets: u64) -> anyhow::Result<(Site, Fleet)> {
    let (site, mut fleet) = (Site::start(Sync::TwoMinutes).await?, Fleet::new(rockets));
    note(&format!("  writing the records of {rockets} rockets"));
    let records = (0..rockets).map(|_| record(&fleet.next()));
    in_batches(&site.jetstream().await?, records, BATCH_MAX, FILLING).await?;
    Ok((site, fleet))
}
