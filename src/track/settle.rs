//! Applies messages of one channel until their effect is stored: fold, write by compare-and-set, and again from a newer
//! record whenever another tracker was faster.
//!
//! Dead letters are stored before the record that passes them. If the tracker dies in between, the messages come again, are
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
use super::channel_state::{ChannelState, Known};
use super::observe::count;
use super::once::store_late;
use crate::broker::{BrokerError, DeadLetter, Reason, Stored, TrackBroker};
use crate::domain::outcome::SKIPPED_LATE;
use crate::domain::sequencer::buffer_message;
use crate::domain::{
    Arrival, Event, MessageNumber, Outcome, OutcomeRecord, Overrides, Record, Refusal, Sequence, Verdict, apply_batch,
};
use crate::fail_point;
use crate::logging::limited;
use crate::traces::Trace;

/// How many times in a row another tracker may be faster before the messages are returned with a nak for a while.
const CONFLICTS_IN_A_ROW_MAX: usize = 16;

/// A message and what became of it.
pub type Judged = (Arc<Arrival<Stored>>, Verdict);

/// What is still to be done about messages whose effect is stored.
#[derive(Debug, Default)]
pub struct Settled {
    /// What became of messages that were not applied; of those that were, the channel state has it unreported.
    pub outcomes: Vec<OutcomeRecord>,
    /// Sequences of messages on which only a reading of the whole channel decides.
    pub unjudged: Vec<Sequence>,
    /// Messages whose number another one has, or may have.
    pub copies: Vec<Arc<Arrival<Stored>>>,
    /// The messages of which nothing was stored before: no other tracker can have acknowledged them.
    pub first_seen: Vec<Sequence>,
    /// Why the record goes no further, where the dead letter of the message that comes next cannot be stored.
    pub blocked: Option<BrokerError>,
    /// Messages that came too late, or say something else than another one, and whose dead letters cannot be stored; and why.
    pub without_dead_letter: Option<(BrokerError, Vec<Sequence>)>,
}

impl Settled {
    /// Leaves messages for later, because their dead letters cannot be stored: nothing is reported of them.
    pub fn leave(&mut self, error: BrokerError, messages: Vec<Sequence>) {
        self.outcomes.retain(|outcome_record| !messages.contains(&outcome_record.event.sequence));
        self.without_dead_letter.get_or_insert_with(|| (error, Vec::new())).1.extend(messages);
    }
}

/// Applies messages of one channel; when it returns, their effect is stored. The channel state then knows
/// the record, whether it is drainable, and what became of the messages that were applied.
///
/// After an error nothing may be acknowledged, and the channel state may know less than before.
pub async fn settle(
    broker: &impl TrackBroker,
    state: &mut ChannelState,
    arrivals: &[Arc<Arrival<Stored>>],
    counters: &Counters,
    trace: &Trace,
) -> Result<Settled, BrokerError> {
    let mut reloaded = false;
    for _ in 0..CONFLICTS_IN_A_ROW_MAX {
        let known = state.known(broker).await?;
        let (before, living) = (known.record.clone(), without_forgotten(known, arrivals));
        let arrivals = &*living;
        state.drop_forgotten();
        let Judgement { record, verdicts, blocked, without_dead_letter } =
            judge(broker, state, &before, arrivals).await?;
        // A copy of a pending message changes nothing, and the record is written all the same: whoever replays the channel at
        // this moment is to conflict, and to read that copy, too.
        let changed = record != before;
        let is_pending = verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Pending);
        let written = match changed || is_pending {
            true => write(broker, state, record, &verdicts, trace).await,
            // Nothing to write. The record in memory may be old, and one of these messages may be the delivery that holds a
            // drainable record. So the first time it is as if the write had conflicted: the record is read from the leader,
            // and they are judged again.
            false if reloaded => Ok(()),
            false => Err(BrokerError::Conflict),
        };
        match written {
            Ok(()) => {
                verdicts.iter().for_each(|(arrival, verdict)| log(arrival, *verdict));
                count(&counters.metrics, broker.now(), &before, &verdicts);
                let first_seen =
                    arrivals.iter().filter(|arrival| changed && is_unknown(&before, arrival.message.number));
                let first_seen = first_seen.map(|arrival| arrival.sequence).collect();
                let mut copies = copies_among(&verdicts, &before);
                // One that was applied itself, and comes again before that is reported, is no copy.
                copies.retain(|copy| !state.has_unreported(copy.event()));
                let mut settled =
                    Settled { first_seen, copies, blocked, ..settled(broker, &verdicts, before.last_override) };
                if let Some((error, late)) = without_dead_letter {
                    settled.leave(error, late);
                }
                return Ok(settled);
            }
            Err(BrokerError::Conflict) => {
                if changed {
                    Counters::count(&counters.conflicts);
                }
                put_back(state, &verdicts);
                state.reload(broker).await?;
                reloaded = true;
            }
            Err(error) => return Err(error),
        }
    }
    Err(BrokerError::Conflict)
}

