//! Takes up messages of one channel until their effect is stored: fold, write by compare-and-set, and again from a newer
//! record whenever somebody else was faster.
//!
//! Dead letters are stored before the record that passes them. If we are gone in between, the messages come again, are
//! refused again for the same reason, and the dead letters are recognised by their ids; the other way round they would
//! be found to be duplicates, and their dead letters would never be written.
//!
//! Where a dead letter cannot be stored, the record does not pass its message: it waits, and all that comes after it waits
//! behind it, as behind a gap. So a rocket whose messages are refused while the dead letters are full holds one delivery,
//! and nobody else up.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::Counters;
use super::desk::{Desk, Known};
use super::reported::bury_late;
use crate::broker::{BrokerError, DeadLetter, Reason, Stored, TrackBroker};
use crate::domain::outcome::LATE;
use crate::domain::sequencer::offer;
use crate::domain::{
    Acts, Arrival, Became, Event, MessageNumber, Outcome, Record, Refusal, Sequence, Verdict, take_up,
};
use crate::fail_point;
use crate::logging::Limit;

/// How many times in a row somebody else may be faster before the messages are given back for a while.
const CONFLICTS_IN_A_ROW_MAX: usize = 16;

/// A message and what became of it.
type Judged = (Arc<Arrival<Stored>>, Verdict);

/// What is still to be done about messages whose effect is stored.
#[derive(Debug, Default)]
pub struct Settled {
    /// What became of messages that did not take a place; of those that did, the desk owes it.
    pub outcomes: Vec<Outcome>,
    /// Places in the stream of messages on which only a reading of the whole channel can tell.
    pub unjudged: Vec<Sequence>,
    /// Messages whose number another one has, or may have.
    pub copies: Vec<Arc<Arrival<Stored>>>,
    /// The messages of which nothing was stored before: nobody else can have let them go.
    pub fresh: Vec<Sequence>,
    /// Why the record goes no further, where the dead letter of the message that comes next cannot be stored.
    pub blocked: Option<BrokerError>,
    /// Messages that came too late, or say something else than another one, and whose dead letters cannot be stored; and why.
    pub unkept: Option<(BrokerError, Vec<Sequence>)>,
}

impl Settled {
    /// Leaves messages for later, because their dead letters cannot be stored: nothing is reported of them.
    pub fn leave(&mut self, error: BrokerError, messages: Vec<Sequence>) {
        self.outcomes.retain(|outcome| !messages.contains(&outcome.event.sequence));
        self.unkept.get_or_insert_with(|| (error, Vec::new())).1.extend(messages);
    }
}

/// Takes up messages of the desk's channel; when it returns, their effect is stored. The desk then knows the record,
/// whether it could still move, and what became of the messages that took their place.
///
/// After an error nothing may be acknowledged, and the desk may know less than before.
pub async fn settle(
    broker: &impl TrackBroker,
    desk: &mut Desk,
    arrivals: &[Arc<Arrival<Stored>>],
    counters: &Counters,
) -> Result<Settled, BrokerError> {
    let mut reloaded = false;
    for _ in 0..CONFLICTS_IN_A_ROW_MAX {
        let known = desk.known(broker).await?;
        let (before, living) = (known.record.clone(), without_forgotten(known, arrivals));
        let arrivals = &*living;
        desk.drop_forgotten();
        let Judgement { record, verdicts, blocked, unkept } = judge(broker, desk, &before, arrivals).await?;
        // What is remembered may be old. A write would find out; where nothing is to be written, only a look does. One
        // of these messages may be the one that somebody held for a record that could move.
        // A copy of what waits changes nothing, and is let go all the same: whoever writes what operators said must notice it.
        let changed = record != before;
        let waits = verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Parked);
        let written = match changed || waits {
            true => desk.write(broker, record, placed(&verdicts)).await,
            false if reloaded => Ok(()),
            false => Err(BrokerError::Conflict),
        };
        match written {
            Ok(()) => {
                verdicts.iter().for_each(|(arrival, verdict)| log(arrival, *verdict, counters));
                let fresh = arrivals.iter().filter(|arrival| changed && is_unknown(&before, arrival.message.number));
                let fresh = fresh.map(|arrival| arrival.sequence).collect();
                let mut copies = copies_among(&verdicts, &before);
                // One that took its place itself, and comes again before that is reported, is no copy.
                copies.retain(|copy| !desk.owes(copy.event()));
                let mut settled = Settled { fresh, copies, blocked, ..settled(broker, &verdicts, before.acts) };
                if let Some((error, late)) = unkept {
                    settled.leave(error, late);
                }
                return Ok(settled);
            }
            Err(BrokerError::Conflict) => {
                if changed {
                    Counters::count(&counters.conflicts);
                }
                take_back(desk, &verdicts);
                desk.reload(broker).await?;
                reloaded = true;
            }
            Err(error) => return Err(error),
        }
    }
    Err(BrokerError::Conflict)
}

