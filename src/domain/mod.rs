//! What rockets, messages and order are. Pure: the same input gives the same output, so a crash, a race or a replay can
//! only ever repeat a computation, never change its result.
//!
//! Deliberately not here: tasks, clocks, logs, randomness, the environment, the broker, HTTP. Times come in as values.
//! (`tests/tidy.rs` keeps it so.)
//!
//! Read in this order: [`channel`] and [`message`] (what arrives), [`wire`] (how it is read), [`rocket`] (what it does),
//! [`parked`] and [`record`] (what is remembered), [`sequencer`] (how all of it becomes one state, in order).

pub mod channel;
pub mod message;
pub mod parked;
pub mod record;
pub mod rocket;
pub mod sequencer;
mod strict_json;
pub mod time;
pub mod wire;

pub use channel::Channel;
pub use message::{Kind, Message, MessageNumber, Sequence};
pub use parked::Parked;
pub use record::Record;
pub use rocket::{Refusal, Rocket, Status};
pub use sequencer::{Arrival, Hand, Verdict, offer, take_up};
pub use time::MessageTime;
