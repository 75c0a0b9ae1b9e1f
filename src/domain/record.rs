//! What is remembered of one channel: the rocket, how far its sequence has come, and what is pending behind a gap.
//!
//! A record is at most [`BYTES_MAX`] long whatever a channel sends, and it is all that is needed to go on: the rest is
//! in the stream. Its JSON is the stored form, made to be read by people too (`nats kv get rockets <channel>`).

use serde::{Deserialize, Serialize};

use super::carried::{self, Carried};
use super::format::newest;
use super::pending::{Overflow, Range};
use super::{
    Event, Message, MessageNumber, MessageTime, PendingRanges, Refusal, Rocket, Sequence, Skipped, Status, StoredAt,
};

/// Longest stored form, in bytes.
pub const BYTES_MAX: usize = 16 * 1024;

/// Everything but the ranges: three strings of 255 characters at six bytes (`\u0001`), three times, and the names.
const REST_BYTES_MAX: usize = 3 * 255 * 6 + 3 * super::time::TEXT_MAX + 512;
const LISTS_BYTES_MAX: usize = super::pending::TEXT_MAX + super::skipped::TEXT_MAX;
const _: () = assert!(LISTS_BYTES_MAX + REST_BYTES_MAX + carried::TEXT_MAX <= BYTES_MAX);

/// The fields of the stored form, and those of its rocket.
const FIELDS: [&str; 11] = [
    "format",
    "rocket",
    "lastMessageNumber",
    "lastMessageTime",
    "parked",
    "parkedBeyond",
    "skipped",
    "skippedUnlisted",
    "lastAct",
    "lastActAt",
    "correctionsWait",
];
const ROCKET_FIELDS: [&str; 7] = ["type", "mission", "speed", "status", "explosionReason", "launchTime", "lastUpdated"];

/// What is remembered of one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The rocket, once its launch has been applied.
    pub rocket: Option<Rocket>,
    /// The last message of the sequence that was applied, refused or not.
    pub last: Option<Last>,
    /// The pending numbers behind a gap.
    pub pending: PendingRanges,
    /// The numbers that an operator has skipped.
    pub skipped: Skipped,
    /// The last sequence at which an override lies that is folded in.
    pub last_override: Option<Sequence>,
    /// The latest time at which one of those was stored, as far as is known: an older program did not note it. One that was
    /// stored later is new, also where it has a lower sequence, because the log lost its end.
    pub last_override_at: Option<StoredAt>,
    /// Some of what is pending is to take the place of other pending messages: only a reading of the whole channel knows.
    pub corrections_wait: bool,
}

/// The message that the sequence has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its number.
    pub number: MessageNumber,
    /// Its message time.
    pub time: MessageTime,
}

/// Why stored bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by a newer program: not ours to touch.
    #[error("format {0} is newer than {known}, the newest that this program knows", known = newest())]
    Newer(u32),
    /// Not something that any version of this program wrote.
    #[error("damaged: {0}")]
    Damaged(String),
}

impl Record {
    /// A record in the place of one that cannot be read: all that is known is that the whole channel is in the stream.
    pub fn to_be_replayed() -> Self {
        Self { pending: PendingRanges::unknown_from(Sequence(1)), corrections_wait: true, ..Self::default() }
    }

    /// Notes that messages between these sequences wait, of which nothing is known: the channel is to be replayed.
    pub fn wait_for_more(&mut self, first: Sequence, last: Sequence) {
        let lowest = self.pending.lowest().map_or(first, |lowest| lowest.min(first));
        self.pending = PendingRanges::unknown_from(lowest);
        self.pending.note_overflow(lowest, last);
        self.corrections_wait = true;
    }

    /// The number that comes next; none after the highest of all.
    pub fn next_number(&self) -> Option<MessageNumber> {
        self.last.as_ref().map_or(Some(MessageNumber::FIRST), |last| last.number.next())
    }

    /// The last number that is applied or skipped.
    pub fn applied_through(&self) -> Option<MessageNumber> {
        self.last.as_ref().map(|last| last.number)
    }

    /// Whether a number is applied or skipped.
    pub fn is_through(&self, number: MessageNumber) -> bool {
        self.last.as_ref().is_some_and(|last| number <= last.number)
    }

    /// Whether every number that another record is past is applied here too.
    pub fn has_come_as_far_as(&self, other: &Self) -> bool {
        other.last.as_ref().is_none_or(|last| self.is_through(last.number))
    }

