//! What several trackers cost: the processor time of all of them together for the same messages, beside that of one. Messages
//! are applied as they come, as fast as they can be published, or have gathered while all trackers stood still; then the
//! broker could serve any tracker at any moment.

use std::time::Duration;

use anyhow::Context as _;
use rockets::internals::topology::{STREAM, durable_name};
use rockets::internals::{Broker, ConnectionSettings, roll_call};
use tokio::time::{Instant, sleep};

use crate::drain::left_of_all;
use crate::messages::Fleet;
use crate::process::Process;
use crate::report::{Rows, median, thousands};
use crate::site::{Site, Sync};
use crate::{Scale, note};

const MESSAGES: u64 = 200_000;
const ROCKETS: [u64; 2] = [20, 20_000];
const TRACKERS: usize = 8;
const PARTITIONS: u16 = 16;
/// How many times each number of trackers is measured.
const RUNS: usize = 3;
/// The figures are for so many messages.
const PER_MESSAGES: f64 = 100_000.0;
const SHARED_MAX: Duration = Duration::from_secs(10);
const THROUGH_MAX: Duration = Duration::from_secs(120);
/// As long as trackers are watched that have nothing to do.
const IDLE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Nothing that frozen trackers have asked for stands any more after this time.
const FROZEN: Duration = Duration::from_secs(3);

/// Processor time of all trackers together, and of the broker.
#[derive(Clone, Copy)]
struct Spent {
    trackers: Duration,
    broker: Duration,
}

/// When the messages are stored.
#[derive(Clone, Copy)]
enum Stored {
    /// While the trackers work.
    Meanwhile,
    /// Before.
    Before,
}

pub async fn measure(scale: Scale, sync: Sync, rows: &mut Rows) -> anyhow::Result<()> {
    for rockets in ROCKETS {
        for (stored, how) in [(Stored::Meanwhile, "come"), (Stored::Before, "waited")] {
            let (messages, rockets) = (scale.count(MESSAGES), scale.count(rockets).max(1));
            let mut spent = [Vec::new(), Vec::new()];
            // Turn by turn, so that both see the same machine.
            for (at, count) in (0..RUNS).flat_map(|_| [(0, TRACKERS), (1, 1)]) {
                note(&format!("{count} trackers, {messages} messages of {rockets} rockets that {how}"));
                let of_run = spent_on(messages, rockets, count, stored, sync).await?;
                spent[at].push(of_run.map(|time| time.as_secs_f64() * PER_MESSAGES / messages as f64));
            }
            for (at, whose) in [format!("{TRACKERS} trackers"), "nats-server with them".into()].iter().enumerate() {
                let [many, one] = spent.each_ref().map(|runs| median(runs.iter().map(|run| run[at]).collect()));
                let rockets = thousands(rockets);
                let name = format!("processor time of {whose}, 100,000 messages of {rockets} rockets that {how}");
                rows.seconds(&name, many, one, "with one");
            }
        }
    }
    measure_idle(sync, rows).await
}

/// Processor time of the trackers and of the broker.
async fn spent_on(
    messages: u64,
    rockets: u64,
    count: usize,
    stored: Stored,
    sync: Sync,
) -> anyhow::Result<[Duration; 2]> {
    let (site, trackers) = sharing(count, sync).await?;
    let (mut fleet, mut before) = (Fleet::new(rockets), spent(&site, &trackers)?);
    match stored {
        Stored::Meanwhile => site.fill(&mut fleet, messages).await?,
        Stored::Before => {
            trackers.iter().try_for_each(|tracker| tracker.freeze(true))?;
            sleep(FROZEN).await;
            site.fill(&mut fleet, messages).await?;
            before = spent(&site, &trackers)?;
            trackers.iter().try_for_each(|tracker| tracker.freeze(false))?;
        }
    }
    until_through(&site).await?;
    let after = spent(&site, &trackers)?;
    Ok([after.trackers - before.trackers, after.broker - before.broker])
}

/// What the same trackers cost while nothing comes.
async fn measure_idle(sync: Sync, rows: &mut Rows) -> anyhow::Result<()> {
    let mut a_second = Vec::new();
    for count in [TRACKERS, 1] {
        let (site, trackers) = sharing(count, sync).await?;
        let before = spent(&site, &trackers)?;
        sleep(IDLE).await;
        a_second.push((spent(&site, &trackers)?.trackers - before.trackers).as_secs_f64() / IDLE.as_secs_f64());
    }
    rows.seconds(
        &format!("processor time of {TRACKERS} trackers in an idle second"),
        a_second[0],
        a_second[1],
        "of one",
    );
    Ok(())
}

/// A broker with so many trackers that share the partitions.
async fn sharing(count: usize, sync: Sync) -> anyhow::Result<(Site, Vec<Process>)> {
    let (site, mut trackers) = (Site::start(sync).await?, Vec::new());
    for _ in 0..count {
        trackers.push(site.role("track").await?);
    }
    let broker = Broker::connect(&ConnectionSettings::at(site.url()), "bench").await?;
    let deadline = Instant::now() + SHARED_MAX;
    loop {
        let words = roll_call(&broker).await?;
        let led: usize = words.iter().map(|word| word.leads.len()).sum();
        if words.len() == count && led == usize::from(PARTITIONS) {
            return Ok((site, trackers));
        }
        anyhow::ensure!(Instant::now() < deadline, "they do not share: {words:?}");
        sleep(POLL).await;
    }
}

async fn until_through(site: &Site) -> anyhow::Result<()> {
    let stream = site.jetstream().await?.get_stream(STREAM).await?;
    let names: Vec<_> = (0..PARTITIONS).map(durable_name).collect();
    let deadline = Instant::now() + THROUGH_MAX;
    while left_of_all(&stream, &names).await? > 0 {
        anyhow::ensure!(Instant::now() < deadline, "the messages are not applied");
        sleep(POLL).await;
    }
    Ok(())
}

fn spent(site: &Site, trackers: &[Process]) -> anyhow::Result<Spent> {
    let trackers = trackers.iter().map(Process::processor_time).sum::<anyhow::Result<_>>();
    let trackers = trackers.context("processor time is read where Linux has it")?;
    Ok(Spent { trackers, broker: site.broker.processor_time()? })
}
