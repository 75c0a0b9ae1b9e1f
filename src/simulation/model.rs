//! A model of the broker: one partition in memory, what is stored there and what is answered. It goes wrong in no way by
//! itself; whoever drives it asks for older or incomplete answers ([`Sight`]) and decides what gets lost.
//!
//! That it answers as a real broker does is checked against one ([`super::conformance`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use time::{Duration, OffsetDateTime};

use crate::broker::dead_letters::reader::{DeadLetterPage, StoredDeadLetter};
use crate::broker::log_reader::Page;
use crate::broker::store::Versioned;
use crate::broker::{AckHandle, BrokerError, DeadLetter, Delivery, Reason, Stored};
use crate::domain::bounds;
use crate::domain::checkpoint::usable;
use crate::domain::{
    Aside, Channel, Checkpoint, Event, Forgotten, Outcome, OutcomeRecord, Record, Sequence, Unreported,
};

/// One partition of a broker.
#[derive(Default)]
pub struct Model {
    /// The stream; the first message has sequence 1.
    pub stream: Vec<Stored>,
    /// Where the messages of each subject's token lie.
    places: HashMap<String, Vec<Sequence>>,
    /// How many messages were removed from it.
    removed: u64,
    /// By how many milliseconds messages are stored later now than at the millisecond of their place.
    later: i64,
    /// All that was ever written under each key; the last counts.
    versions: HashMap<Channel, Vec<Version>>,
    revision: u64,
    /// How many of them every replica has.
    replicated: HashMap<Channel, usize>,
    /// The stream of dead letters; the first has id 1. One that was removed leaves a hole.
    dead_letters: Vec<Option<Kept>>,
    /// What dead letters are recognised by.
    dead_letter_ids: BTreeSet<String>,
    /// The checkpoints, each with its channel; the first has place 1. One that was removed leaves a hole.
    checkpoints: Vec<Option<(Channel, Checkpoint)>>,
    /// What is reported of each event.
    pub outcomes: BTreeMap<Event, OutcomeRecord>,
    /// What was delivered and not acknowledged, or not delivered yet.
    pub unacknowledged: BTreeSet<u64>,
}

/// One revision of a record.
#[derive(Clone)]
struct Version {
    /// None where it was deleted.
    record: Option<Bytes>,
    revision: u64,
    /// The text of what it has unreported, as it stands in the header.
    unreported: String,
    at: OffsetDateTime,
    aside: Option<Aside>,
}

/// A dead letter.
pub struct Kept {
    pub event: Event,
    pub reason: Reason,
    after_overrides: Option<Sequence>,
    token: String,
}

/// How much of what is stored an answer shows.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// By how many revisions of the record it is late.
    pub revisions_late: usize,
    /// How many of the newest messages, or dead letters, are missing.
    pub newest_missing: u64,
    /// Messages, or dead letters, of a page.
    pub page: usize,
}

impl Sight {
    /// Everything, in pages of this length.
    pub fn clear(page: usize) -> Self {
        Self { revisions_late: 0, newest_missing: 0, page }
    }

    /// The same in pages of so many at most.
    pub fn pages_of(self, messages_max: usize) -> Self {
        Self { page: self.page.min(messages_max), ..self }
    }
}

impl Model {
    /// Stores bytes in the stream.
    pub fn publish(&mut self, token: &str, payload: Bytes, corrects: Option<String>) -> Sequence {
        let sequence = Sequence(self.stream.len() as u64 + 1);
        self.stream.push(Stored {
            sequence,
            channel_token: token.into(),
            time: OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(sequence.0 as i64 + self.later),
            corrects,
            attempts_before: 0,
            format: 1,
            request_id: None,
            cause: None,
            payload,
        });
        match self.places.get_mut(token) {
            Some(places) => places.push(sequence),
            None => drop(self.places.insert(token.to_owned(), vec![sequence])),
        }
        self.unacknowledged.insert(sequence.0);
        sequence
    }

    /// Hands out a message.
    pub fn deliver(&self, sequence: u64) -> Delivery {
        let handle = AckHandle { reply: sequence.to_string().into(), deliveries: 1 };
        Delivery { stored: self.stream[sequence as usize - 1].clone(), handle }
    }

