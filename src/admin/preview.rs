//! What a skip, a replay or a drop would do, told before it is done: the same checks and the same answers, and nothing is
//! stored.
//!
//! It tells how things are at this moment. What comes meanwhile may change the effect, as it may change that of the act.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use super::{AdminError, Operations};
use crate::domain::Channel;

/// What something would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Preview<T> {
    #[schema(pattern = "^dry_run$")]
    status: &'static str,
    /// In one sentence.
    pub effect: String,
    /// The same in numbers.
    #[serde(flatten)]
    pub of: T,
}

impl<T: fmt::Display> Preview<T> {
    /// Tells of an effect.
    pub fn of(of: T) -> Self {
        Self { status: "dry_run", effect: of.to_string(), of }
    }
}

/// What dropping a dead letter would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DropEffect {
    /// Its id.
    dead_letter: u64,
    /// Why it is one.
    reason: String,
    /// Whose message it is.
    channel: String,
    /// Its number, where its bytes have one.
    message_number: Option<u64>,
}

/// What replaying a dead letter would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplayEffect {
    /// Whose message it is.
    #[schema(value_type = Option<Uuid>)]
    pub channel: Option<Channel>,
    /// Its number.
    pub message_number: Option<u64>,
    /// Whether it takes the place of what the number is now.
    pub correction: bool,
    /// The event that it was replayed as before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub replayed_as: Option<u64>,
}

impl fmt::Display for DropEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dead_letter, reason, channel, .. } = self;
        write!(f, "Dead letter {dead_letter} ({reason}, channel {channel}) is removed for good. No rocket changes.")
    }
}

impl fmt::Display for ReplayEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.replayed_as, self.channel, self.message_number) {
            (None, Some(channel), Some(number)) if self.correction => {
                write!(f, "The message takes the place of number {number} of rocket {channel}: ")?;
                write!(f, "the rocket is replayed from its log, and the dead letter goes.")
            }
            (None, Some(channel), Some(number)) => {
                write!(f, "The message is stored again as number {number} of rocket {channel}: ")?;
                write!(f, "it is applied in its turn, and the dead letter goes.")
            }
            (Some(event), ..) => write!(f, "It was replayed before, as event {event}: nothing is stored again."),
            _ => f.write_str("Nothing is stored."),
        }
    }
}

impl Operations {
    /// What dropping a dead letter would do.
    pub async fn preview_drop(&self, id: u64) -> Result<Preview<DropEffect>, AdminError> {
        let row = self.show(id).await?.row;
        let (dead_letter, message_number) = (row.id, row.message_number);
        Ok(Preview::of(DropEffect { dead_letter, reason: row.reason, channel: row.channel, message_number }))
    }
}
