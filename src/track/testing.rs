//! A model of the broker for the tracker's own tests: one partition in memory, with the faults that a test asks for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use time::OffsetDateTime;

use crate::broker::letter_box::{Letter, LetterPage};
use crate::broker::read_back::Page;
use crate::broker::store::Versioned;
use crate::broker::{AckHandle, BrokerError, DeadLetter, Delivery, Stored, TrackBroker};
use crate::domain::{
    Arrival, Became, Channel, Entry, Message, MessageNumber, MessageTime, Outcome, Owed, Record, Sequence, Skip, wire,
};

/// Messages of one page here: few, so that every drain takes many steps.
const PAGE_MESSAGES: usize = 5;

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is not done.
    Refused,
    /// It is done, and the answer gets lost.
    AnswerLost,
}

/// One partition of a broker in memory; clones share it.
#[derive(Clone, Default)]
pub struct ModelBroker(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    pub stream: Vec<Stored>,
    pub bucket: HashMap<Channel, (Vec<u8>, u64)>,
    /// What each record owes.
    pub owed: HashMap<Channel, Owed>,
    /// Dead letters by event, which is their id here.
    pub letters: BTreeMap<u64, &'static str>,
    /// What dead letters are recognised by.
    letter_ids: BTreeSet<(u64, Sequence)>,
    pub outcomes: BTreeMap<u64, Outcome>,
    pub acknowledged: BTreeSet<u64>,
    pub pages_read: usize,
    /// Deliveries whose time was extended, each time anew.
    pub extended: Vec<u64>,
    /// Faults of the calls to come, the next one last.
    pub faults: Vec<Fault>,
    revision: u64,
}

/// A message as `rockets launch` would send it.
pub fn payload(channel: Channel, number: u64) -> String {
    let (name, message) = match number {
        1 => ("RocketLaunched", r#"{"type":"T","launchSpeed":500,"mission":"M"}"#.to_owned()),
        _ if number.is_multiple_of(5) => ("RocketLaunched", r#"{"type":"T","launchSpeed":1,"mission":"M"}"#.to_owned()),
        _ => ("RocketSpeedIncreased", format!(r#"{{"by":{number}}}"#)),
    };
    format!(
        r#"{{"metadata":{{"channel":"{channel}","messageNumber":{number},"messageTime":"2022-02-02T19:39:05.{number}Z",
           "messageType":"{name}"}},"message":{message}}}"#
    )
}

/// A message that has arrived.
pub fn arrival(channel: Channel, number: u64, sequence: u64) -> Arc<Arrival<Stored>> {
    let entry = stored(&channel.to_string(), sequence, payload(channel, number)).read().unwrap();
    entry.message().unwrap().clone()
}

fn stored(channel_token: &str, sequence: u64, payload: String) -> Stored {
    Stored {
        sequence: Sequence(sequence),
        channel_token: channel_token.into(),
        time: OffsetDateTime::UNIX_EPOCH,
        request_id: None,
        corrects: None,
        attempts_before: 0,
        payload: payload.into(),
    }
}

impl ModelBroker {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Stores bytes in the stream.
    pub fn publish_bytes(&self, channel_token: &str, payload: String) -> u64 {
        let stream = &mut self.state().stream;
        let sequence = stream.len() as u64 + 1;
        stream.push(stored(channel_token, sequence, payload));
        sequence
    }

    /// Stores a message in the stream.
    pub fn publish(&self, channel: Channel, number: u64) -> u64 {
        self.publish_bytes(&channel.to_string(), payload(channel, number))
    }

