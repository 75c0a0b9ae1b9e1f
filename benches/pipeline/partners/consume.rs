//! Consuming the log and acknowledging each message, and nothing else, through durables like the tracker's own.

use std::time::Duration;

use async_nats::jetstream::consumer::{Consumer, PriorityPolicy, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;
use rockets::internals::PULL_MESSAGES_MAX;
use rockets::internals::topology::durable_name;
use tokio::task::JoinSet;

use crate::progress::{Drained, watch};
use crate::site::TOPOLOGY;

/// Consumes all of it, or for so long.
pub async fn consume_all(stream: &Stream, lasting_max: Duration) -> anyhow::Result<Drained> {
    let mut consumers = Vec::new();
    for partition in 0..TOPOLOGY.partitions {
        consumers.push(stream.create_consumer(durable(partition)).await?);
    }
    let consuming = async {
        let mut tasks = JoinSet::new();
        consumers.into_iter().for_each(|consumer| {
            tasks.spawn(acknowledge_all(consumer));
        });
        Ok(tasks)
    };
    let (_tasks, drained) = watch(stream, name, lasting_max, consuming).await?;
    for partition in 0..TOPOLOGY.partitions {
        stream.delete_consumer(&name(partition)).await?;
    }
    Ok(drained)
}

/// The tracker's durable under another name, and without a line of trackers that wait for it.
fn durable(partition: u16) -> pull::Config {
    pull::Config {
        name: Some(name(partition)),
        durable_name: Some(name(partition)),
        priority_policy: PriorityPolicy::None,
        priority_groups: Vec::new(),
        ..TOPOLOGY.durable(partition)
    }
}

async fn acknowledge_all(consumer: Consumer<pull::Config>) -> anyhow::Result<()> {
    let mut messages = consumer.stream().max_messages_per_batch(PULL_MESSAGES_MAX).messages().await?;
    while let Some(message) = messages.next().await {
        message?.ack().await.map_err(anyhow::Error::from_boxed)?;
    }
    Ok(())
}

fn name(partition: u16) -> String {
    format!("bare-{}", durable_name(partition))
}
