//! Whether the model answers as a real broker does: the same operations, drawn from a seed, are asked of both, and each
//! answer of one must be the answer of the other.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strum::VariantArray as _;

use time::OffsetDateTime;
use tokio::sync::watch;

use super::messages::{Sent, channel_of};
use super::nats_server::{NatsCluster, NatsServer};
use super::random::Random;
use crate::broker::LAG_PAUSE;
use crate::broker::consumer::Deliveries;
use crate::broker::dead_letters::reader::DeadLetterPage;
use crate::broker::log_reader::{PAGE_MESSAGES_MAX, Page};
use crate::broker::outcomes::{OutcomeWriter, outcome_of};
use crate::broker::publisher::Identity;
use crate::broker::store::Versioned;
use crate::broker::topology::{Bounds, Topology};
use crate::broker::{
    Broker, BrokerError, DeadLetter, Delivery, GroupCommit, LogReader as _, NatsPartition, Outgoing, Publisher, Reason,
    TrackBroker,
};
use crate::domain::outcome::Since;
use crate::domain::{Event, MessageNumber, Outcome, OutcomeRecord, Refusal, Sequence, StoredAt, Unreported};
use crate::metrics::Metrics;
use crate::simulation::testing::ModelBroker;

/// Operations of one script.
const OPERATIONS: usize = 400;
/// Operations of three brokers while one is away.
const OPERATIONS_OF_THREE: usize = 60;
const CHANNELS: u64 = 3;
const ACK_WAIT: Duration = Duration::from_secs(2);
/// How long a delivery is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A real broker and a model of it, with the same things stored.
struct Both {
    random: Random,
    broker: Broker,
    publisher: Publisher,
    real: NatsPartition,
    model: ModelBroker,
    /// How many messages are stored.
    stored: u64,
    /// Whether what a replica answers may be old.
    lags: bool,
}

impl Both {
    async fn new(server: &NatsServer, seed: u64) -> Self {
        Self::of(server.provisioned(&topology(1)).await, seed, false).await
    }

    async fn of(broker: Broker, seed: u64, lags: bool) -> Self {
        let (publisher, writer) = (Publisher::new(broker.clone(), GroupCommit::Off), OutcomeWriter::new(&broker));
        let real = NatsPartition::new(&broker, 0, Some(writer)).await.unwrap();
        let model = ModelBroker::with_pages_of(PAGE_MESSAGES_MAX);
        Self { random: Random::new(seed), broker, publisher, real, model, stored: 0, lags }
    }

    async fn operate(&mut self) {
        let channel = channel_of(self.random.below(CHANNELS) as usize);
        match self.random.below(10) {
            0 | 1 => self.publish().await,
            2 | 3 => self.write().await,
            4 => {
                let (real, model) = (self.real.load_latest(&channel).await, self.model.load_latest(&channel).await);
                assert_eq!(plain(real), plain(model), "load_latest");
            }
            5 => {
                let model = plain(self.model.load(&channel).await);
                self.same("load", async || plain(self.real.load(&channel).await), model).await;
            }
            6 => self.report().await,
            7 => self.store_dead_letter().await,
            8 => self.dead_letters().await,
            _ => self.read_page().await,
        }
    }

    /// Asks what a replica may answer: one alone is never late.
    async fn same<T: PartialEq + Debug>(&self, what: &str, ask: impl AsyncFn() -> T, expected: T) {
        let deadline = Instant::now() + PATIENCE;
        let mut answer = ask().await;
        while self.lags && answer != expected && Instant::now() < deadline {
            tokio::time::sleep(LAG_PAUSE).await;
            answer = ask().await;
        }
        assert_eq!(answer, expected, "{what}");
    }

