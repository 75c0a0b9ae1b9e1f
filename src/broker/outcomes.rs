//! What became of each event: written by trackers a segment at a time, read back with one look at a segment.
//!
//! Not one subject per event: the server keeps every subject in memory. All workers of a process tell through one
//! writer, which writes at once whatever was told while the last writing was under way: one small message a segment,
//! however many workers and however few outcomes each.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, message::PublishMessage};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::PUBLISH_TIMEOUT;
use super::direct::{Question, ask};
use super::topology::{OUTCOME_STREAM, OUTCOME_SUBJECTS, SEGMENT_EVENTS, outcome_subject};
use super::{Broker, BrokerError};
use crate::domain::{Became, Outcome, Sequence};

/// Messages under way at once; further ones wait for their turn.
const WRITES_IN_FLIGHT_MAX: usize = 1_024;
/// Tellings that wait for the writer; at the bound whoever tells waits.
const TOLD_MAX: usize = 1_024;
/// Outcomes of one message, which has 1 MiB at most: a failure may bring a text of its own, the others are some digits.
const MESSAGE_WEIGHT_MAX: usize = 1_024;
const FAILED_WEIGHT: usize = 4;
/// Messages of one page of a segment.
const PAGE_MESSAGES_MAX: usize = 1_000;
/// Pause before a segment is read again of which a replica has not got everything.
const LAG_PAUSE: Duration = Duration::from_millis(20);

/// Writes outcomes; clones share one writer, which ends with the last of them.
#[derive(Clone)]
pub struct OutcomeWriter {
    told: mpsc::Sender<Told>,
    _task: Arc<JoinSet<()>>,
}

/// What one worker tells, and how it learns that it is stored.
struct Told {
    outcomes: Vec<Outcome>,
    stored: oneshot::Sender<Result<(), BrokerError>>,
}

/// What became of some events of one segment at one time, as it is stored.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Group {
    at: String,
    /// The last act that was known; left out before the first.
    #[serde(default, skip_serializing_if = "is_none")]
    after_acts: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    processed: Vec<(u64, u64)>,
    /// By reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    failed: BTreeMap<String, Vec<(u64, u64)>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    duplicate: Vec<(u64, u64)>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "this is how it is called")]
fn is_none(act: &u64) -> bool {
    *act == 0
}

impl OutcomeWriter {
    /// A writer on this connection.
    pub fn new(broker: &Broker) -> Self {
        let (told, mut waiting) = mpsc::channel(TOLD_MAX);
        let context = broker.publishing(WRITES_IN_FLIGHT_MAX);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, TOLD_MAX).await > 0 {
                write_all(&context, std::mem::take(&mut batch)).await;
            }
        });
        Self { told, _task: Arc::new(task) }
    }

    /// Tells outcomes; they are stored when it returns.
    pub async fn tell(&self, outcomes: Vec<Outcome>) -> Result<(), BrokerError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let (stored, answer) = oneshot::channel();
        let ended = |_| BrokerError::Unavailable("outcomes are not written any more".into());
        self.told.send(Told { outcomes, stored }).await.map_err(|_| ended(()))?;
        answer.await.unwrap_or_else(|_| Err(ended(())))
    }
}

async fn write_all(context: &jetstream::Context, batch: Vec<Told>) {
    let (tellings, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|told| (told.outcomes, told.stored)).unzip();
    let mut outcomes = tellings.concat();
    // In the order of the segments; of one event in the order in which it was told.
    outcomes.sort_by_key(|outcome| outcome.event.0 / SEGMENT_EVENTS);
    let of_one_segment = |a: &Outcome, b: &Outcome| a.event.0 / SEGMENT_EVENTS == b.event.0 / SEGMENT_EVENTS;
    let messages = outcomes.chunk_by(of_one_segment).flat_map(that_fit_a_message);
    let result = try_join_all(messages.map(|outcomes| write(context, outcomes))).await.map(drop);
    for answer in answers {
        // Whoever does not wait any more has its messages come again.
        let _ = answer.send(result.clone());
    }
}

