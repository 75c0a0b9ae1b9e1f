//! A client of `GET /rockets/live`, as a page would be one.

use std::collections::{BTreeMap, VecDeque};

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::time::timeout;

use super::{Client, PATIENCE};

/// An event of the stream.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its data.
    pub data: Value,
}

/// One who follows the rockets.
pub struct Follower {
    response: reqwest::Response,
    bytes: Vec<u8>,
    events: VecDeque<Event>,
    /// The rockets as they are, for all that this one knows.
    pub rockets: BTreeMap<String, Value>,
    /// The names of all events so far, in order.
    pub names: Vec<String>,
    /// The id of the last one.
    pub last_id: String,
}

impl Follower {
    /// Opens the stream with a query such as `?status=active`, and these headers.
    pub async fn open(client: &Client, query: &str, headers: HeaderMap) -> Self {
        let response = Self::ask(client, query, headers).await;
        assert_eq!(response.status(), 200);
        let (bytes, events) = (Vec::new(), VecDeque::new());
        let (rockets, names, last_id) = (BTreeMap::new(), Vec::new(), String::new());
        Self { response, bytes, events, rockets, names, last_id }
    }

    /// Opens the stream as it is, or is told why not.
    pub async fn ask(client: &Client, query: &str, headers: HeaderMap) -> reqwest::Response {
        let http = super::client::http().build().unwrap();
        http.get(client.url(&format!("/rockets/live{query}"))).headers(headers).send().await.unwrap()
    }

    /// The headers of the answer.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next event; none where the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        while self.events.is_empty() {
            let piece = timeout(PATIENCE, self.response.chunk()).await.expect("a piece in time");
            let Ok(Some(piece)) = piece else { return None };
            self.bytes.extend(piece);
            self.parse();
        }
        let event = self.events.pop_front()?;
        self.take(&event);
        Some(event)
    }

    /// Reads on until an event of this name.
    pub async fn until(&mut self, name: &str) -> Event {
        self.until_it(name, |_| true).await
    }

    /// Reads on until an event of this name that is as expected.
    pub async fn until_it(&mut self, name: &str, is_expected: impl Fn(&Value) -> bool) -> Event {
        let found = async {
            loop {
                let event = self.next().await.expect("the stream goes on");
                if event.name == name && is_expected(&event.data) {
                    return event;
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no such `{name}`"))
    }

    /// Reads on until this rocket is as expected.
    pub async fn until_rocket(&mut self, expected: &Value) {
        let id = expected["id"].as_str().unwrap();
        while self.rockets.get(id) != Some(expected) {
            let read = timeout(PATIENCE, self.next()).await;
            let event = read.unwrap_or_else(|_| panic!("{id} does not become {expected}"));
            assert!(event.is_some(), "the stream goes on");
        }
    }

    fn parse(&mut self) {
        while let Some(end) = self.bytes.windows(2).position(|bytes| bytes == b"\n\n") {
            let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let block = String::from_utf8(block).unwrap();
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            if let (Some(name), Some(id), Some(data)) = (field("event"), field("id"), field("data")) {
                let data = serde_json::from_str(data).unwrap();
                self.events.push_back(Event { name: name.into(), id: id.into(), data });
            } else {
                assert!(block.starts_with("retry: "), "{block}");
            }
        }
    }

    fn take(&mut self, event: &Event) {
        let id = || event.data["id"].as_str().unwrap().to_owned();
        match &*event.name {
            "rocket" => drop(self.rockets.insert(id(), event.data.clone())),
            "gone" => drop(self.rockets.remove(&id())),
            "reset" => self.rockets.clear(),
            _ => {}
        }
        self.names.push(event.name.clone());
        self.last_id.clone_from(&event.id);
    }
}
