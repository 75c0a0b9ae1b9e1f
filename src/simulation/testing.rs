//! The model of the broker as the tracker's own tests use it: nothing goes wrong, and each call is done at once. Schedules
//! in which things go wrong are [`super`]'s.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use time::OffsetDateTime;

use super::model::{Model, Sight};
use crate::broker::dead_letters::reader::DeadLetterPage;
use crate::broker::log_reader::Page;
use crate::broker::store::Versioned;
use crate::broker::{AckHandle, BrokerError, DeadLetter, Delivery, LogReader, Stored, TrackBroker};
use crate::domain::{
    Arrival, Aside, Channel, Checkpoint, Event, MessageNumber, MessageTime, Outcome, OutcomeRecord, Record, Sequence,
    Skip, Unreported, wire,
};

/// Messages of one page where nothing else is asked for: few, so that every drain takes many steps.
const PAGE_MESSAGES: usize = 5;

/// One partition of a broker in memory; clones share it.
#[derive(Clone)]
pub struct ModelBroker(Arc<Mutex<State>>);

pub struct State {
    pub model: Model,
    /// What is shown; everything, unless a test has replicas lag behind.
    pub sight: Sight,
    pub pages_read: usize,
    /// Messages of these pages.
    pub messages_read: usize,
    /// Deliveries whose time was extended, each time again.
    pub extended: Vec<u64>,
    /// Whether there is no room for another dead letter.
    pub dead_letters_full: bool,
    /// Deliveries that were returned with a nak, each time again.
    pub given_back: Vec<(u64, Duration)>,
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
    let mut model = Model::default();
    let published = model.publish(&channel.to_string(), payload(channel, number).into(), None);
    let stored = Stored { sequence: Sequence(sequence), ..model.deliver(published.0).stored };
    stored.read().unwrap().message().unwrap().clone()
}

impl Default for ModelBroker {
    fn default() -> Self {
        Self::with_pages_of(PAGE_MESSAGES)
    }
}

impl ModelBroker {
    /// One whose pages have so many messages.
    pub fn with_pages_of(page: usize) -> Self {
        Self::of(Model::default(), page)
    }