    /// Stores a correction: an increase of the speed by 1,000, or a launch for number 1.
    pub fn correct(&self, channel: Channel, number: u64) -> u64 {
        let payload = match number {
            1 => payload(channel, 1).replace("500", "1000"),
            _ => payload(channel, number)
                .replace("RocketLaunched", "RocketSpeedIncreased")
                .replace(r#"{"type":"T","launchSpeed":1,"mission":"M"}"#, r#"{"by":1000}"#),
        };
        let sequence = self.publish_bytes(&channel.to_string(), payload);
        self.state().stream[sequence as usize - 1].corrects = Some(number.to_string());
        sequence
    }

    /// Stores a skip.
    pub fn skip(&self, channel: Channel, up_to: u64) -> u64 {
        let time = MessageTime::parse("2024-02-02T19:39:05Z").unwrap();
        let skip = Skip { channel, up_to: MessageNumber::new(up_to).unwrap(), time, reason: "lost".into() };
        self.publish_bytes(&channel.to_string(), String::from_utf8(wire::write_skip(&skip)).unwrap())
    }

    /// Delivers these messages.
    pub fn deliver(&self, sequences: impl IntoIterator<Item = u64>) -> Vec<Delivery> {
        let state = self.state();
        let delivery = |sequence: u64| Delivery {
            stored: state.stream[sequence as usize - 1].clone(),
            handle: AckHandle(sequence.to_string().into()),
        };
        sequences.into_iter().map(delivery).collect()
    }

    /// Messages that have not been acknowledged, in the order of the stream.
    pub fn unacknowledged(&self) -> Vec<u64> {
        let state = self.state();
        (1..=state.stream.len() as u64).filter(|sequence| !state.acknowledged.contains(sequence)).collect()
    }

    /// The record of a channel.
    pub fn record(&self, channel: Channel) -> Record {
        self.state().record(channel)
    }

    fn fault(&self) -> Fault {
        self.state().faults.pop().unwrap_or(Fault::None)
    }

    /// Does something, or not, as the next fault has it.
    fn attempt<T>(&self, action: impl FnOnce(&mut State) -> Result<T, BrokerError>) -> Result<T, BrokerError> {
        let fault = self.fault();
        if fault == Fault::Refused {
            return Err(BrokerError::Unavailable("refused".into()));
        }
        let result = action(&mut self.state());
        if fault == Fault::AnswerLost { Err(BrokerError::Unavailable("answer lost".into())) } else { result }
    }
}

impl State {
    pub fn record(&self, channel: Channel) -> Record {
        self.bucket
            .get(&channel)
            .map_or_else(Record::default, |(bytes, _)| Record::from_bytes(bytes).unwrap_or_default())
    }

    /// What became of an event, as it is told.
    pub fn became(&self, event: u64) -> Option<&Became> {
        self.outcomes.get(&event).map(|outcome| &outcome.became)
    }

    /// The law of acknowledgements: the effect is stored and told, and what could move is held by another message.
    fn check_acknowledged(&self, sequence: u64) {
        let told = self.outcomes.contains_key(&sequence);
        match self.stream[sequence as usize - 1].clone().read() {
            Err(_) => assert!(self.letters.contains_key(&sequence) && told, "{sequence} is let go and no dead letter"),
            Ok(Entry::Skip(_)) => assert!(told, "skip {sequence} is let go and not followed"),
            Ok(Entry::Message(arrival)) => {
                let (record, number) = (self.record(arrival.message.channel), arrival.message.number);
                let waits = record.parked.contains(number) || record.parked.beyond().is_some();
                assert!(waits || record.has_passed(number), "{sequence} is let go and nowhere");
                // It may have waited and be among what a record owes by now; or be a copy, of which nobody is told.
                assert!(
                    waits || told || self.is_told_or_owed(&arrival.message),
                    "{sequence} is let go and it is not told what became of it"
                );
                assert!(!arrival.corrects || record.acts >= arrival.sequence, "{sequence} is let go and not followed");
            }
        }
    }

    /// Whether it is told, or will be, what became of a message with this one's number.
    fn is_told_or_owed(&self, message: &Message) -> bool {
        let owed = &self.owed[&message.channel];
        let is_owed = |event: Sequence| owed.placed.iter().any(|(owed, _)| *owed == event);
        let copies = self.stream.iter().filter(|stored| {
            let entry = Stored::clone(stored).read().ok();
            entry.is_some_and(|entry| {
                entry.message().is_some_and(|copy| {
                    (copy.message.channel, copy.message.number) == (message.channel, message.number)
                })
            })
        });
        let events = copies.map(|stored| stored.sequence);
        owed.since.is_some() || { events }.any(|event| self.outcomes.contains_key(&event.0) || is_owed(event))
    }

    /// For every record that could move, a message is held.
    pub fn check_held(&self) {
        for channel in self.bucket.keys().filter(|channel| self.record(**channel).could_move()) {
            let held = self.stream.iter().any(|stored| {
                stored.channel_token == channel.to_string() && !self.acknowledged.contains(&stored.sequence.0)
            });
            assert!(held, "{channel} could move and nobody holds a message of it: {:?}", self.record(*channel));
        }
    }
}

impl TrackBroker for ModelBroker {
    async fn load(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        self.load_latest(channel).await
    }

