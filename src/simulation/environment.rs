//! The environment of one schedule: the model of the broker, the calls that wait to be done, what is under way, and the
//! chance that decides what goes wrong. Everything that is stored passes by the invariants here.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use time::{Duration, OffsetDateTime};

use super::faults::CutOff;
use super::group::{Fate, RecordWrite};
use super::invariants::Invariants;
use super::messages::{channel_of, number_of, skip_bytes};
use super::model::Model;
use super::profile::FaultProfile;
use super::random::Random;
use super::workload::{Content, Line, Workload};
use crate::broker::store::Versioned;
use crate::broker::{BrokerError, DeadLetter, Delivery, Reason, Stored};
use crate::domain::bounds;
use crate::domain::{Aside, Channel, Checkpoint, OutcomeRecord, Sequence};

/// Deliveries of a calm batch.
const CALM_BATCH_MAX: usize = 50;

/// A format that no program knows before the fault profile clears, and the one that all know.
const NEWER: u32 = 2;
pub const KNOWN: u32 = 1;

/// Everything of one schedule but the workers.
pub struct Environment {
    pub random: Random,
    pub profile: FaultProfile,
    pub model: Model,
    pub invariants: Invariants,
    workload: Arc<Workload>,
    /// How many messages were delivered once.
    pub delivered: u64,
    /// Calls that wait for their turn.
    pub calls: Vec<Call>,
    /// The call whose turn it is.
    pub granted: Option<u64>,
    pub calls_made: u64,
    /// What was sent and has not come to the broker.
    pub under_way: Vec<UnderWay>,
    pub cut_off: Option<CutOff>,
    /// What became of writes in a group whose calls still wait for their turn.
    pub fates: HashMap<u64, Fate>,
    /// Whether nothing goes wrong any more.
    pub calm: bool,
    seconds: i64,
    /// Whether the log has lost its end.
    pub has_lost_end: bool,
    /// How many days have passed.
    pub days_passed: u32,
    /// Messages that were delivered or read back, each time again.
    pub handed_out: u64,
    /// Whose call is being done; nobody's where something comes late.
    pub acting: Option<usize>,
    /// What happened, if somebody wants to know.
    pub story: Option<Vec<String>>,
    /// The first invariant that was broken.
    pub broken: Option<String>,
}

/// A call that waits for its turn.
pub struct Call {
    pub id: u64,
    pub worker: usize,
    pub waker: Waker,
    /// Whether it asks for messages, with nothing else to do.
    pub idle: bool,
    /// The record that it is to write, if it is.
    pub write: Option<RecordWrite>,
}

/// What has left a tracker and comes to the broker when it does.
pub enum UnderWay {
    Acknowledgement(u64),
    /// All of them are stored, or none.
    Writes(Vec<RecordWrite>),
    Outcomes(Vec<OutcomeRecord>),
    StoredDeadLetter {
        stored: Stored,
        reason: Reason,
        error: String,
        after_overrides: Option<Sequence>,
    },
    Removal(u64),
    Checkpoint(Channel, Box<Checkpoint>),
    CheckpointRemoval(u64),
}

impl Environment {
    pub fn new(mut random: Random, length: usize) -> Self {
        let profile = FaultProfile::draw(&mut random);
        let workload = Arc::new(Workload::draw(&profile, &mut random, length));
        Self {
            random,
            profile,
            model: Model::default(),
            invariants: Invariants::new(workload.clone()),
            workload,
            delivered: 0,
            calls: Vec::new(),
            granted: None,
            fates: HashMap::new(),
            calls_made: 0,
            under_way: Vec::new(),
            cut_off: None,
            calm: false,
            seconds: 0,
            has_lost_end: false,
            days_passed: 0,
            handed_out: 0,
            acting: None,
            story: None,
            broken: None,
        }
    }

    /// Notes what happens, if somebody wants to know.
    pub fn report(&mut self, what: impl FnOnce() -> String) {
        let who = self.acting;
        if let Some(story) = &mut self.story {
            let who = who.map_or_else(String::new, |worker| format!("worker {worker}: "));
            story.push(who + &what());
        }
    }

    /// Notes an invariant that was broken; the first one counts.
    pub fn judge(&mut self, lawful: Result<(), String>) {
        if let Err(why) = lawful {
            self.report(|| format!("BROKEN: {why}"));
            self.broken.get_or_insert(why);
        }
    }

