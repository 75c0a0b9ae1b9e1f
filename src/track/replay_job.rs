//! Follows overrides: replays the channel from the log, a page a step, while the channel goes on receiving messages, and
//! writes what has become of it in one go.
//!
//! The order of things is that of every message: dead letters before the record, outcomes after it, then the
//! acknowledgement. A record that was written for overrides also names the state before them (`since`): the outcomes that
//! changed since then are not reported yet. If the tracker dies then, the override is delivered again, and another replay
//! finds the same changes.
//!
//! Also brought here: messages whose record does not remember whether their number was skipped, and channels in which
//! corrections wait, because only a reading of the whole channel decides.

mod cause;
mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use futures_util::future::try_join_all;
use time::OffsetDateTime;

pub use self::cause::Cause;
use self::cause::judge;
use self::reach::Lacks;
use super::Counters;
use super::channel_state::{ChannelState, Known};
use super::checkpoint::remove_wrong;
use super::job::{Job, Step};
use super::once::store_late;
use super::outcome_diff::{Changes, Dead};
use crate::broker::{AckHandle, BrokerError, DeadLetter, Reason, Stored, TrackBroker};
use crate::domain::checkpoint::trimmed_through;
use crate::domain::outcome::Since;
use crate::domain::{
    Advance, Arrival, Channel, Checkpoint, Entry, Event, Forgotten, Goal, MessageNumber, Outcome, OutcomeRecord,
    Overrides, Record, Sequence, Shortfall, StoredAt, Taken, Unreported,
};
use crate::fail_point;
use crate::replay::{ChannelReplay, Read};
use crate::traces::{Span, Trace};

/// Readings in a row that did not show what the record knows of, before they are given up for a while.
const READINGS_WITHOUT_PROGRESS_MAX: u32 = 3;
/// Jobs of a channel in a row that end because the leader has less than the record. After that the log is taken to have lost
/// it. Between two of them lies a pause in which a leader that was cut off steps down.
const SHORT_LOGS_MAX: u32 = 3;
/// Dead letters that are removed at once.
const REMOVALS_AT_ONCE: usize = 16;
/// Outcomes that are reported in one go.
const REPORTED_AT_ONCE_MAX: usize = 4_096;

/// One channel that is replayed, and the deliveries that are held for it.
pub struct ReplayJob {
    channel: Channel,
    held: Vec<(Cause, AckHandle)>,
    running: Option<Running>,
    /// What the log lacks to fold the channel from its beginning.
    lacks: Option<Shortfall>,
    readings_without_progress: u32,
    span: Span,
}

/// A replay that is under way.
struct Running {
    reading: ChannelReplay<Stored>,
    /// The state from which the fold goes on in any case, because the log does not have what came before.
    only_from: Option<Since>,
    /// The record's last override when it began.
    begun_at: (Option<Sequence>, Option<StoredAt>),
    /// The state since which the record had changes unreported then.
    unreported_since: Option<Since>,
    /// What had been forgotten of the channel when it began.
    forgotten: Option<Forgotten>,
    /// Up to which number the log had been trimmed when it began.
    trimmed_through: Option<MessageNumber>,
    changes: Changes,
    /// Messages that came after a skip that covers their number and that this replay is the first to follow. Until now they
    /// counted as pending, and may have been acknowledged as such.
    late: BTreeMap<Event, MessageNumber>,
    /// The dead letters of refused messages that there are, by event. One may have several: of before and after an override.
    dead_letters: BTreeMap<Event, Vec<(u64, Option<Sequence>)>>,
    next_dead_letter: Option<u64>,
    /// Events that have a dead letter and apply now. The dead letter may stem from a replay that never wrote its record.
    applied: BTreeSet<Event>,
}

impl Job for ReplayJob {
    fn new(channel: Channel) -> Self {
        let (held, span) = (Vec::new(), Span::default());
        Self { channel, held, running: None, lacks: None, readings_without_progress: 0, span }
    }

    fn handles(&self) -> impl Iterator<Item = AckHandle> {
        self.held.iter().map(|(_, handle)| handle.clone())
    }

