//! Finds out whether the log has lost its end ([`LostEnd`]): reads what outcomes, checkpoints and records know of events, and
//! then what the log has. In this order, because nobody knows of an event before it is in the log.
//!
//! Of each stream the newest message is asked, and of outcomes also the segments in which the log ends, and those behind
//! them: where the log has begun to grow again, the newest outcome is of a new event, and these still are of the old ones.

use futures_util::future::try_join_all;
use time::OffsetDateTime;

use super::log_reader::direct::{Query, RawMessage, ask, get, get_last};
use super::objects::provision::stream_info;
use super::objects::{Object, StreamFinding};
use super::outcomes::last_event;
use super::topology::{
    BUCKET_STREAM, CHECKPOINT_STREAM, HEADER_UNREPORTED, OUTCOME_STREAM, SEGMENT_EVENTS, STREAM, WIDE_SEGMENT_EVENTS,
    outcome_subject, wide_outcome_subject,
};
use super::trim::extent;
use super::{Broker, BrokerError, checkpoints};
use crate::domain::lost_end::{Known, LostEnd, Witness};
use crate::domain::{Event, Record, Sequence, Unreported};

/// Messages of one page of a segment of outcomes.
const PAGE_MESSAGES_MAX: usize = 1_000;
/// Those who know of events: when another stream took the place of one of them, what it knew is forgotten.
const WITNESSES: [Object; 3] = [Object::Outcomes, Object::Checkpoints, Object::Bucket];

/// Whether the log has lost its end, asked once; none where there is no log.
pub async fn lost_end(broker: &Broker) -> Result<Option<LostEnd>, BrokerError> {
    let Some(known) = known(broker).await? else { return Ok(None) };
    judge(broker, extent(broker).await?.last, known).await
}

/// What is known of events, from one inspection of the broker to the next.
#[derive(Debug, Default)]
pub(super) struct EndWatch {
    /// Whether all were asked; from then on the newest outcome is enough.
    has_begun: bool,
    /// The last event that is known, until the log has it.
    known: Option<Known>,
    /// Where the newest message with outcomes lies, and where the one lay that was read last.
    newest_outcome: (u64, u64),
    /// When the streams of the witnesses were made.
    made: Option<[Option<OffsetDateTime>; WITNESSES.len()]>,
    /// What was found last. A log that is short is reported when it was found so twice: a leader that was cut off may
    /// once answer with old data.
    found: Option<LostEnd>,
}

impl EndWatch {
    /// Finds out what is known, before an inspection.
    pub(super) async fn before(&mut self, broker: &Broker) {
        let (newest, read) = self.newest_outcome;
        let known = match self.has_begun {
            false => known(broker).await,
            true if newest == read => return,
            true => get(broker, OUTCOME_STREAM, newest).await.map(|found| found.as_ref().and_then(of_outcomes)),
        };
        match known {
            Ok(known) => {
                (self.has_begun, self.newest_outcome.1) = (true, newest);
                let before = self.known.filter(|_| self.found.is_none_or(|found| found.is_short()));
                self.known = last_of(before.into_iter().chain(known)).or(self.known);
            }
            Err(error) => tracing::debug!(%error, "nobody tells which events are known"),
        }
    }

    /// Whether the log has lost its end, after an inspection that has found these streams.
    pub(super) async fn after(&mut self, broker: &Broker, streams: &[StreamFinding]) -> Option<LostEnd> {
        let finding_of = |object| streams.iter().find(|finding| finding.object == object);
        let state_of = |object| finding_of(object)?.state;
        if WITNESSES.iter().any(|object| finding_of(*object).is_none()) {
            return self.found;
        }
        self.forget_what_others_knew(WITNESSES.map(|object| state_of(object).map(|state| state.made)));
        self.newest_outcome.0 = state_of(Object::Outcomes).map_or(0, |state| state.last);
        let (Some(known), Some(log)) = (self.known, state_of(Object::Log)) else { return None };
        let Ok(found) = judge(broker, Sequence(log.last), known).await else { return self.found };
        if found.is_none() {
            self.known = None;
        }
        let before = std::mem::replace(&mut self.found, found);
        found.filter(|found| before.is_some() || !found.is_short())
    }

