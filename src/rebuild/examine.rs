//! A close look at one record, while trackers may be changing it: whether it is right, and what it should be.
//!
//! A record need not have everything that lies in the stream: what has not been acknowledged, a tracker still has to take
//! up. So the order of looking is: how far everything is acknowledged (the floor), then the record, then where the
//! channel ends, each through the leader, then the channel. What lies at or below the floor had been applied before the
//! record was read; anything above may have been or not. The record is right if it is what the numbers up to its last
//! one make, with the overrides that it says are folded in, and if everything up to the floor is accounted for: applied or
//! pending. If it is drainable, a tracker must hold a message for it: one above the floor.
//!
//! A record that fails this is wrong, and not just late. Nothing here takes time for an argument.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::difference::{agree, differences, in_words};
use super::reported_events::ReportedEvents;
use super::scan::Folded;
use crate::broker::inspect::acknowledged_through;
use crate::broker::store::{Store, Versioned};
use crate::broker::{Broker, BrokerError, LogReader, NatsLog};
use crate::domain::checkpoint::trimmed_through;
use crate::domain::outcome::Since;
use crate::domain::pending::{PendingMap, Range};
use crate::domain::record::Unreadable;
use crate::domain::shortfall::Base;
use crate::domain::{
    Advance, Channel, Checkpoint, Entry, Event, Forgotten, Goal, MessageNumber, PendingRanges, Record, Refusal, Replay,
    Sequence, Taken, shortfall,
};
use crate::replay::ChannelReplay;

/// What a look has found.
#[derive(Debug)]
pub enum Finding {
    /// The record is right, or it is right that there is none.
    Right,
    /// The channel could not be read to its end: look again.
    Incomplete,
    /// It is not to be written by us, for this reason.
    NotOurs(String),
    /// The record is right, but of messages that were applied nothing is reported: their outcomes were lost.
    MissingOutcomes(MissingOutcomes),
    /// It is wrong.
    Wrong(Box<Wrong>),
}

/// Messages of which nothing is reported, by a record that is right.
#[derive(Debug)]
pub struct MissingOutcomes {
    /// What became of each that was applied.
    pub applied: Vec<(Event, Option<Refusal>)>,
    /// Those whose number had been skipped before they arrived.
    pub late: Vec<Event>,
    /// The last override that the record has followed.
    pub after_overrides: Option<Sequence>,
}

/// A record that is wrong.
#[derive(Debug)]
pub struct Wrong {
    /// What is wrong, field by field.
    pub differences: Vec<String>,
    /// What it should be.
    pub should_be: Record,
    /// The revision at which it was seen.
    pub revision: u64,
    /// The state since which it has the changes of overrides unreported.
    pub since: Option<Since>,
    /// What was forgotten of the channel.
    pub forgotten: Option<Forgotten>,
    /// An override that nobody has applied yet. Who does will replay the channel.
    pub override_to_come: Option<Sequence>,
    /// Whether all messages of the channel were acknowledged.
    pub is_settled: bool,
    /// Messages that were applied, and of which nothing was reported.
    pub unstored: Vec<(Event, Option<Refusal>)>,
    /// The same of messages whose number had been skipped before they arrived.
    pub unstored_late: Vec<Event>,
}

/// Looks at one channel. What was reported is needed only by who means to write.
pub async fn examine(
    broker: &Broker,
    store: &Store,
    partition: u16,
    channel: &Channel,
    reported: Option<&ReportedEvents>,
) -> Result<Finding, BrokerError> {
    let floor = acknowledged_through(broker, partition).await?;
    let held = store.load_latest(channel).await?;
    look_at(&NatsLog { broker, partition }, channel, floor, &held, reported).await
}

