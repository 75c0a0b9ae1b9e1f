//! What became of each event: written by trackers a segment at a time, read back with one look at a segment.
//!
//! Not one subject per event: the server keeps every subject in memory. All workers of a process tell through one
//! writer, which writes at once whatever was told while the last writing was under way: one small message a segment,
//! however many workers and however few outcomes each; one message a wide segment where it is much.

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
use super::direct::{Found, Question, ask};
use super::topology::{
    OUTCOME_STREAM, OUTCOME_SUBJECTS, SEGMENT_EVENTS, WIDE_SEGMENT_EVENTS, outcome_subject, wide_outcome_subject,
};
use super::{Broker, BrokerError};
use crate::domain::{Became, Outcome, Sequence};

/// Messages under way at once; further ones wait for their turn.
const WRITES_IN_FLIGHT_MAX: usize = 1_024;
/// Tellings that wait for the writer; at the bound whoever tells waits.
const TOLD_MAX: usize = 1_024;
/// Outcomes of one message, which has 1 MiB at most: a failure may bring a text of its own, the others are some digits.
const MESSAGE_WEIGHT_MAX: usize = 1_024;
const FAILED_WEIGHT: usize = 4;
/// From so many outcomes of a wide segment on they are told under its subject, which so holds few messages.
const WIDE_OUTCOMES_MIN: usize = 64;
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
    outcomes.sort_by_key(segment);
    let messages = outcomes.chunk_by(of_one(WIDE_SEGMENT_EVENTS)).flat_map(messages);
    let result = try_join_all(messages.map(|(subject, outcomes)| write(context, subject, outcomes))).await.map(drop);
    for answer in answers {
        // Whoever does not wait any more has its messages come again.
        let _ = answer.send(result.clone());
    }
}

fn segment(outcome: &Outcome) -> u64 {
    outcome.event.0 / SEGMENT_EVENTS
}

fn of_one(segment_events: u64) -> impl Fn(&Outcome, &Outcome) -> bool {
    move |a, b| a.event.0 / segment_events == b.event.0 / segment_events
}

