//! Where a page of rockets ended, given to the client and got back with the request for the next one.
//!
//! A cursor says which list it is of and the place of the last rocket that was shown: its sort value and its id, not
//! a count and not a pointer. So it stays good whatever becomes of that rocket and of others, in whichever process, and
//! nothing is kept for it here. It is no secret: it holds nothing that the page did not show. How it becomes a text, and
//! that the text was written here: [`crate::http::cursor`].

use serde::{Deserialize, Serialize};

use super::params::BadParameter;
use super::selection::{Place, Selection, SortBy, Value};
use crate::domain::Channel;
use crate::domain::wire::STRING_CHARS_MAX;
use crate::http::cursor::TEXT_MAX;

/// Three strings of a rocket at six bytes a character (`\u0001`), the rest, and four characters for three bytes.
const WRITTEN_MAX: usize = (3 * STRING_CHARS_MAX * 6 + 512) * 4 / 3 + 1;
const _: () = assert!(WRITTEN_MAX <= TEXT_MAX);

/// A list, and a place in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Of which list.
    #[serde(flatten)]
    pub selection: Selection,
    /// The sort value of the last rocket that was shown, unless that is its id. As text: no JSON number is sure to hold an
    /// instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    id: Channel,
}

impl Cursor {
    /// Of a list, behind this place.
    pub fn behind(selection: &Selection, place: &Place<'_>) -> Self {
        Self { selection: selection.clone(), value: text_of(&place.value), id: place.id }
    }

    /// Behind which place the next page begins.
    pub fn place(&self) -> Result<Place<'static>, BadParameter> {
        let value = value_of(self.selection.sort_by, self.id, self.value.as_deref());
        let place = value.map(|value| Place { value, id: self.id });
        // A value has one text.
        place.filter(|place| text_of(&place.value) == self.value).ok_or_else(BadParameter::cursor)
    }
}

fn text_of(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Channel(_) => None,
        Value::Text(text) => Some(text.to_string()),
        Value::Speed(speed) => Some(speed.to_string()),
        Value::Status(status) => Some(status.to_string()),
        Value::Time(instant) => Some(instant.to_string()),
    }
}

fn value_of(sort_by: SortBy, id: Channel, text: Option<&str>) -> Option<Value<'static>> {
    if sort_by == SortBy::Channel {
        return Some(Value::Channel(id));
    }
    let text = text?;
    match sort_by {
        SortBy::Channel => None,
        SortBy::Type | SortBy::Mission => Some(Value::Text(text.to_owned().into())),
        SortBy::Speed => text.parse().ok().map(Value::Speed),
        SortBy::Status => text.parse().ok().map(Value::Status),
        SortBy::LaunchTime | SortBy::LastUpdated | SortBy::LastMessageTime => text.parse().ok().map(Value::Time),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use strum::VariantArray;

    use super::super::filter::Filter;
    use super::super::fixtures::Sample;
    use super::super::public::PublicStatus;
    use super::super::view::Order;
    use super::*;
    use crate::http::cursor;

    const JSON: &str =
        r#"{"v":1,"sortBy":"speed","order":"asc","value":"500","id":"193270a9-c9cf-404a-8f83-000000000001"}"#;

    fn write(selection: &Selection, place: &Place<'_>) -> String {
        cursor::write(&Cursor::behind(selection, place))
    }

    fn read(text: &str) -> Option<(Selection, Place<'static>)> {
        let cursor: Cursor = cursor::read(text)?;
        Some((cursor.selection.clone(), cursor.place().ok()?))
    }

    #[test]
    fn what_is_written_is_read() {
        let text = |text: &str| Some(text.to_owned());
        let filters = [
            Filter::default(),
            Filter {
                status: Some(PublicStatus::Active),
                rocket_type: text("Ä\u{1}\"\\/"),
                mission: text(""),
                ..Filter::default()
            },
        ];
        let entry = Sample::new(1).entry();
        let orders = |by| [Order::Asc, Order::Desc].map(|order| (by, order));
        for (sort_by, order) in <SortBy as VariantArray>::VARIANTS.iter().flat_map(|by| orders(*by)) {
            for filter in filters.clone() {
                let selection = Selection { sort_by, order, filter };
                let place = selection.place_of(&entry);
                assert_eq!(read(&write(&selection, &place)), Some((selection.clone(), place)));
            }
        }
    }

    #[test]
    fn the_widest_cursor_is_within_its_bound() {
        let widest = "\u{1}".repeat(STRING_CHARS_MAX);
        let filter = Filter { rocket_type: Some(widest.clone()), mission: Some(widest.clone()), ..Filter::default() };
        let selection = Selection { sort_by: SortBy::Type, order: Order::Desc, filter };
        let place = Place { value: Value::Text(widest.into()), id: Sample::new(1).entry().channel };
        let text = write(&selection, &place);
        assert!(text.len() <= WRITTEN_MAX && read(&text).is_some(), "{}", text.len());
    }

    #[test]
    fn another_text_of_the_same_meaning_is_refused() {
        let good = URL_SAFE_NO_PAD.encode(JSON);
        assert!(read(&good).is_some());
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1", "\"v\":1,\"v\":1"),
            ("\"v\":1", " \"v\":1"),
            ("\"v\":1,", ""),
            ("speed", "Speed"),
            ("speed", "channel"),
            ("speed", "status"),
            ("speed", "sp\\u0065ed"),
            ("asc", "up"),
            ("500", "+500"),
            ("500", "0500"),
            ("500", "9223372036854775808"),
            ("\"500\"", "500"),
            ("\"value\":\"500\",", ""),
            ("\"value\"", "\"status\":null,\"value\""),
            ("\"value\"", "\"status\":\"lost\",\"value\""),
            ("\"value\"", "\"extra\":1,\"value\""),
            ("193270a9", "193270A9"),
            ("193270a9-", ""),
            ("}", "} "),
        ] {
            assert!(read(&URL_SAFE_NO_PAD.encode(JSON.replacen(from, to, 1))).is_none(), "{from} {to}");
        }
        for text in [good.clone() + "=", good.clone() + "A", " ".to_owned() + &good, good.replace('e', "+")] {
            assert!(read(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_no_cursor_at_all_is_refused() {
        for json in ["", "null", "7", "[]", "{}", "\u{0}", &"[".repeat(6_000), &JSON[..20]] {
            assert!(read(&URL_SAFE_NO_PAD.encode(json)).is_none(), "{json}");
        }
        assert!(read(&URL_SAFE_NO_PAD.encode(b"\"\xff\xff\"")).is_none());
        assert!(read(&URL_SAFE_NO_PAD.encode(JSON.replace("500", &"1".repeat(TEXT_MAX)))).is_none());
        assert!(read(&"A".repeat(10_000_000)).is_none());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in ".{0,200}", json in "[{}\":,a-z0-9\\\\]{0,100}", at in 0..JSON.len(), byte: u8) {
            prop_assert!(read(&text).is_none() && read(&URL_SAFE_NO_PAD.encode(json)).is_none());
            let mut bytes = JSON.as_bytes().to_vec();
            bytes[at] = byte;
            let text = URL_SAFE_NO_PAD.encode(bytes);
            if let Some((selection, place)) = read(&text) {
                prop_assert_eq!(write(&selection, &place), text);
            }
        }
    }
}
