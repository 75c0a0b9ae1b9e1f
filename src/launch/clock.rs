//! Message times: counted from a fixed base and never read from the clock, so that a second run sends the same ones.
//!
//! The field's times rise and look alike. The hostile ones jump back and forth and use what RFC 3339 leaves open:
//! any offset, any length of the fraction, lower-case letters.

use rand::{Rng, RngExt as _};
use time::{Duration, OffsetDateTime, UtcOffset};

/// 2022-02-02T18:39:05Z, when the first rocket of every run may start.
const BASE_UNIX_SECONDS: i64 = 1_643_827_145;
/// The digits after the second that the field's sender writes (before it drops the zeros at the end).
const FIELD_FRACTION_DIGITS: u32 = 6;
/// How far a hostile time is from where it belongs, in seconds, either way.
const HOSTILE_JUMP_SECONDS: i64 = 86_400;
/// The offsets of hostile times, in minutes.
const HOSTILE_OFFSETS_MINUTES: [i32; 7] = [0, 60, -60, 345, -570, 840, -720];
/// The digits after the second of hostile times.
const HOSTILE_FRACTION_DIGITS: [u32; 5] = [0, 1, 3, 6, 9];

/// The clock of one channel.
#[derive(Debug, Clone)]
pub(super) struct ChannelClock {
    now: OffsetDateTime,
}

impl ChannelClock {
    /// A clock that starts within an hour after the base.
    pub(super) fn start(random: &mut impl Rng) -> ChannelClock {
        let base = OffsetDateTime::from_unix_timestamp(BASE_UNIX_SECONDS).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        ChannelClock { now: base.saturating_add(Duration::microseconds(random.random_range(0..3_600_000_000))) }
    }

    /// The next time as the field's sender writes it.
    pub(super) fn field_time(&mut self, random: &mut impl Rng) -> String {
        self.advance(random);
        let clock = Form { offset_minutes: 60, fraction_digits: FIELD_FRACTION_DIGITS, trim: true, lower_case: false };
        clock.write(self.now)
    }

    /// A time that is valid, and as awkward as that allows.
    pub(super) fn hostile_time(&mut self, random: &mut impl Rng) -> String {
        self.advance(random);
        let jump = Duration::seconds(random.random_range(-HOSTILE_JUMP_SECONDS..=HOSTILE_JUMP_SECONDS));
        let form = Form {
            offset_minutes: pick(random, &HOSTILE_OFFSETS_MINUTES),
            fraction_digits: pick(random, &HOSTILE_FRACTION_DIGITS),
            trim: false,
            lower_case: random.random_ratio(1, 10),
        };
        form.write(self.now.saturating_add(jump))
    }

    fn advance(&mut self, random: &mut impl Rng) {
        let step = Duration::nanoseconds(random.random_range(1_000_000..2_000_000_000));
        self.now = self.now.saturating_add(step);
    }
}

/// One of the values.
fn pick<T: Copy, const N: usize>(random: &mut impl Rng, values: &[T; N]) -> T {
    values[random.random_range(0..N as u32) as usize]
}

/// One of the ways in which RFC 3339 lets a time be written.
struct Form {
    offset_minutes: i32,
    fraction_digits: u32,
    trim: bool,
    lower_case: bool,
}

impl Form {
    fn write(&self, instant: OffsetDateTime) -> String {
        let offset = UtcOffset::from_whole_seconds(self.offset_minutes * 60).unwrap_or(UtcOffset::UTC);
        let local = instant.checked_to_offset(offset).unwrap_or(instant);
        let (date, time) = (local.date(), local.time());
        let text = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            self.fraction(time.nanosecond()),
            offset_text(local.offset()),
        );
        if self.lower_case { text.to_lowercase() } else { text }
    }

    fn fraction(&self, nanoseconds: u32) -> String {
        let all = format!("{nanoseconds:09}");
        let cut = &all[..self.fraction_digits.min(9) as usize];
        let digits = if self.trim { cut.trim_end_matches('0') } else { cut };
        if digits.is_empty() { String::new() } else { format!(".{digits}") }
    }
}

fn offset_text(offset: UtcOffset) -> String {
    let minutes = offset.whole_minutes();
    match minutes {
        0 => "Z".to_owned(),
        _ => {
            let sign = if minutes < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;
    use time::format_description::well_known::Rfc3339;

    fn check(form: Form, expected: &str) {
        let instant = OffsetDateTime::from_unix_timestamp_nanos(1_643_827_145_863_370_000).unwrap();
        assert_eq!(form.write(instant), expected);
    }

    #[test]
    fn times_are_written_in_every_form() {
        let form = |offset_minutes, fraction_digits, trim, lower_case| Form {
            offset_minutes,
            fraction_digits,
            trim,
            lower_case,
        };
        check(form(60, 6, true, false), "2022-02-02T19:39:05.86337+01:00");
        check(form(0, 0, false, false), "2022-02-02T18:39:05Z");
        check(form(0, 9, false, true), "2022-02-02t18:39:05.863370000z");
        check(form(-570, 1, false, false), "2022-02-02T09:09:05.8-09:30");
    }

    #[test]
    fn the_fields_times_rise_and_the_hostile_ones_are_valid() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut clock = ChannelClock::start(&mut random);
        let mut last = OffsetDateTime::UNIX_EPOCH;
        for _ in 0..1_000 {
            let time = OffsetDateTime::parse(&clock.field_time(&mut random), &Rfc3339).unwrap();
            assert!(time > last);
            last = time;
            let hostile = clock.hostile_time(&mut random).to_uppercase();
            OffsetDateTime::parse(&hostile, &Rfc3339).unwrap();
        }
    }
}