/// The outcomes of one wide segment by message, with its subject.
fn messages(outcomes: &[Outcome]) -> Vec<(String, &[Outcome])> {
    let lie_apart = outcomes.first().map(segment) != outcomes.last().map(segment);
    let (segment_events, subject): (_, fn(u64) -> String) = match lie_apart && outcomes.len() >= WIDE_OUTCOMES_MIN {
        true => (WIDE_SEGMENT_EVENTS, wide_outcome_subject),
        false => (SEGMENT_EVENTS, outcome_subject),
    };
    let pieces = outcomes.chunk_by(of_one(segment_events)).flat_map(that_fit_a_message);
    pieces.map(|piece| (subject(piece[0].event.0), piece)).collect()
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

async fn write(context: &jetstream::Context, subject: String, outcomes: &[Outcome]) -> Result<(), BrokerError> {
    let message = PublishMessage::build().payload(to_bytes(outcomes).into()).expected_stream(OUTCOME_STREAM);
    let write = async { Ok::<_, BrokerError>(context.send_publish(subject, message).await?.await?) };
    match tokio::time::timeout(2 * PUBLISH_TIMEOUT, write).await {
        Ok(result) => result.map(drop),
        Err(_) => Err(BrokerError::timed_out("storing outcomes")),
    }
}

/// What became of an event; none where nothing was told of it when this was asked.
///
/// Any replica answers, and one that lags behind does not show what was told; the two subjects may be read from different
/// ones. Where nothing is found, or only that it is a duplicate, which does not count beside another outcome, it is read
/// again until the answer has everything that the leader has.
pub async fn outcome_of(broker: &Broker, event: Sequence) -> Result<Option<Outcome>, BrokerError> {
    let subjects = [outcome_subject(event.0), wide_outcome_subject(event.0)];
    let read = || try_join_all(subjects.iter().map(|subject| told_of(broker, subject, event)));
    let mut readings = read().await?;
    if !is_certain(&readings) {
        let last = try_join_all(subjects.iter().map(|subject| last_place(broker, subject))).await?;
        let lag = |readings: &[Reading]| readings.iter().zip(&last).any(|(reading, last)| reading.through < *last);
        while !is_certain(&readings) && lag(&readings) {
            sleep(LAG_PAUSE).await;
            readings = read().await?;
        }
    }
    let mut told: Vec<_> = readings.into_iter().flat_map(|reading| reading.told).collect();
    told.sort_by_key(|(place, _)| *place);
    Ok(told.into_iter().map(|(_, outcome)| outcome).reduce(Outcome::or))
}

/// Whether something was found that counts whatever else was told.
fn is_certain(readings: &[Reading]) -> bool {
    let mut told = readings.iter().flat_map(|reading| &reading.told);
    told.any(|(_, outcome)| outcome.became != Became::Duplicate)
}

/// Whether a message with outcomes, as it is published, says something of an event.
pub(super) fn mentions(payload: &[u8], event: Sequence) -> bool {
    find(payload, event).is_some()
}

/// What a reading of a segment has shown of one event, each with its place, and the place of the last message seen.
#[derive(Default)]
struct Reading {
    told: Vec<(u64, Outcome)>,
    through: u64,
}

async fn told_of(broker: &Broker, subjects: &str, event: Sequence) -> Result<Reading, BrokerError> {
    let (mut from, mut reading) = (Some(1), Reading::default());
    while let Some(first) = from {
        let question = Question { stream: OUTCOME_STREAM, subjects, from: first, messages_max: PAGE_MESSAGES_MAX };
        let page = ask(broker, question).await?;
        let told = |found: &Found| Some((found.sequence, find(&found.message.payload, event)?));
        reading.told.extend(page.found.iter().filter_map(told));
        reading.through = page.found.last().map_or(reading.through, |found| found.sequence);
        from = page.next;
    }
    Ok(reading)
}

/// Where the last message of a segment lies, as the leader has it; 0 where there is none.
async fn last_place(broker: &Broker, subject: &str) -> Result<u64, BrokerError> {
    let stream = broker.jetstream().get_stream_no_info(OUTCOME_STREAM).await.map_err(BrokerError::unavailable)?;
    match tokio::time::timeout(PUBLISH_TIMEOUT, stream.get_last_raw_message_by_subject(subject)).await {
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
    fn much_that_lies_apart_is_told_under_the_wide_segment() {
        let subjects = |events: &[u64]| {
            let outcomes: Vec<_> = events.iter().map(|event| outcome(*event, Became::Processed, 0)).collect();
            messages(&outcomes).into_iter().map(|(subject, piece)| (subject, piece.len())).collect::<Vec<_>>()
        };
        let every = |step: u64| (0..64).map(|at| at * step).collect::<Vec<_>>();
        assert_eq!(subjects(&every(256)), [("outcomes.wide-0".to_owned(), 64)]);
        assert_eq!(subjects(&every(1)), [("outcomes.0".to_owned(), 64)]);
        assert_eq!(subjects(&every(256)[60..]), [("outcomes.15".to_owned(), 4)]);
        assert_eq!(subjects(&[1_023, 1_024]), [("outcomes.0".to_owned(), 1), ("outcomes.1".to_owned(), 1)]);
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
    fn a_duplicate_is_not_certain_while_the_other_subject_may_lag() {
        let showing = |became: &[Became]| Reading {
            told: (1..).zip(became.iter().map(|became| outcome(5, became.clone(), 0))).collect(),
            through: 1,
        };
        let (nothing, duplicate) = (showing(&[]), showing(&[Became::Duplicate]));
        assert!(!is_certain(&[showing(&[]), nothing]));
        assert!(!is_certain(&[duplicate, showing(&[])]));
        assert!(is_certain(&[showing(&[Became::Duplicate]), showing(&[Became::Processed])]));
        assert!(is_certain(&[showing(&[]), showing(&[Became::Failed("why".into())])]));
    }

    #[test]
    fn a_duplicate_that_is_told_beside_what_was_applied_is_none() {
        let told = [outcome(5, Became::Processed, 0), outcome(5, Became::Duplicate, 1)];
        assert_eq!(find(&to_bytes(&told), Sequence(5)), Some(told[0].clone()));
        let again = [outcome(5, Became::Failed("why".into()), 0), outcome(5, Became::Processed, 1)];
        assert_eq!(find(&to_bytes(&again), Sequence(5)), Some(again[1].clone()));
    }
}
