//! Where a page ended, given to the client and got back with the request for the next one.
//!
//! A cursor says which list it is of and the place of the last rocket that was shown: its sort value and its id, not
//! a count and not a pointer. So it stays good whatever becomes of that rocket and of others, in whichever process, and
//! nothing is kept for it here. It is opaque to clients (base64url of JSON) and it is no secret: it holds nothing that
//! the page did not show. What comes back is hostile until it is proved to be exactly what this module would write.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::params::{BadQuery, Named};
use super::selection::{Filter, Place, Selection, SortBy, Value};
use crate::domain::Channel;
use crate::domain::wire::STRING_CHARS_MAX;
use crate::http::cursor::{self, TEXT_MAX};

/// Version of the form. A cursor of another version is none; a client then begins the list anew.
const VERSION: u32 = 1;

/// Three strings of a rocket at six bytes a character (`\u0001`), the rest, and four characters for three bytes.
const WRITTEN_MAX: usize = (3 * STRING_CHARS_MAX * 6 + 512) * 4 / 3 + 1;
const _: () = assert!(WRITTEN_MAX <= TEXT_MAX);

/// A list, and a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Of which list.
    pub selection: Selection,
    /// Behind which place the next page begins.
    pub after: Place<'static>,
}

/// The JSON inside, with everything in it as text, because no JSON number is sure to hold an instant.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Form<'a> {
    v: u32,
    sort_by: Cow<'a, str>,
    order: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<Cow<'a, str>>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    rocket_type: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mission: Option<Cow<'a, str>>,
    /// The sort value, unless it is the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    id: Cow<'a, str>,
}

/// The cursor that begins behind a place.
pub fn encode(selection: &Selection, after: &Place<'_>) -> String {
    cursor::write(&Form::of(selection, after))
}

/// Reads a cursor that [`encode`] wrote.
pub fn decode(text: &str) -> Result<Cursor, BadQuery> {
    read(text).ok_or_else(|| BadQuery::new("cursor", "is not a cursor of this list"))
}

/// One cursor has one text: what reads well but would be written otherwise was not written here.
fn read(text: &str) -> Option<Cursor> {
    let form: Form<'_> = cursor::read(text)?;
    let cursor = form.into_cursor()?;
    (encode(&cursor.selection, &cursor.after) == text).then_some(cursor)
}

impl<'a> Form<'a> {
    fn of(selection: &'a Selection, after: &'a Place<'_>) -> Self {
        let Selection { sort_by, order, filter } = selection;
        Self {
            v: VERSION,
            sort_by: sort_by.name().into(),
            order: order.name().into(),
            status: filter.status.map(|status| status.name().into()),
            rocket_type: filter.rocket_type.as_deref().map(Cow::Borrowed),
            mission: filter.mission.as_deref().map(Cow::Borrowed),
            value: text_of(&after.value),
            id: after.id.to_string().into(),
        }
    }

    fn into_cursor(self) -> Option<Cursor> {
        if self.v != VERSION {
            return None;
        }
        let (sort_by, id) = (SortBy::parse(&self.sort_by)?, Channel::parse(&self.id)?);
        let status = match self.status {
            Some(name) => Some(Named::parse(&name)?),
            None => None,
        };
        let filter = Filter {
            status,
            rocket_type: self.rocket_type.map(Cow::into_owned),
            mission: self.mission.map(Cow::into_owned),
        };
        let selection = Selection { sort_by, order: Named::parse(&self.order)?, filter };
        Some(Cursor { selection, after: Place { value: value_of(sort_by, id, self.value)?, id } })
    }
}

fn text_of<'a>(value: &'a Value<'_>) -> Option<Cow<'a, str>> {
    match value {
        Value::Channel(_) => None,
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Speed(speed) => Some(speed.to_string().into()),
        Value::Status(status) => Some(status.name().into()),
        Value::Time(instant) => Some(instant.to_string().into()),
    }
}

