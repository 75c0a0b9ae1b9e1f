//! The time of a message: RFC 3339, kept as it was sent and compared by the instant that it means.

use std::fmt;

use time::{Date, Month};

/// Longest text of a time, in characters. RFC 3339 sets no bound to the digits of a fraction; a record needs one.
pub const TEXT_MAX: usize = 255;

/// Days from the Julian epoch to 1970-01-01.
const UNIX_EPOCH_JULIAN_DAY: i64 = 2_440_588;

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
    /// a fraction has one digit or more, a leap second is the last second (UTC) of a month. A space for the `T` is not
    /// allowed.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > TEXT_MAX {
            return None;
        }
        Some(Self { text: text.into(), instant: instant(text.as_bytes())? })
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

/// `date "T" hour ":" minute ":" second [fraction] offset`, the fields of fixed width.
fn instant(text: &[u8]) -> Option<Instant> {
    let (fixed, rest) = text.split_at_checked(19)?;
    let separators = [(4, b'-'), (7, b'-'), (10, b't'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| fixed[at].to_ascii_lowercase() != byte) {
        return None;
    }
    let (hour, minute, second) = (digits(&fixed[11..13])?, digits(&fixed[14..16])?, digits(&fixed[17..19])?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanoseconds, rest) = fraction(rest)?;
    let seconds = day(&fixed[..10])? * 86_400 + hour * 3_600 + minute * 60 + second - offset(rest)?;
    if second == 60 && !ends_a_month(seconds) {
        return None;
    }
    Some(Instant::from(seconds) * 1_000_000_000 + Instant::from(nanoseconds))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
fn day(text: &[u8]) -> Option<i64> {
    let month = Month::try_from(u8::try_from(digits(&text[5..7])?).ok()?).ok()?;
    let (year, day) = (i32::try_from(digits(&text[..4])?).ok()?, u8::try_from(digits(&text[8..10])?).ok()?);
    let date = Date::from_calendar_date(year, month, day).ok()?;
    Some(i64::from(date.to_julian_day()) - UNIX_EPOCH_JULIAN_DAY)
}

/// The nanoseconds of `.123…`, if there, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(after_point) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = after_point.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let nanoseconds = (0..9).fold(0, |sum, at| {
        let digit = if at < length { after_point[at] - b'0' } else { 0 };
        sum * 10 + i64::from(digit)
    });
    Some((nanoseconds, &after_point[length..]))
}

/// The seconds by which local time is ahead of UTC, from `Z` or `+01:00`.
fn offset(text: &[u8]) -> Option<i64> {
    if let [b'z' | b'Z'] = text {
        return Some(0);
    }
    let [sign @ (b'+' | b'-'), hour_tens, hour_ones, b':', minute_tens, minute_ones] = text else { return None };
    let (hour, minute) = (digits(&[*hour_tens, *hour_ones])?, digits(&[*minute_tens, *minute_ones])?);
    if hour > 23 || minute > 59 {
        return None;
    }
    let seconds = hour * 3_600 + minute * 60;
    Some(if *sign == b'-' { -seconds } else { seconds })
}

/// Whether a leap second that runs until this second (UTC) stands where leap seconds stand: at the end of a month.
fn ends_a_month(seconds: i64) -> bool {
    let julian_day = i32::try_from(seconds.div_euclid(86_400) + UNIX_EPOCH_JULIAN_DAY);
    let date = julian_day.ok().and_then(|day| Date::from_julian_day(day).ok());
    seconds.rem_euclid(86_400) == 0 && date.is_some_and(|date| date.day() == 1)
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
            ("1990-12-31T15:59:60-08:00", 662_688_000_000_000_000),
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