/// Messages of a channel but for those that were forgotten: these are acknowledged, and nothing is reported of them.
fn without_forgotten<'a>(known: &Known, arrivals: &'a [Arc<Arrival<Stored>>]) -> Cow<'a, [Arc<Arrival<Stored>>]> {
    let is_living = |arrival: &&Arc<Arrival<Stored>>| !known.has_forgotten(arrival.event());
    match known.unreported.forgotten {
        None => Cow::Borrowed(arrivals),
        Some(_) => arrivals.iter().filter(is_living).cloned().collect(),
    }
}

/// Whether a record certainly knows of no message with a number.
pub fn is_unknown(record: &Record, number: MessageNumber) -> bool {
    let listed = record.pending.contains(number);
    let may_overflow = record.pending.overflow().is_some();
    !record.is_through(number) && !listed && !may_overflow
}

/// Messages whose number was taken, or waited already.
fn copies_among(verdicts: &[Judged], before: &Record) -> Vec<Arc<Arrival<Stored>>> {
    let mut waiting = HashMap::new();
    for (arrival, _) in verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Pending) {
        let first: &mut Sequence = waiting.entry(arrival.message.number).or_insert(arrival.sequence);
        *first = (*first).min(arrival.sequence);
    }
    let waited = |arrival: &Arrival<Stored>| {
        let number = arrival.message.number;
        before.pending.contains(number) || waiting.get(&number).is_some_and(|first| *first < arrival.sequence)
    };
    let is_copy = |(arrival, verdict): &&Judged| match verdict {
        Verdict::Duplicate => true,
        Verdict::Pending => waited(arrival),
        Verdict::Applied | Verdict::Refused(_) | Verdict::SkippedLate | Verdict::Unjudged => false,
    };
    verdicts.iter().filter(is_copy).map(|(arrival, _)| arrival.clone()).collect()
}

/// Writes the record with which these were judged.
async fn write(
    broker: &impl TrackBroker,
    state: &mut ChannelState,
    record: Record,
    verdicts: &[Judged],
    trace: &Trace,
) -> Result<(), BrokerError> {
    let applied = applied(verdicts);
    let causes = verdicts.iter().filter_map(|(arrival, _)| arrival.stored.cause.as_deref());
    let mut span = trace.write(state.channel, applied.len(), causes);
    let written = state.write(broker, record, applied).await;
    span.note(&written);
    written
}

/// The messages that took their number.
fn applied(verdicts: &[Judged]) -> Vec<(Event, Option<Refusal>)> {
    let applied = verdicts.iter().filter_map(|(arrival, verdict)| match verdict {
        Verdict::Applied => Some((arrival.event(), None)),
        Verdict::Refused(refusal) => Some((arrival.event(), Some(*refusal))),
        _ => None,
    });
    applied.collect()
}

/// Puts back into the buffer what was taken out for a record that was not written.
fn put_back(state: &mut ChannelState, verdicts: &[Judged]) {
    let (nothing, no_overrides) = (Record::default(), Overrides::none());
    verdicts.iter().for_each(|(arrival, _)| buffer_message(&mut state.buffer, arrival, &nothing, &no_overrides));
}

fn settled(broker: &impl TrackBroker, verdicts: &[Judged], after_overrides: Option<Sequence>) -> Settled {
    let (mut settled, at) = (Settled::default(), broker.now());
    for (arrival, verdict) in verdicts {
        let outcome = match verdict {
            Verdict::Duplicate => Outcome::Duplicate,
            Verdict::SkippedLate => Outcome::Failed(SKIPPED_LATE.into()),
            Verdict::Unjudged => {
                settled.unjudged.push(arrival.sequence);
                continue;
            }
            Verdict::Applied | Verdict::Refused(_) | Verdict::Pending => continue,
        };
        settled.outcomes.push(OutcomeRecord { event: arrival.event(), outcome, at, after_overrides });
    }
    settled
}