    /// What became of the message at a sequence, as it is reported.
    pub fn outcome_record(&self, sequence: u64) -> Option<&OutcomeRecord> {
        self.outcomes.get(&self.stream.get(sequence as usize - 1)?.event())
    }

    /// The message that a handle is for.
    pub fn sequence_of(handle: &AckHandle) -> u64 {
        handle.reply.parse().unwrap()
    }

    /// Gives a message up for good.
    pub fn acknowledge(&mut self, sequence: u64) {
        self.unacknowledged.remove(&sequence);
    }

    /// A record.
    pub fn load(&self, channel: &Channel, sight: Sight) -> Versioned {
        let versions = self.versions.get(channel).map_or(&[][..], Vec::as_slice);
        let replicated = self.replicated.get(channel).copied().unwrap_or(0);
        let shown = versions.len().saturating_sub(sight.revisions_late).max(replicated);
        match versions[..shown].last() {
            None => Versioned::NONE,
            Some(Version { record, revision, unreported, at, aside }) => Versioned {
                record: record.clone(),
                revision: *revision,
                unreported: Unreported::from_text(unreported).unwrap(),
                at: *at,
                aside: *aside,
            },
        }
    }

    /// Writes a record, if the last revision is the expected one.
    pub fn write(
        &mut self,
        channel: &Channel,
        record: Bytes,
        unreported: &Unreported,
        expected: u64,
        at: OffsetDateTime,
    ) -> Result<u64, BrokerError> {
        let versions = self.versions.entry(*channel).or_default();
        if versions.last().map_or(0, |version| version.revision) != expected {
            return Err(BrokerError::Conflict);
        }
        self.revision += 1;
        versions.push(Version {
            record: Some(record),
            revision: self.revision,
            unreported: unreported.to_text(),
            at,
            aside: None,
        });
        Ok(self.revision)
    }

    /// Writes a record once more as it was read, and notes which messages of its channel are set aside.
    pub fn set_aside(&mut self, channel: &Channel, as_read: &Versioned, aside: Aside) -> Result<u64, BrokerError> {
        let record = as_read.record.clone().unwrap_or_else(|| Record::default().to_bytes().into());
        let revision = self.write(channel, record, &as_read.unreported, as_read.revision, as_read.at)?;
        let newest = self.versions.get_mut(channel).and_then(|versions| versions.last_mut());
        newest.into_iter().for_each(|version| version.aside = Some(aside));
        Ok(revision)
    }

    /// Removes what is stored of a channel, and notes in its record's place what was forgotten.
    #[cfg(test)]
    pub fn forget(&mut self, channel: &Channel, forgotten: Forgotten) {
        self.revision += 1;
        let unreported = Unreported { forgotten: Some(forgotten), ..Unreported::default() }.to_text();
        let marker =
            Version { record: None, revision: self.revision, unreported, at: OffsetDateTime::UNIX_EPOCH, aside: None };
        self.versions.entry(*channel).or_default().push(marker);
        let places = self.places.get(&channel.to_string()).cloned().unwrap_or_default();
        let gone = |place: &&Sequence| forgotten.has(self.stored(**place).event());
        let gone: Vec<_> = places.iter().filter(gone).copied().collect();
        gone.into_iter().for_each(|place| self.remove(place));
    }

    /// Tells what became of events.
    pub fn report(&mut self, outcomes: Vec<OutcomeRecord>) {
        for outcome_record in outcomes {
            let event = outcome_record.event;
            let known = self.outcomes.remove(&event);
            let counts = known.into_iter().chain([outcome_record]).reduce(OutcomeRecord::or);
            self.outcomes.extend(counts.map(|counts| (event, counts)));
        }
    }

    /// What is reported of some events.
    pub fn outcomes_of(&self, events: &[Event]) -> HashMap<Event, OutcomeRecord> {
        events.iter().filter_map(|event| Some((*event, self.outcomes.get(event)?.clone()))).collect()
    }

