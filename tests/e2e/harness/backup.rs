//! A stream taken away and brought back, as `nats stream backup` and `nats stream restore` do: the same questions of the
//! JetStream API. And all that a stream has, read message by message.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

/// Longest pause between two pieces.
const PIECE_WITHIN: Duration = Duration::from_secs(20);

/// Messages that are asked for at once.
const READS_AT_ONCE: usize = 64;

/// A stream with its durables, as the broker gives it out.
pub struct Backup {
    stream: String,
    config: Value,
    state: Value,
    pieces: Vec<bytes::Bytes>,
}

impl Backup {
    /// Takes a copy of a stream that goes on meanwhile.
    pub async fn of(client: &Client, stream: &str) -> Self {
        let inbox = client.new_inbox();
        let mut coming = client.subscribe(inbox.clone()).await.unwrap();
        let question = json!({ "deliver_subject": inbox, "no_consumers": false, "chunk_size": 64 * 1024 });
        let mut answer = ask(client, &format!("$JS.API.STREAM.SNAPSHOT.{stream}"), &question).await;
        let (config, state) = (answer["config"].take(), answer["state"].take());
        let mut pieces = Vec::new();
        loop {
            let piece = tokio::time::timeout(PIECE_WITHIN, coming.next()).await.unwrap().unwrap();
            // The end is a message without a body.
            if piece.payload.is_empty() {
                assert!(!pieces.is_empty(), "an empty backup: {piece:?}");
                return Self { stream: stream.to_owned(), config, state, pieces };
            }
            // Not each piece asks for a word that it has come.
            if let Some(reply) = piece.reply {
                client.publish(reply, "".into()).await.unwrap();
            }
            pieces.push(piece.payload);
        }
    }

    /// Makes the stream at a broker that has none of this name.
    pub async fn restore(&self, client: &Client) {
        let question = json!({ "config": self.config, "state": self.state });
        let answer = ask(client, &format!("$JS.API.STREAM.RESTORE.{}", self.stream), &question).await;
        let subject = answer["deliver_subject"].as_str().unwrap().to_owned();
        for piece in &self.pieces {
            let answer = client.request(subject.clone(), piece.clone()).await.unwrap();
            assert!(answer.payload.is_empty(), "{answer:?}");
        }
        let made = ask_with(client, &subject, Vec::new()).await;
        assert_eq!(made["state"]["messages"], self.state["messages"], "{made}");
    }
}

async fn ask(client: &Client, subject: &str, question: &Value) -> Value {
    ask_with(client, subject, question.to_string().into_bytes()).await
}

async fn ask_with(client: &Client, subject: &str, question: Vec<u8>) -> Value {
    let answer = client.request(subject.to_owned(), question.into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer["error"].is_null(), "{subject}: {answer}");
    answer
}

/// All that a stream has, by place: subject, time, headers and payload as they are stored.
pub async fn stored(client: &Client, stream: &str) -> BTreeMap<u64, Value> {
    let info = ask(client, &format!("$JS.API.STREAM.INFO.{stream}"), &json!({})).await;
    let state = &info["state"];
    let (first, last) = (state["first_seq"].as_u64().unwrap(), state["last_seq"].as_u64().unwrap());
    let read = async |sequence: u64| {
        let question = json!({ "seq": sequence }).to_string();
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let answer = client.request(subject, question.into()).await.unwrap();
        let mut answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        let is_there = answer["error"].is_null();
        is_there.then(|| (sequence, answer["message"].take()))
    };
    let read = futures_util::stream::iter(first.max(1)..=last).map(read).buffer_unordered(READS_AT_ONCE);
    read.filter_map(std::future::ready).collect().await
}
