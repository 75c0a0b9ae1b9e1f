//! A service in miniature for this module's tests: it keeps what it is sent and answers from that, gaps, skips, dead
//! letters and corrections included. What stands at which number it decides itself; only the fold is the oracle's.
//!
//! Lists come in pages of twelve rows, so that whoever does not follow the cursor misses some of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::message::{Event, Message};
use super::super::oracle::Expected;
use super::test_service::Request;

const PAGE_ROWS: usize = 12;

/// The state of the service.
#[derive(Default)]
pub(super) struct FakeService {
    channels: BTreeMap<Uuid, Channel>,
    /// The dead letters that there ever were; the place is the id.
    dead_letters: Vec<SentDeadLetter>,
    /// Every skip and replay that changed something: the path, and the body of a skip.
    pub(super) overrides: Vec<String>,
}

#[derive(Default)]
struct Channel {
    arrived: BTreeMap<u64, Message>,
    skipped: BTreeSet<u64>,
    corrections: BTreeMap<u64, Message>,
}

struct SentDeadLetter {
    channel: Uuid,
    number: u64,
    attempts: usize,
    is_replayed: bool,
}

impl Channel {
    fn stands_at(&self, number: u64) -> Option<&Message> {
        self.corrections.get(&number).or_else(|| self.arrived.get(&number))
    }

    fn is_passable(&self, number: u64) -> bool {
        self.skipped.contains(&number) || self.stands_at(number).is_some()
    }

    /// The number up to which everything has its place.
    fn passed(&self) -> u64 {
        (1..).take_while(|number| self.is_passable(*number)).last().unwrap_or(0)
    }

    fn highest(&self) -> u64 {
        self.arrived.keys().next_back().copied().unwrap_or(0)
    }

    fn pending(&self) -> usize {
        self.arrived.range(self.passed() + 1..).count()
    }

    /// What the messages that have their places come to, and the numbers of those that were refused.
    fn fold(&self) -> (Expected, Vec<u64>) {
        let mut expected = Expected::default();
        let mut refused = Vec::new();
        for message in (1..=self.passed()).filter_map(|number| self.stands_at(number)) {
            if !expected.observe(message) {
                refused.push(message.number);
            }
        }
        (expected, refused)
    }

    fn rocket(&self, channel: Uuid) -> Value {
        let fields = self.fold().0.fields(channel).into_iter();
        let mut rocket: Map<String, Value> =
            fields.filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))).collect();
        rocket.insert("pendingMessages".into(), json!(self.pending()));
        Value::Object(rocket)
    }
}