fn value_of(sort_by: SortBy, id: Channel, text: Option<Cow<'_, str>>) -> Option<Value<'static>> {
    if sort_by == SortBy::Channel {
        return Some(Value::Channel(id));
    }
    let text = text?;
    match sort_by {
        SortBy::Channel => None,
        SortBy::Type | SortBy::Mission => Some(Value::Text(text.into_owned().into())),
        SortBy::Speed => text.parse().ok().map(Value::Speed),
        SortBy::Status => Named::parse(&text).map(Value::Status),
        SortBy::LaunchTime | SortBy::LastUpdated | SortBy::LastMessageTime => text.parse().ok().map(Value::Time),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::super::fixtures::Sample;
    use super::super::view::Order;
    use super::*;

    const JSON: &str =
        r#"{"v":1,"sortBy":"speed","order":"asc","value":"500","id":"193270a9-c9cf-404a-8f83-000000000001"}"#;

    fn is_refused(text: &str) -> bool {
        decode(text).is_err_and(|error| error.to_string() == "cursor: is not a cursor of this list")
    }

    #[test]
    fn what_is_written_is_read() {
        let text = |text: &str| Some(text.to_owned());
        let filters = [
            Filter::default(),
            Filter { status: Named::parse("active"), rocket_type: text("Ä\u{1}\"\\/"), mission: text("") },
        ];
        let entry = Sample::new(1).entry();
        for (&sort_by, &order) in SortBy::ALL.iter().flat_map(|by| Order::ALL.iter().map(move |order| (by, order))) {
            for filter in filters.clone() {
                let selection = Selection { sort_by, order, filter };
                let place = selection.place_of(&entry);
                let cursor = decode(&encode(&selection, &place)).unwrap();
                assert_eq!((&cursor.selection, &cursor.after), (&selection, &place));
            }
        }
    }

    #[test]
    fn the_widest_cursor_is_within_its_bound() {
        let widest = "\u{1}".repeat(STRING_CHARS_MAX);
        let filter = Filter { rocket_type: Some(widest.clone()), mission: Some(widest.clone()), status: None };
        let selection = Selection { sort_by: SortBy::Type, order: Order::Desc, filter };
        let place = Place { value: Value::Text(widest.into()), id: Sample::new(1).entry().channel };
        let text = encode(&selection, &place);
        assert!(text.len() <= WRITTEN_MAX && decode(&text).is_ok(), "{}", text.len());
    }

    #[test]
    fn another_text_of_the_same_meaning_is_refused() {
        let good = URL_SAFE_NO_PAD.encode(JSON);
        assert!(decode(&good).is_ok());
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
            assert!(is_refused(&URL_SAFE_NO_PAD.encode(JSON.replacen(from, to, 1))), "{from} {to}");
        }
        for text in [good.clone() + "=", good.clone() + "A", " ".to_owned() + &good, good.replace('e', "+")] {
            assert!(is_refused(&text), "{text}");
        }
    }

    #[test]
    fn what_is_no_cursor_at_all_is_refused() {
        for json in ["", "null", "7", "[]", "{}", "\u{0}", &"[".repeat(6_000), &JSON[..20]] {
            assert!(is_refused(&URL_SAFE_NO_PAD.encode(json)), "{json}");
        }
        assert!(is_refused(&URL_SAFE_NO_PAD.encode(b"\"\xff\xff\"")));
        assert!(is_refused(&URL_SAFE_NO_PAD.encode(JSON.replace("500", &"1".repeat(TEXT_MAX)))));
        assert!(is_refused(&"A".repeat(10_000_000)));
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in ".{0,200}", json in "[{}\":,a-z0-9\\\\]{0,100}", at in 0..JSON.len(), byte: u8) {
            prop_assert!(is_refused(&text) && is_refused(&URL_SAFE_NO_PAD.encode(json)));
            let mut bytes = JSON.as_bytes().to_vec();
            bytes[at] = byte;
            let text = URL_SAFE_NO_PAD.encode(bytes);
            if let Ok(cursor) = decode(&text) {
                prop_assert_eq!(encode(&cursor.selection, &cursor.after), text);
            }
        }
    }
}