    /// Reads one page; at the end of the channel, writes and reports what has become of it.
    async fn step(
        &mut self,
        broker: &impl TrackBroker,
        state: &mut ChannelState,
        _: &Counters,
    ) -> Result<Step, BrokerError> {
        let Some(running) = &mut self.running else { return self.begin(broker, state).await };
        if let Some(from) = running.next_dead_letter {
            running.read_dead_letters(broker, &self.channel, from).await?;
            return Ok(Step::GoOn);
        }
        if running.read_on(broker).await? {
            return Ok(Step::GoOn);
        }
        self.finish(broker, state).await
    }
}

impl ReplayJob {
    /// Has it in a trace, unless it is in one already.
    pub fn trace(&mut self, trace: &Trace) {
        if self.span.is_none() {
            self.span = trace.replay(self.channel);
        }
    }

    /// Holds one more delivery.
    pub fn hold(&mut self, cause: Cause, handle: AckHandle) {
        // What has begun at a checkpoint cannot judge it.
        if matches!(cause, Cause::Unjudged(_)) {
            self.running.take_if(|running| running.reading.replay.base().is_some_and(|base| !base.is_trimmed));
        }
        self.held.push((cause, handle));
    }

    async fn begin(&mut self, broker: &impl TrackBroker, state: &mut ChannelState) -> Result<Step, BrokerError> {
        let known = state.reload(broker).await?;
        if known.unreported.since.is_none() && self.held.iter().all(|(cause, _)| cause.is_followed(known)) {
            return Ok(Step::Done(self.held.drain(..).map(|(_, handle)| handle).collect()));
        }
        let now = Since { last_override: known.record.last_override, applied_through: known.record.applied_through() };
        let since = known.unreported.since.unwrap_or(now);
        let (overrides, only) = (since.last_override, self.lacks.is_some());
        let goal = match known.unreported.since.filter(|_| !only) {
            // The tracker that wrote these changes did not report them. The same two folds, without the overrides and with
            // them, find the same changes again.
            Some(_) => Goal::Change { since: overrides },
            None => Goal::Onward {
                since: overrides,
                applied_through: since.applied_through,
                record: Box::new(known.record.clone()),
                only,
            },
        };
        let bases = self.bases(broker, since).await?;
        let reading =
            ChannelReplay::of_whole_messages(self.channel, goal, bases.clone()).without(known.unreported.forgotten);
        // Where changes are unreported, only the sequence tells which overrides are new: the record's time has these already.
        let reading = reading.since_at(known.unreported.since.map_or(known.record.last_override_at, |_| None));
        // First only the overrides that the record has followed already, so that their unreported changes are found again, as
        // they were then. A later replay follows those that came after.
        let through = known.unreported.since.and(known.record.last_override);
        self.running = Some(Running {
            reading: reading.through(through),
            only_from: only.then_some(since),
            begun_at: last_override(&known.record),
            unreported_since: known.unreported.since,
            forgotten: known.unreported.forgotten,
            trimmed_through: trimmed_through(&bases),
            changes: Changes::since(since),
            late: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            next_dead_letter: Some(1),
            applied: BTreeSet::new(),
        });
        Ok(Step::GoOn)
    }

    /// The checkpoints at which a replay can begin: those of the state from which changes are reported, or of one before
    /// it. Whether a message came too late that was not applied is known only from the beginning.
    async fn bases(&self, broker: &impl TrackBroker, since: Since) -> Result<Vec<Checkpoint>, BrokerError> {
        let mut bases = broker.checkpoints(&self.channel).await?;
        let judges = self.held.iter().any(|(cause, _)| matches!(cause, Cause::Unjudged(_)));
        bases.retain(|base| {
            let is_before = base.through() <= since.applied_through && base.record.last_override <= since.last_override;
            base.is_trimmed || (is_before && !judges)
        });
        Ok(bases)
    }

