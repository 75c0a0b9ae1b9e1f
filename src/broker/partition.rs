//! All that a tracker says to the broker about one partition, behind one narrow trait: so that the tracker's own code
//! can be run against something else than a broker.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use strum::VariantNames as _;
use time::OffsetDateTime;
use tokio::time::sleep;

use super::checkpoints;
use super::consumer::answer;
use super::dead_letters::reader::{DeadLetterPage, dead_letters_of, remove_dead_letter};
use super::dead_letters::{DeadLetter, DeadLetters, Reason};
use super::inspect::{is_whole, last_of};
use super::log_reader::direct::LAG_PAUSE;
use super::log_reader::{PAGE_MESSAGES_MAX, Page, read_messages, read_some};
use super::outcomes::{OutcomeWriter, outcomes_of};
use super::store::{RecordWriter, Store, Versioned};
use super::storing::Storing;
use super::{AckHandle, Broker, BrokerError, Stored};
use crate::domain::{Aside, Channel, Checkpoint, Event, OutcomeRecord, Sequence, Unreported};
use crate::metrics::track::StoreMetrics;

/// Bytes that some outcomes need, about: how many messages they become is not known here.
const OUTCOMES_BYTES: usize = 1_024;
/// Bytes of a dead letter's subject and headers, about.
const DEAD_LETTER_HEADER_BYTES: usize = 2_048;

/// Reads the log of one channel.
pub trait LogReader: Send + Sync {
    /// Reads a page of a channel's messages from this sequence on. It may lack the newest ones.
    fn read_page(&self, channel: &Channel, from: Sequence) -> impl Future<Output = Result<Page, BrokerError>> + Send {
        self.read_some(channel, from, PAGE_MESSAGES_MAX)
    }
    /// The same, of so many messages at most.
    fn read_some(
        &self,
        channel: &Channel,
        from: Sequence,
        messages_max: usize,
    ) -> impl Future<Output = Result<Page, BrokerError>> + Send;
    /// Reads the messages at these sequences, in their order.
    fn read_messages(&self, places: &[Sequence]) -> impl Future<Output = Result<Vec<Stored>, BrokerError>> + Send;
    /// Whether nothing was ever removed from the log, as a leader has it whom the others follow; an error where there is
    /// none.
    fn is_whole(&self) -> impl Future<Output = Result<bool, BrokerError>> + Send;
    /// Where the last message of a channel lies, as the leader has it; none if there is none.
    fn last_of(&self, channel: &Channel) -> impl Future<Output = Result<Option<Sequence>, BrokerError>> + Send;
    /// The checkpoints from which a reading of a channel may begin, the best one last.
    fn checkpoints(&self, channel: &Channel) -> impl Future<Output = Result<Vec<Checkpoint>, BrokerError>> + Send;
    /// Gives a replica that lags behind the leader a moment to catch up.
    fn wait_for_replica(&self) -> impl Future<Output = ()> + Send {
        sleep(LAG_PAUSE)
    }
}

/// The log, as whoever only reads one partition has it.
pub struct NatsLog<'a> {
    /// The connection.
    pub broker: &'a Broker,
    /// The partition.
    pub partition: u16,
}

impl LogReader for NatsLog<'_> {
    async fn read_some(&self, channel: &Channel, from: Sequence, messages_max: usize) -> Result<Page, BrokerError> {
        read_some(self.broker, self.partition, channel, from, messages_max).await
    }

    async fn read_messages(&self, places: &[Sequence]) -> Result<Vec<Stored>, BrokerError> {
        read_messages(self.broker, places).await
    }

    async fn is_whole(&self) -> Result<bool, BrokerError> {
        is_whole(self.broker).await
    }

    async fn last_of(&self, channel: &Channel) -> Result<Option<Sequence>, BrokerError> {
        last_of(self.broker, self.partition, channel).await
    }

    async fn checkpoints(&self, channel: &Channel) -> Result<Vec<Checkpoint>, BrokerError> {
        checkpoints::checkpoints(self.broker, channel).await
    }
}

