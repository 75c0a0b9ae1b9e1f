//! One attempt to send one message, and what came of it.
//!
//! By default every message opens a connection of its own, as in the field. An attempt ends after 10 s. Whatever is not
//! a 2xx means that the message is not through; whether to send it again is not decided here.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

/// How long an attempt may take, from opening the connection to the last byte of the answer.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer is read. What the service answers has some hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An HTTP client with our rules: no proxy (it would be its latency that is measured), no redirects (a 3xx is no 2xx).
pub(super) fn build(keep_alive: bool) -> anyhow::Result<Client> {
    let builder = Client::builder().timeout(ATTEMPT_TIMEOUT).no_proxy().redirect(Policy::none()).http1_only();
    let builder = if keep_alive { builder } else { builder.pool_max_idle_per_host(0) };
    builder.build().context("the HTTP client cannot be set up")
}

/// How an attempt ended, and how long it took.
#[derive(Debug)]
pub(super) struct Attempt {
    /// How it ended.
    pub(super) outcome: Outcome,
    /// From the first byte to the last.
    pub(super) latency: Duration,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// A 2xx: the service has the message, and says whether it had it before.
    Through { status: u16, duplicate: bool },
    /// Any other answer.
    Refused { status: u16 },
    /// No answer within the timeout.
    TimedOut,
    /// No connection.
    NotConnected,
    /// A connection that was lost, or an answer that is not HTTP.
    Lost,
}

impl Display for Outcome {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Through { status, .. } | Outcome::Refused { status } => write!(formatter, "answer {status}"),
            Outcome::TimedOut => formatter.write_str("no answer: timed out"),
            Outcome::NotConnected => formatter.write_str("no answer: not connected"),
            Outcome::Lost => formatter.write_str("no answer: connection lost"),
        }
    }
}

impl Outcome {
    /// Whether the service has the message.
    pub(super) fn is_through(self) -> bool {
        matches!(self, Outcome::Through { .. })
    }

    /// Whether the service may have done what it was asked for: anything but a clear no.
    pub(super) fn may_be_through(self) -> bool {
        match self {
            Outcome::Through { .. } | Outcome::TimedOut | Outcome::Lost => true,
            Outcome::Refused { status } => status >= 500,
            Outcome::NotConnected => false,
        }
    }
}

/// Posts one body.
pub(super) async fn post(client: &Client, url: &Url, body: Bytes) -> Attempt {
    let start = Instant::now();
    let outcome = exchange(client, url, body).await.unwrap_or_else(|error| failure(&error));
    Attempt { outcome, latency: start.elapsed() }
}

async fn exchange(client: &Client, url: &Url, body: Bytes) -> reqwest::Result<Outcome> {
    let content_type = HeaderValue::from_static("application/json");
    let request = client.post(url.clone()).header(CONTENT_TYPE, content_type).body(body);
    let answer = request.send().await?;
    let status = answer.status();
    let text = read(answer).await?;
    Ok(outcome(status, &text))
}

/// Reads the answer, at most `ANSWER_BYTES_MAX` of it. An unread rest costs the connection, and nothing else.
async fn read(mut answer: Response) -> reqwest::Result<Vec<u8>> {
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if text.len() + chunk.len() > ANSWER_BYTES_MAX {
            break;
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

fn outcome(status: StatusCode, text: &[u8]) -> Outcome {
    if !status.is_success() {
        return Outcome::Refused { status: status.as_u16() };
    }
    let said = serde_json::from_slice::<Value>(text).unwrap_or_default();
    Outcome::Through { status: status.as_u16(), duplicate: said["data"]["status"] == "duplicate" }
}

fn failure(error: &reqwest::Error) -> Outcome {
    match error {
        error if error.is_timeout() => Outcome::TimedOut,
        error if error.is_connect() => Outcome::NotConnected,
        _ => Outcome::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_no_means_that_nothing_was_done() {
        let rows = [
            (Outcome::Through { status: 200, duplicate: true }, true),
            (Outcome::Refused { status: 503 }, true),
            (Outcome::Refused { status: 409 }, false),
            (Outcome::Refused { status: 302 }, false),
            (Outcome::TimedOut, true),
            (Outcome::Lost, true),
            (Outcome::NotConnected, false),
        ];
        for (outcome, expected) in rows {
            assert_eq!(outcome.may_be_through(), expected, "{outcome}");
        }
    }

    #[test]
    fn only_a_2xx_is_through_and_a_duplicate_is_recognised() {
        let rows: [(u16, &str, Outcome); 5] = [
            (200, r#"{"data":{"status":"ingested"}}"#, Outcome::Through { status: 200, duplicate: false }),
            (200, r#"{"data":{"status":"duplicate"}}"#, Outcome::Through { status: 200, duplicate: true }),
            (204, "", Outcome::Through { status: 204, duplicate: false }),
            (302, "", Outcome::Refused { status: 302 }),
            (400, r#"{"data":{"status":"duplicate"}}"#, Outcome::Refused { status: 400 }),
        ];
        for (status, text, expected) in rows {
            assert_eq!(outcome(StatusCode::from_u16(status).unwrap(), text.as_bytes()), expected);
        }
    }
}