/// Cuts outcomes into pieces of which each fits a message: mostly all of a segment do.
fn that_fit_a_message(mut outcomes: &[Outcome]) -> Vec<&[Outcome]> {
    let weight = |outcome: &Outcome| if matches!(outcome.became, Became::Failed(_)) { FAILED_WEIGHT } else { 1 };
    let mut pieces = Vec::new();
    while !outcomes.is_empty() {
        let mut room = MESSAGE_WEIGHT_MAX;
        let fits = outcomes.iter().take_while(|outcome| {
            let fits = weight(outcome) <= room;
            room = room.saturating_sub(weight(outcome));
            fits
        });
        let (piece, rest) = outcomes.split_at(fits.count());
        pieces.push(piece);
        outcomes = rest;
    }
    pieces
}

async fn write(context: &jetstream::Context, outcomes: &[Outcome]) -> Result<(), BrokerError> {
    let subject = outcome_subject(outcomes[0].event.0);
    let message = PublishMessage::build().payload(to_bytes(outcomes).into()).expected_stream(OUTCOME_STREAM);
    let write = async { Ok::<_, BrokerError>(context.send_publish(subject, message).await?.await?) };
    match tokio::time::timeout(2 * PUBLISH_TIMEOUT, write).await {
        Ok(result) => result.map(drop),
        Err(_) => Err(BrokerError::timed_out("storing outcomes")),
    }
}

/// What became of an event; none where nothing was told of it when this was asked.
///
/// Any replica answers, and one that lags behind does not show what was told: where nothing is found, it is read again until
/// the answer has everything that the leader has.
pub async fn outcome_of(broker: &Broker, event: Sequence) -> Result<Option<Outcome>, BrokerError> {
    let mut reading = told_of(broker, event).await?;
    if reading.outcome.is_some() {
        return Ok(reading.outcome);
    }
    let last = last_of_segment(broker, event).await?;
    while reading.outcome.is_none() && reading.through < last {
        sleep(LAG_PAUSE).await;
        reading = told_of(broker, event).await?;
    }
    Ok(reading.outcome)
}

/// Whether a message with outcomes, as it is published, says something of an event.
pub(super) fn mentions(payload: &[u8], event: Sequence) -> bool {
    find(payload, event).is_some()
}

/// What a reading of a segment has shown of one event, and the place of the last message that it has seen.
#[derive(Default)]
struct Reading {
    outcome: Option<Outcome>,
    through: u64,
}

async fn told_of(broker: &Broker, event: Sequence) -> Result<Reading, BrokerError> {
    let (subject, mut from, mut reading) = (outcome_subject(event.0), Some(1), Reading::default());
    while let Some(first) = from {
        let question =
            Question { stream: OUTCOME_STREAM, subjects: &subject, from: first, messages_max: PAGE_MESSAGES_MAX };
        let page = ask(broker, question).await?;
        let found = page.found.iter().filter_map(|found| find(&found.message.payload, event));
        reading.outcome = reading.outcome.into_iter().chain(found).reduce(Outcome::or);
        reading.through = page.found.last().map_or(reading.through, |found| found.sequence);
        from = page.next;
    }
    Ok(reading)
}

/// Where the last message lies of an event's segment, as the leader has it; 0 where there is none.
async fn last_of_segment(broker: &Broker, event: Sequence) -> Result<u64, BrokerError> {
    let stream = broker.jetstream().get_stream_no_info(OUTCOME_STREAM).await.map_err(BrokerError::unavailable)?;
    let subject = outcome_subject(event.0);
    match tokio::time::timeout(PUBLISH_TIMEOUT, stream.get_last_raw_message_by_subject(&subject)).await {
        Ok(Ok(message)) => Ok(message.sequence),
        Ok(Err(error)) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(0),
            LastRawMessageErrorKind::JetStream(answer) => Err(BrokerError::from_server(&answer)),
            _ => Err(BrokerError::unavailable(error)),
        },
        Err(_) => Err(BrokerError::timed_out("reading outcomes")),
    }
}

/// Some of the events of which it is told that they were processed or failed: ranges, and where the next page begins, if
/// this one did not reach the end.
pub async fn told_events(broker: &Broker, from: u64) -> Result<(Vec<(u64, u64)>, Option<u64>), BrokerError> {
    let (stream, subjects, messages_max) = (OUTCOME_STREAM, OUTCOME_SUBJECTS, PAGE_MESSAGES_MAX);
    let page = ask(broker, Question { stream, subjects, from, messages_max }).await?;
    let groups =
        page.found.iter().filter_map(|found| serde_json::from_slice::<Vec<Group>>(&found.message.payload).ok());
    let told = groups.flatten().flat_map(|group| group.failed.into_values().chain([group.processed]).flatten());
    Ok((told.collect(), page.next))
}

