//! P5: how many messages a second come to state in `rockets up`, synced, while many connections send, beside the single
//! synced writes of the same broker: whoever writes a message and a record each by itself ends at half of those.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Config;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::figures::{Figures, Goal, Measured, Unit};
use crate::load::Load;
use crate::messages::Fleet;
use crate::partners::publish::singly;
use crate::progress::{applied, until_through};
use crate::site::{Sync, Whole};

const LASTING: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 256;
const SETTLED_MAX: Duration = Duration::from_secs(60);
/// A subject that none of ours is.
const WRITES: &str = "bench-writes";

pub async fn measure(bench: Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let (whole, lasting) = (Whole::start(Sync::Always).await?, bench.time(LASTING));
    let context = whole.jetstream().await?;
    let config = Config { name: WRITES.into(), subjects: vec![WRITES.into()], ..Config::default() };
    context.create_stream(config).await?;
    let pairs = bench.in_turn(
        async || applied_a_second(&whole, &context, lasting).await,
        async || written_a_second(&context, lasting).await,
    );
    let what = format!("messages to state, {CONNECTIONS} connections, synced");
    let measured = Measured::new(what, "single synced writes", Unit::PerSecond);
    figures.add(measured.goal(Goal::RatioMin(3.0)), pairs.await?);
    Ok(())
}

async fn applied_a_second(whole: &Whole, context: &Context, lasting: Duration) -> anyhow::Result<f64> {
    // What was sent the last time is not of this one.
    until_through(context, SETTLED_MAX).await?;
    let (before, start) = (applied(context).await?, Instant::now());
    Load::singly(CONNECTIONS).send(whole.process.addr(), lasting).await?;
    let within = start.elapsed();
    Ok((applied(context).await? - before) as f64 / within.as_secs_f64())
}

async fn written_a_second(context: &Context, lasting: Duration) -> anyhow::Result<f64> {
    let (body, start) = (bytes::Bytes::from(Fleet::new(1).next().body()), Instant::now());
    let message = || Ok((WRITES.to_owned(), PublishMessage::build().payload(body.clone())));
    let written = singly(context, std::iter::from_fn(|| (start.elapsed() < lasting).then(message))).await?;
    Ok(written as f64 / start.elapsed().as_secs_f64())
}