/// Messages of a channel but for those that were forgotten: they are let go, and nothing is told of them.
fn without_forgotten<'a>(known: &Known, arrivals: &'a [Arc<Arrival<Stored>>]) -> Cow<'a, [Arc<Arrival<Stored>>]> {
    let is_living = |arrival: &&Arc<Arrival<Stored>>| !known.has_forgotten(arrival.event());
    match known.owed.forgotten {
        None => Cow::Borrowed(arrivals),
        Some(_) => arrivals.iter().filter(is_living).cloned().collect(),
    }
}

/// Whether a record certainly knows of no message with a number.
fn is_unknown(record: &Record, number: MessageNumber) -> bool {
    let listed = record.parked.contains(number);
    let may_be_beyond = record.parked.beyond().is_some();
    !record.has_passed(number) && !listed && !may_be_beyond
}

/// Messages whose number was taken, or waited already.
fn copies_among(verdicts: &[Judged], before: &Record) -> Vec<Arc<Arrival<Stored>>> {
    let mut waiting = HashMap::new();
    for (arrival, _) in verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Parked) {
        let first: &mut Sequence = waiting.entry(arrival.message.number).or_insert(arrival.sequence);
        *first = (*first).min(arrival.sequence);
    }
    let waited = |arrival: &Arrival<Stored>| {
        let number = arrival.message.number;
        before.parked.contains(number) || waiting.get(&number).is_some_and(|first| *first < arrival.sequence)
    };
    let is_copy = |(arrival, verdict): &&Judged| match verdict {
        Verdict::Duplicate => true,
        Verdict::Parked => waited(arrival),
        Verdict::Applied | Verdict::Refused(_) | Verdict::Late | Verdict::Passed => false,
    };
    verdicts.iter().filter(is_copy).map(|(arrival, _)| arrival.clone()).collect()
}

/// The messages that took their place.
fn placed(verdicts: &[Judged]) -> Vec<(Event, Option<Refusal>)> {
    let placed = verdicts.iter().filter_map(|(arrival, verdict)| match verdict {
        Verdict::Applied => Some((arrival.event(), None)),
        Verdict::Refused(refusal) => Some((arrival.event(), Some(*refusal))),
        _ => None,
    });
    placed.collect()
}

/// What was taken out of the hand for a record that was not written.
fn take_back(desk: &mut Desk, verdicts: &[Judged]) {
    let (nothing, no_acts) = (Record::default(), Acts::none());
    verdicts.iter().for_each(|(arrival, _)| offer(&mut desk.hand, arrival, &nothing, &no_acts));
}

fn settled(broker: &impl TrackBroker, verdicts: &[Judged], after_acts: Sequence) -> Settled {
    let (mut settled, at) = (Settled::default(), broker.now());
    for (arrival, verdict) in verdicts {
        let became = match verdict {
            Verdict::Duplicate => Became::Duplicate,
            Verdict::Late => Became::Failed(LATE.into()),
            Verdict::Passed => {
                settled.unjudged.push(arrival.sequence);
                continue;
            }
            Verdict::Applied | Verdict::Refused(_) | Verdict::Parked => continue,
        };
        settled.outcomes.push(Outcome { event: arrival.event(), became, at, after_acts });
    }
    settled
}

/// What is to be written of a channel, and what becomes of its messages then.
struct Judgement {
    record: Record,
    verdicts: Vec<Judged>,
    blocked: Option<BrokerError>,
    unkept: Option<(BrokerError, Vec<Sequence>)>,
}

