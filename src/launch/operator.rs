//! What an operator sees of the service and does about it, over HTTP: rockets, gaps and dead letters.
//!
//! One request each. When it is made, and whether it is made again, is decided by those who ask; what they share is
//! here: until when they have time, and where they say what goes wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::client::{self, Outcome};
use super::differences::Seen;
use super::progress::Progress;

/// How many requests an operator has under way at the same time.
pub(super) const REQUESTS_MAX: usize = 8;
/// How many rows of a list are asked for at a time; the contract allows no more.
const PAGE_ROWS: &str = "1000";

/// Someone who looks after one service, until the deadline.
pub(super) struct Operator {
    /// What connections are opened with.
    pub(super) client: Client,
    /// Where the service's routes begin.
    pub(super) base: Url,
    /// When patience ends.
    pub(super) deadline: Instant,
    /// The pause before what was not well, or not there yet, is looked at again.
    pub(super) pause: Duration,
    /// How the user sees it happen.
    pub(super) progress: Progress,
}

/// A dead letter, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeadLetter {
    /// What the service calls it.
    pub(super) id: String,
    /// Its number in its channel.
    pub(super) number: u64,
}

impl Operator {
    /// What there is on a channel.
    pub(super) async fn rocket(&self, channel: Uuid) -> Seen {
        self.try_rocket(channel).await.unwrap_or_else(|error| Seen::Unreadable(error.to_string()))
    }

    async fn try_rocket(&self, channel: Uuid) -> reqwest::Result<Seen> {
        let answer = self.client.get(self.url(&["rockets", &channel.to_string()])).send().await?;
        match answer.status() {
            StatusCode::OK => Ok(rocket(answer.json().await?)),
            StatusCode::NOT_FOUND => Ok(Seen::Unknown),
            status => Ok(Seen::Unreadable(said(status))),
        }
    }

    /// The number that each channel with a gap waits for.
    pub(super) async fn gaps(&self) -> Result<BTreeMap<Uuid, u64>, String> {
        let rows = self.list(&["gaps"], &[]).await?;
        let gap = |row: &Value| Some((row["channel"].as_str()?.parse().ok()?, row["waiting_for"].as_u64()?));
        Ok(rows.iter().filter_map(gap).collect())
    }

    /// The dead letters of a channel that were refused, newest first.
    pub(super) async fn refused(&self, channel: Uuid) -> Result<Vec<DeadLetter>, String> {
        let channel = channel.to_string();
        let rows = self.list(&["dead-letters"], &[("channel", &channel), ("reason", "refused")]).await?;
        let dead_letter =
            |row: &Value| Some(DeadLetter { id: id(&row["id"])?, number: row["message_number"].as_u64()? });
        Ok(rows.iter().filter_map(dead_letter).collect())
    }

    /// Says that what has not arrived up to this number never will.
    pub(super) async fn skip(&self, channel: Uuid, up_to: u64) -> Outcome {
        let body = json!({ "up_to": up_to, "reason": "lost on the radio" }).to_string();
        self.post(&["rockets", &channel.to_string(), "skip"], Bytes::from(body)).await
    }

    /// Sends a dead letter in again, with another body.
    pub(super) async fn replay(&self, dead_letter: &DeadLetter, body: Bytes) -> Outcome {
        self.post(&["dead-letters", &dead_letter.id, "replay"], body).await
    }

    /// Waits a moment, and not beyond that time.
    pub(super) async fn pause(&self, until: Instant) {
        sleep_until(until.min(Instant::now() + self.pause)).await;
    }

    async fn post(&self, path: &[&str], body: Bytes) -> Outcome {
        client::post(&self.client, &self.url(path), body).await.outcome
    }

    /// A whole list, page by page.
    async fn list(&self, path: &[&str], filters: &[(&str, &str)]) -> Result<Vec<Value>, String> {
        let mut rows = Vec::new();
        let mut first = self.url(path);
        first.query_pairs_mut().extend_pairs(filters).append_pair("limit", PAGE_ROWS);
        let mut next = Some(first.clone());
        while let Some(url) = next {
            let mut page = self.page(url).await?;
            match page.remove("data") {
                Some(Value::Array(more)) => rows.extend(more),
                _ => return Err(format!("an answer without a list in its data from /{}", path.join("/"))),
            }
            next = page.get("next_cursor").and_then(id).map(|cursor| after(&first, &cursor));
        }
        Ok(rows)
    }

    /// One envelope.
    async fn page(&self, url: Url) -> Result<Map<String, Value>, String> {
        let answer = self.client.get(url).send().await.map_err(|error| error.to_string())?;
        match answer.status() {
            StatusCode::OK => answer.json().await.map_err(|error| error.to_string()),
            status => Err(said(status)),
        }
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only a URL without a host has no segments, and such a one is no base.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

/// The rocket in an envelope.
fn rocket(mut envelope: Map<String, Value>) -> Seen {
    match envelope.remove("data") {
        Some(Value::Object(fields)) => Seen::Rocket(fields),
        _ => Seen::Unreadable("an answer without a rocket in its data".to_owned()),
    }
}

/// The URL of the page behind this cursor.
fn after(first: &Url, cursor: &str) -> Url {
    let mut url = first.clone();
    url.query_pairs_mut().append_pair("cursor", cursor);
    url
}

fn said(status: StatusCode) -> String {
    format!("answer {}", status.as_u16())
}

/// An id or a cursor as it stands in a URL, whether the service writes it as a number or as a string.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