/// What is to be written of a channel, and what becomes of its messages then.
struct Judgement {
    record: Record,
    verdicts: Vec<Judged>,
    blocked: Option<BrokerError>,
    without_dead_letter: Option<(BrokerError, Vec<Sequence>)>,
}

/// Applies messages as far as the dead letters of those that are refused can be stored, and stores them.
async fn judge(
    broker: &impl TrackBroker,
    state: &mut ChannelState,
    before: &Record,
    arrivals: &[Arc<Arrival<Stored>>],
) -> Result<Judgement, BrokerError> {
    let (mut record, mut blocked) = (before.clone(), None);
    let mut verdicts = apply_batch(&mut record, &mut state.buffer, arrivals, None);
    if let Some((first, error)) = store_refused(broker, &verdicts, before.last_override).await? {
        put_back(state, &verdicts);
        record = before.clone();
        verdicts = apply_batch(&mut record, &mut state.buffer, arrivals, Some(first));
        blocked = Some(error);
    }
    let late: Vec<_> = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::SkippedLate).collect();
    let stored = store_late(broker, late.iter().map(|(arrival, _)| &arrival.stored).collect()).await;
    let without_dead_letter = match stored {
        Err(error) if may_be_of_dead_letters_alone(&error) => {
            Some((error, late.iter().map(|(arrival, _)| arrival.sequence).collect()))
        }
        stored => stored.map(|()| None)?,
    };
    fail_point::reached("track.dead-letters-stored");
    Ok(Judgement { record, verdicts, blocked, without_dead_letter })
}

/// Whether the error may be of the dead letters' stream alone, so that the record can be written all the same. If all of the
/// broker is away, writing the record fails too.
fn may_be_of_dead_letters_alone(error: &BrokerError) -> bool {
    error.is_of_a_store() || matches!(error, BrokerError::Unavailable(_))
}

/// Stores the dead letters of refused messages. Where that fails for some, returns the lowest number of these, and why.
async fn store_refused(
    broker: &impl TrackBroker,
    verdicts: &[Judged],
    after_overrides: Option<Sequence>,
) -> Result<Option<(MessageNumber, BrokerError)>, BrokerError> {
    let refused = verdicts.iter().filter_map(|(arrival, verdict)| match verdict {
        Verdict::Refused(refusal) => Some((arrival, refusal.to_string())),
        _ => None,
    });
    let stored = refused.map(|(arrival, error)| async move {
        let dead_letter = DeadLetter { stored: &arrival.stored, reason: Reason::Refused, error, after_overrides };
        (arrival.message.number, broker.store_dead_letter(&dead_letter).await)
    });
    let failed = join_all(stored).await.into_iter().filter_map(|(number, stored)| Some((number, stored.err()?)));
    match failed.min_by_key(|(number, _)| *number) {
        Some((_, error)) if !may_be_of_dead_letters_alone(&error) => Err(error),
        first => Ok(first),
    }
}

/// Logs what became of a message, once it is stored.
fn log(arrival: &Arrival<Stored>, verdict: Verdict) {
    let Arrival { message, stored, .. } = arrival;
    let (request_id, trace_id) = (stored.request_id.as_deref(), stored.trace_id());
    let (channel, number, event_id) = (message.channel, message.number.get(), arrival.sequence.0);
    match verdict {
        Verdict::Refused(refusal) => {
            limited!(warn, request_id, trace_id, %channel, number, event_id, %refusal, "message refused");
        }
        Verdict::Applied => tracing::debug!(request_id, trace_id, %channel, number, event_id, "message applied"),
        Verdict::SkippedLate => {
            limited!(warn, request_id, trace_id, %channel, number, event_id, "number was skipped, kept as a dead letter");
        }
        Verdict::Duplicate | Verdict::Unjudged => {
            tracing::debug!(request_id, trace_id, %channel, number, event_id, "number taken already");
        }
        Verdict::Pending => {
            tracing::debug!(request_id, trace_id, %channel, number, event_id, "message is pending behind a gap")
        }
    }
}