    /// Whether an override is folded in.
    pub fn has_followed(&self, overriding: Event) -> bool {
        Some(overriding.sequence) <= self.last_override
            && self.last_override_at.is_none_or(|at| overriding.stored_at <= at)
    }

    /// Whether every override is folded in that another record has.
    pub fn has_followed_all_of(&self, other: &Self) -> bool {
        let is_later = |(at, others): (StoredAt, StoredAt)| others > at;
        other.last_override <= self.last_override
            && !self.last_override_at.zip(other.last_override_at).is_some_and(is_later)
    }

    /// Whether what is pending could be applied without any further message. Such a record must not be left alone.
    pub fn is_drainable(&self) -> bool {
        self.next_number().is_some_and(|next| self.pending.may_begin_with(next))
    }

    /// Puts the next message of the sequence in its place. It may be refused there: then the rocket stays as it is.
    pub fn place(&mut self, message: &Message) -> Result<(), Refusal> {
        debug_assert_eq!(self.next_number(), Some(message.number), "messages are placed in order");
        self.last = Some(Last { number: message.number, time: message.time.clone() });
        self.pending.remove_through(message.number);
        self.rocket = Some(Rocket::after(self.rocket.as_ref(), message)?);
        Ok(())
    }

    /// Passes numbers that an operator has skipped: the next one up to `last`, at the time at which that was said.
    pub fn skip(&mut self, last: MessageNumber, time: &MessageTime) {
        if let Some(first) = self.next_number().filter(|first| *first <= last) {
            self.skipped.push(first, last);
            self.pending.remove_through(last);
            self.last = Some(Last { number: last, time: time.clone() });
        }
    }

    /// The stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = serde_json::to_vec(&Stored::from(self)).unwrap_or_default();
        debug_assert!(!bytes.is_empty() && bytes.len() <= BYTES_MAX, "{} bytes", bytes.len());
        bytes
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        Self::read(bytes).map(|(record, _)| record)
    }

    /// Reads the stored form for one who may write it again: with the fields that this version does not know.
    pub fn read(bytes: &[u8]) -> Result<(Self, Option<Carried>), Unreadable> {
        match serde_json::from_slice::<Stored<'_>>(bytes) {
            Ok(stored) => {
                known_format(stored.format)?;
                Ok((stored.into_checked()?, None))
            }
            Err(error) => {
                let damaged = Unreadable::Damaged(error.to_string());
                // Another format may be anything else but for this.
                let Ok(Versioned { format }) = serde_json::from_slice(bytes) else { return Err(damaged) };
                known_format(format)?;
                Self::read_what_is_known(bytes, &damaged)
            }
        }
    }

    /// Reads a stored form in which there are fields that this version does not know, or which is damaged.
    fn read_what_is_known(bytes: &[u8], damaged: &Unreadable) -> Result<(Self, Option<Carried>), Unreadable> {
        let mut record = serde_json::from_slice(bytes).map_err(|_| damaged.clone())?;
        let carried = Carried::take_out(&mut record, &FIELDS, &ROCKET_FIELDS).ok_or_else(|| damaged.clone())?;
        if carried.len() > carried::TEXT_MAX {
            return Err(Unreadable::Newer(newest() + 1));
        }
        let known = record.to_string();
        let stored: Stored<'_> = serde_json::from_str(&known).map_err(|_| damaged.clone())?;
        Ok((stored.into_checked()?, Some(carried)))
    }
}

/// What every format has.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

fn known_format(format: u32) -> Result<(), Unreadable> {
    match format {
        0 => Err(Unreadable::Damaged("format 0".into())),
        newer if newer > newest() => Err(Unreadable::Newer(newer)),
        _ => Ok(()),
    }
}

/// The stored form, field by field.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored<'a> {
    format: u32,
    #[serde(borrow)]
    rocket: Option<StoredRocket<'a>>,
    last_message_number: u64,
    last_message_time: Option<Text<'a>>,
    /// `[first, last, lowest stream sequence]` of each range of pending numbers.
    #[serde(rename = "parked")]
    pending: Vec<(u64, u64, u64)>,
    /// `[lowest, highest]` stream sequence of what is pending above all ranges.
    #[serde(default, rename = "parkedBeyond", skip_serializing_if = "Option::is_none")]
    overflow: Option<(u64, u64)>,
    /// `[first, last]` of each range of numbers that were skipped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skipped_unlisted: Option<u64>,
    #[serde(default, rename = "lastAct", skip_serializing_if = "Option::is_none")]
    last_override: Option<u64>,
    /// `[lastAct, time]`. With another place, an older program has carried it along past a later word.
    #[serde(default, rename = "lastActAt", skip_serializing_if = "Option::is_none")]
    last_override_at: Option<(u64, i64)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    corrections_wait: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredRocket<'a> {
    r#type: Text<'a>,
    mission: Text<'a>,
    speed: i64,
    status: StoredStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    explosion_reason: Option<Text<'a>>,
    launch_time: Text<'a>,
    last_updated: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredStatus {
    Active,
    Exploded,
}