/// What a tracker needs of the broker to work on one partition.
///
/// Acknowledgements are not confirmed: one that is lost brings its message back, and it is found to be a duplicate.
pub trait TrackBroker: LogReader {
    /// Reads a record; it may be an older one.
    fn load(&self, channel: &Channel) -> impl Future<Output = Result<Versioned, BrokerError>> + Send;
    /// Reads a record; nothing newer had been written when it was asked.
    fn load_latest(&self, channel: &Channel) -> impl Future<Output = Result<Versioned, BrokerError>> + Send;
    /// Writes a record where its revision is still the expected one, with what was decided with it, and returns the new
    /// revision.
    fn write(
        &self,
        channel: &Channel,
        record: Vec<u8>,
        unreported: &Unreported,
        expected: u64,
    ) -> impl Future<Output = Result<u64, BrokerError>> + Send;
    /// Writes a record once more as it was read, and notes which messages of its channel are set aside.
    fn set_aside(
        &self,
        channel: &Channel,
        as_read: &Versioned,
        aside: Aside,
    ) -> impl Future<Output = Result<u64, BrokerError>> + Send;
    /// Tells what became of events; it is stored when this returns.
    fn report(&self, outcomes: Vec<OutcomeRecord>) -> impl Future<Output = Result<(), BrokerError>> + Send;
    /// What is reported of some events; what was reported last may be missing.
    fn outcomes_of(
        &self,
        events: &[Event],
    ) -> impl Future<Output = Result<HashMap<Event, OutcomeRecord>, BrokerError>> + Send;
    /// Stores a dead letter, once, however often that is asked.
    fn store_dead_letter(&self, dead_letter: &DeadLetter<'_>) -> impl Future<Output = Result<(), BrokerError>> + Send;
    /// Reads a page of the dead letters of a channel's refused messages, from this one on.
    fn refused_dead_letters(
        &self,
        channel: &Channel,
        from: u64,
    ) -> impl Future<Output = Result<DeadLetterPage, BrokerError>> + Send;
    /// Removes a dead letter, if it is there.
    fn remove_dead_letter(&self, id: u64) -> impl Future<Output = Result<(), BrokerError>> + Send;
    /// Stores a checkpoint of a channel, and gives its place. A lost one is no loss.
    fn store_checkpoint(
        &self,
        channel: &Channel,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<u64, BrokerError>> + Send;
    /// Removes a checkpoint, if it is there.
    fn remove_checkpoint(&self, place: u64) -> impl Future<Output = Result<(), BrokerError>> + Send;
    /// Gives messages up for good: their effect is stored.
    fn acknowledge(&self, handles: &[AckHandle]) -> impl Future<Output = ()> + Send;
    /// Gives messages back, to be delivered again after this pause.
    fn give_back(&self, handles: &[AckHandle], pause: Duration) -> impl Future<Output = ()> + Send;
    /// Says that messages are still being worked on: `ack_wait` begins again.
    fn extend(&self, handles: &[AckHandle]) -> impl Future<Output = ()> + Send;
    /// What time it is.
    fn now(&self) -> OffsetDateTime;
}

/// The broker, as a tracker of one partition sees it.
#[derive(Clone)]
pub struct NatsPartition {
    broker: Broker,
    partition: u16,
    store: Store,
    dead_letters: DeadLetters,
    outcomes: Option<OutcomeWriter>,
    stores: TrackStores,
    metrics: StoreMetrics,
}

/// What became of a tracker's attempts to store something. All partitions of a process share it.
#[derive(Clone, Debug, Default)]
pub struct TrackStores {
    /// Records, in the bucket.
    pub records: Storing,
    /// Outcomes.
    pub outcomes: Storing,
    /// Dead letters.
    pub dead_letters: Storing,
}

impl NatsPartition {
    /// One partition on this connection. Without a writer nothing is reported of what became of messages.
    pub async fn new(broker: &Broker, partition: u16, outcomes: Option<OutcomeWriter>) -> Result<Self, BrokerError> {
        let (store, dead_letters) = (Store::new(broker).await?, DeadLetters::new(broker, partition));
        let (stores, metrics) = (TrackStores::default(), StoreMetrics::default());
        Ok(Self { broker: broker.clone(), partition, store, dead_letters, outcomes, stores, metrics })
    }

    /// The same, noting here what becomes of what is stored.
    pub fn noting(self, stores: TrackStores) -> Self {
        Self { stores, ..self }
    }

    /// The same, writing records with this writer.
    pub fn writing(self, records: RecordWriter) -> Self {
        Self { store: self.store.writing(records), ..self }
    }

    /// The same, counting it here.
    pub fn counting(self, metrics: StoreMetrics) -> Self {
        metrics.know(&BrokerError::CONFLICT_CODES, Reason::VARIANTS);
        Self { store: self.store.counting(metrics.clone()), metrics, ..self }
    }
}

impl NatsPartition {
    /// What cannot be read is not stored either, and nothing else would show it. That it can be read shows nothing.
    fn noted_where_it_fails<T>(&self, read: Result<T, BrokerError>) -> Result<T, BrokerError> {
        if read.is_err() {
            self.stores.records.note(0, &read);
        }
        read
    }

    fn log(&self) -> NatsLog<'_> {
        NatsLog { broker: &self.broker, partition: self.partition }
    }
}

impl LogReader for NatsPartition {
    async fn read_some(&self, channel: &Channel, from: Sequence, messages_max: usize) -> Result<Page, BrokerError> {
        self.log().read_some(channel, from, messages_max).await
    }