/// Looks at the record that lay in the bucket when everything had been acknowledged up to the floor.
pub async fn look_at(
    log: &impl LogReader,
    channel: &Channel,
    floor: Sequence,
    held: &Versioned,
    reported: Option<&ReportedEvents>,
) -> Result<Finding, BrokerError> {
    let last = log.last_of(channel).await?;
    let (record, damage) = match read(held) {
        Ok(read) => read,
        Err(not_ours) => return Ok(not_ours),
    };
    // Checkpoints are not trusted where the log tells the same.
    let mut bases = log.checkpoints(channel).await?;
    bases.retain(|base| base.is_trimmed);
    if last.is_none() && bases.is_empty() {
        return Ok(stray(held));
    }
    let as_trimmed = bases.first().map_or_else(Record::default, |base| base.record.clone());
    let mut reading = Reading::new(&record, as_trimmed, floor, reported);
    let mut fold = ChannelReplay::of_what_they_say(*channel, Goal::Change { since: record.last_override }, bases)
        .since_at(record.last_override_at);
    let run = fold.run(log, |replay, read| {
        reading.take(replay, &read.entries, read.taken);
        ControlFlow::Continue(())
    });
    match run.await {
        Err(BrokerError::Newer(format)) => {
            return Ok(Finding::NotOurs(format!("record: is left as it is, {}", BrokerError::Newer(format))));
        }
        run => run?,
    }
    let Some(should_be) = fold.replay.folds().last().map(|fold| fold.state()) else { return Ok(Finding::Incomplete) };
    if !fold.has_seen_through(last) || should_be.is_drainable() {
        return Ok(Finding::Incomplete);
    }
    let is_settled = last.is_none_or(|last| last <= floor);
    let is_right = damage.is_none() && reading.is_right(&should_be, is_settled);
    if is_right {
        let mut missing = reading.missing_outcomes(&record);
        if missing.is_empty() {
            return Ok(Finding::Right);
        }
        if !record.has_followed_all_of(&should_be) || was_trimmed(log, &fold).await? {
            // What became of them may be another thing in a moment, or is not what it looks like.
            return Ok(Finding::Incomplete);
        }
        if !log.is_whole().await? {
            // A copy of a message that is gone looks as if it came too late.
            missing.late.clear();
        }
        return Ok(missing.finding());
    }
    if should_be == Record::default() && held.record.is_some() {
        return Ok(stray(held));
    }
    if let Some(why) = out_of_reach(log, &fold, held, &record, &should_be).await? {
        return Ok(if was_trimmed(log, &fold).await? { Finding::Incomplete } else { Finding::NotOurs(why) });
    }
    let override_to_come =
        should_be.last_override.filter(|overriding| *overriding > floor && !record.has_followed_all_of(&should_be));
    let differences = in_lines(held, &record, damage, &should_be);
    let unstored = reading.unstored.iter().map(|(_, applied)| *applied).collect();
    let unstored_late = reading.unstored_late.into_iter().map(|(_, event)| event).collect();
    let (revision, since, forgotten) = (held.revision, held.unreported.since, held.unreported.forgotten);
    let wrong = Wrong {
        differences,
        should_be,
        revision,
        since,
        forgotten,
        override_to_come,
        is_settled,
        unstored,
        unstored_late,
    };
    Ok(Finding::Wrong(Box::new(wrong)))
}

/// Whether some of the channel was trimmed while it was read: what is gone looks as if it had never arrived.
async fn was_trimmed(log: &impl LogReader, fold: &ChannelReplay<usize>) -> Result<bool, BrokerError> {
    let before = fold.replay.base().and_then(Checkpoint::through);
    Ok(trimmed_through(&log.checkpoints(&fold.channel).await?) > before)
}

/// Why the log cannot tell what the record should be, if messages are gone that it needs.
async fn out_of_reach(
    log: &impl LogReader,
    fold: &ChannelReplay<usize>,
    held: &Versioned,
    record: &Record,
    should_be: &Record,
) -> Result<Option<String>, BrokerError> {
    let (overrides, is_whole) = (fold.replay.overrides(), log.is_whole().await?);
    if let Some(shortfall) = shortfall(record, should_be, &overrides, Base::Log { is_whole }) {
        return Ok(Some(format!("record: is left as it is, {shortfall}")));
    }
    let is_legible = held.record.is_some() && *record != Record::default();
    let has_beginning = is_whole || overrides.first_unseen(MessageNumber::FIRST, MessageNumber::FIRST).is_none();
    let lost = "record: is missing or damaged, and the log does not reach back far enough to fold it: message number 1 is \
                not there";
    Ok((!is_legible && !has_beginning).then(|| lost.to_owned()))
}