type Text<'a> = std::borrow::Cow<'a, str>;

impl<'a> From<&'a Record> for Stored<'a> {
    fn from(record: &'a Record) -> Self {
        let last = record.last.as_ref();
        let range = |range: &Range| (range.first.get(), range.last.get(), range.sequence.0);
        Self {
            format: newest(),
            rocket: record.rocket.as_ref().map(StoredRocket::from),
            last_message_number: last.map_or(0, |last| last.number.get()),
            last_message_time: last.map(|last| last.time.as_str().into()),
            pending: record.pending.ranges().iter().map(range).collect(),
            overflow: record.pending.overflow().map(|overflow| (overflow.lowest.0, overflow.highest.0)),
            skipped: record.skipped.ranges().iter().map(|(first, last)| (first.get(), last.get())).collect(),
            skipped_unlisted: record.skipped.unlisted().map(MessageNumber::get),
            last_override: record.last_override.map(|last| last.0),
            last_override_at: record.last_override.zip(record.last_override_at).map(|(last, at)| (last.0, at.0)),
            corrections_wait: record.corrections_wait,
        }
    }
}

impl<'a> From<&'a Rocket> for StoredRocket<'a> {
    fn from(rocket: &'a Rocket) -> Self {
        let (status, reason) = match &rocket.status {
            Status::Active => (StoredStatus::Active, None),
            Status::Exploded { reason } => (StoredStatus::Exploded, Some(reason.as_str().into())),
        };
        Self {
            r#type: rocket.rocket_type.as_str().into(),
            mission: rocket.mission.as_str().into(),
            speed: rocket.speed,
            status,
            explosion_reason: reason,
            launch_time: rocket.launch_time.as_str().into(),
            last_updated: rocket.last_updated.as_str().into(),
        }
    }
}

impl Stored<'_> {
    fn into_checked(self) -> Result<Record, Unreadable> {
        self.into_record().ok_or_else(|| Unreadable::Damaged("a field is out of its range".into()))
    }

    fn into_record(self) -> Option<Record> {
        let last = match (self.last_message_number, self.last_message_time) {
            (0, None) => None,
            (number, Some(time)) => {
                Some(Last { number: MessageNumber::new(number)?, time: MessageTime::parse(&time)? })
            }
            (_, None) => return None,
        };
        let rocket = match self.rocket {
            Some(rocket) => Some(rocket.into_rocket()?),
            None => None,
        };
        let range = |(first, last, sequence)| {
            let (first, last) = (MessageNumber::new(first)?, MessageNumber::new(last)?);
            Some(Range { first, last, sequence: Sequence(sequence) })
        };
        let ranges = self.pending.into_iter().map(range).collect::<Option<Vec<_>>>()?;
        let overflow = |(lowest, highest)| Overflow { lowest: Sequence(lowest), highest: Sequence(highest) };
        let pending = PendingRanges::from_parts(ranges, self.overflow.map(overflow))?;
        let range = |(first, last)| Some((MessageNumber::new(first)?, MessageNumber::new(last)?));
        let unlisted = match self.skipped_unlisted {
            Some(number) => Some(MessageNumber::new(number)?),
            None => None,
        };
        let skipped = Skipped::from_parts(self.skipped.into_iter().map(range).collect::<Option<_>>()?, unlisted)?;
        let overrides = self.last_override.map(Sequence);
        let last_override_at = self
            .last_override_at
            .filter(|(overriding, _)| Some(Sequence(*overriding)) == overrides)
            .map(|(_, at)| StoredAt(at));
        Some(Record {
            rocket,
            last,
            pending,
            skipped,
            last_override: overrides,
            last_override_at,
            corrections_wait: self.corrections_wait,
        })
    }
}

