//! What a client asks for with `GET /rockets/{channel}/history?…`: a page, or the rocket at one moment.

use serde::{Deserialize, Serialize};

use super::super::params::{BadParameter, Params};
use super::super::view::Order;
use super::window::Wanted;
use crate::domain::time::Instant;
use crate::domain::{MessageNumber, MessageTime};

/// Rows of a page, unless the client says how many.
pub const LIMIT_DEFAULT: usize = 100;

const KNOWN: [&str; 4] = ["limit", "cursor", "order", "at"];

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryRequest {
    /// A page of rows.
    Page(PageRequest),
    /// The rocket as it was.
    At(Moment),
}

/// A page of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Whether the lowest number comes first, or the highest.
    pub order: Order,
    /// How many rows at most.
    pub limit: usize,
    /// The last number of the page before, if this is not the first.
    pub after: Option<MessageNumber>,
}

/// Where a page of a history ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// In which order the numbers are shown.
    pub order: Order,
    /// The last number that was shown.
    #[serde(rename = "number")]
    pub after: MessageNumber,
}

/// A moment of a rocket's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After this number.
    Number(MessageNumber),
    /// After the last number, in order, whose message time is not later than this.
    Time(Instant),
}

impl HistoryRequest {
    /// Reads a query string, without its question mark.
    pub fn parse(query: &str) -> Result<Self, BadParameter> {
        let params = Params::parse(query, &KNOWN)?;
        if let Some(at) = params.text("at") {
            return match KNOWN[..3].iter().find(|name| params.text(name).is_some()) {
                Some(other) => Err(BadParameter::new(other, "cannot be given together with at, which is one rocket")),
                None => Moment::parse(at).map(Self::At),
            };
        }
        let (order, limit) = (params.one_of::<Order>("order")?, params.limit()?.unwrap_or(LIMIT_DEFAULT));
        let Some(cursor) = params.cursor::<Cursor>()? else {
            return Ok(Self::Page(PageRequest { order: order.unwrap_or(Order::Desc), limit, after: None }));
        };
        if order.is_some_and(|order| order != cursor.order) {
            return Err(BadParameter::cursor_of_another_list("order differs"));
        }
        Ok(Self::Page(PageRequest { order: cursor.order, limit, after: Some(cursor.after) }))
    }
}

impl Moment {
    /// A message number in digits, or a time of RFC 3339.
    pub fn parse(text: &str) -> Result<Self, BadParameter> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let moment = match digits {
            true => text.parse().ok().and_then(MessageNumber::new).map(Self::Number),
            false => MessageTime::parse(text).map(|time| Self::Time(time.instant())),
        };
        let may_be = "must be a message number from 1 to 9223372036854775807, or a time such as \
                      2022-02-02T19:39:05Z (in a URL, the + of an offset is written %2B)";
        moment.ok_or_else(|| BadParameter::new("at", may_be))
    }
}

impl PageRequest {
    /// The numbers that it shows, from the first one on that was not trimmed; none where there can be none.
    pub fn wanted(&self, first: u64) -> Option<Wanted> {
        let limit = self.limit;
        match (self.order, self.after.map(MessageNumber::get)) {
            (Order::Desc, None) => Some(Wanted { from: first, until: MessageNumber::MAX, limit }),
            (Order::Desc, Some(after)) => (after > first).then(|| Wanted { from: first, until: after - 1, limit }),
            (Order::Asc, after) => {
                let from = after.map_or(first, |after| first.max(after + 1));
                let until = (from - 1).saturating_add(limit as u64).min(MessageNumber::MAX);
                (from <= until).then_some(Wanted { from, until, limit })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::cursor;

    fn error(query: &str) -> String {
        HistoryRequest::parse(query).unwrap_err().to_string()
    }

    fn page(query: &str) -> PageRequest {
        match HistoryRequest::parse(query) {
            Ok(HistoryRequest::Page(page)) => page,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn without_a_word_it_is_the_newest_hundred() {
        assert_eq!(page(""), PageRequest { order: Order::Desc, limit: 100, after: None });
        assert_eq!(page("order=asc&limit=7"), PageRequest { order: Order::Asc, limit: 7, after: None });
    }

    #[test]
    fn a_cursor_brings_its_order_along() {
        let cursor = Cursor { order: Order::Asc, after: MessageNumber::new(9).unwrap() };
        let cursor = cursor::write(&cursor);
        let expected = PageRequest { order: Order::Asc, limit: 100, after: MessageNumber::new(9) };
        assert_eq!(page(&format!("cursor={cursor}")), expected);
        assert_eq!(page(&format!("cursor={cursor}&order=asc")), expected);
        let problem = "cursor: was made for another list (order differs)";
        assert_eq!(error(&format!("cursor={cursor}&order=desc")), problem);
    }

    #[test]
    fn a_moment_is_a_number_or_a_time() {
        let number = Moment::Number(MessageNumber::new(7).unwrap());
        assert_eq!(HistoryRequest::parse("at=7"), Ok(HistoryRequest::At(number)));
        let utc = HistoryRequest::parse("at=2022-02-02T18:39:05Z").unwrap();
        assert_eq!(HistoryRequest::parse("at=2022-02-02T19:39:05%2B01:00"), Ok(utc));
        for text in ["", "0", "9223372036854775808", "-1", "1.5", "yesterday", "2022-02-02T19:39:05+01:00"] {
            assert!(error(&format!("at={text}")).starts_with("at: must be a message number"), "{text}");
        }
        for other in ["limit=7", "order=asc", "cursor=abc"] {
            assert!(error(&format!("at=7&{other}")).contains("together with at"), "{other}");
        }
        assert!(error("from=7").starts_with("from: is not a parameter of this route, which has limit, cursor"));
    }

    #[test]
    fn a_page_shows_numbers_that_there_can_be() {
        let wanted = |order, after: u64, limit| {
            let after = MessageNumber::new(after);
            PageRequest { order, limit, after }.wanted(1).map(|wanted| (wanted.from, wanted.until))
        };
        let max = MessageNumber::MAX;
        assert_eq!((wanted(Order::Desc, 0, 5), wanted(Order::Asc, 0, 5)), (Some((1, max)), Some((1, 5))));
        assert_eq!((wanted(Order::Desc, 1, 5), wanted(Order::Desc, 9, 5)), (None, Some((1, 8))));
        assert_eq!((wanted(Order::Asc, max, 5), wanted(Order::Asc, max - 1, 5)), (None, Some((max, max))));
    }
}