    /// Takes in what has come meanwhile, and writes, if the record is still the one that was begun with.
    async fn finish(&mut self, broker: &impl TrackBroker, state: &mut ChannelState) -> Result<Step, BrokerError> {
        let Some(running) = &mut self.running else { return Ok(Step::GoOn) };
        let known = state.reload(broker).await?.clone();
        let goes_on =
            last_override(&known.record) == running.begun_at && known.unreported.since == running.unreported_since;
        if !goes_on || known.unreported.forgotten != running.forgotten {
            self.running = None;
            return Ok(Step::GoOn);
        }
        running.reading.replay.go_on();
        while running.read_on(broker).await? {}
        let Some(record) = running.reading.replay.folds().last().map(|fold| fold.state()) else {
            return Ok(Step::GoOn);
        };
        let is_short =
            state.short_logs >= SHORT_LOGS_MAX || self.held.iter().any(|(cause, _)| cause.lies_before(&known));
        let lacks = match running.reading.has_seen_all(broker).await? {
            true => running.lacks(broker, &known.record, &record, is_short).await?,
            false => Lacks::Reading,
        };
        if running.was_trimmed(broker).await? {
            self.running = None;
            return Ok(Step::GoOn);
        }
        match lacks {
            Lacks::Nothing => {}
            Lacks::Reading | Lacks::End => {
                self.readings_without_progress += 1;
                if self.readings_without_progress < READINGS_WITHOUT_PROGRESS_MAX {
                    return Ok(Step::GoOn);
                }
                state.short_logs += u32::from(matches!(lacks, Lacks::End));
                return Ok(Step::NoProgress);
            }
            Lacks::Log(shortfall) => {
                let step = self.fall_short(broker, shortfall).await?;
                state.short_logs = if step == Step::GoOn { state.short_logs } else { 0 };
                return Ok(step);
            }
        }
        running.read_dead_letters_to_the_end(broker, &self.channel).await?;
        // What other trackers have applied during this replay, they have reported: from the record's last number on only
        // changes are. If the record still has changes unreported, these begin where that record says.
        let now = Since {
            last_override: running.changes.last_override_before(),
            applied_through: known.record.applied_through(),
        };
        let since = known.unreported.since.unwrap_or(now);
        running.changes.applied_before(since.applied_through);
        if !running.changes_nothing(&record, &known.record) {
            let unreported = running.unreported(since, known.unreported);
            let mut span = self.span.trace().write(self.channel, unreported.messages.len(), iter::empty());
            let written = state.write_with(broker, record, unreported).await;
            span.note(&written);
            match written {
                Err(BrokerError::Conflict) => return Ok(Step::GoOn),
                written => written?,
            }
            fail_point::reached("track.overrides-written");
        }
        state.short_logs = 0;
        let failed = self.report(broker, state).await?;
        Ok(Step::Done(self.take_followed(state, &failed)))
    }

    /// The log does not have what a fold from its beginning takes: goes on from the record, as far as that does. Where the
    /// log lacks even what is pending, the overrides cannot be followed.
    async fn fall_short(&mut self, broker: &impl TrackBroker, shortfall: Shortfall) -> Result<Step, BrokerError> {
        let Some(running) = self.running.take() else { return Ok(Step::GoOn) };
        if self.lacks.replace(shortfall).is_none() && !running.reading.replay.goes_on_from_record() {
            return Ok(Step::GoOn);
        }
        self.lacks = None;
        let (at, channel, overrides) = (broker.now(), self.channel, running.reading.replay.overrides());
        tracing::error!(%channel, %shortfall, "what an operator asked for cannot be done");
        // One that came while the channel was read is for a later replay.
        let is_held = |event: &Event| self.held.iter().any(|(cause, _)| cause.overriding() == Some(*event));
        let reported: BTreeSet<_> = overrides.after(None).filter(is_held).collect();
        let outcomes = reported.iter().map(|event| failed(*event, shortfall, at, overrides.last()));
        broker.report(outcomes.collect()).await?;
        let handles = self.held.extract_if(.., |(cause, _)| cause.is_one_of(&reported)).map(|(_, handle)| handle);
        let handles: Vec<_> = handles.collect();
        Ok(if handles.is_empty() { Step::NoProgress } else { Step::Done(handles) })
    }

    /// Takes out the deliveries of what is followed now; an override that came while the channel was read may not be.
    fn take_followed(&mut self, state: &ChannelState, failed: &BTreeSet<Event>) -> Vec<AckHandle> {
        let Some(known) = &state.known else { return Vec::new() };
        let is_done =
            |cause: &Cause| cause.is_one_of(failed) || matches!(cause, Cause::Unjudged(_)) || cause.is_followed(known);
        self.held.extract_if(.., |(cause, _)| is_done(cause)).map(|(_, handle)| handle).collect()
    }