impl StoredRocket<'_> {
    fn into_rocket(self) -> Option<Rocket> {
        let status = match (self.status, self.explosion_reason) {
            (StoredStatus::Active, None) => Status::Active,
            (StoredStatus::Exploded, Some(reason)) => Status::Exploded { reason: reason.into_owned() },
            _ => return None,
        };
        Some(Rocket {
            rocket_type: self.r#type.into_owned(),
            mission: self.mission.into_owned(),
            speed: (self.speed >= 0).then_some(self.speed)?,
            status,
            launch_time: MessageTime::parse(&self.launch_time)?,
            last_updated: MessageTime::parse(&self.last_updated)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::testing::message;
    use super::*;

    fn message_at(number: u64, kind: Kind, time: &str) -> Message {
        Message { time: MessageTime::parse(time).unwrap(), ..message(number, kind) }
    }

    fn launch(text: &str) -> Kind {
        Kind::Launched { rocket_type: text.into(), speed: 500, mission: text.into() }
    }

    const TIME: &str = "2022-02-02T19:39:05Z";

    #[test]
    fn the_stored_form_is_legible() {
        let mut record = Record::default();
        record.place(&message_at(1, launch("Falcon-9"), TIME)).unwrap();
        record.place(&message_at(2, Kind::Exploded("FUEL".into()), "2022-02-02T19:40:05Z")).unwrap();
        record.pending.insert(MessageNumber::new(4).unwrap(), Sequence(17));
        let expected = r#"{"format":1,"rocket":{"type":"Falcon-9","mission":"Falcon-9","speed":0,"status":"exploded","explosionReason":"FUEL","launchTime":"2022-02-02T19:39:05Z","lastUpdated":"2022-02-02T19:40:05Z"},"lastMessageNumber":2,"lastMessageTime":"2022-02-02T19:40:05Z","parked":[[4,4,17]]}"#;
        assert_eq!(String::from_utf8(record.to_bytes()).unwrap(), expected);
        assert_eq!(Record::from_bytes(expected.as_bytes()), Ok(record));
    }

    #[test]
    fn what_an_operator_said_is_stored_and_read() {
        let number = |number| MessageNumber::new(number).unwrap();
        let (overrides, last_override_at) = (Some(Sequence(9)), Some(StoredAt(1_700)));
        let mut record =
            Record { last_override: overrides, last_override_at, corrections_wait: true, ..Record::default() };
        record.pending.insert(number(3), Sequence(4));
        record.skip(number(2), &MessageTime::parse(TIME).unwrap());
        let expected = r#"{"format":1,"rocket":null,"lastMessageNumber":2,"lastMessageTime":"2022-02-02T19:39:05Z","parked":[[3,3,4]],"skipped":[[1,2]],"lastAct":9,"lastActAt":[9,1700],"correctionsWait":true}"#;
        assert_eq!(String::from_utf8(record.to_bytes()).unwrap(), expected);
        assert_eq!(Record::from_bytes(expected.as_bytes()), Ok(record.clone()));
        record.skip(number(2), &MessageTime::parse("2023-02-02T19:39:05Z").unwrap());
        assert_eq!(record.to_bytes(), expected.as_bytes(), "what was passed is not skipped again");
        assert!(Record::from_bytes(expected.replace("[1,2]", "[2,1]").as_bytes()).is_err());
    }

    #[test]
    fn an_override_is_known_by_its_sequence_and_its_time() {
        let overriding = |place, at| Event { sequence: Sequence(place), stored_at: StoredAt(at) };
        let record = |last_override_at: Option<i64>| Record {
            last_override: Some(Sequence(9)),
            last_override_at: last_override_at.map(StoredAt),
            ..Record::default()
        };
        for (last_override_at, followed, expected) in [
            (Some(70), overriding(9, 70), true),
            (Some(70), overriding(4, 30), true),
            (Some(70), overriding(10, 70), false),
            (Some(70), overriding(4, 71), false),
            (None, overriding(4, 71), true),
            (None, overriding(10, 5), false),
        ] {
            assert_eq!(record(last_override_at).has_followed(followed), expected, "{last_override_at:?} {followed:?}");
            let other = Record {
                last_override: Some(followed.sequence),
                last_override_at: Some(followed.stored_at),
                ..Record::default()
            };
            assert_eq!(
                record(last_override_at).has_followed_all_of(&other),
                expected,
                "{last_override_at:?} {followed:?}"
            );
        }
        let older = r#"{"format":1,"rocket":null,"lastMessageNumber":0,"lastMessageTime":null,"parked":[],"lastAct":12,"lastActAt":[9,70]}"#;
        let read = Record::from_bytes(older.as_bytes()).unwrap();
        assert_eq!(
            (read.last_override, read.last_override_at),
            (Some(Sequence(12)), None),
            "carried along by an older program"
        );
    }

    #[test]
    fn an_empty_record_is_stored_and_read() {
        for record in [Record::default(), Record::to_be_replayed()] {
            assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
        }
    }

    #[test]
    fn the_largest_record_stays_within_its_bound() {
        let widest = "\u{1}".repeat(255);
        let time = format!("2022-02-02T19:39:05.{}Z", "1".repeat(super::super::time::TEXT_MAX - 21));
        let mut record = Record::default();
        record.place(&message_at(1, launch(&widest), &time)).unwrap();
        record.place(&message_at(2, Kind::Exploded(widest), &time)).unwrap();
        for step in 0..2_000 {
            let number = MessageNumber::new(MessageNumber::MAX - 2 * step).unwrap();
            record.pending.insert(number, Sequence(u64::MAX >> 1));
            let number = MessageNumber::new(MessageNumber::MAX / 2 + 2 * step).unwrap();
            record.skipped.push(number, number);
        }
        (record.last_override, record.corrections_wait) = (Some(Sequence(u64::MAX >> 1)), true);
        record.last_override_at = Some(StoredAt(i64::MIN));
        let bytes = record.to_bytes();
        assert!(bytes.len() <= BYTES_MAX, "{}", bytes.len());
        assert_eq!(Record::from_bytes(&bytes), Ok(record));
    }

    #[test]
    fn a_refused_message_takes_its_place_and_changes_nothing() {
        let mut record = Record::default();
        assert_eq!(record.place(&message_at(1, Kind::SpeedIncreased(1), TIME)), Err(Refusal::NotLaunched));
        assert_eq!((record.rocket.as_ref(), record.next_number()), (None, MessageNumber::new(2)));
        record.place(&message_at(2, launch("Falcon-9"), TIME)).unwrap();
        assert!(record.rocket.is_some());
    }

    #[test]
    fn what_nobody_wrote_is_told_apart_from_what_is_newer() {
        assert_eq!(Record::from_bytes(br#"{"format":2,"anything":true}"#), Err(Unreadable::Newer(2)));
        let good = r#"{"format":1,"rocket":null,"lastMessageNumber":0,"lastMessageTime":null,"parked":[]}"#;
        assert!(Record::from_bytes(good.as_bytes()).is_ok());
        for (from, to) in [
            (good, "garbage"),
            ("\"format\":1", "\"format\":0"),
            ("\"lastMessageNumber\":0", "\"lastMessageNumber\":7"),
            ("[]", "[[2,1,1]]"),
            ("[]", "[[0,1,1]]"),
            ("null,\"last", "{},\"last"),
        ] {
            let result = Record::from_bytes(good.replace(from, to).as_bytes());
            assert!(matches!(result, Err(Unreadable::Damaged(_))), "{to}: {result:?}");
        }
    }

    #[test]
    fn what_a_newer_version_added_is_carried_along() {
        let newer = r#"{"format":1,"rocket":{"type":"T","mission":"M","speed":5,"status":"active","launchTime":"2022-02-02T19:39:05Z","lastUpdated":"2022-02-02T19:39:05Z","fuel":{"left":3}},"lastMessageNumber":1,"lastMessageTime":"2022-02-02T19:39:05Z","parked":[],"crew":["a"]}"#;
        let (mut record, carried) = Record::read(newer.as_bytes()).unwrap();
        record.place(&message(2, Kind::SpeedIncreased(2))).unwrap();
        let written = carried.unwrap().put_into(&record.to_bytes());
        let (again, carried) = Record::read(&written).unwrap();
        assert_eq!((again, carried.is_some()), (record, true));
        let text = String::from_utf8(written).unwrap();
        assert!(text.contains(r#""fuel":{"left":3}"#) && text.contains(r#""crew":["a"]"#), "{text}");
        let too_much = newer.replace(r#"["a"]"#, &format!(r#""{}""#, "x".repeat(carried::TEXT_MAX)));
        assert_eq!(Record::from_bytes(too_much.as_bytes()), Err(Unreadable::Newer(2)));
        let damaged = newer.replace(r#""speed":5"#, r#""speed":-5"#);
        assert!(matches!(Record::from_bytes(damaged.as_bytes()), Err(Unreadable::Damaged(_))));
    }

    #[test]
    fn nothing_comes_after_the_highest_number() {
        let last =
            Last { number: MessageNumber::new(MessageNumber::MAX).unwrap(), time: MessageTime::parse(TIME).unwrap() };
        let record = Record { last: Some(last), ..Record::default() };
        assert_eq!((record.next_number(), record.is_drainable()), (None, false));
    }
}
