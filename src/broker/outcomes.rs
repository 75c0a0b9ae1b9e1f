//! What became of each event: written by trackers a segment at a time, read back with one look at a segment.
//!
//! Not one subject per event: the server keeps every subject in memory. All workers of a process report through one
//! writer, which writes at once whatever was reported while the last writing was under way: one small message a segment,
//! however many workers and however few outcomes each; one message a wide segment where it is much.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, message::PublishMessage};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::PUBLISH_TIMEOUT;
use super::log_reader::direct::{LAG_PAUSE, Query, RawMessage, ask};
use super::topology::{
    OUTCOME_STREAM, OUTCOME_SUBJECTS, SEGMENT_EVENTS, WIDE_SEGMENT_EVENTS, outcome_subject, wide_outcome_subject,
};
use super::{Broker, BrokerError};
use crate::domain::{Event, Outcome, OutcomeRecord, Sequence, StoredAt};

/// Messages under way at once; further ones wait for their turn.
const WRITES_IN_FLIGHT_MAX: usize = 1_024;
/// Reports that wait for the writer; at the bound whoever reports waits.
const REPORTS_MAX: usize = 1_024;
/// Outcomes of one message, which has 1 MiB at most: a failure may bring a text of its own, the others are some digits.
const MESSAGE_WEIGHT_MAX: usize = 1_024;
const FAILED_WEIGHT: usize = 4;
/// From so many outcomes of a wide segment on they are stored under its subject, which so holds few messages.
const WIDE_OUTCOMES_MIN: usize = 64;
/// Messages of one page of a segment.
const PAGE_MESSAGES_MAX: usize = 1_000;
/// Segments that are read at once for one batch of messages.
const READS_AT_ONCE: usize = 8;

/// Writes outcomes; clones share one writer, which ends with the last of them.
#[derive(Clone)]
pub struct OutcomeWriter {
    reported: mpsc::Sender<Report>,
    _task: Arc<JoinSet<()>>,
}

/// What one worker reports, and how it learns that it is stored.
struct Report {
    outcomes: Vec<OutcomeRecord>,
    stored: oneshot::Sender<Result<(), BrokerError>>,
}

/// What became of some events of one segment at one time, as it is stored.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Group {
    at: String,
    /// When the earliest of their messages was stored, in milliseconds since 1970; the times of all are counted from it.
    since: i64,
    /// The last override that was known; left out before the first.
    #[serde(default, rename = "after_acts", skip_serializing_if = "is_none")]
    after_overrides: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    processed: Vec<Events>,
    /// By reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    failed: BTreeMap<String, Vec<Events>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    duplicate: Vec<Events>,
    /// Duplicates that say something else, by the event that has the number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    conflict: BTreeMap<u64, Vec<Events>>,
}

/// Events with one outcome, each by its sequence and its time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Events {
    /// `[place, time]`.
    One(u64, i64),
    /// `[first place, last place, earliest time, latest time]`: places in a row, whose times do not fall. Only a message
    /// between those times is meant: what lies there in another life of the stream was stored after all of them.
    Run(u64, u64, i64, i64),
}

/// Events in a row of which it is reported what became of them, and between which times they were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedRange {
    /// The lowest sequence.
    pub first: u64,
    /// The highest sequence.
    pub last: u64,
    /// When the first of them was stored.
    pub earliest: StoredAt,
    /// When the last of them was stored.
    pub latest: StoredAt,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "this is how it is called")]
fn is_none(overriding: &u64) -> bool {
    *overriding == 0
}

impl OutcomeWriter {
    /// A writer on this connection.
    pub fn new(broker: &Broker) -> Self {
        let (reported, mut waiting) = mpsc::channel(REPORTS_MAX);
        let context = broker.publishing(WRITES_IN_FLIGHT_MAX);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, REPORTS_MAX).await > 0 {
                write_all(&context, std::mem::take(&mut batch)).await;
            }
        });
        Self { reported, _task: Arc::new(task) }
    }

    /// Tells outcomes; they are stored when it returns.
    pub async fn report(&self, outcomes: Vec<OutcomeRecord>) -> Result<(), BrokerError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let (stored, answer) = oneshot::channel();
        let ended = |_| BrokerError::Unavailable("outcomes are not written any more".into());
        self.reported.send(Report { outcomes, stored }).await.map_err(|_| ended(()))?;
        answer.await.unwrap_or_else(|_| Err(ended(())))
    }
}

