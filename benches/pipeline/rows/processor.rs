//! P7: processor time of the trackers for the same number of messages: with many rockets, beside a few; and of several trackers
//! together, beside one. Messages have gathered while all trackers stood still, so that batches are as large as they may be
//! and the broker could serve any tracker at any moment; of several trackers also as they come, as fast as they can be
//! published.

use std::ops::Range;
use std::time::Duration;

use rockets::internals::{Broker, ConnectionSettings, roll_call};
use tokio::time::{Instant, sleep};

use super::million::{FEW, launched, many};
use crate::bench::Bench;
use crate::figures::{Figures, Goal, Measured, Unit, thousands};
use crate::messages::{Fleet, Message};
use crate::process::Process;
use crate::progress::until_through;
use crate::site::{Site, Sync, TOPOLOGY};

const MESSAGES: u64 = 100_000;
/// Rockets where the number of trackers is what differs.
const ROCKETS: u64 = 20_000;
/// Trackers that are compared with one.
const TRACKERS: [u32; 3] = [2, 4, 8];
/// The number for which there is a goal.
const TRACKERS_MANY: u32 = 8;
/// How long it may take until all trackers share the partitions.
const SHARED_MAX: Duration = Duration::from_secs(10);
const THROUGH_MAX: Duration = Duration::from_secs(120);
/// Nothing that frozen trackers have asked for stands any more after this time.
const FROZEN: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// When the messages are stored.
#[derive(Clone, Copy)]
enum Stored {
    /// While the trackers work.
    Meanwhile,
    /// Before.
    Before,
}

/// A broker with trackers that share the partitions.
struct Tracked {
    site: Site,
    trackers: Vec<Process>,
}

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    with_many_rockets(bench, figures).await?;
    for (stored, how) in [(Stored::Before, "that waited"), (Stored::Meanwhile, "as they come")] {
        with_many_trackers(bench, stored, how, figures).await?;
    }
    Ok(())
}

/// With many rockets each message is of another one; or, so that batches are just those of a few, of a few at a time.
async fn with_many_rockets(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let messages = bench.count(MESSAGES);
    let ((site, fleet), (few_site, mut few_fleet)) = (many(bench).await?, launched(FEW).await?);
    let (all, few) = (Tracked::share(site, 1).await?, Tracked::share(few_site, 1).await?);
    let rockets = fleet.rockets();
    // Those that have sent nothing but their launch.
    let mut unheard = 0..rockets;
    for (name, at_once, goal) in
        [("each of another of", messages, Some(Goal::RatioMax(2.5))), ("of 20 at a time of", FEW, None)]
    {
        let pairs = bench.in_turn(
            async || {
                let stretches = stretches(&fleet, &mut unheard, at_once, messages);
                all.spent_on(stretches.into_iter().flatten(), Stored::Before).await
            },
            async || {
                let messages = (0..messages).map(|_| few_fleet.next());
                few.spent_on(messages, Stored::Before).await
            },
        );
        let what = format!(
            "processor time of track, {} messages {name} {} rockets",
            thousands(messages),
            thousands(rockets as u64)
        );
        let measured = Measured::new(what, format!("of {FEW} rockets"), Unit::Seconds);
        figures.add(goal.into_iter().fold(measured, Measured::goal), pairs.await?);
    }
    Ok(())
}

/// So many messages, the next ones of some rockets and then of some others.
fn stretches(fleet: &Fleet, unheard: &mut Range<usize>, at_once: u64, messages: u64) -> Vec<Vec<Message>> {
    let (at_once, in_all) = (at_once as usize, FEW.min(messages / at_once).max(1));
    let stretch = |_| {
        let first = unheard.start;
        unheard.start = (first + at_once).min(unheard.end);
        let mut part = fleet.part(first..unheard.start);
        (0..messages / in_all).map(|_| part.next()).collect()
    };
    (0..in_all).map(stretch).collect()
}

async fn with_many_trackers(bench: Bench, stored: Stored, how: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let (messages, rockets) = (bench.count(MESSAGES), bench.count(ROCKETS));
    let one = Tracked::share(Site::start(Sync::TwoMinutes).await?, 1).await?;
    let mut of_one = Fleet::new(rockets);
    for count in TRACKERS {
        let several = Tracked::share(Site::start(Sync::TwoMinutes).await?, count).await?;
        let mut of_several = Fleet::new(rockets);
        let pairs = bench.in_turn(
            async || several.spent_on((0..messages).map(|_| of_several.next()), stored).await,
            async || one.spent_on((0..messages).map(|_| of_one.next()), stored).await,
        );
        let what = format!("processor time of {count} trackers, {} messages {how}", thousands(messages));
        let measured = Measured::new(what, "of one", Unit::Seconds).at(stored.plot(), count);
        let goal = (count == TRACKERS_MANY).then_some(Goal::RatioMax(1.2));
        figures.add(goal.into_iter().fold(measured, Measured::goal), pairs.await?);
    }
    Ok(())
}

impl Stored {
    fn plot(self) -> &'static str {
        match self {
            Self::Before => "trackers-waited",
            Self::Meanwhile => "trackers-come",
        }
    }
}

impl Tracked {
    /// Starts so many trackers, and waits until they share the partitions.
    async fn share(site: Site, count: u32) -> anyhow::Result<Self> {
        let mut trackers = Vec::new();
        for _ in 0..count {
            trackers.push(site.role("track").await?);
        }
        let broker = Broker::connect(&ConnectionSettings::at(site.url()), "bench").await?;
        let deadline = Instant::now() + SHARED_MAX;
        loop {
            let words = roll_call(&broker).await?;
            let led: usize = words.iter().map(|word| word.leads.len()).sum();
            if words.len() == trackers.len() && led == usize::from(TOPOLOGY.partitions) {
                return Ok(Self { site, trackers });
            }
            anyhow::ensure!(Instant::now() < deadline, "they do not share: {words:?}");
            sleep(POLL).await;
        }
    }

    /// Seconds of processor time that all trackers together take for these messages.
    async fn spent_on(&self, messages: impl Iterator<Item = Message>, stored: Stored) -> anyhow::Result<f64> {
        let before = match stored {
            Stored::Meanwhile => {
                let before = self.spent()?;
                self.site.store(messages).await?;
                before
            }
            Stored::Before => {
                self.freeze(true)?;
                sleep(FROZEN).await;
                self.site.store(messages).await?;
                let before = self.spent()?;
                self.freeze(false)?;
                before
            }
        };
        let left = until_through(&self.site.jetstream().await?, THROUGH_MAX).await?;
        anyhow::ensure!(left == 0, "{left} messages are not applied");
        Ok((self.spent()? - before).as_secs_f64())
    }

    fn freeze(&self, is_frozen: bool) -> anyhow::Result<()> {
        self.trackers.iter().try_for_each(|tracker| tracker.freeze(is_frozen))
    }

    fn spent(&self) -> anyhow::Result<Duration> {
        self.trackers.iter().map(Process::processor_time).sum()
    }
}
