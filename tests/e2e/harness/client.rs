//! A client of the service's HTTP, as a rocket or an operator would be one.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// How long an answer may take: the time after which the field's sender sends again. No answer may ever take so long.
const TIMEOUT: Duration = Duration::from_secs(10);

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
    /// A client of the service at `http://127.0.0.1:8088` or the like.
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().unwrap();
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
        let answer = self.post(message).await;
        assert_eq!((answer.status, &answer.body["data"]["status"]), (200, &"ingested".into()), "{answer:?}");
        answer.body["data"]["event_id"].as_u64().unwrap()
    }

    /// One rocket; none where it is not known.
    pub async fn rocket(&self, channel: &str) -> Option<Value> {
        let mut answer = self.get(&format!("/rockets/{channel}")).await;
        match answer.status {
            200 => Some(answer.body["data"].take()),
            404 => None,
            _ => panic!("{answer:?}"),
        }
    }

    /// All rockets.
    pub async fn rockets(&self) -> Vec<Value> {
        let mut answer = self.get("/rockets").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_value(answer.body["data"].take()).unwrap()
    }
}