async fn write_all(context: &jetstream::Context, batch: Vec<Report>) {
    let (reports, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|reported| (reported.outcomes, reported.stored)).unzip();
    let mut outcomes = reports.concat();
    // In the order of the segments; of one event in the order in which it was reported.
    outcomes.sort_by_key(segment);
    let messages = outcomes.chunk_by(of_one(WIDE_SEGMENT_EVENTS)).flat_map(messages);
    let result = try_join_all(messages.map(|(subject, outcomes)| write(context, subject, outcomes))).await.map(drop);
    for answer in answers {
        // Whoever does not wait any more has its messages come again.
        let _ = answer.send(result.clone());
    }
}

fn segment(outcome_record: &OutcomeRecord) -> u64 {
    outcome_record.event.sequence.0 / SEGMENT_EVENTS
}

fn of_one(segment_events: u64) -> impl Fn(&OutcomeRecord, &OutcomeRecord) -> bool {
    move |a, b| a.event.sequence.0 / segment_events == b.event.sequence.0 / segment_events
}

/// The outcomes of one wide segment by message, with its subject.
fn messages(outcomes: &[OutcomeRecord]) -> Vec<(String, &[OutcomeRecord])> {
    let lie_apart = outcomes.first().map(segment) != outcomes.last().map(segment);
    let (segment_events, subject): (_, fn(u64) -> String) = match lie_apart && outcomes.len() >= WIDE_OUTCOMES_MIN {
        true => (WIDE_SEGMENT_EVENTS, wide_outcome_subject),
        false => (SEGMENT_EVENTS, outcome_subject),
    };
    let pieces = outcomes.chunk_by(of_one(segment_events)).flat_map(that_fit_a_message);
    pieces.map(|piece| (subject(piece[0].event.sequence.0), piece)).collect()
}

/// Cuts outcomes into pieces of which each fits a message: mostly all of a segment do.
fn that_fit_a_message(mut outcomes: &[OutcomeRecord]) -> Vec<&[OutcomeRecord]> {
    let weight = |outcome_record: &OutcomeRecord| match outcome_record.outcome {
        Outcome::Failed(_) | Outcome::Conflict(_) => FAILED_WEIGHT,
        Outcome::Processed | Outcome::Duplicate => 1,
    };
    let mut pieces = Vec::new();
    while !outcomes.is_empty() {
        let mut room = MESSAGE_WEIGHT_MAX;
        let fits = outcomes.iter().take_while(|outcome_record| {
            let fits = weight(outcome_record) <= room;
            room = room.saturating_sub(weight(outcome_record));
            fits
        });
        let (piece, rest) = outcomes.split_at(fits.count());
        pieces.push(piece);
        outcomes = rest;
    }
    pieces
}

async fn write(context: &jetstream::Context, subject: String, outcomes: &[OutcomeRecord]) -> Result<(), BrokerError> {
    let message = PublishMessage::build().payload(to_bytes(outcomes).into()).expected_stream(OUTCOME_STREAM);
    let write = async { Ok::<_, BrokerError>(context.send_publish(subject, message).await?.await?) };
    match tokio::time::timeout(2 * PUBLISH_TIMEOUT, write).await {
        Ok(result) => result.map(drop),
        Err(_) => Err(BrokerError::timed_out("storing outcomes")),
    }
}

/// What became of an event; none where nothing was reported of it when this was asked.
///
/// Any replica answers, and one that lags behind does not show what was reported; the two subjects may be read from different
/// ones. Where nothing is found, or only that it is a duplicate, which does not count beside another outcome, it is read
/// again until the answer has everything that the leader has.
pub async fn outcome_of(broker: &Broker, event: Event) -> Result<Option<OutcomeRecord>, BrokerError> {
    let subjects = [outcome_subject(event.sequence.0), wide_outcome_subject(event.sequence.0)];
    let read = || try_join_all(subjects.iter().map(|subject| reports_of(broker, subject, event)));
    let mut readings = read().await?;
    if !is_certain(&readings) {
        let last = try_join_all(subjects.iter().map(|subject| last_place(broker, subject))).await?;
        let lag = |readings: &[Reading]| readings.iter().zip(&last).any(|(reading, last)| reading.through < *last);
        while !is_certain(&readings) && lag(&readings) {
            sleep(LAG_PAUSE).await;
            readings = read().await?;
        }
    }
    let mut reported: Vec<_> = readings.into_iter().flat_map(|reading| reading.reported).collect();
    reported.sort_by_key(|(place, _)| *place);
    Ok(reported.into_iter().map(|(_, outcome_record)| outcome_record).reduce(OutcomeRecord::or))
}

