//! Targets for a fuzzer: each takes any bytes, has one part of the program read them, and panics where that breaks a promise.
//!
//! They are plain functions. `cargo test` gives them what is in `tests/fuzz/corpus`, `make fuzz` gives them whatever a fuzzer
//! thinks of for a minute each, and what it finds becomes one more file there. Not part of what users run.

#![allow(clippy::expect_used, clippy::panic, reason = "a target tells by a panic what it has found")]

use std::collections::HashMap;
use std::sync::Arc;

use arbitrary::{Arbitrary, Result, Unstructured};
use serde_json::{Value, json};

use crate::admin;
use crate::domain::entry::Raw;
use crate::domain::reorder::Room;
use crate::domain::wire::{self, STRING_CHARS_MAX};
use crate::domain::{
    Arrival, Channel, Entry, Goal, Kind, Message, MessageNumber, MessageTime, Record, Replay, Sequence, StoredAt,
    Wanted,
};
use crate::http::cursor;
use crate::query::ListRequest;
use crate::query::history::HistoryRequest;
use crate::query::live::request::LiveRequest;
use crate::terminal::Table;

mod credentials;
mod http;

/// What a target is: a function of any bytes that says whether they were taken for what they are to be.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the names of their corpora.
pub const TARGETS: [(&str, Target); 9] = [
    ("credentials", credentials::credentials),
    ("fold", fold),
    ("http_connection", http::connection),
    ("ingress_raw", ingress_raw),
    ("ingress_structured", |bytes| structured(bytes, ingress_structured)),
    ("query", query),
    ("record", record),
    ("stored_message", stored_message),
    ("table", table),
];

const CHANNEL: &str = "193270a9-c9cf-404a-8f83-838e71d9ae67";

fn structured(bytes: &[u8], target: fn(&mut Unstructured<'_>) -> Result<()>) -> bool {
    // Too few bytes make no input.
    target(&mut Unstructured::new(bytes)).is_ok()
}

/// Bytes are a message, or are not; what is taken reads the same everywhere.
fn ingress_raw(bytes: &[u8]) -> bool {
    let Ok(message) = wire::read(bytes) else { return false };
    let value: Value = serde_json::from_slice(bytes).expect("what is taken is JSON to others too");
    assert!(std::str::from_utf8(bytes).is_ok(), "what is taken is text");
    let (metadata, said) = (&value["metadata"], &value["message"]);
    assert_eq!(metadata["messageNumber"], message.number.get());
    assert_eq!(metadata["messageTime"], message.time.as_str());
    assert_eq!(metadata["channel"].as_str().map(str::to_lowercase), Some(message.channel.to_string()));
    let (expected, texts): (Value, Vec<&String>) = match &message.kind {
        Kind::Launched { rocket_type, speed, mission } => {
            (json!([rocket_type, speed, mission]), vec![rocket_type, mission])
        }
        Kind::SpeedIncreased(by) | Kind::SpeedDecreased(by) => (json!([by]), vec![]),
        Kind::MissionChanged(text) | Kind::Exploded(text) => (json!([text]), vec![text]),
    };
    let fields: &[&str] = match &message.kind {
        Kind::Launched { .. } => &["type", "launchSpeed", "mission"],
        Kind::SpeedIncreased(_) | Kind::SpeedDecreased(_) => &["by"],
        Kind::MissionChanged(_) => &["newMission"],
        Kind::Exploded(_) => &["reason"],
    };
    assert_eq!(expected, fields.iter().map(|field| said[field].clone()).collect::<Value>());
    assert!(texts.iter().all(|text| (1..=STRING_CHARS_MAX).contains(&text.chars().count())));
    true
}

/// A message that is right is taken, whatever else stands in it; one with a byte changed is taken as it then reads, or not.
fn ingress_structured(input: &mut Unstructured<'_>) -> Result<()> {
    let body = message_json(input)?;
    assert_eq!(wire::read(body.to_string().as_bytes()).map_err(|error| format!("{error} {body}")).err(), None);
    let mut bytes = body.to_string().into_bytes();
    for _ in 0..input.int_in_range(0..=8)? {
        let place = input.choose_index(bytes.len())?;
        bytes[place] = input.arbitrary()?;
    }
    ingress_raw(&bytes);
    Ok(())
}

fn message_json(input: &mut Unstructured<'_>) -> Result<Value> {
    let words = |input: &mut Unstructured<'_>| -> Result<String> {
        let text: String = String::arbitrary(input)?.chars().take(STRING_CHARS_MAX).collect();
        Ok(if text.is_empty() { "x".into() } else { text })
    };
    let (kind, message) = match input.int_in_range(0..=4)? {
        0 => {
            let (rocket_type, mission) = (words(input)?, words(input)?);
            let speed = input.int_in_range(1..=i64::MAX)?;
            ("RocketLaunched", json!({ "type": rocket_type, "launchSpeed": speed, "mission": mission }))
        }
        1 => ("RocketSpeedIncreased", json!({ "by": input.int_in_range(0..=i64::MAX)? })),
        2 => ("RocketSpeedDecreased", json!({ "by": input.int_in_range(0..=i64::MAX)? })),
        3 => ("RocketMissionChanged", json!({ "newMission": words(input)? })),
        _ => ("RocketExploded", json!({ "reason": words(input)? })),
    };
    let metadata = json!({
        "channel": CHANNEL,
        "messageNumber": input.int_in_range(1..=i64::MAX)?,
        "messageTime": "2022-02-02T19:39:05.86337+01:00",
        "messageType": kind,
    });
    Ok(json!({ "metadata": metadata, "message": message }))
}

