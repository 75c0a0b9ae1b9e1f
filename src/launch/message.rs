//! One generated message, its form on the wire, its times, and what a hostile one says.
//!
//! This is the sender's own idea of a message, on purpose not the service's: were it shared, a mistake in it would
//! cancel itself out. It does not know what a message does to a rocket (that is the oracle's business).
//!
//! Times are counted from a fixed base and never read from the clock, so that a second run sends the same ones. The
//! field's times rise and look alike. The hostile ones jump back and forth and use what RFC 3339 leaves open: any
//! offset, any length of the fraction, lower-case letters.
//!
//! A hostile channel has valid messages that make no sense where they stand. Every refusal of the contract happens: a
//! second launch, anything before a launch, changes and second explosions after an explosion, speeds beyond 63 bits;
//! and the one clamp, a speed below zero.

use bytes::Bytes;
use rand::{Rng, RngExt as _};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, UtcOffset};
use uuid::Uuid;

use super::generate::Names;

/// A message as it was drawn, before it becomes JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// The rocket's radio channel, and so its id.
    pub(super) channel: Uuid,
    /// Whether the body says the channel in upper case, which is the same channel.
    pub(super) upper_case: bool,
    /// The place in its channel, from 1.
    pub(super) number: u64,
    /// The message time, in RFC 3339, exactly as it is sent.
    pub(super) time: String,
    /// What happened.
    pub(super) event: Event,
}

/// What a message says has happened to its rocket.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// `RocketLaunched`
    Launched { rocket_type: String, speed: i64, mission: String },
    /// `RocketSpeedIncreased`
    SpeedIncreased { by: i64 },
    /// `RocketSpeedDecreased`
    SpeedDecreased { by: i64 },
    /// `RocketMissionChanged`
    MissionChanged { mission: String },
    /// `RocketExploded`
    Exploded { reason: String },
}

impl Message {
    /// The body of the request that carries this message.
    pub(super) fn to_body(&self) -> Bytes {
        let (message_type, payload) = self.event.to_wire();
        let channel = self.channel.to_string();
        let body = json!({
            "metadata": {
                "channel": if self.upper_case { channel.to_uppercase() } else { channel },
                "messageNumber": self.number,
                "messageTime": self.time,
                "messageType": message_type,
            },
            "message": payload,
        });
        Bytes::from(body.to_string())
    }
}

impl Event {
    fn to_wire(&self) -> (&'static str, Value) {
        match self {
            Event::Launched { rocket_type, speed, mission } => {
                ("RocketLaunched", json!({ "type": rocket_type, "launchSpeed": speed, "mission": mission }))
            }
            Event::SpeedIncreased { by } => ("RocketSpeedIncreased", json!({ "by": by })),
            Event::SpeedDecreased { by } => ("RocketSpeedDecreased", json!({ "by": by })),
            Event::MissionChanged { mission } => ("RocketMissionChanged", json!({ "newMission": mission })),
            Event::Exploded { reason } => ("RocketExploded", json!({ "reason": reason })),
        }
    }
}

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

/// Rockets take turns, by index, in how they begin; so each beginning happens as soon as there are this many rockets.
const OPENINGS: u32 = 8;

/// A rocket that does not behave.
#[derive(Debug)]
pub(super) struct HostileScript {
    /// The number of the first launch; without one the rocket never comes to be.
    launches_at: Option<u64>,
    /// The number of the first explosion; messages go on after it.
    explodes_at: Option<u64>,
    /// The speed of the first launch.
    launch_speed: i64,
}

impl HostileScript {
    /// The script for a channel of so many messages.
    pub(super) fn new(index: u32, length: u64, random: &mut impl Rng) -> HostileScript {
        let launches_at = match index % OPENINGS {
            1 => Some(random.random_range(2..=6)),
            5 => None,
            _ => Some(1),
        };
        let launch_speed = if index % OPENINGS == 3 { i64::MAX } else { random.random_range(1..=5_000) };
        let explodes = random.random_ratio(1, 2);
        let explodes_at = random.random_range(length / 2..=length).max(1);
        HostileScript { launches_at, explodes_at: explodes.then_some(explodes_at), launch_speed }
    }

    /// The event of message `number`.
    pub(super) fn event(&self, number: u64, random: &mut impl Rng) -> Event {
        if self.launches_at == Some(number) {
            return launch(self.launch_speed, random);
        }
        if self.explodes_at == Some(number) {
            return explosion(random);
        }
        match random.random_range(0..100_u32) {
            0..5 if is_past(self.launches_at, number) => launch(random.random_range(1..=i64::MAX), random),
            0..10 if is_past(self.explodes_at, number) => explosion(random),
            0..20 => Event::MissionChanged { mission: Names::Hostile.mission(random) },
            20..60 => Event::SpeedIncreased { by: step(random) },
            _ => Event::SpeedDecreased { by: step(random) },
        }
    }
}

