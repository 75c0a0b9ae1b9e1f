//! What one rocket sends, what it must be after each of its messages, and what was answered to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::harness::Flight;
use crate::harness::client::Answer;
use crate::harness::messages::{apply, message_time};

/// The course of one rocket. What it must be is worked out here, from the contract alone.
#[derive(Debug)]
pub struct Course {
    /// Its channel.
    pub channel: String,
    flight: Flight,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Message `n` at `n - 1`.
    messages: Vec<Value>,
    /// After message `n`, what the rocket is and whether that message made sense, at `n - 1`.
    states: Vec<(Option<Value>, bool)>,
    /// The number that is never sent.
    missing: Option<u64>,
    /// Numbers of which a copy may be at the broker.
    tried: BTreeSet<u64>,
    /// By number, every event id that was answered.
    stored: BTreeMap<u64, BTreeSet<u64>>,
}

/// What is to be said of one number at the end.
#[derive(Clone, Debug)]
pub struct Told {
    /// The events of all of its copies that are known.
    pub events: BTreeSet<u64>,
    /// `processed`, `failed`, or `pending` behind a gap.
    pub status: &'static str,
    /// The number that it waits for.
    pub waiting_for: Option<u64>,
}

impl Course {
    /// A rocket that has sent nothing yet and whose messages are [`Course::next`].
    pub fn of_probe(flight: Flight) -> Self {
        Self { channel: flight.channel.clone(), flight, inner: Mutex::default() }
    }

    /// A rocket with so many messages, now and then with one that makes no sense; it may explode before its time, and one
    /// in eight loses a message on the radio.
    pub fn draw(random: &mut ChaCha8Rng, messages: u64) -> Self {
        let course = Self::of_probe(Flight::new());
        let explodes = random.random_bool(0.3).then(|| random.random_range(messages / 2..=messages));
        for number in 1..=messages {
            let message = match number {
                _ if explodes == Some(number) => course.flight.exploded(number, "struts"),
                _ if number > 1 && random.random_bool(0.05) => course.flight.launched(number),
                _ => usual(&course.flight, number),
            };
            course.inner.lock().unwrap().push(message);
        }
        let missing = random.random_bool(0.125).then(|| random.random_range(2..messages));
        course.inner.lock().unwrap().missing = missing;
        course
    }

    /// The number of its last message.
    pub fn sent(&self) -> u64 {
        self.inner.lock().unwrap().messages.len() as u64
    }

    /// One more message, to be sent as soon as the last one is through.
    pub fn next(&self) -> (u64, Value) {
        let mut inner = self.inner.lock().unwrap();
        let number = inner.messages.len() as u64 + 1;
        let message = usual(&self.flight, number);
        inner.push(message.clone());
        (number, message)
    }

    /// The numbers that are sent, in order.
    pub fn numbers(&self) -> Vec<u64> {
        let inner = self.inner.lock().unwrap();
        (1..=inner.messages.len() as u64).filter(|number| inner.missing != Some(*number)).collect()
    }

    /// One of its messages.
    pub fn message(&self, number: u64) -> Value {
        self.inner.lock().unwrap().messages[number as usize - 1].clone()
    }

    /// Notes that a message may be at the broker from now on.
    pub fn tries(&self, number: u64) {
        self.inner.lock().unwrap().tried.insert(number);
    }

    /// The numbers that were tried and never answered.
    pub fn numbers_not_stored(&self) -> Vec<u64> {
        let inner = self.inner.lock().unwrap();
        inner.tried.iter().copied().filter(|number| !inner.stored.contains_key(number)).collect()
    }

    /// Notes what was answered to a message.
    pub fn answered(&self, number: u64, event_id: u64) {
        self.inner.lock().unwrap().stored.entry(number).or_default().insert(event_id);
    }

    /// Any event that was answered.
    pub fn any_event(&self, random: &mut ChaCha8Rng) -> Option<(u64, u64)> {
        let inner = self.inner.lock().unwrap();
        let at = random.random_range(0..inner.stored.len().max(1));
        let (number, events) = inner.stored.iter().nth(at)?;
        Some((*number, *events.first()?))
    }

    /// An event that was answered to this number.
    pub fn event_of(&self, number: u64) -> u64 {
        self.first_event_of(number).expect("it was answered")
    }

    /// The first event that was answered to this number, if one was.
    pub fn first_event_of(&self, number: u64) -> Option<u64> {
        self.inner.lock().unwrap().stored.get(&number)?.first().copied()
    }

    /// Whether this event was answered to this number.
    pub fn has_event(&self, number: u64, event_id: u64) -> bool {
        self.inner.lock().unwrap().stored.get(&number).is_some_and(|events| events.contains(&event_id))
    }

    /// Whether several events were answered to this number.
    pub fn has_copies(&self, number: u64) -> bool {
        self.inner.lock().unwrap().stored.get(&number).is_some_and(|events| events.len() > 1)
    }

