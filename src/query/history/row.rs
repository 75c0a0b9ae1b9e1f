//! A row of a history: one number of a rocket's sequence, what was applied, and the rocket after it.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::super::public::PublicRocket;
use super::super::view::{Entry, Once};
use super::window::Step;
use crate::domain::{Channel, MessageNumber, MessageTime, Record, Refusal, Sequence, Skip};

/// One number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The number.
    pub number: MessageNumber,
    /// The type of the message, or of the skip, that was applied.
    pub message_type: &'static str,
    /// Its sequence.
    pub event: Sequence,
    /// Its time.
    pub time: MessageTime,
    /// What became of it.
    pub status: RowStatus,
    /// The event that it stands in for, if it is a correction.
    pub corrects: Option<Sequence>,
    /// The rocket after it; none before a launch.
    pub rocket: Option<Entry>,
}

/// What became of one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowStatus {
    /// The message changed the rocket.
    Processed,
    /// The message made no sense in the rocket's state.
    Failed(Refusal),
    /// An operator has skipped it, for this reason.
    Skipped(String),
}

impl RowStatus {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// What is to be said beside it.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Processed => None,
            Self::Failed(refusal) => Some(refusal.to_string()),
            Self::Skipped(reason) => Some(reason.clone()),
        }
    }
}

/// The rocket as a record has it, if it was launched; what is pending is no part of a state that has gone by.
pub fn rocket_of(channel: Channel, record: &Record) -> Option<Entry> {
    let (rocket, last) = (record.rocket.clone()?, record.last.clone()?);
    Some(Entry { channel, rocket, last, pending: 0, json: Once::default() })
}

/// Makes the rows of a step, which comes after this state.
pub fn rows_of(
    channel: Channel,
    record: &mut Record,
    step: Step,
    stands_in_for: impl Fn(MessageNumber, Sequence) -> Option<Sequence>,
) -> Vec<Row> {
    match step {
        Step::Message { message, event, corrects } => {
            let status = record.place(&message).map_or_else(RowStatus::Failed, |()| RowStatus::Processed);
            let corrects = if corrects { stands_in_for(message.number, event) } else { None };
            let (number, message_type, time) = (message.number, message.kind.name(), message.time);
            vec![Row { number, message_type, event, time, status, corrects, rocket: rocket_of(channel, record) }]
        }
        Step::Skipped { first, last, event, time, reason } => {
            let row = |number| {
                record.skip(number, &time);
                Row {
                    number,
                    message_type: Skip::NAME,
                    event,
                    time: time.clone(),
                    status: RowStatus::Skipped(reason.clone()),
                    corrects: None,
                    rocket: rocket_of(channel, record),
                }
            };
            (first..=last.get()).filter_map(MessageNumber::new).map(row).collect()
        }
    }
}

/// One number of a rocket's history.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryRow)]
pub struct PublicRow<'a> {
    /// The number.
    #[schema(minimum = 1)]
    message_number: u64,
    /// The type of its message; `MessagesSkipped` where it was skipped.
    message_type: &'a str,
    /// The event of its message, or of the skip.
    event_id: u64,
    /// The message's time, as it was sent.
    #[schema(format = DateTime)]
    message_time: &'a str,
    #[schema(pattern = "^(processed|failed|skipped)$")]
    status: &'a str,
    /// Why it failed, or for which reason it was skipped.
    error_message: Option<String>,
    /// The event in whose place it stands, if it is a correction.
    corrects: Option<u64>,
    /// The rocket after it; null before a launch.
    rocket: Option<PublicRocket<'a>>,
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = PublicRow {
            message_number: self.number.get(),
            message_type: self.message_type,
            event_id: self.event.0,
            message_time: self.time.as_str(),
            status: self.status.name(),
            error_message: self.status.error(),
            corrects: self.corrects.map(|event| event.0),
            rocket: self.rocket.as_ref().map(PublicRocket::from),
        };
        row.serialize(serializer)
    }
}