    /// Reports what was changed, when the record is written; then the record has nothing unreported any more. Gives the
    /// overrides that could not be followed.
    async fn report(
        &mut self,
        broker: &impl TrackBroker,
        state: &mut ChannelState,
    ) -> Result<BTreeSet<Event>, BrokerError> {
        let Some(running) = self.running.take() else { return Ok(BTreeSet::new()) };
        let (overrides, at) = (running.reading.replay.overrides(), broker.now());
        let failed_overrides = running.overrides_out_of_reach();
        self.store_late(broker, &overrides).await?;
        let changed = running.changes.outcomes(at, overrides.last());
        let judged = self.held.iter().filter_map(|(cause, _)| match cause {
            Cause::Unjudged(arrival) => Some((arrival.event(), judge(arrival, &overrides))),
            Cause::Override(_) | Cause::CorrectionsWait => None,
        });
        let of_overrides = running
            .outcomes_of_overrides(&overrides)
            .into_iter()
            .filter(|(event, _)| !failed_overrides.contains(event));
        let of_overrides = of_overrides.chain(judged);
        let of_overrides = of_overrides.map(|(event, outcome)| OutcomeRecord {
            event,
            outcome,
            at,
            after_overrides: overrides.last(),
        });
        let (lacks, after_overrides) = (self.lacks.take().or(running.trimmed()), overrides.last());
        let out_of_reach =
            failed_overrides.iter().filter_map(|overriding| Some(failed(*overriding, lacks?, at, after_overrides)));
        let outcomes: Vec<_> =
            state.outcomes().into_iter().chain(changed).chain(of_overrides).chain(out_of_reach).collect();
        for outcomes in outcomes.chunks(REPORTED_AT_ONCE_MAX) {
            broker.report(outcomes.to_vec()).await?;
        }
        state.note_reported(&outcomes);
        // What came too late and had been refused is another dead letter now.
        let gone: BTreeSet<_> =
            running.changes.no_longer_refused().chain(running.applied).chain(running.late.into_keys()).collect();
        let dead_letters = gone.iter().filter_map(|event| running.dead_letters.get(event)).flatten();
        // One of an override that this fold has not followed is for the tracker that follows that override: it may have
        // been stored just now.
        let gone: Vec<_> =
            dead_letters.filter(|(_, after)| *after <= overrides.last()).map(|(dead_letter, _)| *dead_letter).collect();
        // One after the other at the server in any case: a flood of them would only hold up everybody's questions.
        for dead_letters in gone.chunks(REMOVALS_AT_ONCE) {
            try_join_all(dead_letters.iter().map(|dead_letter| broker.remove_dead_letter(*dead_letter))).await?;
        }
        remove_wrong(broker, &running.reading.replay).await?;
        fail_point::reached("track.outcomes-reported");
        if state.since().is_some()
            && let Some(Known { record, unreported, .. }) = state.known.clone()
        {
            state
                .write_with(broker, record, Unreported { forgotten: unreported.forgotten, ..Unreported::default() })
                .await?;
        }
        Ok(failed_overrides)
    }

    /// Stores dead letters of messages whose number was skipped, which the record did not remember.
    async fn store_late(&self, broker: &impl TrackBroker, overrides: &Overrides) -> Result<(), BrokerError> {
        let late = self.held.iter().filter_map(|(cause, _)| match cause {
            Cause::Unjudged(arrival) if judge(arrival, overrides) != Outcome::Duplicate => Some(&arrival.stored),
            _ => None,
        });
        store_late(broker, late.collect()).await
    }
}

/// What becomes of an override that cannot be followed.
fn failed(event: Event, lacks: Shortfall, at: OffsetDateTime, after_overrides: Option<Sequence>) -> OutcomeRecord {
    OutcomeRecord { event, outcome: Outcome::Failed(lacks.to_string()), at, after_overrides }
}

/// The last override that a record has followed.
fn last_override(record: &Record) -> (Option<Sequence>, Option<StoredAt>) {
    (record.last_override, record.last_override_at)
}

