//! A whole service in one line, for tests that are not about how it is started.

use serde_json::Value;

use super::client::Answer;
use super::messages::expected;
use super::{Broker, Client, DataDir, Program, becomes};

/// A service that runs and is ready.
pub struct TestService {
    /// All processes; one, or ingest, track and query. Ended before what they stand on.
    pub programs: Vec<Program>,
    /// Where messages are posted.
    pub ingest: Client,
    /// Where rockets are read.
    pub query: Client,
    /// Its broker, where it did not bring one.
    pub broker: Option<Broker>,
    /// The store of its own broker, where it brought one.
    pub data: Option<DataDir>,
}

impl TestService {
    /// `rockets up` at a broker of the test's.
    pub async fn start() -> Self {
        let broker = Broker::start().await;
        let mut up = Program::of(&["up"]).broker(&broker).start();
        let client = up.ready().await;
        Self { programs: vec![up], ingest: client.clone(), query: client, broker: Some(broker), data: None }
    }

    /// `rockets up` with a broker of its own.
    pub async fn embedded() -> Self {
        let data = DataDir::new();
        let mut up = Program::of(&["up"]).data_dir(&data).start();
        let client = up.ready().await;
        Self { programs: vec![up], ingest: client.clone(), query: client, broker: None, data: Some(data) }
    }

    /// `rockets init`, then three processes with one role each. Their log tells everything.
    pub async fn split() -> Self {
        let broker = Broker::start().await;
        init(&broker).await;
        let start = |role| Program::of(&[role]).broker(&broker).rust_log("rockets=debug").start();
        let mut programs = vec![start("ingest"), start("track"), start("query")];
        let ingest = programs[0].ready().await;
        programs[1].ready().await;
        let query = programs[2].ready().await;
        Self { programs, ingest, query, broker: Some(broker), data: None }
    }

    /// The test's broker.
    pub fn broker(&mut self) -> &mut Broker {
        self.broker.as_mut().expect("the service stands on a broker of the test's")
    }

    /// Sends a message.
    pub async fn post(&self, message: &Value) -> Answer {
        self.ingest.post(message).await
    }

    /// One rocket; none where it is not known.
    pub async fn rocket(&self, channel: &str) -> Option<Value> {
        self.query.rocket(channel).await
    }

    /// Waits until the rocket of these messages, all of one channel, is what they make of it.
    pub async fn settles(&self, messages: &[Value]) {
        settles(&self.query, messages).await;
    }
}

/// Makes the broker's objects.
pub async fn init(broker: &Broker) {
    let status = Program::of(&["init"]).broker(broker).start().exit().await;
    assert!(status.success(), "{status}");
}

/// Waits until the rocket of these messages, all of one channel, is what they make of it.
pub async fn settles(client: &Client, messages: &[Value]) {
    let channel = messages[0]["metadata"]["channel"].as_str().unwrap();
    becomes("the rocket's state", expected(messages), async || client.rocket(channel).await).await;
}
