//! Follows what an operator said of a channel's sequence: folds the channel anew from the stream, a page a step, while the
//! channel goes on receiving messages, and writes what has become of it in one go.
//!
//! The order of things is that of every message: dead letters before the record, outcomes after it, then the
//! acknowledgement. A record that was written for acts says since which state it owes the outcomes that they have
//! changed; if we are gone in between, the act comes again, and the same is found out again.
//!
//! Also brought here: messages whose record does not remember whether their number was skipped, and channels in which
//! corrections wait, because only a reading of the whole channel can tell.

mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::try_join_all;
use time::OffsetDateTime;

use self::reach::Lacks;
use super::Counters;
use super::changes::{Changes, Dead};
use super::desk::{Desk, Known};
use super::job::{Job, Step};
use super::reported::bury_late;
use crate::broker::{AckHandle, BrokerError, DeadLetter, Reason, Stored, TrackBroker};
use crate::domain::checkpoint::trimmed_through;
use crate::domain::outcome::{LATE, Since};
use crate::domain::{
    Acts, Arrival, Became, Channel, Checkpoint, Entry, Event, Forgotten, Goal, MessageNumber, Outcome, Owed, Placed,
    Record, Sequence, Shortfall, StoredAt, Turn,
};
use crate::fail_point;
use crate::replay::{ChannelReplay, Read};

/// Readings in a row that did not show what the record knows of, before they are given up for a while.
const VAIN_READINGS_MAX: u32 = 3;
/// Jobs of a channel that are given up, one after the other, because the log has less than the record though the leader has
/// no more, before the log is taken to have lost it. A leader that was cut off gives way sooner: in between lies a pause.
const SHORT_LOGS_MAX: u32 = 3;
/// Dead letters that are removed at once.
const REMOVALS_AT_ONCE: usize = 16;
/// Outcomes that are told in one go.
const TOLD_AT_ONCE_MAX: usize = 4_096;

/// One channel that is folded anew, and the deliveries that are held for it.
pub struct ActJob {
    channel: Channel,
    held: Vec<(Cause, AckHandle)>,
    running: Option<Running>,
    /// What the log lacks to fold the channel from its beginning.
    lacks: Option<Shortfall>,
    vain_readings: u32,
}

/// Why a channel is read from its beginning.
#[derive(Debug)]
pub enum Cause {
    /// An operator's word.
    Act(Event),
    /// A message whose number was passed or skipped.
    Passed(Arc<Arrival<Stored>>),
    /// The record could move, and corrections are among what waits.
    CouldMove,
}

/// A folding anew that is under way.
struct Running {
    reading: ChannelReplay<Stored>,
    /// The state from which the fold goes on in any case, because the log does not have what came before.
    only_from: Option<Since>,
    /// The record's last act when it began.
    begun_at: (Sequence, Option<StoredAt>),
    /// The state since which the record owed changes then.
    owed_since: Option<Since>,
    /// What had been forgotten of the channel when it began.
    forgotten: Option<Forgotten>,
    /// Up to which number the log had been trimmed when it began.
    trimmed_through: u64,
    changes: Changes,
    /// Messages that came after a skip of their number that was not followed before: some may have been let go since,
    /// as waiting.
    late: BTreeMap<Event, MessageNumber>,
    /// The dead letters of refused messages that there are, by event. One may have several: of before and after an act.
    letters: BTreeMap<Event, Vec<(u64, Sequence)>>,
    next_letter: Option<u64>,
    /// Events with a dead letter that apply now. Some never were refused in a record that was written: by a folding anew
    /// that came to no end.
    applied: BTreeSet<Event>,
}

impl Job for ActJob {
    fn new(channel: Channel) -> Self {
        Self { channel, held: Vec::new(), running: None, lacks: None, vain_readings: 0 }
    }

    fn handles(&self) -> impl Iterator<Item = AckHandle> {
        self.held.iter().map(|(_, handle)| handle.clone())
    }

