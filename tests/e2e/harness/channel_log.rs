//! What was stored of one channel, messages, skips and corrections, and what must become of it: worked out here a second
//! time, from the contract alone, as a function of the stream and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::messages::{Flight, apply, message_time, number_of};
use super::stream::publish;
use super::{Client, becomes, pick};

/// Questions under way at once, where all events are asked for.
const EVENTS_AT_ONCE: usize = 16;

/// What was stored of one channel, by event id.
#[derive(Clone, Debug)]
pub struct ChannelLog {
    channel: String,
    stored: BTreeMap<u64, Stored>,
}

#[derive(Clone, Debug)]
enum Stored {
    Message(Value),
    Correction(Value),
    Skip { up_to: u64, time: Value },
}

/// What takes the place of one number.
#[derive(Clone, Debug)]
pub struct Place {
    /// The event that takes it.
    pub event_id: u64,
    /// The row of the history, but for `error_message`, `corrects` and what the rocket waits for.
    pub row: Value,
    /// Events that a correction may say it stands in for; empty where it is none.
    pub instead_of: Vec<u64>,
}

impl ChannelLog {
    /// Of a channel of which nothing is stored yet.
    pub fn new(channel: &str) -> Self {
        Self { channel: channel.to_owned(), stored: BTreeMap::new() }
    }

    /// Notes a message.
    pub fn message(&mut self, event_id: u64, message: &Value) {
        self.stored.insert(event_id, Stored::Message(message.clone()));
    }

    /// Stores messages past the service, and notes them.
    pub async fn publish(&mut self, jetstream: &jetstream::Context, messages: &[Value]) {
        let sequences = publish(jetstream, messages).await;
        sequences.iter().zip(messages).for_each(|(sequence, message)| self.message(*sequence, message));
    }

    /// Notes a correction of its own number.
    pub fn correction(&mut self, event_id: u64, message: &Value) {
        self.stored.insert(event_id, Stored::Correction(message.clone()));
    }

    /// Notes a skip, made at that time.
    pub fn skipped(&mut self, event_id: u64, up_to: u64, time: &Value) {
        self.stored.insert(event_id, Stored::Skip { up_to, time: time.clone() });
    }

    /// Sends a message, which must be stored as a new one.
    pub async fn post(&mut self, client: &Client, message: &Value) -> u64 {
        let event_id = client.ingest(message).await;
        self.message(event_id, message);
        event_id
    }

    /// Skips, and looks up in the stream what was stored of it.
    pub async fn skip(&mut self, client: &Client, jetstream: &jetstream::Context, up_to: u64) -> u64 {
        let body = json!({ "up_to": up_to, "reason": "radio lost" });
        let event_id = client.skip(&self.channel, &body).await.ingested();
        let stream = jetstream.get_stream("ROCKETS").await.unwrap();
        let raw = stream.get_raw_message(event_id).await.unwrap();
        let stored: Value = serde_json::from_slice(&raw.payload).unwrap();
        self.skipped(event_id, up_to, &stored["metadata"]["messageTime"]);
        event_id
    }

    /// Sends a dead letter's message again, as it is or with another body: a correction if its number has been passed.
    pub async fn replay(&mut self, client: &Client, dead_letter: &Value, body: Option<&Value>) -> u64 {
        let message = match body {
            Some(body) => body.clone(),
            None => {
                let shown = client.dead_letter(&dead_letter["id"]).await.expect("it is still there");
                serde_json::from_str(shown["payload"].as_str().unwrap()).unwrap()
            }
        };
        let passed = self.places().contains_key(&number_of(&message));
        let event_id = client.replay(&dead_letter["id"], body).await.ingested();
        if passed {
            self.correction(event_id, &message)
        } else {
            self.message(event_id, &message)
        }
        event_id
    }

    /// What takes the place of each number, up to the first one that is missing.
    pub fn places(&self) -> BTreeMap<u64, Place> {
        self.places_before(u64::MAX)
    }

