//! What rockets, messages and order are. Pure: the same input gives the same output, so a crash, a race or a replay can
//! only ever repeat a computation, never change its result.
//!
//! Deliberately not here: tasks, clocks, logs, randomness, the environment, the broker, HTTP. Times come in as values.
//! (`tests/tidy.rs` keeps it so.)
//!
//! Read in this order: [`channel`] and [`message`] (what arrives), [`wire`] and [`entry`] (how it is read), [`event`] (what tells it
//! from another message at its sequence), [`rocket`] (what it does), [`pending`], [`skipped`] and [`record`] (what is remembered),
//! [`sequencer`] (how all of it becomes one state, in order), [`overrides`] (skips and corrections), [`reorder`] and
//! [`replay`] (a channel from the log), [`checkpoint`] (where that can begin), [`mod@shortfall`] (whether that may take
//! the place of a record), [`outcome`] (what became of each message), [`mod@format`] and [`carried`] (two versions
//! beside each other), [`mod@lost_end`] (whether the log has lost what others know of). [`mod@bounds`] are limits that
//! the simulation lowers.

pub mod bounds;
pub mod carried;
pub mod channel;
pub mod checkpoint;
pub mod entry;
pub mod event;
pub mod format;
pub mod lost_end;
pub mod message;
pub mod outcome;
pub mod overrides;
pub mod pending;
pub mod record;
pub mod reorder;
pub mod replay;
pub mod rocket;
pub mod sequencer;
pub mod shortfall;
pub mod skipped;
mod strict_json;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;
pub mod wire;

pub use channel::Channel;
pub use checkpoint::Checkpoint;
pub use entry::{Arrival, Entry, Raw};
pub use event::{Event, StoredAt};
pub use format::Aside;
pub use message::{Kind, Message, MessageNumber, Sequence, Skip};
pub use outcome::{Forgotten, Outcome, OutcomeRecord, Unreported};
pub use overrides::{OverrideIndex, Overrides};
pub use pending::PendingRanges;
pub use record::Record;
pub use replay::{Goal, Replay, Taken, Wanted};
pub use rocket::{Refusal, Rocket, Status};
pub use sequencer::{Advance, Buffer, Verdict, apply_batch};
pub use shortfall::{Shortfall, shortfall};
pub use skipped::Skipped;
pub use time::MessageTime;