    /// Reads one page; at the end of the channel, writes and tells what has become of it.
    async fn step(&mut self, broker: &impl TrackBroker, desk: &mut Desk, _: &Counters) -> Result<Step, BrokerError> {
        let Some(running) = &mut self.running else { return self.begin(broker, desk).await };
        if let Some(from) = running.next_letter {
            running.read_letters(broker, &self.channel, from).await?;
            return Ok(Step::GoOn);
        }
        if running.read_on(broker).await? {
            return Ok(Step::GoOn);
        }
        self.finish(broker, desk).await
    }
}

impl ActJob {
    /// Holds one more delivery.
    pub fn hold(&mut self, cause: Cause, handle: AckHandle) {
        // What has begun at a checkpoint cannot tell of it.
        if matches!(cause, Cause::Passed(_)) {
            self.running.take_if(|running| running.reading.replay.base().is_some_and(|base| !base.is_trimmed));
        }
        self.held.push((cause, handle));
    }

    async fn begin(&mut self, broker: &impl TrackBroker, desk: &mut Desk) -> Result<Step, BrokerError> {
        let known = desk.reload(broker).await?;
        if known.owed.since.is_none() && self.held.iter().all(|(cause, _)| cause.is_followed(known)) {
            return Ok(Step::Done(self.held.drain(..).map(|(_, handle)| handle).collect()));
        }
        let now = Since { acts: known.record.acts, passed: passed(&known.record) };
        let since = known.owed.since.unwrap_or(now);
        let (acts, only) = (since.acts, self.lacks.is_some());
        let goal = match known.owed.since.filter(|_| !only) {
            // What has been changed since is found out by the fold that has changed it.
            Some(_) => Goal::Change { since: acts },
            None => Goal::Onward { since: acts, passed: since.passed, record: Box::new(known.record.clone()), only },
        };
        let bases = self.bases(broker, since).await?;
        let reading = ChannelReplay::of_whole_messages(self.channel, goal, bases.clone()).without(known.owed.forgotten);
        let reading = reading.since_at(known.owed.since.map_or(known.record.acts_at, |_| None));
        // What is owed is found out first, as it was then: some of it may have been told, and dead letters removed. What
        // was said since has its turn after that.
        let through = known.owed.since.map(|_| known.record.acts);
        self.running = Some(Running {
            reading: reading.through(through),
            only_from: only.then_some(since),
            begun_at: last_act(&known.record),
            owed_since: known.owed.since,
            forgotten: known.owed.forgotten,
            trimmed_through: trimmed_through(&bases),
            changes: Changes::since(since),
            late: BTreeMap::new(),
            letters: BTreeMap::new(),
            next_letter: Some(1),
            applied: BTreeSet::new(),
        });
        Ok(Step::GoOn)
    }

    /// The checkpoints at which a folding anew can begin: those of the state from which changes are told, or of one before
    /// it. Whether a message came too late that was not taken up is known only from the beginning.
    async fn bases(&self, broker: &impl TrackBroker, since: Since) -> Result<Vec<Checkpoint>, BrokerError> {
        let mut bases = broker.checkpoints(&self.channel).await?;
        let judges = self.held.iter().any(|(cause, _)| matches!(cause, Cause::Passed(_)));
        bases.retain(|base| {
            let is_before = base.through() <= since.passed && base.record.acts <= since.acts;
            base.is_trimmed || (is_before && !judges)
        });
        Ok(bases)
    }