    /// Waits until those who are left have agreed on who leads each stream.
    async fn settle(&mut self) {
        let (deadline, channel) = (Instant::now() + 2 * PATIENCE, channel_of(0));
        let known = OutcomeRecord {
            event: Event { sequence: Sequence(u64::from(u32::MAX)), stored_at: StoredAt(0) },
            outcome: Outcome::Processed,
            at: OffsetDateTime::UNIX_EPOCH,
            after_overrides: None,
        };
        while self.real.load_latest(&channel).await.is_err()
            || self.real.is_whole().await.is_err()
            || self.real.remove_dead_letter(u64::from(u32::MAX)).await.is_err()
            || self.real.report(vec![known.clone()]).await.is_err()
        {
            assert!(Instant::now() < deadline, "no leader");
            tokio::time::sleep(LAG_PAUSE).await;
        }
    }

    async fn publish(&mut self) {
        let channel = self.random.below(CHANNELS) as usize;
        let sent = Sent::drawn(self.random.within(1, 120), self.random.below(256));
        // With an id of its own, so that none is taken for a repeat.
        let identity = Identity::Message(MessageNumber::new(self.stored + 1).unwrap());
        let outgoing = Outgoing {
            channel: channel_of(channel),
            identity,
            origin: "conformance".to_owned().into(),
            payload: sent.bytes(channel),
        };
        let real = self.publisher.publish(outgoing).await.unwrap().sequence;
        let text = String::from_utf8(sent.bytes(channel).to_vec()).unwrap();
        self.stored = self.model.publish_bytes(&channel_of(channel).to_string(), text);
        assert_eq!(real, Sequence(self.stored), "publish");
    }