/// The same without reading the channel, where it was folded already, has had no message since, and everything of it is
/// acknowledged; none where that is not so.
pub async fn look_quickly(
    broker: &Broker,
    store: &Store,
    partition: u16,
    folded: &Folded,
) -> Result<Option<Finding>, BrokerError> {
    let floor = acknowledged_through(broker, partition).await?;
    let held = store.load_latest(&folded.channel).await?;
    let last = NatsLog { broker, partition }.last_of(&folded.channel).await?;
    if last.unwrap_or_default() != folded.seen || folded.seen > floor {
        return Ok(None);
    }
    let (record, damage) = match read(&held) {
        Ok(read) => read,
        Err(not_ours) => return Ok(Some(not_ours)),
    };
    let should_be = folded.record.clone();
    if damage.is_none() && held.record.is_some() && agree(&record, &should_be) {
        let missing = MissingOutcomes {
            applied: folded.unstored.clone(),
            late: Vec::new(),
            after_overrides: record.last_override,
        };
        return Ok(Some(missing.finding()));
    }
    // Where the log has less than the record, or not its beginning, only a close look tells why.
    let goes_back = should_be.next_number().is_some_and(|next| record.is_through(next));
    if goes_back || should_be.last.is_none() {
        return Ok(None);
    }
    let wrong = Wrong {
        differences: in_lines(&held, &record, damage, &should_be),
        should_be,
        revision: held.revision,
        since: held.unreported.since,
        forgotten: held.unreported.forgotten,
        override_to_come: None,
        is_settled: true,
        unstored: folded.unstored.clone(),
        unstored_late: Vec::new(),
    };
    Ok(Some(Finding::Wrong(Box::new(wrong))))
}

impl MissingOutcomes {
    fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.late.is_empty()
    }

    fn finding(self) -> Finding {
        if self.is_empty() { Finding::Right } else { Finding::MissingOutcomes(self) }
    }
}

/// The record, and what is wrong with its bytes; one of a newer program is not ours.
fn read(held: &Versioned) -> Result<(Record, Option<String>), Finding> {
    if let Some(format) = held.newer_format() {
        return Err(Finding::NotOurs(format!("record: {}", Unreadable::Newer(format))));
    }
    if held.unreported.forgotten == Some(Forgotten::UnderWay) {
        let why = "record: the channel is being forgotten; if nobody is at it any more, `rockets forget` it again";
        return Err(Finding::NotOurs(why.into()));
    }
    match held.record.as_deref().map(Record::from_bytes) {
        None => Ok((Record::default(), None)),
        Some(Ok(record)) => Ok((record, None)),
        Some(Err(Unreadable::Damaged(why))) => Ok((Record::default(), Some(why))),
        Some(Err(newer @ Unreadable::Newer(_))) => Err(Finding::NotOurs(format!("record: {newer}"))),
    }
}

fn in_lines(held: &Versioned, record: &Record, damage: Option<String>, should_be: &Record) -> Vec<String> {
    match (damage, &held.record) {
        (Some(why), _) => vec![format!("record: is damaged ({why}), should be {}", in_words(should_be))],
        (None, None) => vec![format!("record: is missing, should be {}", in_words(should_be))],
        (None, Some(_)) => differences(record, should_be),
    }
}

/// Messages may be trimmed by an operator; what became of them is the record, and nothing else knows it.
fn stray(held: &Versioned) -> Finding {
    match &held.record {
        None => Finding::Right,
        Some(bytes) => {
            let is = String::from_utf8_lossy(bytes);
            Finding::NotOurs(format!("record: is {is}, should be missing: the stream has no message of it"))
        }
    }
}

/// One reading of a channel, and what it shows of a record.
struct Reading<'a> {
    held: &'a Record,
    floor: Sequence,
    reported: Option<&'a ReportedEvents>,
    /// The numbers up to the record's last one, with its overrides.
    as_held: Record,
    /// Of the messages behind, those that the record says wait.
    waiting: PendingMap,
    corrections_wait: bool,
    /// Whether the record knows of everything that was acknowledged.
    accounted: bool,
    unstored: Vec<(MessageNumber, (Event, Option<Refusal>))>,
    unstored_late: BTreeSet<(MessageNumber, Event)>,
}

impl<'a> Reading<'a> {
    fn new(held: &'a Record, as_trimmed: Record, floor: Sequence, reported: Option<&'a ReportedEvents>) -> Self {
        Self {
            held,
            floor,
            reported,
            as_held: as_trimmed,
            waiting: PendingMap::default(),
            corrections_wait: false,
            accounted: true,
            unstored: Vec::new(),
            unstored_late: BTreeSet::new(),
        }
    }

    fn take(&mut self, replay: &Replay<usize>, entries: &[Entry<usize>], turn: Taken<usize>) {
        entries.iter().for_each(|entry| self.account(entry));
        let Taken::Advance(advances) = turn else { return };
        let mut folds = advances.into_iter();
        let (Some(with_its_overrides), Some(with_all)) = (folds.next(), folds.next()) else { return };
        with_its_overrides.iter().for_each(|advance| self.apply(replay, advance));
        if let Some(reported) = self.reported {
            self.note_unstored(reported, with_all);
            self.note_late(reported, replay, entries);
        }
    }