    /// Stores a dead letter once; returns whether this was the time.
    pub fn store_dead_letter(&mut self, dead_letter: &DeadLetter<'_>) -> bool {
        let (event, token) = (dead_letter.stored.event(), dead_letter.stored.channel_token.clone());
        let first = self.dead_letter_ids.insert(dead_letter.id());
        if first {
            self.dead_letters.push(Some(Kept {
                event,
                reason: dead_letter.reason,
                after_overrides: dead_letter.after_overrides,
                token,
            }));
        }
        first
    }

    /// The dead letters that are there, with their ids.
    pub fn dead_letters(&self) -> impl Iterator<Item = (u64, &Kept)> {
        self.dead_letters.iter().zip(1..).filter_map(|(kept, id)| Some((id, kept.as_ref()?)))
    }

    /// A page of the dead letters of a channel's refused messages.
    pub fn refused_dead_letters(&self, channel: &Channel, from: u64, sight: Sight) -> DeadLetterPage {
        let (token, shown) =
            (channel.to_string(), (self.dead_letters.len() as u64).saturating_sub(sight.newest_missing));
        let of_channel = |(id, kept): &(u64, &Kept)| {
            (from..=shown).contains(id) && kept.reason == Reason::Refused && kept.token == token
        };
        let mut dead_letters: Vec<_> =
            self.dead_letters().filter(of_channel).map(dead_letter).take(sight.page + 1).collect();
        let more = dead_letters.len() > sight.page;
        dead_letters.truncate(sight.page);
        let next = dead_letters.last().filter(|_| more).map(|last| last.id + 1);
        DeadLetterPage { dead_letters, next }
    }

    /// Removes a dead letter, if it is there; its message id stays known.
    pub fn remove_dead_letter(&mut self, id: u64) -> Option<Kept> {
        self.dead_letters.get_mut(id as usize - 1)?.take()
    }

    /// Has a message take a newer program, or all of them one that is known: as if the program were another one.
    #[cfg(test)]
    pub fn set_format(&mut self, sequence: Option<u64>, format: u32) {
        let is_meant = |stored: &&mut Stored| sequence.is_none_or(|sequence| stored.sequence.0 == sequence);
        self.stream.iter_mut().filter(is_meant).for_each(|stored| stored.format = format);
        let asides = self.versions.values_mut().flatten().filter_map(|version| version.aside.as_mut());
        asides.for_each(|aside| aside.format = format);
    }

    /// Delivers everything again, and forgets the ids of dead letters whose messages were reported. Every replica has
    /// everything by then.
    pub fn make_durable_again(&mut self) {
        self.unacknowledged = self.places.values().flatten().map(|place| place.0).collect();
        self.replicated = self.versions.iter().map(|(channel, versions)| (*channel, versions.len())).collect();
        let failed =
            self.outcomes.values().filter(|outcome_record| matches!(outcome_record.outcome, Outcome::Failed(_)));
        let reported: Vec<_> = failed
            .map(|OutcomeRecord { event, .. }| format!("{}-{}", event.sequence, event.stored_at.0 * 1_000_000))
            .collect();
        let known = self.dead_letter_ids.len();
        self.dead_letter_ids.retain(|id| !reported.iter().any(|event| id.starts_with(event)));
        if self.dead_letter_ids.len() < known {
            bounds::reached("the id of a dead letter is forgotten");
        }
    }

    /// Removes all dead letters and forgets their ids, as a day does.
    #[cfg(test)]
    pub fn forget_dead_letters(&mut self) {
        self.dead_letters.iter_mut().for_each(|dead_letter| *dead_letter = None);
        self.dead_letter_ids.clear();
    }

    /// Stores a checkpoint, and gives its place.
    pub fn store_checkpoint(&mut self, channel: &Channel, checkpoint: &Checkpoint) -> u64 {
        let place = self.checkpoints.len() as u64 + 1;
        self.checkpoints.push(Some((*channel, Checkpoint { place: Some(place), ..checkpoint.clone() })));
        place
    }

    /// Removes a checkpoint, if it is there.
    pub fn remove_checkpoint(&mut self, place: u64) {
        self.checkpoints[place as usize - 1] = None;
    }

