//! `GET /gaps`: the channels that wait for a missing number, the one that has been waiting for longest first.
//!
//! Which channels wait is in the view; since when, only the stream knows, and it is asked for the rows that are shown.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;
use warp::Filter as _;
use warp::http::Method;

use super::feed::{Freshness, LiveView};
use super::gap_list::{self, GapRequest};
use super::routes::{loading, methods, query};
use super::view::Gap;
use crate::broker::log_reader::read_one;
use crate::broker::{Broker, BrokerError};
use crate::http::{Answer, Routes, is_read};
use crate::logging::Limit;

/// Messages that are asked for at once.
const ASKED_AT_ONCE: usize = 32;
/// How long the broker may take for all rows of a page.
const ROWS_DEADLINE: Duration = Duration::from_secs(4);

/// A channel that waits, as clients see it.
#[derive(Clone, Debug, Serialize)]
pub struct PublicGap {
    /// The channel.
    pub channel: String,
    /// The number that is missing.
    pub waiting_for: u64,
    /// How many later numbers wait.
    pub pending_messages: u64,
    /// When the first of their messages was stored; none if it is not there any more.
    pub since: Option<String>,
}

/// `/gaps`.
pub(super) fn route(live: &Arc<LiveView>, broker: &Broker) -> Routes {
    let (live, broker) = (live.clone(), broker.clone());
    warp::path!("gaps")
        .and(warp::method())
        .and(query())
        .then(move |method: Method, query: String| {
            let (live, broker) = (live.clone(), broker.clone());
            async move { if is_read(&method) { answer(&live, &broker, &query).await } else { methods() } }
        })
        .boxed()
}

async fn answer(live: &LiveView, broker: &Broker, query: &str) -> Answer {
    let GapRequest { limit, after } = match GapRequest::parse(query) {
        Ok(request) => request,
        Err(problem) => return Answer::bad_request(problem.to_string()),
    };
    if live.freshness() == Freshness::Loading {
        return loading();
    }
    // One more than is shown tells whether there is a next page.
    let mut gaps = live.view.gaps(after, limit + 1);
    let has_more = gaps.len() > limit;
    gaps.truncate(limit);
    let next_cursor = gaps.last().filter(|_| has_more).map(|last| gap_list::encode(last.place()));
    match timeout(ROWS_DEADLINE, rows(broker, &gaps)).await {
        Ok(Ok(rows)) => Answer::page(&rows, next_cursor),
        Ok(Err(error)) => unavailable(&error),
        Err(_) => unavailable(&BrokerError::timed_out("reading since when channels wait")),
    }
}

/// The rows of these gaps.
pub async fn rows(broker: &Broker, gaps: &[Gap]) -> Result<Vec<PublicGap>, BrokerError> {
    if !broker.is_connected() {
        return Err(BrokerError::Unavailable("not connected".into()));
    }
    stream::iter(gaps.iter().copied()).map(|gap| row(broker, gap)).buffered(ASKED_AT_ONCE).try_collect().await
}

async fn row(broker: &Broker, gap: Gap) -> Result<PublicGap, BrokerError> {
    let first = read_one(broker, gap.lowest).await?;
    Ok(PublicGap {
        channel: gap.channel.to_string(),
        waiting_for: gap.waiting_for.get(),
        pending_messages: gap.pending,
        since: first.and_then(|first| first.time.format(&Rfc3339).ok()),
    })
}

fn unavailable(error: &BrokerError) -> Answer {
    static UNANSWERED: Limit = Limit::new();
    if let Some(unlogged) = UNANSWERED.admits() {
        tracing::warn!(%error, unlogged, "gaps could not be read");
    }
    Answer::unavailable("the gaps cannot be read now, ask again")
}