    async fn read_messages(&self, places: &[Sequence]) -> Result<Vec<Stored>, BrokerError> {
        self.log().read_messages(places).await
    }

    async fn is_whole(&self) -> Result<bool, BrokerError> {
        self.log().is_whole().await
    }

    async fn last_of(&self, channel: &Channel) -> Result<Option<Sequence>, BrokerError> {
        self.log().last_of(channel).await
    }

    async fn checkpoints(&self, channel: &Channel) -> Result<Vec<Checkpoint>, BrokerError> {
        self.log().checkpoints(channel).await
    }
}

impl TrackBroker for NatsPartition {
    async fn load(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        self.noted_where_it_fails(self.store.load(channel).await)
    }

    async fn load_latest(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        self.noted_where_it_fails(self.store.load_latest(channel).await)
    }

    async fn write(
        &self,
        channel: &Channel,
        record: Vec<u8>,
        unreported: &Unreported,
        expected: u64,
    ) -> Result<u64, BrokerError> {
        let bytes = record.len();
        let written = self.store.write(channel, record, unreported, expected).await;
        self.stores.records.note(bytes, &written);
        written
    }

    async fn set_aside(&self, channel: &Channel, as_read: &Versioned, aside: Aside) -> Result<u64, BrokerError> {
        let bytes = as_read.record.as_ref().map_or(0, |record| record.len());
        let written = self.store.set_aside(channel, as_read, aside).await;
        self.stores.records.note(bytes, &written);
        written
    }

    async fn report(&self, outcomes: Vec<OutcomeRecord>) -> Result<(), BrokerError> {
        let Some(writer) = self.outcomes.as_ref().filter(|_| !outcomes.is_empty()) else { return Ok(()) };
        let reported = writer.report(outcomes).await;
        self.stores.outcomes.note(OUTCOMES_BYTES, &reported);
        reported
    }

    async fn outcomes_of(&self, events: &[Event]) -> Result<HashMap<Event, OutcomeRecord>, BrokerError> {
        match &self.outcomes {
            Some(_) => outcomes_of(&self.broker, events).await,
            None => Ok(HashMap::new()),
        }
    }

    async fn store_dead_letter(&self, dead_letter: &DeadLetter<'_>) -> Result<(), BrokerError> {
        let stored_dead_letters = self.dead_letters.store_dead_letter(dead_letter).await;
        self.stores
            .dead_letters
            .note(dead_letter.stored.payload.len() + DEAD_LETTER_HEADER_BYTES, &stored_dead_letters);
        if stored_dead_letters? {
            self.metrics.dead_letter(dead_letter.reason.into());
        }
        Ok(())
    }

    async fn refused_dead_letters(&self, channel: &Channel, from: u64) -> Result<DeadLetterPage, BrokerError> {
        dead_letters_of(&self.broker, channel, Reason::Refused, from).await
    }

    async fn remove_dead_letter(&self, id: u64) -> Result<(), BrokerError> {
        remove_dead_letter(&self.broker, id).await.map(drop)
    }

    async fn store_checkpoint(&self, channel: &Channel, checkpoint: &Checkpoint) -> Result<u64, BrokerError> {
        checkpoints::store(&self.broker, channel, checkpoint).await
    }

    async fn remove_checkpoint(&self, place: u64) -> Result<(), BrokerError> {
        checkpoints::remove_checkpoint(&self.broker, place).await
    }

    async fn acknowledge(&self, handles: &[AckHandle]) {
        answer(&self.broker, handles, AckKind::Ack).await;
    }

    async fn give_back(&self, handles: &[AckHandle], pause: Duration) {
        answer(&self.broker, handles, AckKind::Nak(Some(pause))).await;
    }

    async fn extend(&self, handles: &[AckHandle]) {
        answer(&self.broker, handles, AckKind::Progress).await;
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}