    /// Begins again where a witness is not the stream any more that it was.
    fn forget_what_others_knew(&mut self, made: [Option<OffsetDateTime>; WITNESSES.len()]) {
        if self.made.is_some_and(|before| before != made) {
            *self = Self::default();
        }
        self.made = Some(made);
    }
}

async fn judge(broker: &Broker, ends_at: Sequence, known: Known) -> Result<Option<LostEnd>, BrokerError> {
    let there = match known.sequence <= ends_at {
        true => get(broker, STREAM, known.sequence.0).await?,
        false => None,
    };
    let stored_at = there.map(|found| found.time.into());
    Ok(LostEnd::judge(ends_at, known, stored_at))
}

/// The last event of which anybody knows; none where there is no log.
async fn known(broker: &Broker) -> Result<Option<Known>, BrokerError> {
    let end = match extent(broker).await {
        Err(BrokerError::NotThere) => return Ok(None),
        extent => extent?.last.0,
    };
    let [outcomes, checkpoint, record] =
        [OUTCOME_STREAM, CHECKPOINT_STREAM, BUCKET_STREAM].map(|stream| newest(broker, stream));
    let (outcomes, checkpoint, record) = tokio::try_join!(outcomes, checkpoint, record)?;
    let here = [outcome_subject(end), wide_outcome_subject(end)];
    let here = try_join_all(here.iter().map(|subject| segment(broker, subject))).await?;
    let behind = [outcome_subject(end + SEGMENT_EVENTS), wide_outcome_subject(end + WIDE_SEGMENT_EVENTS)];
    let behind = try_join_all(behind.map(|subject| get_last(broker, OUTCOME_STREAM, subject))).await?;
    let outcomes = outcomes.into_iter().chain(here.into_iter().flatten()).chain(behind.into_iter().flatten());
    let known = outcomes.filter_map(|found| of_outcomes(&found)).chain(checkpoint.as_ref().and_then(of_checkpoint));
    let known = known.chain(record.iter().flat_map(of_record));
    // A place that the log has says nothing without its time.
    Ok(last_of(known.filter(|known| known.stored_at.is_some() || known.sequence.0 > end)))
}

/// The newest message of a stream, if there is one.
async fn newest(broker: &Broker, stream: &str) -> Result<Option<RawMessage>, BrokerError> {
    match stream_info(broker, stream).await? {
        Some(info) if info.state.messages > 0 => get(broker, stream, info.state.last_sequence).await,
        _ => Ok(None),
    }
}

/// All outcomes of a segment.
async fn segment(broker: &Broker, subjects: &str) -> Result<Vec<RawMessage>, BrokerError> {
    let (mut all, mut next, stream, messages_max) = (Vec::new(), Some(1), OUTCOME_STREAM, PAGE_MESSAGES_MAX);
    while let Some(from) = next {
        let page = ask(broker, Query { stream, subjects, from, messages_max }).await?;
        all.extend(page.found);
        next = page.next;
    }
    Ok(all)
}

fn of_outcomes(found: &RawMessage) -> Option<Known> {
    last_event(&found.message.payload).map(|event| Known::of(event, Witness::Outcomes))
}

fn of_checkpoint(found: &RawMessage) -> Option<Known> {
    checkpoints::seen(found).map(|seen| Known::of(seen, Witness::Checkpoints))
}

/// What a record has to report was in the log, and what it says to wait lies there.
fn of_record(found: &RawMessage) -> Vec<Known> {
    let unreported = found.header(HEADER_UNREPORTED).and_then(Unreported::from_text).unwrap_or_default();
    let record = Record::from_bytes(&found.message.payload).unwrap_or_default();
    let messages = unreported.messages.into_iter().map(|(event, _): (Event, _)| Known::of(event, Witness::Records));
    let waiting = record.pending.ranges().iter().map(|range| range.sequence);
    let places = waiting.chain(record.last_override);
    messages.chain(places.map(|sequence| Known { sequence, stored_at: None, by: Witness::Records })).collect()
}

fn last_of(known: impl IntoIterator<Item = Known>) -> Option<Known> {
    known.into_iter().reduce(Known::or_later)
}
