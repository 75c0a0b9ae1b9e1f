//! A client of the service's HTTP, as a rocket or an operator would be one.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{ClientBuilder, Method, RequestBuilder};
use serde_json::Value;
use tokio_rustls::rustls::crypto::ring;

use super::eventually;

/// How long an answer may take: the time after which the field's sender sends again. No answer may ever take so long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What an HTTP client is made of.
pub fn http() -> ClientBuilder {
    // One that is chosen already is the same.
    let _ = ring::default_provider().install_default();
    ClientBuilder::new().no_proxy()
}

/// A client of one process.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

/// An answer, which is always JSON.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The envelope; null where there is no body.
    pub body: Value,
}

impl Client {
    /// Where the service's paths begin.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A client of the service at `http://127.0.0.1:8088` or the like.
    pub fn new(base: &str) -> Self {
        Self::with(http().timeout(TIMEOUT), base)
    }

    /// One that does as it is told besides.
    pub fn with(http: ClientBuilder, base: &str) -> Self {
        let http = http.build().unwrap();
        Self { http, base: base.to_owned() }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A request to be completed, for [`Client::answer`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Sends a request; a failure to get an answer is the test's.
    pub async fn answer(&self, request: RequestBuilder) -> Answer {
        self.try_answer(request).await.unwrap()
    }

    /// Sends a request, to a service that may be gone.
    pub async fn try_answer(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await?;
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Ok(Answer { status, headers, body })
    }

    /// Asks for a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.answer(self.request(Method::GET, path)).await
    }

    /// Asks for a path, of a service that may be gone.
    pub async fn try_get(&self, path: &str) -> Option<Answer> {
        self.try_answer(self.request(Method::GET, path)).await.ok()
    }

    /// Sends a message.
    pub async fn post(&self, message: &Value) -> Answer {
        self.answer(self.request(Method::POST, "/messages").json(message)).await
    }

    /// Sends a message that must be stored as a new one, and gives its event id.
    pub async fn ingest(&self, message: &Value) -> u64 {
        self.post(message).await.ingested()
    }

    /// What a path shows; none where that is not known.
    async fn shown(&self, path: &str) -> Option<Value> {
        let mut answer = self.get(path).await;
        match answer.status {
            200 => Some(answer.body["data"].take()),
            404 => None,
            _ => panic!("{path}: {answer:?}"),
        }
    }

    /// One rocket; none where it is not known.
    pub async fn rocket(&self, channel: &str) -> Option<Value> {
        self.shown(&format!("/rockets/{channel}")).await
    }

    /// All rockets.
    pub async fn rockets(&self) -> Vec<Value> {
        self.list("/rockets").await
    }

    /// What became of one message; none where there is no such event.
    pub async fn event(&self, id: u64) -> Option<Value> {
        self.shown(&format!("/events/{id}")).await
    }

    /// The same, once it is final.
    pub async fn settled(&self, id: u64) -> Value {
        eventually(&format!("the end of event {id}"), async || {
            let event = self.shown(&format!("/events/{id}?wait=5s")).await?;
            ["processed", "failed", "duplicate"].iter().any(|status| event["status"] == *status).then_some(event)
        })
        .await
    }

    /// Its status; none where there is no such event.
    pub async fn status(&self, id: u64) -> Option<String> {
        Some(self.event(id).await?["status"].as_str().unwrap().to_owned())
    }

    /// One answer of a list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let mut answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_value(answer.body["data"].take()).unwrap()
    }

    /// The whole of a list, in pages of so many.
    pub async fn pages(&self, path: &str, limit: usize) -> Vec<Value> {
        let glue = if path.contains('?') { '&' } else { '?' };
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("{path}{glue}limit={limit}{cursor}");
            let mut answer = self.get(&path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let page: Vec<Value> = serde_json::from_value(answer.body["data"].take()).unwrap();
            assert!(page.len() <= limit, "{path}: {} rows", page.len());
            rows.extend(page);
            match answer.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// Skips what is missing of a channel, up to a number.
    pub async fn skip(&self, channel: &str, body: &Value) -> Answer {
        self.answer(self.request(Method::POST, &format!("/rockets/{channel}/skip")).json(body)).await
    }

    /// One dead letter; none where it is gone.
    pub async fn dead_letter(&self, id: &Value) -> Option<Value> {
        self.shown(&format!("/dead-letters/{id}")).await
    }

    /// All dead letters of a channel, newest first.
    pub async fn dead_letters_of(&self, channel: &str) -> Vec<Value> {
        self.pages(&format!("/dead-letters?channel={channel}"), 1_000).await
    }

    /// Sends a dead letter's message again, as it is or with another body.
    pub async fn replay(&self, id: &Value, body: Option<&Value>) -> Answer {
        let request = self.request(Method::POST, &format!("/dead-letters/{id}/replay"));
        self.answer(if let Some(body) = body { request.json(body) } else { request }).await
    }

    /// Drops a dead letter.
    pub async fn drop_dead_letter(&self, id: &Value) -> Answer {
        self.answer(self.request(Method::DELETE, &format!("/dead-letters/{id}"))).await
    }
}

impl Answer {
    /// The id of a message that was stored as a new one.
    #[track_caller]
    pub fn ingested(&self) -> u64 {
        assert_eq!((self.status, &self.body["data"]["status"]), (200, &"ingested".into()), "{self:?}");
        self.body["data"]["event_id"].as_u64().unwrap()
    }

    /// The words of an error of this status.
    #[track_caller]
    pub fn error(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        self.body["error"].as_str().unwrap()
    }
}
