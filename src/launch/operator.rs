//! What an operator sees of the service, over HTTP.
//!
//! One request each. When it is made, and whether it is made again, is decided by those who ask; what they share is
//! here: until when they have time, and where they say what goes wrong.

use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::differences::Seen;
use super::progress::Progress;

/// How many requests an operator has under way at the same time.
pub(super) const REQUESTS_MAX: usize = 8;
/// The pause before what was not well, or not there yet, is looked at again.
const PAUSE: Duration = Duration::from_millis(200);

/// Someone who looks after one service, until the deadline.
pub(super) struct Operator {
    /// What connections are opened with.
    pub(super) client: Client,
    /// Where the service's routes begin.
    pub(super) base: Url,
    /// When patience ends.
    pub(super) deadline: Instant,
    /// How the user sees it happen.
    pub(super) progress: Progress,
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

    /// Waits a moment, and not beyond that time.
    pub(super) async fn pause(&self, until: Instant) {
        sleep_until(until.min(Instant::now() + PAUSE)).await;
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

fn said(status: StatusCode) -> String {
    format!("answer {}", status.as_u16())
}