/// Takes up messages as far as the dead letters of those that are refused can be stored, and stores them.
async fn judge(
    broker: &impl TrackBroker,
    desk: &mut Desk,
    before: &Record,
    arrivals: &[Arc<Arrival<Stored>>],
) -> Result<Judgement, BrokerError> {
    let (mut record, mut blocked) = (before.clone(), None);
    let mut verdicts = take_up(&mut record, &mut desk.hand, arrivals, None);
    if let Some((first, error)) = bury_refused(broker, &verdicts, before.acts).await? {
        take_back(desk, &verdicts);
        record = before.clone();
        verdicts = take_up(&mut record, &mut desk.hand, arrivals, Some(first));
        blocked = Some(error);
    }
    let late: Vec<_> = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Late).collect();
    let buried = bury_late(broker, late.iter().map(|(arrival, _)| &arrival.stored).collect()).await;
    let unkept = match buried {
        Err(error) if may_be_of_dead_letters_alone(&error) => {
            Some((error, late.iter().map(|(arrival, _)| arrival.sequence).collect()))
        }
        buried => buried.map(|()| None)?,
    };
    fail_point::reached("track.dead-letters-stored");
    Ok(Judgement { record, verdicts, blocked, unkept })
}

/// Whether records may be written though a dead letter could not be stored: if not, the write of the record says so.
fn may_be_of_dead_letters_alone(error: &BrokerError) -> bool {
    error.is_of_a_store() || matches!(error, BrokerError::Unavailable(_))
}

/// Stores the dead letters of refused messages. Where that fails for some, tells the lowest number of these, and why.
async fn bury_refused(
    broker: &impl TrackBroker,
    verdicts: &[Judged],
    after_acts: Sequence,
) -> Result<Option<(MessageNumber, BrokerError)>, BrokerError> {
    let refused = verdicts.iter().filter_map(|(arrival, verdict)| match verdict {
        Verdict::Refused(refusal) => Some((arrival, refusal.to_string())),
        _ => None,
    });
    let buried = join_all(refused.map(|(arrival, error)| async move {
        let letter = DeadLetter { stored: &arrival.stored, reason: Reason::Refused, error, after_acts };
        (arrival.message.number, broker.bury(&letter).await)
    }));
    let failed = buried.await.into_iter().filter_map(|(number, buried)| Some((number, buried.err()?)));
    match failed.min_by_key(|(number, _)| *number) {
        Some((_, error)) if !may_be_of_dead_letters_alone(&error) => Err(error),
        first => Ok(first),
    }
}

/// Logs and counts what became of a message, once it is stored.
fn log(arrival: &Arrival<Stored>, verdict: Verdict, counters: &Counters) {
    static REFUSED: Limit = Limit::new();
    static LATE_ONES: Limit = Limit::new();
    let (message, request_id) = (&arrival.message, arrival.stored.request_id.as_deref());
    let (channel, number, event_id) = (message.channel, message.number.get(), arrival.sequence.0);
    let counter = match verdict {
        Verdict::Applied => &counters.applied,
        Verdict::Refused(_) => &counters.refused,
        Verdict::Duplicate | Verdict::Passed => &counters.duplicate,
        Verdict::Late => &counters.late,
        Verdict::Parked => &counters.parked,
    };
    Counters::count(counter);
    match verdict {
        Verdict::Refused(refusal) => {
            if let Some(unlogged) = REFUSED.admits() {
                tracing::warn!(request_id, %channel, number, event_id, %refusal, unlogged, "message refused");
            }
        }
        Verdict::Applied => tracing::debug!(request_id, %channel, number, event_id, "message applied"),
        Verdict::Late => {
            if let Some(unlogged) = LATE_ONES.admits() {
                tracing::warn!(request_id, %channel, number, event_id, unlogged, "number was skipped, kept as a dead letter");
            }
        }
        Verdict::Duplicate | Verdict::Passed => {
            tracing::debug!(request_id, %channel, number, event_id, "number taken already");
        }
        Verdict::Parked => tracing::debug!(request_id, %channel, number, event_id, "message waits behind a gap"),
    }
}
