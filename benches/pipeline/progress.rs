//! How far the messages are acknowledged that lie in the log: what is left of them in the durables of all partitions.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::stream::Stream;
use futures_util::future::try_join_all;
use rockets::internals::topology::{BUCKET_STREAM, STREAM, durable_name, record_subject};
use rockets::internals::{Channel, Record};
use tokio::time::{Instant, sleep};

use crate::messages::speed_after;
use crate::site::TOPOLOGY;

/// How long it may take until the first message is delivered.
const BEGIN_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
/// Where all partitions are asked for each time, which the broker would feel.
const POLL_ALL: Duration = Duration::from_millis(50);

/// What was acknowledged of what was there when the clock began to run.
pub struct Drained {
    of: u64,
    left: u64,
    within: Duration,
}

impl Drained {
    pub fn is_through(&self) -> bool {
        self.left == 0
    }

    pub fn within(&self) -> Duration {
        self.within
    }

    pub fn a_second(&self) -> f64 {
        (self.of - self.left) as f64 / self.within.as_secs_f64()
    }

    pub fn share_done(&self) -> f64 {
        1.0 - self.left as f64 / self.of as f64
    }
}

/// Begins something that takes messages up, and watches the durables until all of them are acknowledged, or for so long. The
/// clock runs from the first delivery that is seen, so that starting a process does not count.
pub async fn watch<T>(
    stream: &Stream,
    name: fn(u16) -> String,
    lasting_max: Duration,
    begin: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, Drained)> {
    let names: Vec<_> = (0..TOPOLOGY.partitions).map(name).collect();
    let fullest = fullest(stream, &names).await?;
    let (worker, ()) = tokio::try_join!(begin, first_delivery(stream, &fullest))?;
    let (of, start) = (left_of_all(stream, &names).await?, Instant::now());
    for name in &names {
        while left(&stream.consumer_info(name).await?) > 0 && start.elapsed() < lasting_max {
            sleep(POLL).await;
        }
    }
    let within = start.elapsed();
    Ok((worker, Drained { of, left: left_of_all(stream, &names).await?, within }))
}

/// Waits until the trackers have nothing left, or tells how much is left after so long.
pub async fn until_through(context: &Context, within: Duration) -> anyhow::Result<u64> {
    let (stream, deadline) = (context.get_stream(STREAM).await?, Instant::now() + within);
    loop {
        let left = left_to_track(&stream).await?;
        if left == 0 || Instant::now() >= deadline {
            return Ok(left);
        }
        sleep(POLL_ALL).await;
    }
}

/// Messages that the trackers have acknowledged.
pub async fn applied(context: &Context) -> anyhow::Result<u64> {
    let stream = context.get_stream(STREAM).await?;
    let left = left_to_track(&stream).await?;
    Ok(stream.cached_info().state.messages.saturating_sub(left))
}

/// Messages that they have not acknowledged.
async fn left_to_track(stream: &Stream) -> anyhow::Result<u64> {
    left_of_all(stream, &(0..TOPOLOGY.partitions).map(durable_name).collect::<Vec<_>>()).await
}

/// The records of these rockets must be what their messages up to these numbers make of them.
pub async fn check_records(
    context: &Context,
    rockets: impl Iterator<Item = anyhow::Result<(Channel, u64)>>,
) -> anyhow::Result<()> {
    let bucket = context.get_stream(BUCKET_STREAM).await?;
    for rocket in rockets {
        let (channel, last_number) = rocket?;
        let message = bucket.direct_get_last_for_subject(record_subject(&channel)).await?;
        let record = Record::from_bytes(&message.payload)?;
        let number = record.last.map(|last| last.number.get());
        let speed = record.rocket.map(|rocket| rocket.speed.unsigned_abs());
        let expected = (Some(last_number), Some(speed_after(last_number)));
        anyhow::ensure!((number, speed) == expected, "{channel}: {:?} should be {expected:?}", (number, speed));
    }
    Ok(())
}

async fn first_delivery(stream: &Stream, durable: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + BEGIN_MAX;
    while stream.consumer_info(durable).await?.delivered.consumer_sequence == 0 {
        anyhow::ensure!(Instant::now() < deadline, "nothing is delivered");
        sleep(POLL).await;
    }
    Ok(())
}

async fn left_of_all(stream: &Stream, names: &[String]) -> anyhow::Result<u64> {
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