    /// Whether the record knows of an entry, if it must.
    fn account(&mut self, entry: &Entry<usize>) {
        let (held, sequence) = (self.held, entry.sequence());
        let must_be_known = sequence <= self.floor;
        if entry.is_override() && Some(sequence) > held.last_override {
            self.accounted &= !must_be_known;
            return;
        }
        let Some(arrival) = entry.message() else { return };
        let number = arrival.message.number;
        if held.is_through(number) {
            return;
        }
        self.corrections_wait |= arrival.corrects;
        match held.pending.contains(number) {
            true => self.waiting.insert(number, sequence),
            false => self.accounted &= !must_be_known || held.pending.overflow().is_some(),
        }
    }

    fn apply(&mut self, replay: &Replay<usize>, advance: &Advance<usize>) {
        match advance {
            Advance::Message(arrival, _) if self.held.is_through(arrival.message.number) => {
                let _ = self.as_held.place(&arrival.message);
            }
            Advance::Skipped { last, by, .. } => {
                let end = self.held.last.as_ref().map(|held| held.number.min(*last));
                if let (Some(end), Some(skip)) = (end, replay.overrides().skip_at(*by)) {
                    self.as_held.skip(end, &skip.time);
                }
            }
            Advance::Message(..) => {}
        }
    }

    fn note_unstored(&mut self, reported: &ReportedEvents, advances: Vec<Advance<usize>>) {
        for advance in advances {
            if let Advance::Message(arrival, verdict) = advance
                && !reported.contains(arrival.event())
            {
                self.unstored.push((arrival.message.number, (arrival.event(), verdict.err())));
            }
        }
    }

    fn note_late(&mut self, reported: &ReportedEvents, replay: &Replay<usize>, entries: &[Entry<usize>]) {
        let overrides = replay.overrides();
        let plain = entries.iter().filter_map(Entry::message).filter(|arrival| !arrival.corrects);
        let late = plain.filter(|arrival| overrides.skipped_from(arrival.message.number).is_some());
        let unstored = late.filter(|arrival| !reported.contains(arrival.event()));
        self.unstored_late.extend(unstored.map(|arrival| (arrival.message.number, arrival.event())));
    }

    /// Of what the record is past all that nothing is reported of. Some of it a tracker may be about to report, which does no
    /// harm; what had been reported and was lost, nobody else will.
    fn missing_outcomes(&self, record: &Record) -> MissingOutcomes {
        let applied =
            self.unstored.iter().filter(|(number, _)| record.is_through(*number)).map(|(_, applied)| *applied);
        let late = self.unstored_late.iter().filter(|(number, _)| record.is_through(*number)).map(|(_, event)| *event);
        MissingOutcomes { applied: applied.collect(), late: late.collect(), after_overrides: record.last_override }
    }

    fn is_right(&self, should_be: &Record, is_settled: bool) -> bool {
        let held = self.held;
        let expected = Record {
            last_override: held.last_override,
            last_override_at: held.last_override_at,
            corrections_wait: self.corrections_wait,
            pending: self.pending_as_held(),
            ..self.as_held.clone()
        };
        let is_held_for = !held.is_drainable() || !is_settled;
        self.accounted && is_held_for && should_be.has_followed_all_of(held) && agree(held, &expected)
    }

    /// What is pending, of that which the record lists. Where the lowest sequence of a range lies above the floor, one of
    /// the messages there may not have been applied yet.
    fn pending_as_held(&self) -> PendingRanges {
        let found = self.waiting.to_pending_ranges();
        let range = |(found, held): (&Range, &Range)| {
            let is_late = found.sequence > self.floor && held.sequence > found.sequence;
            // While a range is being applied, its lowest sequence stays that of the whole.
            let is_being_applied = self.held.is_drainable() && held.sequence < found.sequence;
            let sequence = if is_late || is_being_applied { held.sequence } else { found.sequence };
            Range { sequence, ..*found }
        };
        let same_ranges = found.ranges().len() == self.held.pending.ranges().len();
        let ranges = found.ranges().iter().zip(self.held.pending.ranges()).map(range).collect();
        if same_ranges { PendingRanges::from_parts(ranges, found.overflow()).unwrap_or(found) } else { found }
    }
}