    async fn load_latest(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        self.attempt(|state| {
            let found = state.bucket.get(channel).cloned();
            Ok(match found {
                Some((bytes, revision)) => Versioned {
                    record: Some(bytes.into()),
                    revision,
                    owed: state.owed.get(channel).cloned().unwrap_or_default(),
                    at: self.now(),
                },
                None => Versioned { record: None, revision: 0, owed: Owed::default(), at: self.now() },
            })
        })
    }

    async fn write(&self, channel: &Channel, record: Vec<u8>, owed: &Owed, expected: u64) -> Result<u64, BrokerError> {
        self.attempt(|state| {
            if state.bucket.get(channel).map_or(0, |(_, revision)| *revision) != expected {
                return Err(BrokerError::Conflict);
            }
            state.revision += 1;
            state.bucket.insert(*channel, (record, state.revision));
            // What goes through a header comes out the same.
            state.owed.insert(*channel, Owed::from_text(&owed.to_text()).unwrap());
            Ok(state.revision)
        })
    }

    async fn tell(&self, outcomes: Vec<Outcome>) -> Result<(), BrokerError> {
        self.attempt(|state| {
            for outcome in outcomes {
                let event = outcome.event.0;
                let known = state.outcomes.remove(&event);
                let counts = known.into_iter().chain([outcome]).reduce(Outcome::or);
                state.outcomes.extend(counts.map(|counts| (event, counts)));
            }
            Ok(())
        })
    }

    async fn refused_letters(&self, channel: &Channel, from: u64) -> Result<LetterPage, BrokerError> {
        let token = channel.to_string();
        self.attempt(|state| {
            let refused = state.letters.range(from..).filter(|(_, reason)| **reason == "refused");
            let of_channel = refused.filter(|(event, _)| state.stream[**event as usize - 1].channel_token == token);
            let mut letters: Vec<_> = of_channel.map(|(event, reason)| letter(*event, reason)).collect();
            let next = letters.get(PAGE_MESSAGES).map(|letter| letter.id);
            letters.truncate(PAGE_MESSAGES);
            Ok(LetterPage { letters, next })
        })
    }

    async fn remove_letter(&self, id: u64) -> Result<(), BrokerError> {
        self.attempt(|state| {
            state.letters.remove(&id);
            Ok(())
        })
    }

    async fn bury(&self, letter: &DeadLetter<'_>) -> Result<(), BrokerError> {
        let (sequence, reason) = (letter.stored.sequence.0, letter.reason.name());
        self.attempt(|state| {
            // Two trackers that follow acts of one channel at the same moment may each have one of a message.
            if state.letter_ids.insert((sequence, letter.after_acts)) {
                state.letters.insert(sequence, reason);
            }
            Ok(())
        })
    }

    async fn read_back(&self, channel: &Channel, from: Sequence) -> Result<Page, BrokerError> {
        let token = channel.to_string();
        self.attempt(|state| {
            state.pages_read += 1;
            let of_channel = |stored: &&Stored| stored.sequence >= from && stored.channel_token == token;
            let found: Vec<_> = state.stream.iter().filter(of_channel).cloned().collect();
            let messages: Vec<_> = found.iter().take(PAGE_MESSAGES).cloned().collect();
            Ok(Page { next: found.get(PAGE_MESSAGES).map(|stored| stored.sequence), messages })
        })
    }

    async fn acknowledge(&self, handles: &[AckHandle]) {
        for AckHandle(sequence) in handles {
            let sequence = sequence.parse().unwrap();
            // An acknowledgement can get lost like any other call.
            if self.fault() == Fault::None {
                let mut state = self.state();
                state.check_acknowledged(sequence);
                state.acknowledged.insert(sequence);
            }
        }
        self.state().check_held();
    }

    async fn give_back(&self, _: &[AckHandle], _: Duration) {}

    async fn extend(&self, handles: &[AckHandle]) {
        let sequences = handles.iter().map(|AckHandle(sequence)| sequence.parse::<u64>().unwrap());
        self.state().extended.extend(sequences);
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH
    }
}

fn letter(event: u64, reason: &str) -> Letter {
    Letter {
        id: event,
        reason: reason.into(),
        error: String::new(),
        channel_token: String::new(),
        event: Some(Sequence(event)),
        received_at: None,
        dead_at: OffsetDateTime::UNIX_EPOCH,
        attempts: 1,
        request_id: None,
        payload: bytes::Bytes::new(),
    }
}
