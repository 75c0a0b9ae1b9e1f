//! What became of each event: written by trackers a segment at a time, read back with one look at a segment.
//!
//! Not one subject per event: the server keeps every subject in memory. All workers of a process tell through one
//! writer, which writes at once whatever was told while the last writing was under way: one small message a segment,
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
use super::log_reader::direct::{Found, LAG_PAUSE, Question, ask};
use super::topology::{
    OUTCOME_STREAM, OUTCOME_SUBJECTS, SEGMENT_EVENTS, WIDE_SEGMENT_EVENTS, outcome_subject, wide_outcome_subject,
};
use super::{Broker, BrokerError};
use crate::domain::{Became, Event, Outcome, Sequence, StoredAt};

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
/// Segments that are read at once for one batch of messages.
const READS_AT_ONCE: usize = 8;

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
    /// When the earliest of their messages was stored, in milliseconds since 1970; the times of all are counted from it.
    since: i64,
    /// The last act that was known; left out before the first.
    #[serde(default, skip_serializing_if = "is_none")]
    after_acts: u64,
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

/// Events with one outcome, each by its place and its time.
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
    /// The lowest place.
    pub first: u64,
    /// The highest place.
    pub last: u64,
    /// When the first of them was stored.
    pub earliest: StoredAt,
    /// When the last of them was stored.
    pub latest: StoredAt,
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
    outcome.event.sequence.0 / SEGMENT_EVENTS
}

fn of_one(segment_events: u64) -> impl Fn(&Outcome, &Outcome) -> bool {
    move |a, b| a.event.sequence.0 / segment_events == b.event.sequence.0 / segment_events
}

/// The outcomes of one wide segment by message, with its subject.
fn messages(outcomes: &[Outcome]) -> Vec<(String, &[Outcome])> {
    let lie_apart = outcomes.first().map(segment) != outcomes.last().map(segment);
    let (segment_events, subject): (_, fn(u64) -> String) = match lie_apart && outcomes.len() >= WIDE_OUTCOMES_MIN {
        true => (WIDE_SEGMENT_EVENTS, wide_outcome_subject),
        false => (SEGMENT_EVENTS, outcome_subject),
    };
    let pieces = outcomes.chunk_by(of_one(segment_events)).flat_map(that_fit_a_message);
    pieces.map(|piece| (subject(piece[0].event.sequence.0), piece)).collect()
}

