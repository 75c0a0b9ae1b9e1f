//! Copies: messages whose number another one has. A sender's repeat says the same and is a plain duplicate; one that says
//! something else is a conflict, and becomes a dead letter, so that nothing is lost that was sent.
//!
//! What it costs is bounded: one look at what was reported of a batch's copies, and one page of the log for each of some
//! channels. A copy whose original is not found so stays a plain duplicate.

use std::sync::Arc;

use futures_util::future::join_all;

use super::batch::Group;
use super::settle::Settled;
use crate::broker::{BrokerError, DeadLetter, Reason, Stored, TrackBroker};
use crate::domain::{Arrival, Event, Outcome, OutcomeRecord, Record, Sequence};

/// Channels of one batch whose log is looked at; the copies of further ones are plain duplicates.
const CHANNELS_MAX: usize = 64;
/// Of those, how many at once: each may read a page of some megabytes, in each partition.
const CHANNELS_AT_ONCE: usize = 2;
/// Numbers that are looked for at the beginning of the log: a page has some hundreds of messages.
const FIRST_NUMBERS: u64 = 256;
/// How far before a copy the original of a higher number is looked for, in places of the stream.
const PLACES_BEFORE: u64 = 4_096;

/// Finds the conflicts among the copies of a batch and keeps them as dead letters. Where that fails, the copies alone come
/// again.
pub async fn find_conflicts(broker: &impl TrackBroker, settled: &mut [(Group, Result<Settled, BrokerError>)]) {
    let settled = settled.iter_mut().filter_map(|(group, settled)| Some((group, settled.as_mut().ok()?)));
    let mut with_copies: Vec<_> = settled.filter(|(_, settled)| !settled.copies.is_empty()).collect();
    let copies = with_copies.iter().flat_map(|(_, settled)| &settled.copies);
    let events: Vec<_> = copies.map(|copy| copy.event()).collect();
    if events.is_empty() {
        return;
    }
    match broker.outcomes_of(&events).await {
        Ok(reported) => with_copies
            .iter_mut()
            .for_each(|(_, settled)| settled.copies.retain(|copy| !reported.contains_key(&copy.event()))),
        Err(error) => with_copies.iter_mut().for_each(|(_, settled)| leave_copies(settled, &error)),
    }
    with_copies.retain(|(_, settled)| !settled.copies.is_empty());
    with_copies.truncate(CHANNELS_MAX);
    for some in with_copies.chunks_mut(CHANNELS_AT_ONCE) {
        join_all(some.iter_mut().map(|(group, settled)| look(broker, group, settled))).await;
    }
}

fn leave_copies(settled: &mut Settled, error: &BrokerError) {
    let copies = std::mem::take(&mut settled.copies);
    settled.leave(error.clone(), copies.iter().map(|copy| copy.sequence).collect());
}

/// Looks for the originals of one channel's copies.
async fn look(broker: &impl TrackBroker, group: &Group, settled: &mut Settled) {
    let Some(known) = &group.state.known else { return };
    let conflicts = match conflicts_among(broker, &settled.copies, &known.record).await {
        Ok(conflicts) => conflicts,
        Err(error) => return leave_copies(settled, &error),
    };
    let (at, after_overrides) = (broker.now(), known.record.last_override);
    for (event, outcome, kept) in conflicts {
        match kept {
            Ok(()) => {
                settled.outcomes.retain(|outcome_record| outcome_record.event != event);
                settled.outcomes.push(OutcomeRecord { event, outcome, at, after_overrides });
            }
            Err(error) => settled.leave(error, vec![event.sequence]),
        }
    }
}

/// The conflicts among these copies, and whether each is a dead letter now.
async fn conflicts_among(
    broker: &impl TrackBroker,
    copies: &[Arc<Arrival<Stored>>],
    record: &Record,
) -> Result<Vec<(Event, Outcome, Result<(), BrokerError>)>, BrokerError> {
    let from = copies.iter().map(|copy| begins_at(copy, record)).min().unwrap_or(Sequence(1));
    let Some(channel) = copies.first().map(|copy| copy.message.channel) else { return Ok(Vec::new()) };
    let page: Vec<_> = broker.read_page(&channel, from).await?.messages;
    let entries: Vec<_> = page.into_iter().filter_map(|stored| stored.read().ok()).collect();
    let plain = || entries.iter().filter_map(|entry| entry.message()).filter(|arrival| !arrival.corrects);
    let original = |copy: &Arrival<Stored>| plain().find(|arrival| arrival.message.number == copy.message.number);
    let other = |copy: &Arrival<Stored>| {
        original(copy).filter(|first| first.sequence < copy.sequence && first.message != copy.message)
    };
    let conflicts = copies.iter().filter_map(|copy| Some((copy, Outcome::Conflict(other(copy)?.sequence))));
    let kept = join_all(conflicts.map(|(copy, outcome)| async move {
        let (reason, error) = (Reason::Conflict, outcome.reason().unwrap_or_default());
        let dead_letter = DeadLetter { stored: &copy.stored, reason, error, after_overrides: None };
        let kept = broker.store_dead_letter(&dead_letter).await;
        (copy.event(), outcome, kept)
    }));
    Ok(kept.await)
}

/// From where on the original of a copy is looked for.
fn begins_at(copy: &Arrival<Stored>, record: &Record) -> Sequence {
    let number = copy.message.number;
    let waits = record.pending.ranges().iter().find(|range| range.first <= number && number <= range.last);
    match waits {
        Some(range) => range.sequence,
        None if number.get() <= FIRST_NUMBERS => Sequence(1),
        None => Sequence(copy.sequence.0.saturating_sub(PLACES_BEFORE).max(1)),
    }
}