    /// The checkpoints of a channel.
    pub fn checkpoints(&self, channel: &Channel) -> Vec<Checkpoint> {
        let of_channel = self.checkpoints.iter().flatten().filter(|(of, _)| of == channel);
        let mut all = usable(of_channel.map(|(_, checkpoint)| checkpoint.clone()).collect());
        while let Some(last) = all.last()
            && !last.is_trimmed
            && !(self.has(last.seen.sequence) && self.stored(last.seen.sequence).event() == last.seen)
        {
            all.pop();
        }
        all
    }

    /// A page of a channel's messages.
    pub fn read_page(&self, channel: &Channel, from: Sequence, sight: Sight) -> Page {
        let places = self.places.get(&channel.to_string()).map_or(&[][..], Vec::as_slice);
        let shown = self.shown(sight);
        let first = places.partition_point(|place| *place < from);
        let end = places.partition_point(|place| place.0 <= shown).max(first);
        let last = end.min(first + sight.page);
        let messages: Vec<_> = places[first..last].iter().map(|place| self.stored(*place)).collect();
        let next = places[first..last].last().filter(|_| last < end).map(|last| Sequence(last.0 + 1));
        Page { messages, next }
    }

    /// The messages at these sequences, if all of them are there.
    pub fn read_messages(&self, places: &[Sequence]) -> Result<Vec<Stored>, BrokerError> {
        let gone = || BrokerError::Unavailable("a message that was read before is not there".into());
        places.iter().map(|place| self.has(*place).then(|| self.stored(*place)).ok_or_else(gone)).collect()
    }

    /// All messages that lie in the stream.
    pub fn log(&self) -> impl Iterator<Item = &Stored> {
        self.stream.iter().filter(|stored| self.has(stored.sequence))
    }

    /// Whether there is a message at a sequence.
    pub fn has(&self, place: Sequence) -> bool {
        let token = self.stream.get(place.0 as usize - 1).map(|stored| &stored.channel_token);
        token.is_some_and(|token| self.places[token].binary_search(&place).is_ok())
    }

    /// Whether nothing was ever removed from the stream.
    pub fn is_whole(&self) -> bool {
        self.removed == 0
    }

    /// Removes a message from the stream, as a trim does and an operator may.
    #[cfg(test)]
    pub fn remove(&mut self, sequence: Sequence) {
        let token = self.stored(sequence).channel_token;
        if let Some(places) = self.places.get_mut(&token) {
            places.retain(|place| *place != sequence);
        }
        self.removed += 1;
    }

    /// Loses everything behind a sequence and goes on from there a day later, as after a power cut.
    #[cfg(test)]
    pub fn lose_end(&mut self, behind: u64) {
        self.stream.truncate(behind as usize);
        self.places.values_mut().for_each(|places| places.retain(|place| place.0 <= behind));
        self.unacknowledged.retain(|place| *place <= behind);
        self.later += Duration::DAY.whole_milliseconds() as i64;
    }

    /// Where the last message of a channel lies.
    pub fn last_of(&self, channel: &Channel) -> Option<Sequence> {
        self.last_shown_of(channel, Sight::clear(1))
    }

    /// The same of what is shown.
    pub fn last_shown_of(&self, channel: &Channel, sight: Sight) -> Option<Sequence> {
        let (places, shown) = (self.places.get(&channel.to_string())?, self.shown(sight));
        places[..places.partition_point(|place| place.0 <= shown)].last().copied()
    }

    /// The last sequence that is shown.
    fn shown(&self, sight: Sight) -> u64 {
        (self.stream.len() as u64).saturating_sub(sight.newest_missing)
    }

    fn stored(&self, place: Sequence) -> Stored {
        self.stream[place.0 as usize - 1].clone()
    }
}

fn dead_letter((id, kept): (u64, &Kept)) -> StoredDeadLetter {
    StoredDeadLetter {
        id,
        reason: kept.reason.as_ref().into(),
        error: String::new(),
        channel_token: kept.token.clone(),
        event: Some(kept.event.sequence),
        received_at: Some(OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(kept.event.stored_at.0)),
        after_overrides: kept.after_overrides,
        dead_at: OffsetDateTime::UNIX_EPOCH,
        attempts: 1,
        payload: Bytes::new(),
    }
}