    /// What time it is.
    pub fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::seconds(self.seconds)
    }

    /// A second passes.
    pub fn pass_a_second(&mut self) {
        self.seconds += 1;
    }

    /// A day passes: the durable is made again, so that everything is delivered again, and the broker has forgotten the ids
    /// of dead letters that were reported of.
    pub fn pass_a_day(&mut self) {
        while !self.under_way.is_empty() {
            self.come_one();
        }
        self.report(|| "the durable is made again".into());
        self.days_passed += 1;
        self.delivered = 0;
        self.model.make_durable_again();
        self.invariants.delivers_again(&self.model.unacknowledged);
    }

    /// Lets a call wait for its turn.
    pub fn wait(&mut self, worker: usize, waker: Waker, idle: bool, write: Option<RecordWrite>) -> u64 {
        self.calls_made += 1;
        let id = self.calls_made;
        self.calls.push(Call { id, worker, waker, idle, write });
        id
    }

    /// Nobody waits for a call any more.
    pub fn give_up(&mut self, call: u64) {
        self.calls.retain(|other| other.id != call);
        self.fates.remove(&call);
    }

    /// Whether more is to come than has arrived.
    pub fn more_arrives(&self) -> bool {
        self.model.stream.len() < self.workload.lines.len()
    }

    /// Whether there is more before the fault profile clears: what arrives, or what was never delivered.
    pub fn more_is_to_come(&self) -> bool {
        self.more_arrives() || self.delivered < self.model.stream.len() as u64
    }

    /// One of the things that are under way comes to the broker.
    pub fn come_one(&mut self) {
        let at = self.random.place(self.under_way.len());
        let what = self.under_way.swap_remove(at);
        self.acting = None;
        self.report(|| "something comes late:".into());
        self.come(what);
    }

    /// Begins the story.
    pub fn report_profile(&mut self) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:?}", self.profile));
        }
    }

    /// The next thing arrives.
    pub fn arrive(&mut self) {
        let line = self.workload.lines[self.model.stream.len()];
        let Line { channel, content } = line;
        let token = channel_of(channel).to_string();
        self.invariants.arrived(line);
        let sequence = match content {
            Content::Message(sent) => self.model.publish(&token, sent.bytes(channel), None),
            Content::Correction(sent) => self.model.publish(&token, sent.bytes(channel), Some(sent.number.to_string())),
            Content::Skip(up_to) => self.model.publish(&token, skip_bytes(channel, up_to), None),
            Content::Malformed(kind) => self.arrive_malformed(kind, channel, &token),
        };
        self.report(|| format!("{sequence} arrives on {channel}: {content:?}"));
        if !matches!(content, Content::Malformed(_)) && self.random.happens(self.profile.newer) {
            bounds::reached("a message takes a newer program");
            self.report(|| format!("{sequence} takes a newer program"));
            self.model.set_format(Some(sequence.0), NEWER);
        }
    }

    fn arrive_malformed(&mut self, kind: u64, channel: usize, token: &str) -> Sequence {
        let message = self.workload.plain[channel][1].bytes(channel);
        match kind {
            0 => self.model.publish(token, Bytes::from_static(b"garbage"), None),
            1 => self.model.publish(token, message, Some("7".into())),
            2 => self.model.publish("not-a-uuid", message, None),
            3 => self.model.publish(token, skip_bytes(channel, 3), Some("3".into())),
            _ => self.model.publish(
                &channel_of((channel + 1) % 2).to_string(),
                self.workload.plain[channel][1].bytes(channel),
                None,
            ),
        }
    }

    /// Whether there is something for a worker that has nothing else to do. In the end, what was delivered comes again only
    /// when all of them rest.
    pub fn has_a_batch(&self) -> bool {
        match self.calm {
            true => !self.model.unacknowledged.is_empty() && self.calls.iter().all(|call| call.idle),
            false => self.delivered < self.model.stream.len() as u64 || self.profile.redelivered > 0,
        }
    }

    /// A batch for a worker: what is new, or what was delivered before, or some of both.
    pub fn batch(&mut self) -> Vec<Delivery> {
        let mut sequences = if self.calm { self.calm_batch() } else { self.wild_batch() };
        if self.random.happens(40) {
            for at in (1..sequences.len()).rev() {
                sequences.swap(at, self.random.place(at + 1));
            }
        }
        self.report(|| format!("gets {sequences:?}"));
        self.handed_out += sequences.len() as u64;
        sequences.into_iter().map(|sequence| self.model.deliver(sequence)).collect()
    }

    fn calm_batch(&mut self) -> Vec<u64> {
        if !self.has_a_batch() {
            return Vec::new();
        }
        self.delivered = self.model.stream.len() as u64;
        self.model.unacknowledged.iter().copied().take(CALM_BATCH_MAX).collect()
    }

    fn wild_batch(&mut self) -> Vec<u64> {
        let (mut sequences, end) = (Vec::new(), self.model.stream.len() as u64);
        if self.random.happens(self.profile.redelivered) {
            let before: Vec<_> = self.model.unacknowledged.range(..=self.delivered).copied().collect();
            let count = self.random.within(1, self.profile.batch) as usize;
            let first = self.random.place(before.len().max(1));
            sequences.extend(before.into_iter().skip(first).take(count));
        }
        if sequences.is_empty() || self.random.happens(128) {
            let last = end.min(self.delivered + self.random.within(1, self.profile.batch));
            // What was removed is not delivered any more.
            let is_there = |sequence: &u64| self.model.unacknowledged.contains(sequence);
            sequences.extend((self.delivered + 1..=last).filter(is_there));
            self.delivered = last;
        }
        sequences
    }

    /// An acknowledgement leaves a tracker: it comes at once, or later, or never.
    pub fn send_acknowledgement(&mut self, sequence: u64) {
        if !self.calm && self.random.happens(self.profile.acknowledgements_lost) {
            return self.report(|| format!("{sequence} is acknowledged, and that gets lost"));
        }
        if !self.calm && self.random.happens(self.profile.acknowledgements_late) {
            return self.under_way.push(UnderWay::Acknowledgement(sequence));
        }
        self.acknowledge(sequence);
    }

    /// Something that was under way comes to the broker.
    fn come(&mut self, what: UnderWay) {
        match what {
            UnderWay::Acknowledgement(sequence) => self.acknowledge(sequence),
            UnderWay::Writes(writes) => drop(self.write_all(&writes)),
            UnderWay::Outcomes(outcomes) => self.report_outcomes(outcomes),
            UnderWay::StoredDeadLetter { stored, reason, error, after_overrides } => {
                self.store_dead_letter(&DeadLetter { stored: &stored, reason, error, after_overrides });
            }
            UnderWay::Removal(id) => self.remove_dead_letter(id),
            UnderWay::Checkpoint(channel, checkpoint) => drop(self.store_checkpoint(&channel, &checkpoint)),
            UnderWay::CheckpointRemoval(place) => self.model.remove_checkpoint(place),
        }
    }

    pub fn acknowledge(&mut self, sequence: u64) {
        self.report(|| format!("{sequence} is acknowledged"));
        self.model.acknowledge(sequence);
        let lawful = self.invariants.acknowledged(sequence);
        self.judge(lawful);
    }

    pub fn write(&mut self, write: &RecordWrite) -> Result<u64, BrokerError> {
        let RecordWrite { channel, record, unreported, expected } = write;
        let (expected, now) = (*expected, self.now());
        let written = self.model.write(channel, record.clone(), unreported, expected, now);
        if written.is_ok() {
            let lawful = self.invariants.written(channel, record, unreported);
            self.judge(lawful);
        }
        self.report(|| {
            let (record, unreported) = (String::from_utf8_lossy(record), unreported.to_text());
            format!("written over {expected}: {written:?} {record} with unreported {unreported:?}")
        });
        written
    }

    pub fn report_outcomes(&mut self, outcomes: Vec<OutcomeRecord>) {
        self.report(|| {
            let reported =
                outcomes.iter().map(|outcome_record| format!("{} {:?}", outcome_record.event, outcome_record.outcome));
            format!("told: {}", reported.collect::<Vec<_>>().join(", "))
        });
        for outcome_record in outcomes {
            let event = outcome_record.event;
            self.model.report(vec![outcome_record.clone()]);
            let there = self.model.stream.get(event.sequence.0 as usize - 1).map(Stored::event);
            let lawful = match there == Some(event) {
                true => self.invariants.reported(&outcome_record, &self.model.outcomes[&event]),
                false if self.has_lost_end => self.invariants.reported_of_lost(event),
                false => Err(format!("{event} is told with another message's time")),
            };
            self.judge(lawful);
        }
    }

    pub fn store_dead_letter(&mut self, dead_letter: &DeadLetter<'_>) {
        let stored = self.model.store_dead_letter(dead_letter);
        self.report(|| {
            let (event, reason) = (dead_letter.stored.sequence, dead_letter.reason);
            format!(
                "dead letter {event} after {:?}, {reason:?}: {} (stored: {stored})",
                dead_letter.after_overrides, dead_letter.error
            )
        });
        if stored {
            let lawful = self.invariants.stored_dead_letters(dead_letter);
            self.judge(lawful);
        }
    }

    pub fn store_checkpoint(&mut self, channel: &Channel, checkpoint: &Checkpoint) -> u64 {
        self.report(|| {
            let (through, Checkpoint { from, seen, is_trimmed, .. }) = (checkpoint.through(), checkpoint);
            let of = number_of(channel);
            format!(
                "checkpoint of {of} after {through:?}, goes on from {from}, has seen {seen} (trimmed: {is_trimmed})"
            )
        });
        self.model.store_checkpoint(channel, checkpoint)
    }

    pub fn set_aside(&mut self, channel: &Channel, as_read: &Versioned, aside: Aside) -> Result<u64, BrokerError> {
        let revision = self.model.set_aside(channel, as_read, aside)?;
        self.report(|| format!("{} is set aside: {aside:?}", number_of(channel)));
        self.invariants.channels[number_of(channel)].is_aside = true;
        Ok(revision)
    }

    pub fn remove_dead_letter(&mut self, id: u64) {
        if let Some(kept) = self.model.remove_dead_letter(id) {
            self.report(|| format!("dead letter of {} is removed", kept.event));
            self.invariants.removed(kept.event.sequence);
        }
    }
}