    /// Takes in what has come meanwhile, and writes, if the record is still the one that was begun with.
    async fn finish(&mut self, broker: &impl TrackBroker, desk: &mut Desk) -> Result<Step, BrokerError> {
        let Some(running) = &mut self.running else { return Ok(Step::GoOn) };
        let known = desk.reload(broker).await?.clone();
        let goes_on = last_act(&known.record) == running.begun_at && known.owed.since == running.owed_since;
        if !goes_on || known.owed.forgotten != running.forgotten {
            self.running = None;
            return Ok(Step::GoOn);
        }
        running.reading.replay.go_on();
        while running.read_on(broker).await? {}
        let Some(record) = running.reading.replay.folds().last().map(|fold| fold.state()) else {
            return Ok(Step::GoOn);
        };
        let is_short =
            desk.short_logs >= SHORT_LOGS_MAX || self.held.iter().any(|(cause, _)| cause.lies_before(&known));
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
                self.vain_readings += 1;
                if self.vain_readings < VAIN_READINGS_MAX {
                    return Ok(Step::GoOn);
                }
                desk.short_logs += u32::from(matches!(lacks, Lacks::End));
                return Ok(Step::Vain);
            }
            Lacks::Log(shortfall) => {
                let step = self.fall_short(broker, shortfall).await?;
                desk.short_logs = if step == Step::GoOn { desk.short_logs } else { 0 };
                return Ok(step);
            }
        }
        running.read_letters_to_the_end(broker, &self.channel).await?;
        // What others have passed meanwhile, they have told; but not what was passed by a record that owes it still.
        let now = Since { acts: running.changes.acts(), passed: passed(&known.record) };
        let since = known.owed.since.unwrap_or(now);
        running.changes.passed_before(since.passed);
        if !running.changes_nothing(&record, &known.record) {
            let owed = running.owed(since, known.owed);
            match desk.write_owing(broker, record, owed).await {
                Err(BrokerError::Conflict) => return Ok(Step::GoOn),
                written => written?,
            }
            fail_point::reached("track.acts-written");
        }
        desk.short_logs = 0;
        let failed = self.tell(broker, desk).await?;
        Ok(Step::Done(self.let_go(desk, &failed)))
    }

    /// The log does not have what a fold from its beginning takes: goes on from the record, as far as that does. Where the
    /// log lacks even what waits, what operators asked for cannot be done.
    async fn fall_short(&mut self, broker: &impl TrackBroker, shortfall: Shortfall) -> Result<Step, BrokerError> {
        let Some(running) = self.running.take() else { return Ok(Step::GoOn) };
        if self.lacks.replace(shortfall).is_none() && !running.reading.replay.is_resumed() {
            return Ok(Step::GoOn);
        }
        self.lacks = None;
        let (at, channel, acts) = (broker.now(), self.channel, running.reading.replay.acts());
        tracing::error!(%channel, %shortfall, "what an operator asked for cannot be done");
        // One that came while the channel was read has its turn later.
        let is_held = |event: &Event| self.held.iter().any(|(cause, _)| cause.act() == Some(*event));
        let told: BTreeSet<_> = acts.after(Sequence(0)).filter(is_held).collect();
        let outcomes = told.iter().map(|event| failed(*event, shortfall, at, acts.last()));
        broker.tell(outcomes.collect()).await?;
        let handles = self.held.extract_if(.., |(cause, _)| cause.is_one_of(&told)).map(|(_, handle)| handle);
        let handles: Vec<_> = handles.collect();
        Ok(if handles.is_empty() { Step::Vain } else { Step::Done(handles) })
    }

    /// Lets everything go that is followed now; an act that came while the channel was read may not be.
    fn let_go(&mut self, desk: &Desk, failed: &BTreeSet<Event>) -> Vec<AckHandle> {
        let Some(known) = &desk.known else { return Vec::new() };
        let is_done =
            |cause: &Cause| cause.is_one_of(failed) || matches!(cause, Cause::Passed(_)) || cause.is_followed(known);
        self.held.extract_if(.., |(cause, _)| is_done(cause)).map(|(_, handle)| handle).collect()
    }

    /// Tells what was changed, when the record is written; then the record owes nothing any more. Gives the acts that could not be followed.
    async fn tell(&mut self, broker: &impl TrackBroker, desk: &mut Desk) -> Result<BTreeSet<Event>, BrokerError> {
        let Some(running) = self.running.take() else { return Ok(BTreeSet::new()) };
        let (acts, at) = (running.reading.replay.acts(), broker.now());
        let failed_acts = running.acts_out_of_reach();
        self.bury_late(broker, &acts).await?;
        let changed = running.changes.outcomes(at, acts.last());
        let judged = self.held.iter().filter_map(|(cause, _)| match cause {
            Cause::Passed(arrival) => Some((arrival.event(), judge(arrival, &acts))),
            Cause::Act(_) | Cause::CouldMove => None,
        });
        let of_acts = running.outcomes_of_acts(&acts).into_iter().filter(|(event, _)| !failed_acts.contains(event));
        let of_acts = of_acts.chain(judged);
        let of_acts = of_acts.map(|(event, became)| Outcome { event, became, at, after_acts: acts.last() });
        let (lacks, after_acts) = (self.lacks.take().or(running.trimmed()), acts.last());
        let out_of_reach = failed_acts.iter().filter_map(|act| Some(failed(*act, lacks?, at, after_acts)));
        let outcomes: Vec<_> = desk.outcomes().into_iter().chain(changed).chain(of_acts).chain(out_of_reach).collect();
        for outcomes in outcomes.chunks(TOLD_AT_ONCE_MAX) {
            broker.tell(outcomes.to_vec()).await?;
        }
        desk.told(&outcomes);
        // What came too late and had been refused is another dead letter now.
        let gone: BTreeSet<_> =
            running.changes.applied().chain(running.applied).chain(running.late.into_keys()).collect();
        let letters = gone.iter().filter_map(|event| running.letters.get(event)).flatten();
        // One of an act that this fold has not followed is for whoever follows that act: he may have stored it just now.
        let gone: Vec<_> = letters.filter(|(_, after)| *after <= acts.last()).map(|(letter, _)| *letter).collect();
        // One after the other at the server in any case: a flood of them would only hold up everybody's questions.
        for letters in gone.chunks(REMOVALS_AT_ONCE) {
            try_join_all(letters.iter().map(|letter| broker.remove_letter(*letter))).await?;
        }
        for wrong in running.reading.replay.wrong_checkpoints() {
            broker.remove_checkpoint(wrong.place).await?;
        }
        fail_point::reached("track.outcomes-told");
        if desk.since().is_some()
            && let Some(Known { record, owed, .. }) = desk.known.clone()
        {
            desk.write_owing(broker, record, Owed { forgotten: owed.forgotten, ..Owed::default() }).await?;
        }
        Ok(failed_acts)
    }

    /// Keeps messages of which a record did not remember that their number was skipped.
    async fn bury_late(&self, broker: &impl TrackBroker, acts: &Acts) -> Result<(), BrokerError> {
        let late = self.held.iter().filter_map(|(cause, _)| match cause {
            Cause::Passed(arrival) if judge(arrival, acts) != Became::Duplicate => Some(&arrival.stored),
            _ => None,
        });
        bury_late(broker, late.collect()).await
    }
}

