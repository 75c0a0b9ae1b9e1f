//! What a client asks for with `GET /gaps?…`: which page of the one list that there is.
//!
//! The cursor ([`crate::http::cursor`]) holds the place of the last gap that was shown.

use serde::{Deserialize, Serialize};

use super::params::{BadQuery, Params};
use super::view::gaps::Place;
use crate::domain::{Channel, Sequence};
use crate::http::cursor;

/// Rows of a page unless asked otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Version of the cursor's form.
const VERSION: u32 = 1;

/// A request for a page of gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapRequest {
    /// How many at most.
    pub limit: usize,
    /// Behind which place the page begins; at the very beginning without.
    pub after: Option<Place>,
}

impl GapRequest {
    /// Reads a query string, without its question mark.
    pub fn parse(query: &str) -> Result<Self, BadQuery> {
        let params = Params::parse(query, &["limit", "cursor"])?;
        let limit = params.limit()?.unwrap_or(LIMIT_DEFAULT);
        Ok(Self { limit, after: params.text("cursor").map(decode).transpose()? })
    }
}

/// The JSON inside of a cursor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    v: u32,
    gaps: u64,
    id: String,
}

/// The cursor that begins behind a place.
pub fn encode(after: Place) -> String {
    cursor::write(&Form { v: VERSION, gaps: after.lowest.0, id: after.channel.to_string() })
}

fn decode(text: &str) -> Result<Place, BadQuery> {
    read(text).ok_or_else(|| BadQuery::new("cursor", "is not a cursor of this list"))
}

/// One place has one text.
fn read(text: &str) -> Option<Place> {
    let form: Form = cursor::read(text)?;
    let place = Place { lowest: Sequence(form.gaps), channel: Channel::parse(&form.id)? };
    (form.v == VERSION && encode(place) == text).then_some(place)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::fixtures::channel;
    use super::*;

    fn error(query: &str) -> String {
        GapRequest::parse(query).unwrap_err().to_string()
    }

    #[test]
    fn a_page_can_be_named() {
        let after = Place { lowest: Sequence(u64::MAX), channel: channel(7) };
        let cursor = encode(after);
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
        assert_eq!(error("order=asc"), "order: is not a parameter of this list, which has limit, cursor");
        let json = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let written = r#"{"v":1,"gaps":7,"id":"193270a9-c9cf-404a-8f83-000000000001"}"#;
        assert!(read(&json(written)).is_some());
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
