//! The time of a message: RFC 3339, kept as it was sent and compared by the instant that it means.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Longest text of a time, in characters. RFC 3339 sets no bound to the digits of a fraction; a record needs one.
pub const TEXT_MAX: usize = 255;

/// A time as RFC 3339 has it: the text as it was sent, and the instant that it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTime {
    text: Box<str>,
    instant: Instant,
}

/// Nanoseconds since 1970-01-01T00:00:00Z; finer digits of a fraction are cut off.
pub type Instant = i128;

impl MessageTime {
    /// Reads `2022-02-02T19:39:05.86337+01:00` and the other forms of the standard: `t` and `z` may be in lower case,
    /// a fraction has one digit or more, and a leap second is the last second (UTC) of a month; it counts as the last
    /// nanosecond of the second before it. A space for the `T` is not allowed.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > TEXT_MAX {
            return None;
        }
        Some(Self { text: text.into(), instant: instant(text)? })
    }

    /// The time as it was sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The instant, for comparing times of different offsets.
    pub fn instant(&self) -> Instant {
        self.instant
    }
}

impl fmt::Display for MessageTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn instant(text: &str) -> Option<Instant> {
    // The library takes other separators too.
    let separated = text.as_bytes().get(10).is_some_and(|byte| byte.eq_ignore_ascii_case(&b'T'));
    let time = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|_| separated)?;
    Some(time.unix_timestamp_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant_of(text: &str) -> Option<Instant> {
        MessageTime::parse(text).map(|time| time.instant())
    }

    #[test]
    fn the_forms_of_the_standard_are_read() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:00z", 0),
            ("1970-01-01T00:00:00-00:00", 0),
            ("1970-01-01T01:00:00.5+01:00", 500_000_000),
            ("1969-12-31T23:59:59.999999999999Z", -1),
            ("2022-02-02T19:39:05.86337+01:00", 1_643_827_145_863_370_000),
            ("1990-12-31T15:59:60-08:00", 662_687_999_999_999_999),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000_000),
            ("9999-12-31T23:59:59-23:59", 253_402_387_139_000_000_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000),
        ];
        for (text, instant) in cases {
            assert_eq!(instant_of(text), Some(instant), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_refused() {
        for text in [
            "",
            "2022-02-02",
            "2022-02-02 19:39:05Z",
            "2022-02-02T19:39Z",
            "2022-02-02T19:39:05",
            "2022-02-02T19:39:05.Z",
            "2022-02-02T19:39:05,5Z",
            "2022-02-02T24:00:00Z",
            "2022-02-02T19:60:05Z",
            "2022-02-02T19:39:60Z",
            "2022-02-29T19:39:05Z",
            "2022-13-01T19:39:05Z",
            "2022-00-01T19:39:05Z",
            "2022-02-02T19:39:05+1:00",
            "2022-02-02T19:39:05+99999999999999999999:00",
            "2022-02-02T19:39:05+0100",
            "2022-02-02T19:39:05+24:00",
            "2022-02-02T19:39:05+01:60",
            "2022-02-02T19:39:05Z ",
            "2022-02-02T19:39:05Z[UTC]",
            "+022-02-02T19:39:05Z",
            "2022-02-02T19:39:05é",
        ] {
            assert_eq!(instant_of(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_text_beyond_the_bound_is_refused() {
        let with_digits = |digits: usize| format!("2022-02-02T19:39:05.{}Z", "1".repeat(digits));
        assert!(instant_of(&with_digits(TEXT_MAX - 21)).is_some());
        assert_eq!(instant_of(&with_digits(TEXT_MAX - 20)), None);
    }

    #[test]
    fn the_text_stays_as_it_was_sent() {
        let text = "2022-02-02t19:39:05.860+01:00";
        assert_eq!(MessageTime::parse(text).unwrap().as_str(), text);
    }
}