    fn places_before(&self, end: u64) -> BTreeMap<u64, Place> {
        let (mut messages, mut skips, mut corrections) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut before: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (&id, stored) in self.stored.range(..end) {
            match stored {
                Stored::Message(message) => {
                    messages.entry(number_of(message)).or_insert((id, message));
                    before.entry(number_of(message)).or_default().push(id);
                }
                Stored::Correction(message) => {
                    corrections.insert(number_of(message), (id, message));
                    before.entry(number_of(message)).or_default().push(id);
                }
                Stored::Skip { up_to, time } => {
                    let highest = before.keys().next_back().copied().unwrap_or_default();
                    for number in (1..=highest.min(*up_to)).filter(|number| !before.contains_key(number)) {
                        skips.entry(number).or_insert((id, time));
                    }
                }
            }
        }
        let mut places = BTreeMap::new();
        let mut rocket = None;
        for number in 1.. {
            let skip = skips.get(&number);
            let (event_id, row, time) = match (corrections.get(&number), skip, messages.get(&number)) {
                (None, Some((id, time)), _) => (*id, json!({ "type": "MessagesSkipped", "status": "skipped" }), *time),
                (Some((id, message)), ..) | (None, None, Some((id, message))) => {
                    let status = if apply(&mut rocket, message) { "processed" } else { "failed" };
                    let metadata = &message["metadata"];
                    (*id, json!({ "type": metadata["messageType"], "status": status }), &metadata["messageTime"])
                }
                (None, None, None) => break,
            };
            let after = rocket.clone().map(|mut rocket: Value| {
                rocket["lastMessageNumber"] = number.into();
                rocket["lastMessageTime"] = time.clone();
                rocket
            });
            let row = json!({
                "message_number": number,
                "message_type": row["type"],
                "event_id": event_id,
                "message_time": time,
                "status": row["status"],
                "rocket": after,
            });
            let others = before.get(&number).into_iter().flatten().chain(skip.map(|(id, _)| id));
            let others = others.filter(|id| **id != event_id);
            let instead_of = if corrections.contains_key(&number) { others.copied().collect() } else { Vec::new() };
            places.insert(number, Place { event_id, row, instead_of });
        }
        places
    }

    /// What `GET /rockets/{channel}` must say; none where nothing is launched.
    pub fn rocket(&self) -> Option<Value> {
        let places = self.places();
        let (last, place) = places.last_key_value()?;
        let mut rocket = place.row["rocket"].clone();
        if rocket.is_null() {
            return None;
        }
        let waiting: BTreeSet<u64> = self.messages().map(|(_, message)| number_of(message)).collect();
        rocket["pendingMessages"] = waiting.range(last + 1..).count().into();
        Some(rocket)
    }

    fn messages(&self) -> impl Iterator<Item = (u64, &Value)> {
        self.stored.iter().filter_map(|(id, stored)| match stored {
            Stored::Message(message) | Stored::Correction(message) => Some((*id, message)),
            Stored::Skip { .. } => None,
        })
    }

    /// The status of each event, if all was applied before each skip and correction.
    pub fn statuses(&self) -> BTreeMap<u64, &'static str> {
        let is_override = |(id, stored): (&u64, &Stored)| (!matches!(stored, Stored::Message(_))).then_some(*id);
        let ends = self.stored.iter().filter_map(is_override).chain([u64::MAX]);
        let mut statuses = BTreeMap::new();
        for end in ends {
            let places = self.places_before(end);
            for (&id, stored) in self.stored.range(..end) {
                let status = status_of(id, stored, &places);
                let told = statuses.get(&id).is_some_and(|told| ["processed", "failed"].contains(told));
                // What was applied once keeps what was said of it.
                if !(told && status == "duplicate") {
                    statuses.insert(id, status);
                }
            }
        }
        statuses
    }

    /// The event and the reason of each dead letter, if nothing malformed was stored and none was dropped.
    pub fn dead_letters(&self) -> BTreeSet<(u64, String)> {
        let places = self.places();
        let refused = places.values().filter(|place| place.row["status"] == "failed");
        let refused = refused.map(|place| (place.event_id, "refused".to_owned()));
        let late = self.messages().filter(|(_, message)| {
            places.get(&number_of(message)).is_some_and(|place| place.row["status"] == "skipped")
        });
        refused.chain(late.map(|(id, _)| (id, "skipped".to_owned()))).collect()
    }

    /// Waits until the rocket, its history, its events and its dead letters are what they must be.
    pub async fn holds(&self, client: &Client) {
        self.rocket_holds(client).await;
        self.history_holds(client).await;
        let what = format!("dead letters of {}", self.channel);
        becomes(&what, self.dead_letters(), async || self.dead_letters_at(client).await).await;
        self.events_hold(client).await;
    }

    /// Waits until each event says what it must.
    pub async fn events_hold(&self, client: &Client) {
        let events = stream::iter(self.statuses()).map(|(id, status)| self.event_holds(client, id, status));
        events.buffer_unordered(EVENTS_AT_ONCE).collect::<Vec<_>>().await;
    }

    /// Waits until of the events of each number, all copies of one message, exactly one says what it must be, and the
    /// others that they are duplicates: copies that come again after a crash may come in another order.
    pub async fn each_number_is_told_once(&self, client: &Client) {
        let places = self.places();
        let mut by_number: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        self.messages().for_each(|(id, message)| by_number.entry(number_of(message)).or_default().push(id));
        for (number, events) in by_number {
            let mut statuses: Vec<_> = join_all(events.iter().map(async |id| client.settled(*id).await)).await;
            let others = statuses.extract_if(.., |event| event["status"] == "duplicate").count();
            assert_eq!((statuses.len(), others), (1, events.len() - 1), "number {number}: {statuses:?}");
            assert_eq!(statuses[0]["status"], places[&number].row["status"], "{:?}", statuses[0]);
        }
    }

    /// Waits until the rocket is what it must be.
    pub async fn rocket_holds(&self, client: &Client) {
        let what = format!("the rocket {}", self.channel);
        becomes(&what, self.rocket(), async || client.rocket(&self.channel).await).await;
    }

    async fn dead_letters_at(&self, client: &Client) -> BTreeSet<(u64, String)> {
        let dead_letters = client.dead_letters_of(&self.channel).await;
        dead_letters
            .iter()
            .map(|row| (row["event_id"].as_u64().unwrap(), row["reason"].as_str().unwrap().into()))
            .collect()
    }

    /// Waits until an event says this, and then as much as it must.
    pub async fn event_holds(&self, client: &Client, id: u64, status: &str) {
        becomes(&format!("event {id}"), Some(status.to_owned()), async || client.status(id).await).await;
        let event = client.event(id).await.unwrap();
        assert_eq!(event["channel"], self.channel, "{event}");
        let says_why = event["error_message"].as_str().is_some_and(|error| !error.is_empty());
        assert_eq!(says_why, status == "failed", "{event}");
    }

    /// Waits until the history is what it must be.
    pub async fn history_holds(&self, client: &Client) {
        let path = format!("/rockets/{}/history?order=asc", self.channel);
        let places = self.places();
        let expected: Vec<_> = places.values().map(|place| place.row.clone()).collect();
        let what = format!("the history of {}", self.channel);
        becomes(&what, expected, async || {
            if client.get(&path).await.status == 404 {
                return Vec::new();
            }
            client.pages(&path, 1_000).await.iter().map(comparable).collect()
        })
        .await;
        for (row, place) in client.pages(&path, 1_000).await.iter().zip(places.values()) {
            place.is_told_by(row);
        }
    }
}

