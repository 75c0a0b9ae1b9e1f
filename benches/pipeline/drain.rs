//! How fast messages are applied that have gathered while no tracker was there, as a share of consuming and
//! acknowledging the same messages and doing nothing else; and what of that it costs to tell what became of each message.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::{Info, PriorityPolicy, pull};
use async_nats::jetstream::{Context, stream::Stream};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use rockets::internals::topology::{BUCKET_STREAM, Bounds, STREAM, Topology, durable_name, record_subject};
use rockets::internals::{Channel, PULL_MESSAGES_MAX, Record};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::messages::{Fleet, speed_after};
use crate::report::{Rows, median, thousands};
use crate::site::{Site, Sync};
use crate::{Scale, note, tracker};

const MESSAGES: u64 = 200_000;
const ROCKETS: [u64; 2] = [20, 20_000];
/// As long as a drain is watched; where the disk is slow it is not through by then, and the rate is that up to then.
const LASTING_MAX: Duration = Duration::from_secs(25);
/// How long it may take until the first message is delivered.
const BEGIN_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
/// How many times each of the two ways is measured.
const REPORTING_RUNS: usize = 3;
/// Records that are looked at.
const CHECKED_RECORDS: usize = 50;

/// The settings that `rockets` has unless it is told otherwise.
const TOPOLOGY: Topology =
    Topology { partitions: 16, replicas: 1, ack_wait: Duration::from_secs(5), bounds: Bounds::UNLIMITED };

/// What was applied of what was there when the clock began to run.
struct Drained {
    of: u64,
    left: u64,
    within: Duration,
}

pub async fn measure(scale: Scale, sync: Sync, rows: &mut Rows) -> anyhow::Result<()> {
    for rockets in ROCKETS {
        measure_with(scale.count(MESSAGES), scale.count(rockets).max(1), sync, rows)
            .await
            .with_context(|| format!("draining the messages of {rockets} rockets"))?;
    }
    Ok(())
}

/// Ingested to processed, with and without telling what became of each message.
pub async fn measure_reporting(scale: Scale, sync: Sync, rows: &mut Rows) -> anyhow::Result<()> {
    for rockets in ROCKETS {
        let (messages, rockets) = (scale.count(MESSAGES), scale.count(rockets).max(1));
        let mut rates = [Vec::new(), Vec::new()];
        // Turn by turn, so that both see the same machine.
        for (outcomes, _) in (0..REPORTING_RUNS).flat_map(|run| [(true, run), (false, run)]) {
            let (site, _) = filled(messages, rockets, sync).await?;
            let stream = site.jetstream().await?.get_stream(STREAM).await?;
            let drained = watch(&stream, durable_name, tracker::start(&site, outcomes)).await?;
            rates[usize::from(!outcomes)].push(drained.a_second());
        }
        let [reported, unreported] = rates.map(median);
        let (messages, rockets) = (thousands(messages), thousands(rockets));
        rows.rate(
            &format!("ingested to processed, {messages} messages of {rockets} rockets, outcomes on"),
            reported,
            unreported,
        );
    }
    Ok(())
}

/// A broker with messages that nobody has applied.
async fn filled(messages: u64, rockets: u64, sync: Sync) -> anyhow::Result<(Site, Fleet)> {
    let mut fleet = Fleet::new(rockets);
    // Filling is not what is measured, so it is done the quick way.
    let site = Site::start(Sync::TwoMinutes).await?;
    site.fill(&mut fleet, messages).await?;
    Ok((site.restart(sync).await?, fleet))
}

async fn measure_with(messages: u64, rockets: u64, sync: Sync, rows: &mut Rows) -> anyhow::Result<()> {
    note(&format!("drain of {messages} messages of {rockets} rockets, sync {}", sync.name()));
    let (site, fleet) = filled(messages, rockets, sync).await?;
    let context = site.jetstream().await?;
    let stream = context.get_stream(STREAM).await?;

    let bare = consume_bare(&stream).await?;
    let drained = watch(&stream, durable_name, site.role("track")).await?;
    if drained.is_through() {
        check_records(&context, &fleet, messages / rockets).await?;
    }
    let name = format!("drain of {} messages of {} rockets", thousands(messages), thousands(rockets));
    rows.rate_of_part(&name, drained.a_second(), bare.a_second(), drained.share_done());
    Ok(())
}

