//! P8: many messages of one rocket that wait behind its first one, which comes last, in order, at random or falling; beside as
//! many in order without a gap. All of them have gathered while no tracker was there.

use std::time::Duration;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rockets::internals::topology::{STREAM, durable_name};

use crate::bench::Bench;
use crate::figures::{Figures, Goal, Measured, Unit, thousands};
use crate::messages::Fleet;
use crate::progress::{check_records, watch};
use crate::site::{Site, Sync};

const MESSAGES: u64 = 100_000;
const SEED: u64 = 444;
/// As long as it may take.
const THROUGH_MAX: Duration = Duration::from_secs(120);

/// A log with the messages of one rocket.
struct Log {
    site: Site,
    fleet: Fleet,
    last_number: u64,
}

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let messages = bench.count(MESSAGES);
    let rising: Vec<_> = (1..=messages).collect();
    let in_order = Log::of(rising.clone()).await?;
    for (name, waiting) in
        [("in order", rising.clone()), ("at random", shuffled(rising.clone())), ("falling", reversed(rising))]
    {
        // The first one comes last.
        let numbers = waiting.into_iter().map(|number| number + 1).chain([1]).collect();
        let behind_gap = Log::of(numbers).await?;
        let pairs = bench.in_turn(async || behind_gap.drain().await, async || in_order.drain().await).await?;
        let what = format!("{} messages behind a gap, {name}, to state", thousands(messages));
        let measured = Measured::new(what, "in order without a gap", Unit::Seconds);
        figures.add(measured.goal(Goal::RatioMax(3.0)), pairs);
    }
    Ok(())
}

impl Log {
    async fn of(numbers: Vec<u64>) -> anyhow::Result<Self> {
        let (site, fleet, last_number) = (Site::start(Sync::TwoMinutes).await?, Fleet::new(1), numbers.iter().copied());
        let last_number = last_number.max().unwrap_or_default();
        site.store(numbers.into_iter().map(|number| fleet.of_first(number))).await?;
        Ok(Self { site, fleet, last_number })
    }

    /// Has a tracker apply all of it from the beginning, and tells how many seconds that took.
    async fn drain(&self) -> anyhow::Result<f64> {
        self.site.forget_progress().await?;
        let context = self.site.jetstream().await?;
        let stream = context.get_stream(STREAM).await?;
        let (tracker, drained) = watch(&stream, durable_name, THROUGH_MAX, self.site.role("track")).await?;
        anyhow::ensure!(drained.is_through(), "{:.0} % are applied", 100.0 * drained.share_done());
        let rocket = self.fleet.of_first(self.last_number).channel()?;
        check_records(&context, std::iter::once(Ok((rocket, self.last_number)))).await?;
        tracker.stop().await?;
        Ok(drained.within().as_secs_f64())
    }
}

fn shuffled(mut numbers: Vec<u64>) -> Vec<u64> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    numbers.sort_by_cached_key(|_| random.next_u64());
    numbers
}

fn reversed(numbers: Vec<u64>) -> Vec<u64> {
    numbers.into_iter().rev().collect()
}