fn status_of(id: u64, stored: &Stored, places: &BTreeMap<u64, Place>) -> &'static str {
    let (Stored::Message(message) | Stored::Correction(message)) = stored else { return "processed" };
    let Some(place) = places.get(&number_of(message)) else { return "pending" };
    match place.row["status"].as_str() {
        Some("skipped") => "failed",
        _ if place.event_id != id => "duplicate",
        Some("failed") => "failed",
        _ => "processed",
    }
}

impl Place {
    /// Fails unless a row says of errors and corrections what it must.
    fn is_told_by(&self, row: &Value) {
        if self.row["status"] != "skipped" {
            assert_eq!(row["error_message"].is_null(), self.row["status"] == "processed", "{row}");
        }
        match row["corrects"].as_u64() {
            None => assert!(row["corrects"].is_null() && self.instead_of.is_empty(), "{row}"),
            Some(id) => assert!(self.instead_of.contains(&id), "{row}"),
        }
    }
}

/// A row of the history without what [`Place`] leaves open.
fn comparable(row: &Value) -> Value {
    let mut row = row.clone();
    let fields = row.as_object_mut().unwrap();
    for open in ["error_message", "corrects"] {
        assert!(fields.remove(open).is_some() || open == "corrects", "{open} is missing");
    }
    if let Some(rocket) = fields.get_mut("rocket").and_then(Value::as_object_mut) {
        rocket.remove("pendingMessages");
    }
    row
}

#[test]
fn a_log_is_worked_out_as_by_hand() {
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    // 2 and 4 are skipped (5 is beyond), 4 comes too late, the launch is corrected twice, and 7 waits.
    let wrong = flight.faster(1, 1);
    for (id, message) in [(1, &wrong), (2, &flight.faster(5, 10)), (3, &flight.faster(3, 100))] {
        log.message(id, message);
    }
    log.skipped(4, 4, &json!("a skip"));
    log.message(5, &flight.faster(4, 1_000));
    log.correction(6, &flight.exploded(1, "no launch either"));
    log.correction(7, &flight.launched(1));
    log.message(8, &flight.faster(5, 10_000));
    log.message(9, &flight.faster(7, 1));
    let told = [(1, "failed"), (2, "processed"), (3, "processed"), (4, "processed"), (5, "failed"), (6, "failed")];
    let told = told.into_iter().chain([(7, "processed"), (8, "duplicate"), (9, "pending")]);
    assert_eq!(log.statuses(), told.collect());
    assert_eq!(log.dead_letters(), BTreeSet::from([(5, "skipped".to_owned())]));
    let rocket = log.rocket().unwrap();
    let fields = ["currentSpeed", "lastMessageNumber", "lastMessageTime", "pendingMessages"];
    assert_eq!(pick(&rocket, fields), json!([610, 5, message_time(5), 1]));
    let places = log.places();
    let rows = places.values().map(|place| (place.event_id, place.row["status"].as_str().unwrap()));
    let expected = [(7, "processed"), (4, "skipped"), (3, "processed"), (4, "skipped"), (2, "processed")];
    assert!(rows.eq(expected), "{places:?}");
    assert_eq!((&places[&2].row["message_time"], &places[&1].instead_of), (&json!("a skip"), &vec![1, 6]));
}
