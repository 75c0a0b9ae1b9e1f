//! The service of a contract test: `rockets up` at a broker of the test's, its address, and looks past it.

use std::net::SocketAddr;

use async_nats::jetstream::{self, message::StreamMessage};
use serde_json::Value;

use super::harness::{Client, Program, TestService, becomes, eventually, stream};
use super::raw_http::get;

pub struct Service {
    test: TestService,
    addr: SocketAddr,
    jetstream: jetstream::Context,
}

impl Service {
    pub async fn start() -> Self {
        Self::of(TestService::start().await).await
    }

    pub async fn of(mut test: TestService) -> Self {
        let addr = addr(&mut test.programs[0]).await;
        let jetstream = test.broker().jetstream().await;
        Self { test, addr, jetstream }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn client(&self) -> &Client {
        &self.test.query
    }

    pub fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Memory that the service has in use, where there is a `/proc`.
    pub fn resident_bytes(&self) -> Option<u64> {
        self.test.programs[0].resident_bytes()
    }

    pub fn broker_url(&mut self) -> String {
        self.test.broker().url()
    }

    /// How many messages are stored.
    pub async fn stored(&self) -> u64 {
        stream::count(&self.jetstream, "ROCKETS").await
    }

    pub async fn until_stored(&self, messages: u64) {
        becomes("the number of stored messages", messages, async || self.stored().await).await;
    }

    /// A stored message, as it lies in the stream.
    pub async fn message(&self, event_id: u64) -> StreamMessage {
        self.jetstream.get_stream("ROCKETS").await.unwrap().get_raw_message(event_id).await.unwrap()
    }

    /// Stores a message past the ingress, without an id.
    pub async fn publish(&self, channel: &str, message: &str) {
        stream::publish_bytes(&self.jetstream, &format!("rockets.{channel}"), message.into()).await;
    }

    /// Waits until a rocket is as it should be.
    pub async fn until(&self, channel: &str, is: impl Fn(&Value) -> bool) {
        let look = async || {
            let reply = get(self.addr, &format!("/rockets/{channel}")).await;
            (reply.status == 200 && is(&reply.data())).then_some(())
        };
        eventually("the rocket to be as it should be", look).await;
    }

    /// Waits until a rocket has come to this number.
    pub async fn until_at(&self, channel: &str, number: u64) {
        self.until(channel, |rocket| rocket["lastMessageNumber"] == number).await;
    }

    /// Waits until there is a record of a channel.
    pub async fn until_recorded(&self, channel: &str) {
        eventually("a record", async || self.record(channel).await).await;
    }

    /// The record of a channel, as it lies in the bucket.
    pub async fn record(&self, channel: &str) -> Option<Value> {
        let bucket = self.jetstream.get_key_value("rockets").await.unwrap();
        Some(serde_json::from_slice(&bucket.get(channel).await.unwrap()?).unwrap())
    }

    /// Stops the broker for good, or until it comes back, and waits until the service has noticed.
    pub async fn broker_goes(&mut self) {
        self.test.broker().kill();
        becomes("the health without a broker", 503, async || get(self.addr, "/health").await.status).await;
    }

    /// Stops the broker and waits for nothing.
    pub fn broker_is_killed(&mut self) {
        self.test.broker().kill();
    }

    /// Lets the broker hang, or go on.
    pub fn broker_hangs(&mut self, hangs: bool) {
        if hangs { self.test.broker().freeze() } else { self.test.broker().thaw() }
    }

    pub async fn broker_comes_back(&mut self) {
        self.test.broker().restart().await;
    }

    pub async fn until_healthy(&self) {
        becomes("the health", 200, async || get(self.addr, "/health").await.status).await;
    }

    /// Bounds a stream as an operator would, or lifts the bound with -1.
    pub async fn limit_messages(&self, stream: &str, max_messages: i64) {
        let mut config = self.jetstream.get_stream(stream).await.unwrap().cached_info().config.clone();
        config.max_messages = max_messages;
        self.jetstream.update_stream(config).await.unwrap();
    }
}

/// Where a program serves HTTP.
pub async fn addr(program: &mut Program) -> SocketAddr {
    program.addr().await.parse().unwrap()
}