    /// Over the revision that is there, or over another one.
    async fn write(&mut self) {
        let channel = channel_of(self.random.below(CHANNELS) as usize);
        let there = self.model.revision(channel);
        let expected = if self.random.happens(60) { self.random.below(there + 2) } else { there };
        let record = format!(r#"{{"format":1,"number":{}}}"#, self.random.bits()).into_bytes();
        let refusal = self.random.pick(&[None, Some(Refusal::Exploded)]);
        let messages = (0..self.random.below(4)).map(|_| (self.event(1_000), refusal)).collect();
        let since = self
            .random
            .pick(&[None, Some(Since { last_override: Some(Sequence(7)), applied_through: MessageNumber::new(3) })]);
        let unreported = Unreported { messages, since, forgotten: None };
        let real = self.real.write(&channel, record.clone(), &unreported, expected).await;
        let model = self.model.write(&channel, record, &unreported, expected).await;
        assert_eq!(real, model, "write over {expected}, where {there} is");
    }

    /// A message at a sequence below this one, in one life of the stream or another.
    fn event(&mut self, end: u64) -> Event {
        let (sequence, stored_at) = (Sequence(self.random.below(end)), StoredAt(self.random.bits() as i64 >> 24));
        Event { sequence, stored_at }
    }

    async fn report(&mut self) {
        let random = &mut self.random;
        // Few, or so many that those that lie apart are reported under one subject.
        let (apart, count) = (random.pick(&[1, 700]), random.pick(&[3, 80]));
        // One life of the stream begins when the one before it is over.
        let life = random.below(2);
        let mut drawn = || {
            let (event, after_overrides) = (apart * random.within(1, 20), random.below(3));
            // After the same override it is always the same, but that a copy may be told to be one.
            let outcome = if random.happens(60) { Outcome::Duplicate } else { outcome(event + life + after_overrides) };
            // In the other life of the stream the same places were stored a thousand milliseconds later.
            let event = Event { sequence: Sequence(event), stored_at: StoredAt((event + 1_000 * life) as i64) };
            OutcomeRecord {
                event,
                outcome,
                at: OffsetDateTime::UNIX_EPOCH,
                after_overrides: Sequence::new(after_overrides),
            }
        };
        let outcomes: Vec<_> = (0..count).map(|_| drawn()).collect();
        let (real, model) = (self.real.report(outcomes.clone()).await, self.model.report(outcomes.clone()).await);
        assert_eq!(real, model, "tell");
        for event in outcomes.iter().map(|outcome_record| outcome_record.event) {
            let model = self.model.state().model.outcomes.get(&event).cloned();
            self.same("outcome", async || outcome_of(&self.broker, event).await.unwrap(), model).await;
        }
    }

    /// A dead letter of some message, perhaps one that is there already.
    async fn store_dead_letter(&mut self) {
        let Some(sequence) = (self.stored > 0).then(|| self.random.within(1, self.stored.min(12))) else { return };
        let stored = self.model.deliver([sequence])[0].stored.clone();
        let reason = self.random.pick(Reason::VARIANTS);
        let after_overrides = Sequence::new(self.random.pick(&[0, 0, 5]));
        let dead_letter = DeadLetter { stored: &stored, reason, error: "why".into(), after_overrides };
        assert_eq!(
            self.real.store_dead_letter(&dead_letter).await,
            self.model.store_dead_letter(&dead_letter).await,
            "bury"
        );
    }

    /// Which dead letters there are; one is removed, whether it is there or not.
    async fn dead_letters(&mut self) {
        let (channel, from) = (channel_of(self.random.below(CHANNELS) as usize), self.random.within(1, 8));
        let ids = |page: DeadLetterPage| {
            let ids = page
                .dead_letters
                .iter()
                .map(|dead_letter| (dead_letter.id, dead_letter.event(), dead_letter.reason.clone()));
            (ids.collect::<Vec<_>>(), page.next)
        };
        let model = ids(self.model.refused_dead_letters(&channel, from).await.unwrap());
        self.same("letters", async || ids(self.real.refused_dead_letters(&channel, from).await.unwrap()), model).await;
        let id = self.random.within(1, 16);
        assert_eq!(
            self.real.remove_dead_letter(id).await,
            self.model.remove_dead_letter(id).await,
            "remove_letter {id}"
        );
    }

    async fn read_page(&mut self) {
        let channel = channel_of(self.random.below(CHANNELS) as usize);
        let from = Sequence(self.random.within(1, self.stored + 2));
        self.read_back_from(channel, from).await;
    }

    /// Reads all pages from a place on.
    async fn read_back_from(&self, channel: crate::domain::Channel, from: Sequence) {
        let mut next = Some(from);
        while let Some(from) = next {
            let all = |page: Page| {
                let messages = page.messages.into_iter();
                (messages.map(|it| (it.sequence, it.channel_token, it.payload)).collect::<Vec<_>>(), page.next)
            };
            let model = all(self.model.read_page(&channel, from).await.unwrap());
            next = model.1;
            let ask = async || all(self.real.read_page(&channel, from).await.unwrap());
            self.same("read back", ask, model).await;
        }
    }
}

fn topology(replicas: usize) -> Topology {
    Topology { partitions: 1, replicas, ack_wait: ACK_WAIT, bounds: Bounds::UNLIMITED }
}

/// An answer without its time, which is the server's own.
fn plain(answer: Result<Versioned, BrokerError>) -> Result<Versioned, BrokerError> {
    answer.map(|versioned| Versioned { at: OffsetDateTime::UNIX_EPOCH, ..versioned })
}

fn outcome(of: u64) -> Outcome {
    if of.is_multiple_of(2) { Outcome::Processed } else { Outcome::Failed("why".into()) }
}

#[tokio::test]
async fn the_model_answers_as_a_broker_does() {
    let server = NatsServer::start();
    let seed = OffsetDateTime::now_utc().unix_timestamp().unsigned_abs();
    println!("seed {seed}");
    let mut both = Both::new(&server, seed).await;
    for _ in 0..OPERATIONS {
        both.operate().await;
    }
}

/// One node after the other is killed, and comes back while the next one is away.
#[tokio::test]
async fn three_replicas_answer_as_the_model_does_while_nodes_stop() {
    let mut cluster = NatsCluster::start();
    let mut both = Both::of(cluster.provisioned(&topology(3)).await, 3, true).await;
    for node in 0..3 {
        cluster.node(node).stop();
        both.settle().await;
        for _ in 0..OPERATIONS_OF_THREE {
            both.operate().await;
        }
        cluster.node(node).start_again();
    }
}

#[tokio::test]
async fn a_long_channel_is_read_in_the_same_pages() {
    let server = NatsServer::start();
    let mut both = Both::new(&server, 1).await;
    while both.stored < 3 * PAGE_MESSAGES_MAX as u64 + 300 {
        both.publish().await;
    }
    for channel in 0..CHANNELS as usize {
        both.read_back_from(channel_of(channel), Sequence(1)).await;
    }
}

/// The deliveries that come, until so many different ones have come.
async fn next(deliveries: &mut Deliveries, count: usize) -> Vec<Delivery> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    while seen.len() < count {
        let batch = tokio::time::timeout(PATIENCE, deliveries.next_batch()).await.expect("a delivery that must come");
        seen.extend(batch.iter().map(|delivery| delivery.stored.sequence.0));
        all.extend(batch);
    }
    all
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_and_nothing_else() {
    let server = NatsServer::start();
    let mut both = Both::new(&server, 2).await;
    for _ in 0..12 {
        both.publish().await;
    }
    let (_ranks, rank) = watch::channel(Arc::from([0]));
    let mut deliveries = Deliveries::new(both.broker.clone(), 0, rank);
    let first = next(&mut deliveries, 12).await;
    let handles = |of: std::ops::Range<usize>| first[of].iter().map(|it| it.handle.clone()).collect::<Vec<_>>();
    both.real.acknowledge(&handles(0..4)).await;
    let acknowledged: Vec<_> = first[0..4].iter().map(|it| it.stored.sequence.0).collect();
    acknowledged.iter().for_each(|sequence| both.model.state().model.acknowledge(*sequence));
    both.real.give_back(&handles(4..8), Duration::ZERO).await;
    both.real.extend(&handles(10..12)).await;
    let again: Vec<_> = next(&mut deliveries, 8).await;
    let sequences = |of: &[Delivery]| of.iter().map(|it| it.stored.sequence.0).collect::<Vec<_>>();
    let came: BTreeSet<_> = sequences(&again).into_iter().collect();
    assert_eq!(came, both.model.state().model.unacknowledged, "what comes again");
    assert!(
        sequences(&again)[..4].iter().all(|sequence| sequences(&first[4..8]).contains(sequence)),
        "given back first"
    );

    // An acknowledgement is not fenced: that of an earlier delivery counts too, and one that comes twice does no harm.
    both.real.acknowledge(&handles(4..12)).await;
    both.real.acknowledge(&handles(0..12)).await;
    both.broker.flush().await.unwrap();
    both.publish().await;
    // On a slow machine some came again before they were acknowledged.
    while !sequences(&next(&mut deliveries, 1).await).contains(&13) {}
    let more = tokio::time::timeout(2 * ACK_WAIT, deliveries.next_batch()).await.map(|batch| sequences(&batch));
    assert!(more.as_ref().map_or(true, |more| *more == [13]), "nothing but what is held comes: {more:?}");
}

/// What is counted for Prometheus goes by what a real broker answers.
#[tokio::test]
async fn a_conflict_is_counted_by_its_code_and_a_dead_letter_once() {
    let server = NatsServer::start();
    let mut both = Both::new(&server, 4).await;
    let mut metrics = Metrics::new("track");
    let real = both.real.clone().counting(metrics.track(1).stores);
    both.publish().await;
    let stored = both.model.deliver([1])[0].stored.clone();
    let dead_letter =
        DeadLetter { stored: &stored, reason: Reason::Refused, error: "why".into(), after_overrides: None };
    for expected in [Ok(1), Err(BrokerError::Conflict)] {
        let written = real.write(&channel_of(0), b"{}".to_vec(), &Unreported::default(), 0).await;
        assert_eq!(written, expected);
        real.store_dead_letter(&dead_letter).await.unwrap();
    }
    let text = metrics.text();
    for line in ["state_conflicts_total{code=\"10071\"} 1", "dead_letters_total{reason=\"refused\"} 1"] {
        assert!(text.contains(&format!("\nrockets_{line}\n")), "{line} is not in\n{text}");
    }
}