    /// This one, with pages of so many messages.
    pub fn of(model: Model, page: usize) -> Self {
        let sight = Sight::clear(page);
        Self(Arc::new(Mutex::new(State {
            model,
            sight,
            pages_read: 0,
            messages_read: 0,
            extended: Vec::new(),
            dead_letters_full: false,
            given_back: Vec::new(),
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Stores bytes in the stream.
    pub fn publish_bytes(&self, channel_token: &str, payload: String) -> u64 {
        self.state().model.publish(channel_token, payload.into(), None).0
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
        self.state().model.publish(&channel.to_string(), payload.into(), Some(number.to_string())).0
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
        sequences.into_iter().map(|sequence| state.model.deliver(sequence)).collect()
    }

    /// Messages that have not been acknowledged, in the order of the stream.
    pub fn unacknowledged(&self) -> Vec<u64> {
        self.state().model.unacknowledged.iter().copied().collect()
    }

    /// How many messages have been acknowledged.
    pub fn acknowledged(&self) -> usize {
        let model = &self.state().model;
        model.stream.len() - model.unacknowledged.len()
    }

    /// The record of a channel.
    pub fn record(&self, channel: Channel) -> Record {
        self.state().record(channel)
    }

    /// The revision of a channel's record.
    pub fn revision(&self, channel: Channel) -> u64 {
        self.versioned(&channel).revision
    }

    /// What lies in the bucket of a channel.
    pub fn versioned(&self, channel: &Channel) -> Versioned {
        let state = self.state();
        state.model.load(channel, state.sight)
    }

    /// The dead letters: the reason of each, by event.
    pub fn dead_letters(&self) -> BTreeMap<u64, &'static str> {
        self.state().model.dead_letters().map(|(_, kept)| (kept.event.sequence.0, kept.reason.into())).collect()
    }
}

impl State {
    pub fn record(&self, channel: Channel) -> Record {
        let read = self.model.load(&channel, self.sight).record;
        read.map_or_else(Record::default, |bytes| Record::from_bytes(&bytes).unwrap_or_default())
    }

    /// What became of an event, as it is reported.
    pub fn outcome(&self, event: u64) -> Option<&Outcome> {
        self.model.outcome_record(event).map(|outcome_record| &outcome_record.outcome)
    }
}

impl LogReader for ModelBroker {
    async fn read_some(&self, channel: &Channel, from: Sequence, messages_max: usize) -> Result<Page, BrokerError> {
        let mut state = self.state();
        state.pages_read += 1;
        let page = state.model.read_page(channel, from, state.sight.pages_of(messages_max));
        state.messages_read += page.messages.len();
        Ok(page)
    }

    async fn read_messages(&self, places: &[Sequence]) -> Result<Vec<Stored>, BrokerError> {
        self.state().model.read_messages(places)
    }

    async fn is_whole(&self) -> Result<bool, BrokerError> {
        Ok(self.state().model.is_whole())
    }

    async fn last_of(&self, channel: &Channel) -> Result<Option<Sequence>, BrokerError> {
        Ok(self.state().model.last_of(channel))
    }

    async fn checkpoints(&self, channel: &Channel) -> Result<Vec<Checkpoint>, BrokerError> {
        Ok(self.state().model.checkpoints(channel))
    }

    /// It catches up by a message.
    async fn wait_for_replica(&self) {
        let missing = &mut self.state().sight.newest_missing;
        *missing = missing.saturating_sub(1);
    }
}

impl TrackBroker for ModelBroker {
    async fn load(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        self.load_latest(channel).await
    }

    async fn load_latest(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        Ok(self.versioned(channel))
    }

    async fn write(
        &self,
        channel: &Channel,
        record: Vec<u8>,
        unreported: &Unreported,
        expected: u64,
    ) -> Result<u64, BrokerError> {
        self.state().model.write(channel, record.into(), unreported, expected, self.now())
    }

    async fn set_aside(&self, channel: &Channel, as_read: &Versioned, aside: Aside) -> Result<u64, BrokerError> {
        self.state().model.set_aside(channel, as_read, aside)
    }

    async fn report(&self, outcomes: Vec<OutcomeRecord>) -> Result<(), BrokerError> {
        self.state().model.report(outcomes);
        Ok(())
    }

    async fn outcomes_of(&self, events: &[Event]) -> Result<HashMap<Event, OutcomeRecord>, BrokerError> {
        Ok(self.state().model.outcomes_of(events))
    }

    async fn store_dead_letter(&self, dead_letter: &DeadLetter<'_>) -> Result<(), BrokerError> {
        let mut state = self.state();
        if state.dead_letters_full {
            return Err(BrokerError::Full("no room".into()));
        }
        state.model.store_dead_letter(dead_letter);
        Ok(())
    }

    async fn refused_dead_letters(&self, channel: &Channel, from: u64) -> Result<DeadLetterPage, BrokerError> {
        let state = self.state();
        Ok(state.model.refused_dead_letters(channel, from, state.sight))
    }

    async fn remove_dead_letter(&self, id: u64) -> Result<(), BrokerError> {
        self.state().model.remove_dead_letter(id);
        Ok(())
    }

    async fn store_checkpoint(&self, channel: &Channel, checkpoint: &Checkpoint) -> Result<u64, BrokerError> {
        Ok(self.state().model.store_checkpoint(channel, checkpoint))
    }

    async fn remove_checkpoint(&self, place: u64) -> Result<(), BrokerError> {
        self.state().model.remove_checkpoint(place);
        Ok(())
    }

    async fn acknowledge(&self, handles: &[AckHandle]) {
        let mut state = self.state();
        handles.iter().for_each(|handle| state.model.acknowledge(Model::sequence_of(handle)));
    }

    async fn give_back(&self, handles: &[AckHandle], pause: Duration) {
        self.state().given_back.extend(handles.iter().map(|handle| (Model::sequence_of(handle), pause)));
    }

    async fn extend(&self, handles: &[AckHandle]) {
        self.state().extended.extend(handles.iter().map(Model::sequence_of));
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH
    }
}