    /// Every event that was answered, with its number.
    pub fn events(&self) -> Vec<(u64, u64)> {
        let inner = self.inner.lock().unwrap();
        inner.stored.iter().flat_map(|(number, events)| events.iter().map(|event| (*event, *number))).collect()
    }

    /// Judges a rocket that was shown, and gives its last number: it must be what its messages up to there make.
    pub fn judge(&self, shown: Option<&Value>) -> Result<u64, String> {
        let inner = self.inner.lock().unwrap();
        let Some(shown) = shown else { return Ok(0) };
        let number = shown["lastMessageNumber"].as_u64().unwrap_or_default();
        if !(1..=inner.messages.len() as u64).contains(&number) {
            return Err(format!("a number that was never sent: {shown}"));
        }
        if let Some(never) = (1..=number).find(|number| !inner.tried.contains(number)) {
            return Err(format!("number {never} was never sent: {shown}"));
        }
        let pending = shown["pendingMessages"].as_u64().unwrap_or(u64::MAX);
        if pending > inner.tried.range(number + 1..).count() as u64 {
            return Err(format!("more wait than were sent: {shown}"));
        }
        let expected = inner.rocket_after(number, pending);
        if Some(shown) == expected.as_ref() { Ok(number) } else { Err(format!("is {shown}, must be {expected:?}")) }
    }

    /// The number that a rocket must come to show, once everything that is sent has been.
    pub fn last_number(&self) -> u64 {
        let inner = self.inner.lock().unwrap();
        inner.missing.map_or(inner.messages.len() as u64, |missing| missing - 1)
    }

    /// What `GET /rockets/{channel}` must say at the end.
    pub fn at_the_end(&self) -> Option<Value> {
        let last = self.last_number();
        let inner = self.inner.lock().unwrap();
        inner.rocket_after(last, inner.tried.range(last + 1..).count() as u64)
    }

    /// Whether an answer to `GET /rockets/{channel}` is what it must be at the end.
    pub fn ends_as(&self, answer: &Answer) -> bool {
        match self.at_the_end() {
            Some(rocket) => answer.status == 200 && answer.body["data"] == rocket,
            None => answer.status == 404,
        }
    }

    /// What must be told of each number at the end.
    pub fn told(&self) -> Vec<Told> {
        let last = self.last_number();
        let inner = self.inner.lock().unwrap();
        let told = |(number, events): (&u64, &BTreeSet<u64>)| {
            let (number, events) = (*number, events.clone());
            let status = if number > last { "pending" } else { inner.status_of(number) };
            Told { events, status, waiting_for: (number > last).then_some(last + 1) }
        };
        inner.stored.iter().map(told).collect()
    }

    /// What may be said of an event at any time.
    pub fn status_of(&self, number: u64) -> &'static str {
        self.inner.lock().unwrap().status_of(number)
    }
}

impl Inner {
    fn push(&mut self, message: Value) {
        let mut rocket = self.states.last().and_then(|(rocket, _)| rocket.clone());
        let makes_sense = apply(&mut rocket, &message);
        self.messages.push(message);
        self.states.push((rocket, makes_sense));
    }

    fn rocket_after(&self, number: u64, pending: u64) -> Option<Value> {
        let mut rocket = self.states.get((number as usize).checked_sub(1)?)?.0.clone()?;
        rocket["lastMessageNumber"] = number.into();
        rocket["lastMessageTime"] = message_time(number).into();
        rocket["pendingMessages"] = pending.into();
        Some(rocket)
    }

    fn status_of(&self, number: u64) -> &'static str {
        if self.states[number as usize - 1].1 { "processed" } else { "failed" }
    }
}

fn usual(flight: &Flight, number: u64) -> Value {
    match number {
        1 => flight.launched(1),
        _ if number.is_multiple_of(7) => flight.mission(number, &format!("MISSION-{number}")),
        _ if number.is_multiple_of(5) => flight.slower(number, 3),
        _ => flight.faster(number, 1 + i64::try_from(number % 11).unwrap()),
    }
}

#[test]
fn a_lie_is_told_from_the_truth() {
    let course = Course::of_probe(Flight::new());
    for _ in 1..=5 {
        course.next();
    }
    [1, 2, 3, 5].iter().for_each(|number| course.tries(*number));
    let after = |number, pending| course.inner.lock().unwrap().rocket_after(number, pending).unwrap();
    let judged = |rocket: &Value| course.judge(Some(rocket)).ok();
    assert_eq!((course.judge(None).ok(), judged(&after(1, 0)), judged(&after(3, 1))), (Some(0), Some(1), Some(3)));
    // One that nobody sent, more that wait than were sent, one counted twice, one left out.
    assert_eq!((judged(&after(5, 0)), judged(&after(4, 0)), judged(&after(3, 2))), (None, None, None));
    let mut twice = after(3, 0);
    twice["currentSpeed"] = (twice["currentSpeed"].as_i64().unwrap() + 4).into();
    let mut left_out = after(3, 0);
    left_out["currentSpeed"] = after(2, 0)["currentSpeed"].clone();
    assert_eq!((judged(&twice), judged(&left_out)), (None, None));
}
