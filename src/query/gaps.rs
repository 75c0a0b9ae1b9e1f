//! `GET /gaps`: the channels that wait for a missing number, the one that has been waiting for longest first.
//!
//! Which channels wait is in the view; since when, only the stream knows, and it is asked for the rows that are shown.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::feed::{Freshness, LiveView};
use super::params::{BadParameter, Params};
use super::routes::loading;
use super::view::Gap;
use super::view::gaps::Place;
use crate::broker::log_reader::read_one;
use crate::broker::{Broker, BrokerError};
use crate::http::{Answer, Request, cursor};
use crate::logging::limited;

/// Rows of a page unless asked otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Messages that are asked for at once.
const ASKED_AT_ONCE: usize = 32;
/// How long the broker may take for all rows of a page.
const ROWS_DEADLINE: Duration = Duration::from_secs(4);

/// A channel that waits for a number.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Gap)]
pub struct PublicGap {
    /// The channel.
    #[schema(format = Uuid)]
    pub channel: String,
    /// The number that is missing.
    pub waiting_for: u64,
    /// How many later numbers wait.
    pub pending_messages: u64,
    /// When the first of their messages was stored; none if it is not there any more.
    #[schema(format = DateTime)]
    pub since: Option<String>,
}

/// A request for a page of gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GapRequest {
    /// How many at most.
    limit: usize,
    /// Behind which place the page begins; at the very beginning without.
    after: Option<Place>,
}

impl GapRequest {
    /// Reads a query string, without its question mark.
    fn parse(query: &str) -> Result<Self, BadParameter> {
        let params = Params::parse(query, &["limit", "cursor"])?;
        Ok(Self { limit: params.limit()?.unwrap_or(LIMIT_DEFAULT), after: params.cursor()? })
    }
}

/// Answers `GET /gaps`.
pub(super) async fn answer((live, broker): (Arc<LiveView>, Broker), request: Request) -> Result<Answer, Answer> {
    let GapRequest { limit, after } = GapRequest::parse(request.query())?;
    if live.freshness() == Freshness::Loading {
        return Err(loading());
    }
    // One more than is shown tells whether there is a next page.
    let mut gaps = live.view.gaps(after, limit + 1);
    let has_more = gaps.len() > limit;
    gaps.truncate(limit);
    let next_cursor = gaps.last().filter(|_| has_more).map(|last| cursor::write(&last.place()));
    let rows = timeout(ROWS_DEADLINE, rows(&broker, &gaps)).await;
    let rows = rows.unwrap_or_else(|_| Err(BrokerError::timed_out("reading since when channels wait")));
    Ok(Answer::page(&rows.map_err(|error| unavailable(&error))?, next_cursor))
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
    limited!(warn, %error, "gaps could not be read");
    Answer::unavailable("the gaps cannot be read now, ask again")
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::fixtures::channel;
    use super::*;
    use crate::domain::Sequence;

    fn error(query: &str) -> String {
        GapRequest::parse(query).unwrap_err().to_string()
    }

    #[test]
    fn a_page_can_be_named() {
        let after = Place { lowest: Sequence(u64::MAX), channel: channel(7) };
        let cursor = cursor::write(&after);
        for (query, limit, after) in [
            (String::new(), 100, None),
            ("limit=1000".into(), 1_000, None),
            (format!("cursor={cursor}"), 100, Some(after)),
            (format!("cursor={cursor}&limit=1"), 1, Some(after)),
        ] {
            assert_eq!(GapRequest::parse(&query), Ok(GapRequest { limit, after }), "{query}");
        }
    }

    #[test]
    fn each_wrong_parameter_is_named() {
        assert_eq!(error("limit=0"), "limit: must be an integer from 1 to 1000");
        assert_eq!(error("order=asc"), "order: is not a parameter of this route, which has limit, cursor");
        let json = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let written = r#"{"v":1,"gaps":7,"id":"193270a9-c9cf-404a-8f83-000000000001"}"#;
        assert!(GapRequest::parse(&format!("cursor={}", json(written))).is_ok());
        for cursor in [
            String::new(),
            "abc".into(),
            "é".repeat(200),
            "A".repeat(10_000),
            json(&written.replace("\"v\":1", "\"v\":2")),
            json(&written.replace(":7", ":07")),
            json(&written.replace(":7", ": 7")),
            json(&written.replace(":7", ":-7")),
            json(&written.replace("193270a9", "193270A9")),
            json(&written.replace("\"id\"", "\"x\":1,\"id\"")),
            json(r#"{"v":1,"sortBy":"channel","order":"asc","id":"193270a9-c9cf-404a-8f83-000000000001"}"#),
        ] {
            assert_eq!(error(&format!("cursor={cursor}")), "cursor: is not a cursor of this list", "{cursor}");
        }
    }
}