/// What becomes of an act that cannot be followed.
fn failed(event: Event, lacks: Shortfall, at: OffsetDateTime, after_acts: Sequence) -> Outcome {
    Outcome { event, became: Became::Failed(lacks.to_string()), at, after_acts }
}

impl Cause {
    /// The operator's word, if it is one.
    fn act(&self) -> Option<Event> {
        match self {
            Self::Act(act) => Some(*act),
            Self::Passed(_) | Self::CouldMove => None,
        }
    }

    /// Whether it is one of these acts.
    fn is_one_of(&self, acts: &BTreeSet<Event>) -> bool {
        self.act().is_some_and(|act| acts.contains(&act))
    }

    /// Whether a record has what was asked for, or it was forgotten. Of a message whose number was passed, a record does not
    /// know.
    fn is_followed(&self, known: &Known) -> bool {
        match self {
            Self::Act(act) => known.record.has_followed(*act) || known.has_forgotten(*act),
            Self::Passed(arrival) => known.has_forgotten(arrival.event()),
            Self::CouldMove => !known.record.could_move(),
        }
    }

    /// Whether it is new and lies before the last act that a record has followed: the log lost its end, and that act.
    fn lies_before(&self, known: &Known) -> bool {
        self.act().is_some_and(|act| act.sequence <= known.record.acts) && !self.is_followed(known)
    }
}

/// The last act that a record has followed.
fn last_act(record: &Record) -> (Sequence, Option<StoredAt>) {
    (record.acts, record.acts_at)
}

/// What becomes of a message whose number was passed or skipped.
fn judge(arrival: &Arrival<Stored>, acts: &Acts) -> Became {
    match acts.skipped_from(arrival.message.number) {
        Some(_) => Became::Failed(LATE.into()),
        None => Became::Duplicate,
    }
}

