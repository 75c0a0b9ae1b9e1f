//! Reading the whole bucket and keeping nothing of it: what a view cannot do without.

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use futures_util::StreamExt as _;
use rockets::internals::topology::{BUCKET_STREAM, BUCKET_SUBJECTS};

/// Reads the last value of every key, and tells how many there were and how many bytes they had.
pub async fn read_all(context: &Context) -> anyhow::Result<(u64, u64)> {
    let config = push::OrderedConfig {
        deliver_subject: context.client().new_inbox(),
        filter_subject: BUCKET_SUBJECTS.into(),
        deliver_policy: DeliverPolicy::LastPerSubject,
        ..push::OrderedConfig::default()
    };
    let consumer = context.get_stream(BUCKET_STREAM).await?.create_consumer(config).await?;
    let (mut records, mut bytes, mut left) = (0, 0, consumer.cached_info().num_pending);
    let mut messages = consumer.messages().await?;
    while left > 0
        && let Some(message) = messages.next().await
    {
        let message = message?;
        left = message.info().map_err(anyhow::Error::from_boxed)?.pending;
        records += 1;
        bytes += message.payload.len() as u64;
    }
    Ok((records, bytes))
}
