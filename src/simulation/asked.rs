//! What those who ask are told when a schedule is over: of each event as `GET /events` tells it, of each record as `rebuild`
//! judges it, and of each rocket as a history folds it, from each checkpoint that is there.

use std::ops::ControlFlow;

use futures_util::FutureExt as _;

use super::invariants::{Event, Invariants};
use super::messages::{CHANNELS, channel_of};
use super::model::Model;
use super::testing::ModelBroker;
use super::workload::{Content, Line};
use crate::broker::inspect::Progress;
use crate::broker::store::Versioned;
use crate::broker::{LogReader as _, Stored};
use crate::domain::{Channel, Checkpoint, Entry, Goal, MessageNumber, Outcome, Record, Sequence};
use crate::query::status::{Asked, Snapshot, Status};
use crate::rebuild::difference::{agree, differences};
use crate::rebuild::examine::{Finding, look_at};
use crate::replay::ChannelReplay;

/// Messages of a page.
const PAGE: usize = 100;

/// Fails with what somebody is told that is not so.
pub fn judge(model: Model, invariants: &Invariants) -> Result<(), String> {
    let broker = ModelBroker::of(model, PAGE);
    (0..CHANNELS).try_for_each(|channel| judge_channel(&broker, channel, invariants.channels[channel].has_lost))?;
    let log: Vec<_> = broker.state().model.log().cloned().collect();
    log.iter().try_for_each(|stored| judge_event(&broker, invariants, stored))
}

fn judge_channel(broker: &ModelBroker, at: usize, has_lost: bool) -> Result<(), String> {
    let (channel, end) = (channel_of(at), Sequence(broker.state().model.stream.len() as u64));
    let held = broker.versioned(&channel);
    match at_once(look_at(broker, &channel, end, &held, None)) {
        // It is left as it is, and nobody can tell its history.
        Finding::Right | Finding::NotOurs(_) if has_lost => return Ok(()),
        Finding::Right => {}
        finding => return Err(format!("rebuild finds of {at}: {finding:?}")),
    }
    let bases = at_once(broker.checkpoints(&channel));
    let beginnings = if bases.first().is_some_and(|first| first.is_trimmed) { 1 } else { 0 };
    (beginnings..=bases.len()).try_for_each(|count| judge_history(broker, &channel, &held, &bases[..count]))
}

/// A fold from the last of these checkpoints gives the record.
fn judge_history(broker: &ModelBroker, of: &Channel, held: &Versioned, bases: &[Checkpoint]) -> Result<(), String> {
    let mut fold = ChannelReplay::of_what_they_say(*of, Goal::State, bases.to_vec());
    at_once(fold.run(broker, |_, _| ControlFlow::Continue(())));
    let folded = fold.replay.folds().last().map(|fold| fold.state()).unwrap_or_default();
    match agree(&record_in(held), &folded) {
        true => Ok(()),
        false => {
            let from = bases.last().and_then(Checkpoint::through);
            Err(format!("a history of {of} from {from:?} on: {:?}", differences(&record_in(held), &folded)))
        }
    }
}

fn judge_event(broker: &ModelBroker, invariants: &Invariants, stored: &Stored) -> Result<(), String> {
    let Event { line: Line { channel, content }, reported, .. } = &invariants.events[stored.sequence.0 as usize - 1];
    let (record, status) = (record_in(&broker.versioned(&channel_of(*channel))), status_of(broker, stored));
    let passed = MessageNumber::count_through(record.applied_through());
    let fits = match (content, &status) {
        (Content::Message(sent) | Content::Correction(sent), Status::Waiting(next)) => {
            sent.number > passed && next.get() == passed + 1
        }
        (_, Status::Final(outcome, _)) => *outcome == reported.clone().unwrap_or(Outcome::Duplicate),
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(format!("{} of {channel}, {content:?}, is {status:?}, told {reported:?}", stored.sequence))
    }
}

fn status_of(broker: &ModelBroker, stored: &Stored) -> Status {
    let (event, entry) = (stored.event(), stored.clone().read().ok());
    let asked = entry.as_ref().map_or(Asked::Unreadable, Asked::of);
    let held = entry.map_or(Versioned::NONE, |entry: Entry<Stored>| broker.versioned(&entry.channel()));
    let end = Sequence(broker.state().model.stream.len() as u64);
    let progress = Some(Progress { delivered: end, acknowledged: end });
    let mut seen =
        Snapshot { record: record_in(&held), unreported: held.unreported, at: held.at, progress, outcome_record: None };
    if seen.may_be_reported(event, asked) {
        seen.outcome_record = broker.state().model.outcomes.get(&event).cloned();
    }
    seen.status(event, asked)
}

fn record_in(held: &Versioned) -> Record {
    held.record.as_deref().map_or_else(Record::default, |bytes| Record::from_bytes(bytes).unwrap())
}

/// What is asked of a model is there at once.
fn at_once<T, E: std::fmt::Debug>(question: impl Future<Output = Result<T, E>>) -> T {
    question.now_or_never().expect("a model does not wait").unwrap()
}