/// The last number that a record has passed; 0 before the first.
fn passed(record: &Record) -> u64 {
    record.last.as_ref().map_or(0, |last| last.number.get())
}

impl Running {
    /// Whether some of what it was to read was trimmed meanwhile: what is not there any more looks like what never arrived. A
    /// trim stores its checkpoint before.
    async fn was_trimmed(&self, broker: &impl TrackBroker) -> Result<bool, BrokerError> {
        let now = broker.checkpoints(&self.reading.channel).await?;
        Ok(trimmed_through(&now) > self.trimmed_through)
    }

    async fn read_letters(
        &mut self,
        broker: &impl TrackBroker,
        channel: &Channel,
        from: u64,
    ) -> Result<(), BrokerError> {
        let page = broker.refused_letters(channel, from).await?;
        for letter in page.letters {
            if let Some(event) = letter.event() {
                self.letters.entry(event).or_default().push((letter.id, letter.after_acts));
            }
        }
        self.next_letter = page.next;
        Ok(())
    }

    /// Letters that were stored since they were read.
    async fn read_letters_to_the_end(
        &mut self,
        broker: &impl TrackBroker,
        channel: &Channel,
    ) -> Result<(), BrokerError> {
        self.next_letter = Some(self.letters.values().flatten().max().map_or(1, |(last, _)| last + 1));
        while let Some(from) = self.next_letter {
            self.read_letters(broker, channel, from).await?;
        }
        Ok(())
    }

    /// Reads on, and tells whether there was more.
    async fn read_on(&mut self, broker: &impl TrackBroker) -> Result<bool, BrokerError> {
        let Some(Read { entries, turn }) = self.reading.step(broker).await? else { return Ok(false) };
        let dead = match turn {
            Turn::StartOver => return Ok(true),
            // As long as not everything is known that operators said, nothing is told.
            Turn::Placed(placed) if placed.is_empty() => return Ok(true),
            Turn::Placed(placed) => {
                self.changes.acts_through(self.reading.replay.since());
                self.note_applied(placed.last());
                self.changes.note(placed)
            }
        };
        let (acts, since) = (self.reading.replay.acts(), self.changes.acts());
        let is_late = |arrival: &&Arc<Arrival<Stored>>| {
            let skipped = acts.skipped_from(arrival.message.number);
            // A correction that came meanwhile has its turn later.
            !arrival.corrects && skipped.is_some_and(|skipped| skipped.sequence > since)
        };
        let late: Vec<_> = entries.iter().filter_map(Entry::message).filter(is_late).collect();
        if (!late.is_empty() || !dead.is_empty()) && self.was_trimmed(broker).await? {
            // All of it is read again.
            return Ok(true);
        }
        bury_late(broker, late.iter().map(|arrival| &arrival.stored).collect()).await?;
        self.late.extend(late.iter().map(|arrival| (arrival.event(), arrival.message.number)));
        self.bury(broker, dead).await?;
        Ok(true)
    }

    /// Notes what applies with all acts and is a dead letter.
    fn note_applied(&mut self, placed: Option<&Vec<Placed<Stored>>>) {
        let applied = placed.into_iter().flatten().filter_map(|placed| match placed {
            Placed::Message(arrival, Ok(())) => Some(arrival.event()),
            _ => None,
        });
        self.applied.extend(applied.filter(|event| self.letters.contains_key(event)));
    }

    /// Keeps what is refused now, before the record passes it; what is a dead letter stays the one that it is.
    async fn bury(&self, broker: &impl TrackBroker, dead: Vec<Dead>) -> Result<(), BrokerError> {
        let acts = self.reading.replay.acts().last();
        let letters = dead.iter().filter(|dead| !self.letters.contains_key(&dead.arrival.event()));
        let letters = letters.map(|dead| DeadLetter {
            stored: &dead.arrival.stored,
            reason: Reason::Refused,
            error: dead.refusal.to_string(),
            after_acts: if dead.was_refused { self.changes.acts() } else { acts },
        });
        try_join_all(letters.map(|letter| async move { broker.bury(&letter).await })).await.map(drop)
    }
}