/// Only what has happened once may happen again at random: a first launch or explosion has a place of its own.
fn is_past(first: Option<u64>, number: u64) -> bool {
    first.is_some_and(|first| number > first)
}

fn launch(speed: i64, random: &mut impl Rng) -> Event {
    Event::Launched { rocket_type: Names::Hostile.rocket_type(random), speed, mission: Names::Hostile.mission(random) }
}

fn explosion(random: &mut impl Rng) -> Event {
    Event::Exploded { reason: Names::Hostile.reason(random) }
}

/// Mostly an ordinary step, at times nothing, at times all that 63 bits hold or nearly so.
fn step(random: &mut impl Rng) -> i64 {
    match random.random_range(0..20_u32) {
        0 => 0,
        1 => i64::MAX,
        2 => random.random_range(i64::MAX / 2..=i64::MAX),
        _ => random.random_range(1..=3_000),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;
    use time::format_description::well_known::Rfc3339;

    use super::super::generate::{Generator, Recipe};
    use super::*;

    fn check(event: Event, expected_type: &str, expected_payload: Value) {
        let channel = Uuid::from_u128(0xabc);
        let message = Message { channel, upper_case: true, number: 7, time: "2022-02-02T19:39:05Z".into(), event };
        let body: Value = serde_json::from_slice(&message.to_body()).unwrap();
        let metadata = json!({
            "channel": "00000000-0000-0000-0000-000000000ABC",
            "messageNumber": 7,
            "messageTime": "2022-02-02T19:39:05Z",
            "messageType": expected_type,
        });
        assert_eq!(body, json!({ "metadata": metadata, "message": expected_payload }));
    }

    #[test]
    fn every_kind_has_the_contracts_form() {
        let launched = Event::Launched { rocket_type: "Falcon-9".into(), speed: 500, mission: "ARTEMIS".into() };
        let payload = json!({ "type": "Falcon-9", "launchSpeed": 500, "mission": "ARTEMIS" });
        check(launched, "RocketLaunched", payload);
        check(Event::SpeedIncreased { by: 3 }, "RocketSpeedIncreased", json!({ "by": 3 }));
        check(Event::SpeedDecreased { by: i64::MAX }, "RocketSpeedDecreased", json!({ "by": i64::MAX }));
        check(Event::MissionChanged { mission: "M".into() }, "RocketMissionChanged", json!({ "newMission": "M" }));
        check(Event::Exploded { reason: "R".into() }, "RocketExploded", json!({ "reason": "R" }));
    }

    fn check_time(form: Form, expected: &str) {
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
        check_time(form(60, 6, true, false), "2022-02-02T19:39:05.86337+01:00");
        check_time(form(0, 0, false, false), "2022-02-02T18:39:05Z");
        check_time(form(0, 9, false, true), "2022-02-02t18:39:05.863370000z");
        check_time(form(-570, 1, false, false), "2022-02-02T09:09:05.8-09:30");
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

    /// What is wrong with an event in the state of its rocket; told here from speed and explosion alone.
    fn mischief(speed: &mut Option<i64>, exploded: &mut bool, event: &Event) -> &'static str {
        let is_launch = matches!(event, Event::Launched { .. });
        match (*speed, event) {
            (None, Event::Launched { speed: first, .. }) => *speed = Some(*first),
            (None, _) => return "before a launch",
            (Some(_), Event::Exploded { .. }) if *exploded => return "second explosion",
            (Some(_), _) if is_launch => return "second launch",
            (Some(_), _) if *exploded => return "change after an explosion",
            (Some(_), Event::Exploded { .. }) => *exploded = true,
            (Some(now), Event::SpeedDecreased { by }) if *by > now => {
                *speed = Some(0);
                return "below zero";
            }
            (Some(now), Event::SpeedDecreased { by }) => *speed = Some(now - by),
            (Some(now), Event::SpeedIncreased { by }) => match now.checked_add(*by) {
                Some(sum) => *speed = Some(sum),
                None => return "overflow",
            },
            _ => {}
        }
        "none"
    }

    #[test]
    fn every_mischief_happens() {
        let recipe = Recipe { seed: 444, rockets: 16, max_messages: 2_000, hostile: true, lost: 0.0 };
        let mut states = BTreeMap::new();
        let mut found = BTreeSet::new();
        for message in Generator::new(&recipe) {
            let (speed, exploded) = states.entry(message.channel).or_insert((None, false));
            found.insert(mischief(speed, exploded, &message.event));
        }
        let all = [
            "before a launch",
            "below zero",
            "change after an explosion",
            "none",
            "overflow",
            "second explosion",
            "second launch",
        ];
        assert!(found.iter().eq(&all), "{found:?}");
        assert!(states.values().any(|(speed, _)| speed.is_none()), "a rocket that is never launched");
    }
}
