//! What a client asks for with `GET /dead-letters?…`, and the page that is the answer.
//!
//! A cursor brings its filters along; what the client names all the same has to be what the cursor says.

use serde::{Deserialize, Serialize};

use super::dead_letter::DeadLetterRow;
use super::{AdminError, Operations};
use crate::broker::Reason;
use crate::broker::dead_letters::list::{DeadLetterFilter, count, dead_letters_from};
use crate::broker::dead_letters::newest::newest_dead_letters;
use crate::http::cursor;
use crate::http::params::{BadParameter, Params};

const KNOWN: [&str; 4] = ["channel", "reason", "limit", "cursor"];

/// Dead letters of a page unless asked otherwise.
pub const LIMIT_DEFAULT: usize = 100;

/// A request for a page of dead letters, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Which dead letters.
    pub filter: DeadLetterFilter,
    /// How many at most.
    pub limit: usize,
    /// Only those with lower ids; from the newest on without.
    pub before: Option<u64>,
}

/// Some dead letters, newest first.
#[derive(Clone, Debug)]
pub struct DeadLetterRows {
    /// The dead letters.
    pub rows: Vec<DeadLetterRow>,
    /// The page that follows, if there is one.
    pub next: Option<ListRequest>,
}

/// Where a page ended, and which list it is of.
#[derive(Serialize, Deserialize)]
struct Cursor {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    before: u64,
}

impl ListRequest {
    /// Reads a query string, without its question mark.
    pub fn parse(query: &str) -> Result<Self, BadParameter> {
        let params = Params::parse(query, &KNOWN)?;
        let named = DeadLetterFilter::new(params.one_of("reason")?, params.text("channel"));
        let limit = params.limit()?.unwrap_or(LIMIT_DEFAULT);
        let Some(cursor) = params.cursor::<Cursor>()? else { return Ok(Self { filter: named, limit, before: None }) };
        let filter = DeadLetterFilter::new(cursor.reason, cursor.channel.as_deref());
        if filter.channel_token() != cursor.channel.as_deref() {
            return Err(BadParameter::cursor());
        }
        let agrees = (named.reason().is_none() || named.reason() == filter.reason())
            && (named.channel_token().is_none() || named.channel_token() == filter.channel_token());
        if !agrees {
            return Err(BadParameter::cursor_of_another_list("filters differ"));
        }
        Ok(Self { filter, limit, before: Some(cursor.before) })
    }

    /// The cursor of this page; none of the first one.
    pub fn cursor(&self) -> Option<String> {
        let (channel, reason) = (self.filter.channel_token().map(str::to_owned), self.filter.reason());
        Some(cursor::write(&Cursor { channel, reason, before: self.before? }))
    }
}

impl Operations {
    /// A page of dead letters.
    pub async fn list(&self, request: &ListRequest) -> Result<DeadLetterRows, AdminError> {
        let ListRequest { filter, limit, before } = request;
        let page = async {
            Ok(newest_dead_letters(&self.broker, filter, *before, *limit, |dead_letter| {
                DeadLetterRow::of(&dead_letter)
            })
            .await?)
        };
        let page = self.in_time(page).await?;
        let next = page.before.map(|before| ListRequest { before: Some(before), ..request.clone() });
        Ok(DeadLetterRows { rows: page.dead_letters, next })
    }

    /// How many of these dead letters there are.
    pub async fn count(&self, filter: &DeadLetterFilter) -> Result<u64, AdminError> {
        self.in_time(async { Ok(count(&self.broker, filter).await?) }).await
    }

