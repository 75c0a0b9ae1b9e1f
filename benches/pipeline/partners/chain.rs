//! The way of a message without anything on it: published, consumed, its record put, and the record seen by a watch; one
//! message at a time, each step as soon as the one before is there.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{DeliverPolicy, pull, push};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, Stream};
use futures_util::StreamExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Subjects that none of ours are.
const LOG: &str = "bench-chain";
const RECORD: &str = "bench-record";
/// How long one message may take before something is wrong.
const SEEN_MAX: Duration = Duration::from_secs(10);

/// Sends messages one at a time, and tells how long each took from being published until its record was seen.
pub async fn time(context: &Context, messages: u64, body: &str) -> anyhow::Result<Vec<Duration>> {
    let (log, records) = (stream(context, LOG).await?, stream(context, RECORD).await?);
    let watching = push::OrderedConfig {
        deliver_subject: context.client().new_inbox(),
        deliver_policy: DeliverPolicy::New,
        ..push::OrderedConfig::default()
    };
    let mut seen = records.create_consumer(watching).await?.messages().await?;
    let mut putting = JoinSet::new();
    putting.spawn(put_each(context.clone(), log));
    let (mut times, body) = (Vec::new(), bytes::Bytes::from(body.to_owned()));
    for _ in 0..messages {
        let start = Instant::now();
        context.send_publish(LOG, PublishMessage::build().payload(body.clone())).await?.await?;
        match timeout(SEEN_MAX, seen.next()).await? {
            Some(record) => record?,
            None => anyhow::bail!("the watch ended"),
        };
        times.push(start.elapsed());
    }
    putting.abort_all();
    for name in [LOG, RECORD] {
        context.delete_stream(name).await?;
    }
    Ok(times)
}

async fn stream(context: &Context, name: &str) -> anyhow::Result<Stream> {
    let config = Config { name: name.into(), subjects: vec![name.into()], ..Config::default() };
    Ok(context.create_stream(config).await?)
}

/// Puts a record for each message where the last one is still the expected one, then acknowledges the message.
async fn put_each(context: Context, log: Stream) -> anyhow::Result<()> {
    let config = pull::Config { durable_name: Some(LOG.into()), ..pull::Config::default() };
    let mut messages = log.create_consumer(config).await?.messages().await?;
    let mut revision = 0;
    while let Some(message) = messages.next().await {
        let message = message?;
        let record = PublishMessage::build().payload(message.payload.clone());
        let record = record.expected_last_subject_sequence(revision);
        revision = context.send_publish(RECORD, record).await?.await?.sequence;
        message.ack().await.map_err(anyhow::Error::from_boxed)?;
    }
    Ok(())
}