/// What is reported of some events. What was reported last may not be shown yet: any replica answers.
pub async fn outcomes_of(broker: &Broker, events: &[Event]) -> Result<HashMap<Event, OutcomeRecord>, BrokerError> {
    let mut by_subject: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in events {
        for subject in [outcome_subject(event.sequence.0), wide_outcome_subject(event.sequence.0)] {
            by_subject.entry(subject).or_default().push(*event);
        }
    }
    let reads = by_subject.into_iter().map(|(subject, events)| reports_of_some(broker, subject, events));
    let reported: Vec<_> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
    let mut reported: Vec<_> = reported.into_iter().flatten().collect();
    reported.sort_by_key(|(place, _)| *place);
    let mut outcomes: HashMap<Event, OutcomeRecord> = HashMap::new();
    for (_, outcome_record) in reported {
        let before = outcomes.remove(&outcome_record.event);
        let counts = before.map_or_else(|| outcome_record.clone(), |before| before.or(outcome_record.clone()));
        outcomes.insert(counts.event, counts);
    }
    Ok(outcomes)
}

async fn reports_of_some(
    broker: &Broker,
    subject: String,
    events: Vec<Event>,
) -> Result<Vec<(u64, OutcomeRecord)>, BrokerError> {
    let (mut from, mut reported, subjects) = (Some(1), Vec::new(), subject.as_str());
    while let Some(first) = from {
        let query = Query { stream: OUTCOME_STREAM, subjects, from: first, messages_max: PAGE_MESSAGES_MAX };
        let page = ask(broker, query).await?;
        for found in &page.found {
            let groups: Vec<Group> = serde_json::from_slice(&found.message.payload).unwrap_or_default();
            let of_page = groups.iter().flat_map(|group| events.iter().filter_map(|event| group.find(*event)));
            reported.extend(of_page.map(|outcome_record| (found.sequence, outcome_record)));
        }
        from = page.next;
    }
    Ok(reported)
}

/// Whether something was found that counts whatever else was reported.
fn is_certain(readings: &[Reading]) -> bool {
    let mut reported = readings.iter().flat_map(|reading| &reading.reported);
    reported.any(|(_, outcome_record)| !outcome_record.outcome.is_duplicate())
}

/// Whether a message with outcomes, as it is published, says something of an event.
pub(super) fn mentions(payload: &[u8], event: Event) -> bool {
    find(payload, event).is_some()
}

/// What a reading of a segment has shown of one event, each with its place, and the place of the last message seen.
#[derive(Default)]
struct Reading {
    reported: Vec<(u64, OutcomeRecord)>,
    through: Option<u64>,
}

async fn reports_of(broker: &Broker, subjects: &str, event: Event) -> Result<Reading, BrokerError> {
    let (mut from, mut reading) = (Some(1), Reading::default());
    while let Some(first) = from {
        let query = Query { stream: OUTCOME_STREAM, subjects, from: first, messages_max: PAGE_MESSAGES_MAX };
        let page = ask(broker, query).await?;
        let reported = |found: &RawMessage| Some((found.sequence, find(&found.message.payload, event)?));
        reading.reported.extend(page.found.iter().filter_map(reported));
        reading.through = page.found.last().map(|found| found.sequence).or(reading.through);
        from = page.next;
    }
    Ok(reading)
}

/// Where the last message of a segment lies, as the leader has it.
async fn last_place(broker: &Broker, subject: &str) -> Result<Option<u64>, BrokerError> {
    let stream = broker.jetstream().get_stream_no_info(OUTCOME_STREAM).await.map_err(BrokerError::unavailable)?;
    match tokio::time::timeout(PUBLISH_TIMEOUT, stream.get_last_raw_message_by_subject(subject)).await {
        Ok(Ok(message)) => Ok(Some(message.sequence)),
        Ok(Err(error)) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(answer) => Err(BrokerError::from_server(&answer)),
            _ => Err(BrokerError::unavailable(error)),
        },
        Err(_) => Err(BrokerError::timed_out("reading outcomes")),
    }
}