impl Running {
    /// Whether some of what it was to read was trimmed meanwhile: what is not there any more looks like what never arrived. A
    /// trim stores its checkpoint before.
    async fn was_trimmed(&self, broker: &impl TrackBroker) -> Result<bool, BrokerError> {
        let now = broker.checkpoints(&self.reading.channel).await?;
        Ok(trimmed_through(&now) > self.trimmed_through)
    }

    async fn read_dead_letters(
        &mut self,
        broker: &impl TrackBroker,
        channel: &Channel,
        from: u64,
    ) -> Result<(), BrokerError> {
        let page = broker.refused_dead_letters(channel, from).await?;
        for dead_letter in page.dead_letters {
            if let Some(event) = dead_letter.event() {
                self.dead_letters.entry(event).or_default().push((dead_letter.id, dead_letter.after_overrides));
            }
        }
        self.next_dead_letter = page.next;
        Ok(())
    }

    /// Dead letters that were stored since they were read.
    async fn read_dead_letters_to_the_end(
        &mut self,
        broker: &impl TrackBroker,
        channel: &Channel,
    ) -> Result<(), BrokerError> {
        self.next_dead_letter = Some(self.dead_letters.values().flatten().max().map_or(1, |(last, _)| last + 1));
        while let Some(from) = self.next_dead_letter {
            self.read_dead_letters(broker, channel, from).await?;
        }
        Ok(())
    }

    /// Reads on, and returns whether there was more.
    async fn read_on(&mut self, broker: &impl TrackBroker) -> Result<bool, BrokerError> {
        let Some(Read { entries, taken }) = self.reading.step(broker).await? else { return Ok(false) };
        let dead = match taken {
            Taken::StartOver => return Ok(true),
            // As long as not all overrides are known, there are no folds.
            Taken::Advance(advances) if advances.is_empty() => return Ok(true),
            Taken::Advance(advances) => {
                self.changes.overrides_through(self.reading.replay.since());
                self.note_applied(advances.last());
                self.changes.note(advances)
            }
        };
        let (overrides, since) = (self.reading.replay.overrides(), self.changes.last_override_before());
        let is_late = |arrival: &&Arc<Arrival<Stored>>| {
            let skipped = overrides.skipped_from(arrival.message.number);
            // A correction that came meanwhile is for a later replay.
            !arrival.corrects && skipped.is_some_and(|skipped| Some(skipped.sequence) > since)
        };
        let late: Vec<_> = entries.iter().filter_map(Entry::message).filter(is_late).collect();
        if (!late.is_empty() || !dead.is_empty()) && self.was_trimmed(broker).await? {
            // Nothing is stored from here on: `finish` sees the trim too, and begins again.
            return Ok(true);
        }
        store_late(broker, late.iter().map(|arrival| &arrival.stored).collect()).await?;
        self.late.extend(late.iter().map(|arrival| (arrival.event(), arrival.message.number)));
        self.store_dead_letter(broker, dead).await?;
        Ok(true)
    }

    /// Notes what applies with all overrides and is a dead letter.
    fn note_applied(&mut self, advances: Option<&Vec<Advance<Stored>>>) {
        let applied = advances.into_iter().flatten().filter_map(|advance| match advance {
            Advance::Message(arrival, Ok(())) => Some(arrival.event()),
            _ => None,
        });
        self.applied.extend(applied.filter(|event| self.dead_letters.contains_key(event)));
    }

    /// Stores dead letters of what is refused now, before the record passes it. What has one already gets no other.
    async fn store_dead_letter(&self, broker: &impl TrackBroker, dead: Vec<Dead>) -> Result<(), BrokerError> {
        let overrides = self.reading.replay.overrides().last();
        let dead_letters = dead.iter().filter(|dead| !self.dead_letters.contains_key(&dead.arrival.event()));
        let dead_letters = dead_letters.map(|dead| DeadLetter {
            stored: &dead.arrival.stored,
            reason: Reason::Refused,
            error: dead.refusal.to_string(),
            after_overrides: if dead.was_refused { self.changes.last_override_before() } else { overrides },
        });
        try_join_all(dead_letters.map(|dead_letter| async move { broker.store_dead_letter(&dead_letter).await }))
            .await
            .map(drop)
    }
}