/// Cuts outcomes into pieces of which each fits a message: mostly all of a segment do.
fn that_fit_a_message(mut outcomes: &[Outcome]) -> Vec<&[Outcome]> {
    let weight = |outcome: &Outcome| match outcome.became {
        Became::Failed(_) | Became::Conflict(_) => FAILED_WEIGHT,
        Became::Processed | Became::Duplicate => 1,
    };
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
pub async fn outcome_of(broker: &Broker, event: Event) -> Result<Option<Outcome>, BrokerError> {
    let subjects = [outcome_subject(event.sequence.0), wide_outcome_subject(event.sequence.0)];
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

/// What is told of some events. What was told last may not be shown yet: any replica answers.
pub async fn outcomes_of(broker: &Broker, events: &[Event]) -> Result<HashMap<Event, Outcome>, BrokerError> {
    let mut by_subject: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in events {
        for subject in [outcome_subject(event.sequence.0), wide_outcome_subject(event.sequence.0)] {
            by_subject.entry(subject).or_default().push(*event);
        }
    }
    let reads = by_subject.into_iter().map(|(subject, events)| told_of_some(broker, subject, events));
    let told: Vec<_> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
    let mut told: Vec<_> = told.into_iter().flatten().collect();
    told.sort_by_key(|(place, _)| *place);
    let mut outcomes: HashMap<Event, Outcome> = HashMap::new();
    for (_, outcome) in told {
        let before = outcomes.remove(&outcome.event);
        let counts = before.map_or_else(|| outcome.clone(), |before| before.or(outcome.clone()));
        outcomes.insert(counts.event, counts);
    }
    Ok(outcomes)
}

async fn told_of_some(
    broker: &Broker,
    subject: String,
    events: Vec<Event>,
) -> Result<Vec<(u64, Outcome)>, BrokerError> {
    let (mut from, mut told, subjects) = (Some(1), Vec::new(), subject.as_str());
    while let Some(first) = from {
        let question = Question { stream: OUTCOME_STREAM, subjects, from: first, messages_max: PAGE_MESSAGES_MAX };
        let page = ask(broker, question).await?;
        for found in &page.found {
            let groups: Vec<Group> = serde_json::from_slice(&found.message.payload).unwrap_or_default();
            let of_page = groups.iter().flat_map(|group| events.iter().filter_map(|event| group.find(*event)));
            told.extend(of_page.map(|outcome| (found.sequence, outcome)));
        }
        from = page.next;
    }
    Ok(told)
}

/// Whether something was found that counts whatever else was told.
fn is_certain(readings: &[Reading]) -> bool {
    let mut told = readings.iter().flat_map(|reading| &reading.told);
    told.any(|(_, outcome)| !outcome.became.is_duplicate())
}

/// Whether a message with outcomes, as it is published, says something of an event.
pub(super) fn mentions(payload: &[u8], event: Event) -> bool {
    find(payload, event).is_some()
}

/// What a reading of a segment has shown of one event, each with its place, and the place of the last message seen.
#[derive(Default)]
struct Reading {
    told: Vec<(u64, Outcome)>,
    through: u64,
}

async fn told_of(broker: &Broker, subjects: &str, event: Event) -> Result<Reading, BrokerError> {
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
pub async fn told_events(broker: &Broker, from: u64) -> Result<(Vec<ReportedRange>, Option<u64>), BrokerError> {
    let (stream, subjects, messages_max) = (OUTCOME_STREAM, OUTCOME_SUBJECTS, PAGE_MESSAGES_MAX);
    let page = ask(broker, Question { stream, subjects, from, messages_max }).await?;
    let groups =
        page.found.iter().filter_map(|found| serde_json::from_slice::<Vec<Group>>(&found.message.payload).ok());
    let told = groups.flatten().flat_map(|group| {
        let Group { since, failed, processed, .. } = group;
        failed.into_values().chain([processed]).flatten().filter_map(move |events| events.range(since))
    });
    Ok((told.collect(), page.next))
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

fn to_bytes(outcomes: &[Outcome]) -> Vec<u8> {
    let mut groups: Vec<Vec<&Outcome>> = Vec::new();
    let mut places = HashMap::new();
    for outcome in outcomes {
        let place = *places.entry((outcome.at, outcome.after_acts)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(outcome);
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
fn find(payload: &[u8], event: Event) -> Option<Outcome> {
    let groups: Vec<Group> = serde_json::from_slice(payload).ok()?;
    groups.iter().filter_map(|group| group.find(event)).reduce(Outcome::or)
}

impl Events {
    /// Whether the message is among them that was stored at this place at this time.
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
    /// Outcomes of one time, after one act.
    fn of(outcomes: &[&Outcome]) -> Self {
        let since = outcomes.iter().map(|outcome| outcome.event.stored_at.0).min().unwrap_or_default();
        let (at, after_acts) = outcomes
            .first()
            .map_or_else(Default::default, |first| (first.at.format(&Rfc3339).unwrap_or_default(), first.after_acts.0));
        let mut group = Self { at, since, after_acts, ..Self::default() };
        for Outcome { event: Event { sequence, stored_at }, became, .. } in outcomes {
            let events = match became {
                Became::Processed => &mut group.processed,
                Became::Failed(why) => group.failed.entry(why.clone()).or_default(),
                Became::Duplicate => &mut group.duplicate,
                Became::Conflict(by) => group.conflict.entry(by.0).or_default(),
            };
            add(events, sequence.0, stored_at.0 - since);
        }
        group
    }

    fn find(&self, event: Event) -> Option<Outcome> {
        let time = event.stored_at.0.checked_sub(self.since)?;
        let has = |list: &[Events]| list.iter().any(|events| events.contains(event.sequence.0, time));
        let failed = self.failed.iter().find(|(_, events)| has(events)).map(|(why, _)| Became::Failed(why.clone()));
        let processed = has(&self.processed).then_some(Became::Processed);
        let by = self.conflict.iter().find(|(_, events)| has(events)).map(|(by, _)| Became::Conflict(Sequence(*by)));
        let duplicate = has(&self.duplicate).then_some(Became::Duplicate);
        let became = failed.or(processed).or(by).or(duplicate)?;
        let at = OffsetDateTime::parse(&self.at, &Rfc3339).ok()?;
        Some(Outcome { event, became, at, after_acts: Sequence(self.after_acts) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message at this place, where each was stored ten milliseconds after the one before it.
    fn event(sequence: u64) -> Event {
        Event { sequence: Sequence(sequence), stored_at: StoredAt(1_700_000_000_000 + 10 * sequence as i64) }
    }

    fn outcome(sequence: u64, became: Became, second: i64) -> Outcome {
        let at = OffsetDateTime::from_unix_timestamp(second).unwrap();
        Outcome { event: event(sequence), became, at, after_acts: Sequence(0) }
    }

    #[test]
    fn a_message_is_legible_and_says_what_was_told() {
        let failed = || Became::Failed("why".into());
        let told = [
            outcome(5, Became::Processed, 0),
            outcome(6, Became::Processed, 0),
            outcome(7, failed(), 0),
            outcome(8, Became::Processed, 0),
            outcome(9, Became::Duplicate, 1),
            outcome(11, Became::Conflict(Sequence(4)), 1),
            Outcome { after_acts: Sequence(8), ..outcome(10, Became::Processed, 1) },
        ];
        let bytes = to_bytes(&told);
        let expected = r#"[{"at":"1970-01-01T00:00:00Z","since":1700000000050,"processed":[[5,6,0,10],[8,30]],"failed":{"why":[[7,20]]}},{"at":"1970-01-01T00:00:01Z","since":1700000000090,"duplicate":[[9,0]],"conflict":{"4":[[11,20]]}},{"at":"1970-01-01T00:00:01Z","since":1700000000100,"after_acts":8,"processed":[[10,0]]}]"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert!(told.iter().all(|outcome| find(&bytes, outcome.event).as_ref() == Some(outcome)));
        assert_eq!((find(&bytes, event(12)), last_event(&bytes)), (None, Some(event(11))));
    }

    #[test]
    fn what_was_told_of_another_message_at_that_place_says_nothing() {
        let told: Vec<_> = [5, 6, 7, 9].map(|at| outcome(at, Became::Processed, 0)).into();
        let bytes = to_bytes(&told);
        let at = |Event { sequence, stored_at: StoredAt(time) }: Event, later| Event {
            sequence,
            stored_at: StoredAt(time + later),
        };
        for told in &told {
            for later in [-1_000, 1_000, i64::MAX / 2, i64::MIN / 2] {
                assert_eq!(find(&bytes, at(told.event, later)), None, "{} {later}", told.event);
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
        assert_eq!(find(&to_bytes(&told), event(5)), Some(told[0].clone()));
        let conflict = [outcome(5, Became::Conflict(Sequence(3)), 0), outcome(5, Became::Duplicate, 1)];
        assert_eq!(find(&to_bytes(&conflict), event(5)), Some(conflict[0].clone()));
        let again = [outcome(5, Became::Failed("why".into()), 0), outcome(5, Became::Processed, 1)];
        assert_eq!(find(&to_bytes(&again), event(5)), Some(again[1].clone()));
    }
}