/// Consumes and acknowledges through durables like the tracker's own.
async fn consume_bare(stream: &Stream) -> anyhow::Result<Drained> {
    let mut consumers = Vec::new();
    for partition in 0..TOPOLOGY.partitions {
        consumers.push(stream.create_consumer(bare_durable(partition)).await?);
    }
    let consuming = async {
        let mut tasks = JoinSet::new();
        consumers.into_iter().for_each(|consumer| {
            tasks.spawn(acknowledge_all(consumer));
        });
        Ok(tasks)
    };
    let drained = watch(stream, bare_name, consuming).await?;
    for partition in 0..TOPOLOGY.partitions {
        stream.delete_consumer(&bare_name(partition)).await?;
    }
    Ok(drained)
}

/// The tracker's durable under another name, and without a line of trackers that wait for it.
fn bare_durable(partition: u16) -> pull::Config {
    pull::Config {
        name: Some(bare_name(partition)),
        durable_name: Some(bare_name(partition)),
        priority_policy: PriorityPolicy::None,
        priority_groups: Vec::new(),
        ..TOPOLOGY.durable(partition)
    }
}

async fn acknowledge_all(consumer: async_nats::jetstream::consumer::Consumer<pull::Config>) -> anyhow::Result<()> {
    let mut messages = consumer.stream().max_messages_per_batch(PULL_MESSAGES_MAX).messages().await?;
    while let Some(message) = messages.next().await {
        message?.ack().await.map_err(anyhow::Error::from_boxed)?;
    }
    Ok(())
}

fn bare_name(partition: u16) -> String {
    format!("bare-{}", durable_name(partition))
}

/// Begins something that takes messages up, and watches the durables until all of them are acknowledged. The clock runs
/// from the first delivery that is seen, so that starting a process does not count.
async fn watch<T>(
    stream: &Stream,
    name: fn(u16) -> String,
    begin: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Drained> {
    let names: Vec<_> = (0..TOPOLOGY.partitions).map(name).collect();
    let fullest = fullest(stream, &names).await?;
    let (_worker, ()) = tokio::try_join!(begin, first_delivery(stream, &fullest))?;
    let (of, start) = (left_of_all(stream, &names).await?, Instant::now());
    for name in &names {
        while left(&stream.consumer_info(name).await?) > 0 && start.elapsed() < LASTING_MAX {
            sleep(POLL).await;
        }
    }
    let within = start.elapsed();
    Ok(Drained { of, left: left_of_all(stream, &names).await?, within })
}

async fn first_delivery(stream: &Stream, durable: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + BEGIN_MAX;
    while stream.consumer_info(durable).await?.delivered.consumer_sequence == 0 {
        anyhow::ensure!(Instant::now() < deadline, "nothing is delivered");
        sleep(POLL).await;
    }
    Ok(())
}

/// Messages that are not acknowledged in any of these durables.
pub async fn left_of_all(stream: &Stream, names: &[String]) -> anyhow::Result<u64> {
    Ok(infos(stream, names).await?.iter().map(left).sum())
}

async fn fullest(stream: &Stream, names: &[String]) -> anyhow::Result<String> {
    let infos = infos(stream, names).await?;
    let fullest = infos.into_iter().max_by_key(left).context("there are no durables")?;
    Ok(fullest.name)
}

async fn infos(stream: &Stream, names: &[String]) -> anyhow::Result<Vec<Info>> {
    Ok(try_join_all(names.iter().map(|name| stream.consumer_info(name))).await?)
}

/// Messages that are not acknowledged, delivered or not.
fn left(info: &Info) -> u64 {
    info.num_pending + info.num_ack_pending as u64
}

/// Some records must be what so many messages make of a rocket.
async fn check_records(context: &Context, fleet: &Fleet, last_number: u64) -> anyhow::Result<()> {
    let bucket = context.get_stream(BUCKET_STREAM).await?;
    for channel in fleet.some(CHECKED_RECORDS) {
        let channel: Channel = channel?;
        let message = bucket.direct_get_last_for_subject(record_subject(&channel)).await?;
        let record = Record::from_bytes(&message.payload)?;
        let number = record.last.map(|last| last.number.get());
        let speed = record.rocket.map(|rocket| rocket.speed.unsigned_abs());
        let expected = (Some(last_number), Some(speed_after(last_number)));
        anyhow::ensure!((number, speed) == expected, "{channel}: {:?} should be {expected:?}", (number, speed));
    }
    Ok(())
}

impl Drained {
    fn is_through(&self) -> bool {
        self.left == 0
    }

    fn a_second(&self) -> f64 {
        (self.of - self.left) as f64 / self.within.as_secs_f64()
    }

    fn share_done(&self) -> f64 {
        1.0 - self.left as f64 / self.of as f64
    }
}