/// Some of the events of which it is reported that they were processed or failed: ranges, and where the next page begins, if
/// this one did not reach the end.
pub async fn reported_events(broker: &Broker, from: u64) -> Result<(Vec<ReportedRange>, Option<u64>), BrokerError> {
    let (stream, subjects, messages_max) = (OUTCOME_STREAM, OUTCOME_SUBJECTS, PAGE_MESSAGES_MAX);
    let page = ask(broker, Query { stream, subjects, from, messages_max }).await?;
    let groups =
        page.found.iter().filter_map(|found| serde_json::from_slice::<Vec<Group>>(&found.message.payload).ok());
    let reported = groups.flatten().flat_map(|group| {
        let Group { since, failed, processed, .. } = group;
        failed.into_values().chain([processed]).flatten().filter_map(move |events| events.range(since))
    });
    Ok((reported.collect(), page.next))
}

/// The event that lies furthest back in the log of those that a message with outcomes names; none where nobody here wrote it.
pub(super) fn last_event(payload: &[u8]) -> Option<Event> {
    let groups: Vec<Group> = serde_json::from_slice(payload).ok()?;
    let ranges = groups.into_iter().flat_map(|group| {
        let Group { since, failed, processed, duplicate, conflict, .. } = group;
        let by_reason = failed.into_values().chain(conflict.into_values());
        by_reason.chain([processed, duplicate]).flatten().filter_map(move |events| events.range(since))
    });
    // The times of a range do not fall: its last event is the one of its latest time.
    let last = ranges.max_by_key(|range| range.last)?;
    Some(Event { sequence: Sequence(last.last), stored_at: last.latest })
}

