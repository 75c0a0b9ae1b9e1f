//! Where a page of a history ended ([`crate::http::cursor`]).

use serde::{Deserialize, Serialize};

use super::super::params::{BadQuery, Named as _};
use super::super::view::Order;
use crate::domain::MessageNumber;
use crate::http::cursor;

/// Version of the form.
const VERSION: u32 = 1;

/// A place in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// In which order the numbers are shown.
    pub order: Order,
    /// The last number that was shown.
    pub after: MessageNumber,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    v: u32,
    order: String,
    /// As text: no JSON number is sure to hold 63 bits.
    number: String,
}

impl Cursor {
    /// Its text.
    pub fn encode(self) -> String {
        let form = Form { v: VERSION, order: self.order.name().into(), number: self.after.to_string() };
        cursor::write(&form)
    }

    /// Reads a text that [`Self::encode`] wrote.
    pub fn decode(text: &str) -> Result<Self, BadQuery> {
        Self::read(text).ok_or_else(|| BadQuery::new("cursor", "is not a cursor of this list"))
    }

    fn read(text: &str) -> Option<Self> {
        let form: Form = cursor::read(text)?;
        let after = MessageNumber::new(form.number.parse().ok()?)?;
        let cursor = Self { order: Order::parse(&form.order)?, after };
        (form.v == VERSION && cursor.encode() == text).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const JSON: &str = r#"{"v":1,"order":"desc","number":"9223372036854775807"}"#;

    #[test]
    fn a_cursor_comes_back_as_it_was_written() {
        for order in [Order::Asc, Order::Desc] {
            for number in [1, 7, MessageNumber::MAX] {
                let cursor = Cursor { order, after: MessageNumber::new(number).unwrap() };
                assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
            }
        }
        assert!(Cursor::decode(&URL_SAFE_NO_PAD.encode(JSON)).is_ok());
    }

    #[test]
    fn what_nobody_here_wrote_is_refused() {
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1", " \"v\":1"),
            ("\"v\":1,", ""),
            ("desc", "down"),
            ("9223372036854775807", "9223372036854775808"),
            ("9223372036854775807", "0"),
            ("9223372036854775807", "07"),
            ("9223372036854775807", "+7"),
            ("\"9223372036854775807\"", "7"),
            ("}", ",\"extra\":1}"),
        ] {
            assert!(Cursor::decode(&URL_SAFE_NO_PAD.encode(JSON.replacen(from, to, 1))).is_err(), "{from} {to}");
        }
        for text in ["", "abc", "====", &"A".repeat(10_000)] {
            assert!(Cursor::decode(text).is_err(), "{text}");
        }
    }
}
