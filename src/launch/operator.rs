//! What an operator sees of the service and does about it, over HTTP: rockets, gaps and dead letters. One request each; when
//! it is made, and whether it is made again, is decided by those who ask.
//!
//! Also here: the gaps that losses leave are closed as an operator would. Skips are asked for only when the service itself
//! shows a channel's gap, and only on channels of this run. Whatever answer is missing or not well, it is asked for again
//! until the deadline, unless the service is past the number meanwhile: then a skip whose answer was lost did its work, or
//! an earlier run with the same flags has done it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, StatusCode, Url};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

use super::oracle::{Gap, Oracle};
use super::send::{Outcome, post};
use super::verify::{Difference, Seen};
use crate::client::{REQUESTS_MAX, below};
use crate::terminal::Progress;

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
        post(&self.client, &self.url(path), body).await.outcome
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
        below(&self.base, path)
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

/// What became of the gaps.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// How many skips were made, some perhaps by an earlier run with the same flags.
    pub(super) skips: u64,
    /// How many numbers they covered.
    pub(super) numbers: u64,
    /// The gaps that could not be closed.
    pub(super) differences: Vec<Difference>,
}

/// The skips of one channel, from the lowest.
#[derive(Debug)]
struct Plan {
    channel: Uuid,
    skips: Vec<Skip>,
    /// How many of them are done.
    done: usize,
    /// Why the next one is not.
    trouble: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Skip {
    /// The lowest number that it covers.
    first: u64,
    /// The highest, as the service is told.
    up_to: u64,
    /// How many of those between were lost.
    numbers: u64,
}

/// Closes every gap that the oracle knows of, or as many as can be closed before the operator's deadline.
pub(super) async fn close_gaps(operator: &Operator, oracle: &Oracle) -> Skipped {
    let mut plans: Vec<Plan> = oracle.gaps().map(|(channel, gaps)| Plan::new(channel, gaps)).collect();
    // What is left when time is up is in the plans.
    let _ = timeout_at(operator.deadline, close_all(operator, &mut plans)).await;
    let mut skipped = Skipped::default();
    for plan in &plans {
        skipped.skips += plan.done as u64;
        skipped.numbers += plan.skips[..plan.done].iter().map(|skip| skip.numbers).sum::<u64>();
        skipped.differences.extend(plan.difference());
    }
    skipped
}

async fn close_all(operator: &Operator, plans: &mut [Plan]) {
    while plans.iter().any(|plan| plan.next().is_some()) {
        match operator.gaps().await {
            Ok(gaps) => {
                let open = stream::iter(plans.iter_mut().filter(|plan| plan.next().is_some()));
                open.for_each_concurrent(REQUESTS_MAX, |plan| plan.go_on(operator, &gaps)).await;
            }
            Err(trouble) => plans.iter_mut().for_each(|plan| plan.trouble.clone_from(&trouble)),
        }
        if let Some(plan) = plans.iter().find(|plan| plan.next().is_some()) {
            operator.progress.say(&plan.trouble);
            operator.pause(operator.deadline).await;
        }
    }
}

impl Plan {
    /// One skip a gap, or one for all: both must come to the same. The channel decides, so that it is always the same.
    fn new(channel: Uuid, gaps: &[Gap]) -> Plan {
        let numbers = |gaps: &[Gap]| gaps.iter().map(|gap| gap.last - gap.first + 1).sum();
        let skip = |gaps: &[Gap]| {
            let (first, up_to) = (gaps.first()?.first, gaps.last()?.last);
            Some(Skip { first, up_to, numbers: numbers(gaps) })
        };
        let at_once = if channel.as_u128().is_multiple_of(2) { gaps.len().max(1) } else { 1 };
        let trouble = "the list of gaps was not read before the deadline".to_owned();
        Plan { channel, skips: gaps.chunks(at_once).filter_map(skip).collect(), done: 0, trouble }
    }

    fn next(&self) -> Option<Skip> {
        self.skips.get(self.done).copied()
    }

    /// Does what can be done while these gaps are shown.
    async fn go_on(&mut self, operator: &Operator, gaps: &BTreeMap<Uuid, u64>) {
        let waiting_for = gaps.get(&self.channel).copied();
        let passed = match waiting_for {
            Some(number) => number.saturating_sub(1),
            None => passed(operator, self.channel).await,
        };
        while self.next().is_some_and(|skip| skip.up_to <= passed) {
            self.done += 1;
        }
        let Some(skip) = self.next() else { return };
        if waiting_for.is_some_and(|number| number >= skip.first) {
            self.skip(operator).await;
        } else {
            self.trouble = format!("the service does not show that number {} is missing", skip.first);
        }
    }

    /// Makes one skip after the other, for as long as it goes well. Everything was sent long ago, so that those behind
    /// the first need not wait until the service shows their gaps.
    async fn skip(&mut self, operator: &Operator) {
        while let Some(skip) = self.next() {
            let outcome = operator.skip(self.channel, skip.up_to).await;
            if !outcome.is_through() {
                self.trouble = format!("a skip: {outcome}");
                return;
            }
            self.done += 1;
        }
    }

    fn difference(&self) -> Option<Difference> {
        let Skip { first, up_to, .. } = self.next()?;
        let trouble = &self.trouble;
        Some(Difference::new(self.channel, format!("the gap from {first} was not closed up to {up_to}: {trouble}")))
    }
}

/// The number that the service has passed on a channel that it shows without a gap. Without a rocket everything that
/// was passed has been refused, and so it is among the dead letters.
async fn passed(operator: &Operator, channel: Uuid) -> u64 {
    let seen = operator.rocket(channel).await;
    if seen != Seen::Unknown {
        return seen.last_number();
    }
    let refused = operator.refused(channel).await.unwrap_or_default();
    refused.iter().map(|dead_letter| dead_letter.number).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skips(channel: u128, gaps: &[Gap]) -> Vec<(u64, u64, u64)> {
        let plan = Plan::new(Uuid::from_u128(channel), gaps);
        plan.skips.iter().map(|skip| (skip.first, skip.up_to, skip.numbers)).collect()
    }

    #[test]
    fn one_channel_is_skipped_gap_by_gap_and_another_at_once() {
        let gaps = [Gap { first: 1, last: 1 }, Gap { first: 4, last: 6 }, Gap { first: 9, last: 9 }];
        assert_eq!(skips(3, &gaps), [(1, 1, 1), (4, 6, 3), (9, 9, 1)]);
        assert_eq!(skips(4, &gaps), [(1, 9, 5)]);
        assert_eq!(skips(4, &gaps[1..2]), [(4, 6, 3)]);
    }
}