fn to_bytes(outcomes: &[OutcomeRecord]) -> Vec<u8> {
    let mut groups: Vec<Vec<&OutcomeRecord>> = Vec::new();
    let mut places = HashMap::new();
    for outcome_record in outcomes {
        let place = *places.entry((outcome_record.at, outcome_record.after_overrides)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(outcome_record);
    }
    let groups: Vec<_> = groups.iter().map(|outcomes| Group::of(outcomes)).collect();
    serde_json::to_vec(&groups).unwrap_or_default()
}

/// Adds an event to a list in which those that follow each other are one entry.
fn add(list: &mut Vec<Events>, place: u64, time: i64) {
    match list.last_mut() {
        Some(Events::Run(_, last, _, latest)) if *last + 1 == place && *latest <= time => {
            (*last, *latest) = (place, time);
        }
        Some(one @ Events::One(..)) => match *one {
            Events::One(first, earliest) if first + 1 == place && earliest <= time => {
                *one = Events::Run(first, place, earliest, time);
            }
            _ => list.push(Events::One(place, time)),
        },
        _ => list.push(Events::One(place, time)),
    }
}

/// What a message says of an event. One that nobody here wrote says nothing.
fn find(payload: &[u8], event: Event) -> Option<OutcomeRecord> {
    let groups: Vec<Group> = serde_json::from_slice(payload).ok()?;
    groups.iter().filter_map(|group| group.find(event)).reduce(OutcomeRecord::or)
}

impl Events {
    /// Whether the message is among them that was stored at this sequence at this time.
    fn contains(self, place: u64, time: i64) -> bool {
        match self {
            Self::One(at, stored) => at == place && stored == time,
            Self::Run(first, last, earliest, latest) => {
                (first..=last).contains(&place) && (earliest..=latest).contains(&time)
            }
        }
    }

    /// The same with times that are not counted from the group's; none where nobody here wrote that.
    fn range(self, since: i64) -> Option<ReportedRange> {
        let (first, last, earliest, latest) = match self {
            Self::One(at, stored) => (at, at, stored, stored),
            Self::Run(first, last, earliest, latest) => (first, last, earliest, latest),
        };
        let time = |from: i64| since.checked_add(from).map(StoredAt);
        Some(ReportedRange { first, last, earliest: time(earliest)?, latest: time(latest)? })
    }
}

impl Group {
    /// Outcomes of one time, after one override.
    fn of(outcomes: &[&OutcomeRecord]) -> Self {
        let since = outcomes.iter().map(|outcome_record| outcome_record.event.stored_at.0).min().unwrap_or_default();
        let (at, after_overrides) = outcomes.first().map_or_else(Default::default, |first| {
            (first.at.format(&Rfc3339).unwrap_or_default(), first.after_overrides.map_or(0, |last| last.0))
        });
        let mut group = Self { at, since, after_overrides, ..Self::default() };
        for OutcomeRecord { event: Event { sequence, stored_at }, outcome, .. } in outcomes {
            let events = match outcome {
                Outcome::Processed => &mut group.processed,
                Outcome::Failed(why) => group.failed.entry(why.clone()).or_default(),
                Outcome::Duplicate => &mut group.duplicate,
                Outcome::Conflict(by) => group.conflict.entry(by.0).or_default(),
            };
            add(events, sequence.0, stored_at.0 - since);
        }
        group
    }

    fn find(&self, event: Event) -> Option<OutcomeRecord> {
        let time = event.stored_at.0.checked_sub(self.since)?;
        let has = |list: &[Events]| list.iter().any(|events| events.contains(event.sequence.0, time));
        let failed = self.failed.iter().find(|(_, events)| has(events)).map(|(why, _)| Outcome::Failed(why.clone()));
        let processed = has(&self.processed).then_some(Outcome::Processed);
        let by = self.conflict.iter().find(|(_, events)| has(events)).map(|(by, _)| Outcome::Conflict(Sequence(*by)));
        let duplicate = has(&self.duplicate).then_some(Outcome::Duplicate);
        let outcome = failed.or(processed).or(by).or(duplicate)?;
        let at = OffsetDateTime::parse(&self.at, &Rfc3339).ok()?;
        Some(OutcomeRecord { event, outcome, at, after_overrides: Sequence::new(self.after_overrides) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message at this sequence, where each was stored ten milliseconds after the one before it.
    fn event(sequence: u64) -> Event {
        Event { sequence: Sequence(sequence), stored_at: StoredAt(1_700_000_000_000 + 10 * sequence as i64) }
    }

    fn outcome_record(sequence: u64, outcome: Outcome, second: i64) -> OutcomeRecord {
        let at = OffsetDateTime::from_unix_timestamp(second).unwrap();
        OutcomeRecord { event: event(sequence), outcome, at, after_overrides: None }
    }

    #[test]
    fn a_message_is_legible_and_says_what_was_told() {
        let failed = || Outcome::Failed("why".into());
        let reported = [
            outcome_record(5, Outcome::Processed, 0),
            outcome_record(6, Outcome::Processed, 0),
            outcome_record(7, failed(), 0),
            outcome_record(8, Outcome::Processed, 0),
            outcome_record(9, Outcome::Duplicate, 1),
            outcome_record(11, Outcome::Conflict(Sequence(4)), 1),
            OutcomeRecord { after_overrides: Some(Sequence(8)), ..outcome_record(10, Outcome::Processed, 1) },
        ];
        let bytes = to_bytes(&reported);
        let expected = r#"[{"at":"1970-01-01T00:00:00Z","since":1700000000050,"processed":[[5,6,0,10],[8,30]],"failed":{"why":[[7,20]]}},{"at":"1970-01-01T00:00:01Z","since":1700000000090,"duplicate":[[9,0]],"conflict":{"4":[[11,20]]}},{"at":"1970-01-01T00:00:01Z","since":1700000000100,"after_acts":8,"processed":[[10,0]]}]"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert!(
            reported.iter().all(|outcome_record| find(&bytes, outcome_record.event).as_ref() == Some(outcome_record))
        );
        assert_eq!((find(&bytes, event(12)), last_event(&bytes)), (None, Some(event(11))));
    }

    #[test]
    fn what_was_told_of_another_message_at_that_place_says_nothing() {
        let reported: Vec<_> = [5, 6, 7, 9].map(|at| outcome_record(at, Outcome::Processed, 0)).into();
        let bytes = to_bytes(&reported);
        let at = |Event { sequence, stored_at: StoredAt(time) }: Event, later| Event {
            sequence,
            stored_at: StoredAt(time + later),
        };
        for reported in &reported {
            for later in [-1_000, 1_000, i64::MAX / 2, i64::MIN / 2] {
                assert_eq!(find(&bytes, at(reported.event, later)), None, "{} {later}", reported.event);
            }
        }
        assert_eq!((find(&bytes, at(event(9), 1)), find(&bytes, at(event(9), -1))), (None, None));
    }

    #[test]
    fn what_nobody_here_wrote_says_nothing() {
        let with = |since: &str, processed: &str| {
            format!(r#"[{{"at":"1970-01-01T00:00:00Z","since":{since},"processed":{processed}}}]"#)
        };
        let foreign = [
            "garbage".to_owned(),
            r#"[{"at":"1970-01-01T00:00:00Z","processed":[[5,9]]}]"#.to_owned(),
            with("0", "[[5]]"),
            with("0", "[[5,9,1]]"),
            with("-9223372036854775808", "[[5,0]]"),
            with("9223372036854775807", "[[5,5,0,9223372036854775807]]"),
        ];
        for payload in foreign {
            assert_eq!(find(payload.as_bytes(), event(5)), None, "{payload}");
            assert!(last_event(payload.as_bytes()).is_none_or(|last| last != event(5)), "{payload}");
        }
    }

    #[test]
    fn messages_in_a_row_are_one_entry_while_time_does_not_go_back() {
        let row = |events: &[(u64, i64)]| {
            let mut list = Vec::new();
            events.iter().for_each(|(place, time)| add(&mut list, *place, *time));
            list
        };
        assert_eq!(row(&[(1, 5), (2, 5), (3, 9)]), [Events::Run(1, 3, 5, 9)]);
        assert_eq!(row(&[(1, 5), (2, 4), (3, 9)]), [Events::One(1, 5), Events::Run(2, 3, 4, 9)]);
        assert_eq!(row(&[(1, 5), (1, 5), (3, 9)]), [Events::One(1, 5), Events::One(1, 5), Events::One(3, 9)]);
    }

    #[test]
    fn much_that_lies_apart_is_told_under_the_wide_segment() {
        let subjects = |events: &[u64]| {
            let outcomes: Vec<_> = events.iter().map(|event| outcome_record(*event, Outcome::Processed, 0)).collect();
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
        let lengths =
            |outcomes: &[OutcomeRecord]| that_fit_a_message(outcomes).iter().map(|it| it.len()).collect::<Vec<_>>();
        let of = |outcome: Outcome, count: u64| {
            (0..count).map(|at| outcome_record(at, outcome.clone(), 0)).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&of(Outcome::Processed, 1_024)), [1_024]);
        assert_eq!(lengths(&of(Outcome::Failed("why".into()), 600)), [256, 256, 88]);
        assert_eq!(lengths(&[]), [0; 0]);
    }

    #[test]
    fn a_duplicate_is_not_certain_while_the_other_subject_may_lag() {
        let showing = |outcome: &[Outcome]| Reading {
            reported: (1..).zip(outcome.iter().map(|outcome| outcome_record(5, outcome.clone(), 0))).collect(),
            through: Some(1),
        };
        let (nothing, duplicate) = (showing(&[]), showing(&[Outcome::Duplicate]));
        assert!(!is_certain(&[showing(&[]), nothing]));
        assert!(!is_certain(&[duplicate, showing(&[])]));
        assert!(is_certain(&[showing(&[Outcome::Duplicate]), showing(&[Outcome::Processed])]));
        assert!(is_certain(&[showing(&[]), showing(&[Outcome::Failed("why".into())])]));
    }

    #[test]
    fn a_duplicate_that_is_told_beside_what_was_applied_is_none() {
        let reported = [outcome_record(5, Outcome::Processed, 0), outcome_record(5, Outcome::Duplicate, 1)];
        assert_eq!(find(&to_bytes(&reported), event(5)), Some(reported[0].clone()));
        let conflict = [outcome_record(5, Outcome::Conflict(Sequence(3)), 0), outcome_record(5, Outcome::Duplicate, 1)];
        assert_eq!(find(&to_bytes(&conflict), event(5)), Some(conflict[0].clone()));
        let again = [outcome_record(5, Outcome::Failed("why".into()), 0), outcome_record(5, Outcome::Processed, 1)];
        assert_eq!(find(&to_bytes(&again), event(5)), Some(again[1].clone()));
    }
}