    /// The ids of these dead letters, each with its channel's token, oldest first: those that are there when it begins.
    pub async fn ids(&self, filter: &DeadLetterFilter) -> Result<Vec<(u64, String)>, AdminError> {
        let newest = ListRequest { filter: filter.clone(), limit: 1, before: None };
        let Some(last) = self.list(&newest).await?.rows.first().map(|row| row.id) else { return Ok(Vec::new()) };
        let (mut ids, mut from) = (Vec::new(), Some(1));
        while let Some(first) = from {
            let page = self.in_time(async { Ok(dead_letters_from(&self.broker, filter, first).await?) }).await?;
            ids.extend(page.dead_letters.into_iter().map(|dead_letter| (dead_letter.id, dead_letter.channel_token)));
            from = page.next.filter(|next| *next <= last);
        }
        ids.retain(|(id, _)| *id <= last);
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    const JSON: &str = r#"{"v":1,"channel":"a","reason":"refused","before":77}"#;

    fn request(query: &str) -> ListRequest {
        ListRequest::parse(query).unwrap()
    }

    fn error(query: &str) -> String {
        ListRequest::parse(query).unwrap_err().to_string()
    }

    fn cursor_of(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn everything_can_be_named() {
        assert_eq!(request(""), ListRequest { filter: DeadLetterFilter::default(), limit: 100, before: None });
        let filter = DeadLetterFilter::new(Some(Reason::Malformed), Some("a b"));
        assert_eq!(request("channel=a+b&reason=malformed&limit=7"), ListRequest { filter, limit: 7, before: None });
    }

    #[test]
    fn each_wrong_parameter_is_named_with_what_it_may_be() {
        for (query, expected) in [
            ("reason=", "reason: must be one of malformed, refused, skipped, conflict"),
            ("reason=lost", "reason: must be one of malformed, refused, skipped, conflict"),
            ("limit=0", "limit: must be an integer from 1 to 1000"),
            ("limit=1001", "limit: must be an integer from 1 to 1000"),
            ("cursor=", "cursor: is not a cursor of this list"),
            ("channel=a&channel=a", "channel: is given twice"),
            ("order=asc", "order: is not a parameter of this route, which has channel, reason, limit, cursor"),
        ] {
            assert_eq!(error(query), expected, "{query}");
        }
    }

    #[test]
    fn a_cursor_brings_its_filters_along() {
        let next = ListRequest { before: Some(77), ..request("channel=a&reason=refused") };
        let cursor = next.cursor().unwrap();
        assert_eq!(cursor, cursor_of(JSON));
        for named in ["", "&channel=a", "&reason=refused", "&channel=a&reason=refused"] {
            assert_eq!(request(&format!("cursor={cursor}{named}")), next, "{named}");
        }
        for named in ["&channel=", "&channel=b", "&reason=skipped"] {
            let problem = error(&format!("cursor={cursor}{named}"));
            assert_eq!(problem, "cursor: was made for another list (filters differ)", "{named}");
        }
        let widest = ListRequest { before: Some(u64::MAX), ..request(&format!("channel={}", "%01".repeat(9_000))) };
        assert_eq!(request(&format!("cursor={}", widest.cursor().unwrap())), widest);
    }

    fn read(cursor: &str) -> Result<ListRequest, BadParameter> {
        ListRequest::parse(&format!("cursor={cursor}"))
    }

    #[test]
    fn another_text_of_the_same_meaning_is_refused() {
        assert!(read(&cursor_of(JSON)).is_ok());
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1", " \"v\":1"),
            ("\"v\":1,", ""),
            ("refused", "lost"),
            ("\"refused\"", "null"),
            ("77", "077"),
            ("77", "-1"),
            ("77", "\"77\""),
            ("77", "18446744073709551616"),
            (",\"before\":77", ""),
            ("\"a\"", "\"\\u0061\""),
            ("\"a\"", &format!("\"{}\"", "a".repeat(257))),
            ("}", "} "),
            ("}", ",\"extra\":1}"),
        ] {
            assert!(read(&cursor_of(&JSON.replacen(from, to, 1))).is_err(), "{from} {to}");
        }
        for text in ["=".to_owned(), cursor_of(JSON) + "=", "A".repeat(10_000_000), cursor_of("[]")] {
            assert!(read(&text).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[^&+%]{0,200}", json in "[{}\":,a-z0-9\\\\]{0,100}", at in 0..JSON.len(), byte: u8) {
            prop_assert!(read(&text).is_err() && read(&cursor_of(&json)).is_err());
            let mut bytes = JSON.as_bytes().to_vec();
            bytes[at] = byte;
            let text = URL_SAFE_NO_PAD.encode(bytes);
            if let Ok(request) = read(&text) {
                prop_assert_eq!(request.cursor(), Some(text));
            }
        }
    }
}