impl FakeService {
    /// Answers a request with a status and a body.
    pub(super) fn answer(&mut self, request: &Request) -> (u16, String) {
        let (method, target) = request.line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, &segments[..]) {
            ("POST", ["messages"]) => self.ingest(message(&request.body)),
            ("GET", ["rockets", channel]) => self.rocket(channel.parse().unwrap()),
            ("GET", ["gaps"]) => page(self.gaps(), query),
            ("POST", ["rockets", channel, "skip"]) => self.skip(channel.parse().unwrap(), request),
            ("GET", ["dead-letters"]) => page(self.dead_letters(query), query),
            ("POST", ["dead-letters", id, "replay"]) => self.replay(id.parse().unwrap(), request),
            _ => error(404, "no such route"),
        }
    }

    /// The channels of everything that arrived.
    pub(super) fn channels(&self) -> impl Iterator<Item = Uuid> {
        self.channels.keys().copied()
    }

    fn ingest(&mut self, message: Message) -> (u16, String) {
        self.channels.entry(message.channel).or_default().arrived.entry(message.number).or_insert(message);
        stored("ingested")
    }

    fn rocket(&self, channel: Uuid) -> (u16, String) {
        match self.channels.get(&channel).filter(|found| found.fold().0.is_launched()) {
            Some(found) => data(&found.rocket(channel)),
            None => error(404, "rocket not found"),
        }
    }

    fn gaps(&self) -> Vec<Value> {
        let waiting = self.channels.iter().filter(|(_, channel)| channel.pending() > 0);
        let gap = |(id, channel): (&Uuid, &Channel)| {
            json!({
                "channel": id.to_string(), "waiting_for": channel.passed() + 1, "pending_messages": channel.pending(),
                "since": "2022-02-02T19:39:05Z",
            })
        };
        waiting.map(gap).collect()
    }

    fn skip(&mut self, id: Uuid, request: &Request) -> (u16, String) {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert!(body["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
        let up_to = body["up_to"].as_u64().unwrap();
        let Some(channel) = self.channels.get_mut(&id) else { return error(404, "rocket not found") };
        if up_to <= channel.passed() || up_to > channel.highest() {
            return error(409, "up_to has been passed, or lies beyond what has arrived");
        }
        let missing: Vec<u64> = (1..=up_to).filter(|number| !channel.is_passable(*number)).collect();
        channel.skipped.extend(missing);
        self.overrides.push(format!("{} {body}", request.line));
        stored("ingested")
    }

    /// The dead letters of one channel, newest first. A correction that was refused has a letter of its own.
    fn dead_letters(&mut self, query: &str) -> Vec<Value> {
        let (channel, reason) = (parameter(query, "channel").unwrap(), parameter(query, "reason"));
        assert_eq!(reason, Some("refused"));
        let channel: Uuid = channel.parse().unwrap();
        let Some(found) = self.channels.get(&channel) else { return Vec::new() };
        let attempts = |number: &u64| 1 + usize::from(found.corrections.contains_key(number));
        let refused: Vec<_> = found.fold().1.into_iter().rev().map(|number| (number, attempts(&number))).collect();
        refused.into_iter().map(|(number, attempts)| self.dead_letter(channel, number, attempts)).collect()
    }

    fn dead_letter(&mut self, channel: Uuid, number: u64, attempts: usize) -> Value {
        let is_it = |dead_letter: &SentDeadLetter| {
            (dead_letter.channel, dead_letter.number, dead_letter.attempts) == (channel, number, attempts)
        };
        let id = self.dead_letters.iter().position(is_it).unwrap_or_else(|| {
            self.dead_letters.push(SentDeadLetter { channel, number, attempts, is_replayed: false });
            self.dead_letters.len() - 1
        });
        json!({
            "id": id, "reason": "refused", "error_message": "makes no sense", "channel": channel.to_string(),
            "message_number": number, "message_type": "RocketSpeedIncreased", "event_id": 1, "attempts": attempts,
            "received_at": "2022-02-02T19:39:05Z", "dead_at": "2022-02-02T19:39:05Z",
        })
    }

    fn replay(&mut self, id: usize, request: &Request) -> (u16, String) {
        let Some(dead_letter) = self.dead_letters.get_mut(id) else { return error(404, "dead letter not found") };
        let correction = message(&request.body);
        assert_eq!((correction.channel, correction.number), (dead_letter.channel, dead_letter.number));
        if dead_letter.is_replayed {
            return stored("duplicate");
        }
        dead_letter.is_replayed = true;
        self.channels.get_mut(&dead_letter.channel).unwrap().corrections.insert(dead_letter.number, correction);
        self.overrides.push(format!("{} of {}", dead_letter.channel, dead_letter.number));
        stored("ingested")
    }
}

fn data(data: &Value) -> (u16, String) {
    (200, json!({ "request_id": "r", "data": data }).to_string())
}

fn error(status: u16, text: &str) -> (u16, String) {
    (status, json!({ "request_id": "r", "error": text }).to_string())
}

fn stored(status: &str) -> (u16, String) {
    data(&json!({ "status": status, "event_id": 1 }))
}

/// The page of a list that is asked for. The cursor must come back as it was, though a URL would change it.
fn page(rows: Vec<Value>, query: &str) -> (u16, String) {
    assert_eq!(parameter(query, "limit"), Some("1000"));
    let start = parameter(query, "cursor")
        .map_or(0, |cursor| cursor.strip_prefix("from%2B").expect("the cursor as it was given").parse().unwrap());
    let mut envelope =
        json!({ "request_id": "r", "data": rows.iter().skip(start).take(PAGE_ROWS).collect::<Vec<_>>() });
    if start + PAGE_ROWS < rows.len() {
        envelope["next_cursor"] = json!(format!("from+{}", start + PAGE_ROWS));
    }
    (200, envelope.to_string())
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn message(body: &[u8]) -> Message {
    let body: Value = serde_json::from_slice(body).unwrap();
    let (metadata, payload) = (&body["metadata"], &body["message"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let event = match metadata["messageType"].as_str().unwrap() {
        "RocketLaunched" => Event::Launched {
            rocket_type: text(&payload["type"]),
            speed: payload["launchSpeed"].as_i64().unwrap(),
            mission: text(&payload["mission"]),
        },
        "RocketSpeedIncreased" => Event::SpeedIncreased { by: payload["by"].as_i64().unwrap() },
        "RocketSpeedDecreased" => Event::SpeedDecreased { by: payload["by"].as_i64().unwrap() },
        "RocketMissionChanged" => Event::MissionChanged { mission: text(&payload["newMission"]) },
        "RocketExploded" => Event::Exploded { reason: text(&payload["reason"]) },
        other => panic!("{other}"),
    };
    Message {
        channel: metadata["channel"].as_str().unwrap().parse().unwrap(),
        upper_case: false,
        number: metadata["messageNumber"].as_u64().unwrap(),
        time: text(&metadata["messageTime"]),
        event,
    }
}