/// What outsiders have put into the stream, with a subject's token and a header: it is read, or told why not.
fn stored_message(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let mut text = || parts.next().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    let (token, corrects) = (text(), text());
    let payload = parts.next().unwrap_or_default();
    let corrects = Some(corrects.as_str()).filter(|corrects| !corrects.is_empty());
    let raw = Raw { sequence: Sequence(1), stored_at: StoredAt(0), channel_token: &token, corrects, payload };
    let _ = wire::peek(payload);
    let Ok(entry) = raw.read(|| ()) else { return false };
    assert!(Channel::from_token(&token).is_some() && entry.is_override() >= corrects.is_some());
    true
}

/// What lies in the bucket is a record that can be written again, or is told to be none.
fn record(bytes: &[u8]) -> bool {
    let Ok(record) = Record::from_bytes(bytes) else { return false };
    let again = Record::from_bytes(&record.to_bytes()).expect("what is written can be read");
    assert_eq!(again, record);
    true
}

/// Messages in any order, more than once, two with one number: the same as the first of each number, in order, without gaps.
fn fold(bytes: &[u8]) -> bool {
    let stream: Vec<_> = bytes.chunks_exact(2).take(400).zip(1..).map(arrival).collect();
    let mut firsts = HashMap::new();
    for message in stream.iter().filter_map(Entry::message) {
        firsts.entry(message.message.number).or_insert_with(|| message.message.clone());
    }
    let mut expected = Record::default();
    while let Some(message) = expected.next_number().and_then(|number| firsts.get(&number)) {
        let _ = expected.place(message);
    }
    let mut replay = Replay::from_checkpoints(Goal::State, Vec::new(), Room::of_a_reading(0), |()| 1);
    while let Some(wanted) = replay.wanted() {
        let _ = match wanted {
            Wanted::Page(from) => replay.take(stream.get(from.0 as usize - 1..).unwrap_or_default(), None),
            Wanted::Messages(places) => {
                let is_wanted = |(_, sequence): &(&[u8], u64)| places.contains(&Sequence(*sequence));
                let wanted: Vec<_> = bytes.chunks_exact(2).zip(1..).filter(is_wanted).map(arrival).collect();
                replay.supply(&wanted)
            }
        };
    }
    let found = replay.folds().last().map(|fold| fold.state()).unwrap_or_default();
    assert_eq!((&found.rocket, &found.last), (&expected.rocket, &expected.last));
    let later = firsts.keys().filter(|number| !expected.is_through(**number)).count() as u64;
    assert_eq!(found.pending.count(), later);
    true
}

/// A message of two bytes: its number, and what it says.
fn arrival((bytes, sequence): (&[u8], u64)) -> Entry<()> {
    let (number, what) = (u64::from(bytes[0] % 48) + 1, bytes[1]);
    let kind = match what % 5 {
        0 => Kind::Launched { rocket_type: "T".into(), speed: i64::from(what) + 1, mission: "M".into() },
        1 => Kind::SpeedIncreased(i64::from(what) << (what % 56)),
        2 => Kind::SpeedDecreased(i64::from(what)),
        3 => Kind::MissionChanged(what.to_string()),
        _ => Kind::Exploded("R".into()),
    };
    let time = MessageTime::parse("2022-02-02T19:39:05Z").expect("a time");
    let channel = Channel::parse(CHANNEL).expect("a channel");
    let message = Message { channel, number: MessageNumber::new(number).expect("a number"), time, kind };
    let (sequence, stored_at) = (Sequence(sequence), StoredAt(0));
    Entry::Message(Arc::new(Arrival { sequence, stored_at, message, corrects: false, stored: () }))
}

/// Any query of any list is taken, or told what is wrong with it; a cursor is one text.
fn query(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    if let Some(place) = cursor::read::<Value>(&text) {
        assert_eq!(cursor::write(&place), text);
    }
    let taken = [
        ListRequest::parse(&text).is_ok(),
        HistoryRequest::parse(&text).is_ok(),
        LiveRequest::parse(&text, &warp::http::HeaderMap::new()).is_ok(),
        admin::list::ListRequest::parse(&text).is_ok(),
    ];
    !text.is_empty() && taken.contains(&true)
}

/// No text in a cell is obeyed by a terminal, or makes another line.
fn table(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let mut table = Table::new(&["a", ">b"]);
    table.add([&text[..], &text]);
    let shown = table.to_text();
    let line = shown.lines().nth(1).unwrap_or_default();
    assert!(shown.lines().count() <= 2 && !line.chars().any(|character| character.is_control()), "{line:?}");
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn what_was_found_before_is_well_now() {
        for (name, target) in TARGETS {
            let corpus = corpus(name);
            assert!(corpus.len() >= 3, "{name} has hardly a corpus");
            for bytes in &corpus {
                // As it would be if it had been cut short.
                for end in 0..=bytes.len().min(512) {
                    target(&bytes[..end]);
                }
            }
            let taken = corpus.iter().filter(|bytes| target(bytes)).count();
            assert!(taken > 0, "all that {name} has in its corpus is refused: a fuzzer would hardly come further");
        }
    }
}