fn to_bytes(outcomes: &[Outcome]) -> Vec<u8> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places = HashMap::new();
    for outcome in outcomes {
        let place = *places.entry((outcome.at, outcome.after_acts)).or_insert_with(|| {
            let at = outcome.at.format(&Rfc3339).unwrap_or_default();
            groups.push(Group { at, after_acts: outcome.after_acts.0, ..Group::default() });
            groups.len() - 1
        });
        let group = &mut groups[place];
        let events = match &outcome.became {
            Became::Processed => &mut group.processed,
            Became::Failed(why) => group.failed.entry(why.clone()).or_default(),
            Became::Duplicate => &mut group.duplicate,
        };
        add(events, outcome.event.0);
    }
    serde_json::to_vec(&groups).unwrap_or_default()
}

fn add(ranges: &mut Vec<(u64, u64)>, event: u64) {
    match ranges.last_mut() {
        Some((_, last)) if *last + 1 == event => *last = event,
        _ => ranges.push((event, event)),
    }
}

/// What a message says of an event. One that nobody here wrote says nothing.
fn find(payload: &[u8], event: Sequence) -> Option<Outcome> {
    let groups: Vec<Group> = serde_json::from_slice(payload).ok()?;
    groups.iter().filter_map(|group| group.find(event)).reduce(Outcome::or)
}

impl Group {
    fn find(&self, event: Sequence) -> Option<Outcome> {
        let has = |ranges: &[(u64, u64)]| ranges.iter().any(|(first, last)| (*first..=*last).contains(&event.0));
        let failed = self.failed.iter().find(|(_, events)| has(events)).map(|(why, _)| Became::Failed(why.clone()));
        let processed = has(&self.processed).then_some(Became::Processed);
        let duplicate = has(&self.duplicate).then_some(Became::Duplicate);
        let became = failed.or(processed).or(duplicate)?;
        let at = OffsetDateTime::parse(&self.at, &Rfc3339).ok()?;
        Some(Outcome { event, became, at, after_acts: Sequence(self.after_acts) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(event: u64, became: Became, second: i64) -> Outcome {
        let at = OffsetDateTime::from_unix_timestamp(second).unwrap();
        Outcome { event: Sequence(event), became, at, after_acts: Sequence(0) }
    }

    #[test]
    fn a_message_is_legible_and_says_what_was_told() {
        let failed = || Became::Failed("why".into());
        let told = [
            outcome(5, Became::Processed, 0),
            outcome(6, Became::Processed, 0),
            outcome(7, failed(), 0),
            outcome(9, Became::Duplicate, 1),
            Outcome { after_acts: Sequence(8), ..outcome(10, Became::Processed, 1) },
        ];
        let bytes = to_bytes(&told);
        let expected = r#"[{"at":"1970-01-01T00:00:00Z","processed":[[5,6]],"failed":{"why":[[7,7]]}},{"at":"1970-01-01T00:00:01Z","duplicate":[[9,9]]},{"at":"1970-01-01T00:00:01Z","after_acts":8,"processed":[[10,10]]}]"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert!(told.iter().all(|outcome| find(&bytes, outcome.event).as_ref() == Some(outcome)));
        assert_eq!((find(&bytes, Sequence(8)), find(b"garbage", Sequence(5))), (None, None));
    }

    #[test]
    fn a_segment_is_mostly_one_message() {
        let lengths = |outcomes: &[Outcome]| that_fit_a_message(outcomes).iter().map(|it| it.len()).collect::<Vec<_>>();
        let of = |became: Became, count: u64| (0..count).map(|at| outcome(at, became.clone(), 0)).collect::<Vec<_>>();
        assert_eq!(lengths(&of(Became::Processed, 1_024)), [1_024]);
        assert_eq!(lengths(&of(Became::Failed("why".into()), 600)), [256, 256, 88]);
        assert_eq!(lengths(&[]), [0; 0]);
    }

    #[test]
    fn a_duplicate_that_is_told_beside_what_was_applied_is_none() {
        let told = [outcome(5, Became::Processed, 0), outcome(5, Became::Duplicate, 1)];
        assert_eq!(find(&to_bytes(&told), Sequence(5)), Some(told[0].clone()));
        let again = [outcome(5, Became::Failed("why".into()), 0), outcome(5, Became::Processed, 1)];
        assert_eq!(find(&to_bytes(&again), Sequence(5)), Some(again[1].clone()));
    }
}
