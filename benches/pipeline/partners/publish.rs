//! Publishing to the broker and nothing else: one by one without waiting in between, or as batches that are stored whole.
//! Stores are filled by it too.

use std::collections::VecDeque;

use async_nats::HeaderValue;
use async_nats::header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use rockets::internals::topology::{message_id, record_subject, subject};
use rockets::internals::{Record, wire};

use crate::messages::Message;

/// Publishes whose acknowledgements are awaited at once.
pub const ACKS_AWAITED_MAX: usize = 1_000;
/// Most messages of a batch that the broker takes.
pub const BATCH_MAX: usize = 1_000;
/// Batches that fill a store under way at once.
pub const FILLING: usize = 4;

/// Something to be published.
pub type Publish = (String, PublishMessage);

/// A message as it is published without any check.
pub fn bare(message: &Message) -> anyhow::Result<Publish> {
    let publish = PublishMessage::build().payload(message.body().into()).message_id(message.id());
    Ok((subject(&message.channel()?), publish))
}

/// A message as the ingress would publish it.
pub fn ingested(message: &Message) -> anyhow::Result<Publish> {
    let (channel, body) = (message.channel()?, message.body());
    let id = message_id(&channel, message.message_number()?, body.as_bytes());
    Ok((subject(&channel), PublishMessage::build().payload(body.into()).message_id(id)))
}

/// The record of a rocket that was launched by this message, as a tracker would write it.
pub fn record(launch: &Message) -> anyhow::Result<Publish> {
    let mut record = Record::default();
    record.place(&wire::read(launch.body().as_bytes())?)?;
    Ok((record_subject(&launch.channel()?), PublishMessage::build().payload(record.to_bytes().into())))
}

/// Publishes one by one, and tells how many were acknowledged.
pub async fn singly(context: &Context, messages: impl Iterator<Item = anyhow::Result<Publish>>) -> anyhow::Result<u64> {
    let (mut acks, mut acknowledged) = (VecDeque::new(), 0);
    for message in messages {
        let (subject, publish) = message?;
        acks.push_back(context.send_publish(subject, publish).await?);
        if acks.len() == ACKS_AWAITED_MAX
            && let Some(oldest) = acks.pop_front()
        {
            oldest.await?;
            acknowledged += 1;
        }
    }
    for ack in acks {
        ack.await?;
        acknowledged += 1;
    }
    Ok(acknowledged)
}

/// Publishes batches of a size, so many under way at once, in order; tells how many messages were acknowledged.
pub async fn in_batches(
    context: &Context,
    mut messages: impl Iterator<Item = anyhow::Result<Publish>>,
    size: usize,
    under_way: usize,
) -> anyhow::Result<u64> {
    let (mut batches, mut acknowledged) = (VecDeque::new(), 0);
    loop {
        let batch = messages.by_ref().take(size).collect::<anyhow::Result<Vec<_>>>()?;
        let is_end = batch.is_empty();
        if !is_end {
            batches.push_back((batch.len() as u64, send_batch(context, batch).await?));
        }
        while is_end || batches.len() == under_way {
            let Some((messages, ack)) = batches.pop_front() else { return Ok(acknowledged) };
            let stored = ack.await?.batch_size;
            anyhow::ensure!(stored == Some(messages), "{stored:?} of {messages} messages of a batch are stored");
            acknowledged += messages;
        }
    }
}

/// Sends a batch, the last of which asks for all of it to be stored.
async fn send_batch(context: &Context, batch: Vec<Publish>) -> anyhow::Result<PublishAckFuture> {
    let (id, last, client) = (uuid::Uuid::new_v4().simple().to_string(), batch.len(), context.client());
    for (at, (subject, message)) in (1..).zip(batch) {
        let message = message.header(NATS_BATCH_ID, id.as_str()).header(NATS_BATCH_SEQUENCE, HeaderValue::from(at));
        if at == last {
            let message = message.header(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
            return Ok(context.send_publish(subject, message).await?);
        }
        let message = message.outbound_message(subject);
        client.publish_with_headers(message.subject, message.headers.unwrap_or_default(), message.payload).await?;
    }
    anyhow::bail!("an empty batch")
}
