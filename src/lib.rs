//! `rockets` takes the messages of many rockets, out of order and more than once, and always knows each one's state.
//!
//! ```text
//! HTTP ▸ ingest ▸ domain/wire ▸ broker/publisher ▸ [stream] ▸ broker/consumer ▸ track ▸ domain/sequencer
//!      ▸ domain/rocket ▸ broker/store ▸ [bucket] ▸ broker/watch ▸ query/view ▸ query ▸ HTTP
//!                                    (what cannot be applied: track ▸ broker/dead_letters ▸ [stream] ▸ admin)
//! ```
//!
//! - [`domain`] is pure: channels, messages, rockets, and the order of one channel.
//! - [`broker`] is the only one that speaks NATS. [`http`] is the only one that knows what a connection is.
//! - [`ingest`], [`track`], [`query`] are the roles. They never import each other: they meet through the broker.
//! - [`admin`] is what an operator does about what went wrong, over HTTP beside the roles, and from the command line.
//! - [`roles`] runs some of them in one process, [`up`] runs all of them and a broker of its own.
//! - [`auth`] is who may do what: keys, and what each of them allows.
//! - [`upkeep`] is what trackers do from time to time: trim the log, skip what will not come.
//! - [`rebuild`] compares the bucket with the stream, and repairs it.
//! - [`backup`] saves all that is stored into a folder, and brings it back.
//! - [`retention`] takes out of the log what was applied and is old.
//! - [`replay`] folds one channel, from its beginning in the log or a checkpoint on, for its history, a rebuild, a skip and a
//!   correction.
//! - [`mod@page`] is what people look at: files, served beside the read side. [`mod@openapi`] describes the API.
//! - [`launch`] is the load generator: a user like any other, which shares nothing with the rest.
//! - [`mod@import`] sends the messages of a file.
//! - [`client`] is what those who send have in common: how HTTP is spoken, with a key and authorities to trust.
//! - [`terminal`] is what somebody sees there, [`text`] makes what comes from outside safe to be seen.
//! - [`cli`] and [`config`] are what an operator touches; [`logging`] is what an operator reads, [`audit`] what was done,
//!   [`metrics`] what Prometheus reads, [`traces`] what a collector of traces is sent, [`memory`] what a process may keep of
//!   messages.
//!
//! `tests/tidy.rs` keeps these directions true.

mod admin;
mod audit;
mod auth;
mod backup;
mod broker;
mod cli;
mod client;
mod config;
#[cfg(test)]
mod cost;
mod domain;
mod fail_point;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod http;
mod import;
mod ingest;
mod launch;
mod logging;
mod memory;
mod metrics;
mod openapi;
mod page;
mod query;
mod rebuild;
mod replay;
mod retention;
mod roles;
#[cfg(test)]
mod simulation;
mod terminal;
mod text;
mod traces;
mod track;
mod up;
mod upkeep;

pub use cli::main;

/// What this project's own tests and benchmarks build on. Nobody else should: it changes with the code.
#[doc(hidden)]
pub mod internals {
    pub use crate::broker::consumer::PULL_MESSAGES_MAX;
    pub use crate::broker::membership::roll_call;
    pub use crate::broker::permissions::{Authorization, User};
    pub use crate::broker::topology;
    pub use crate::broker::{Broker, ConnectionSettings, GroupCommit};
    pub use crate::cli::Cli;
    pub use crate::domain::{Channel, Message, MessageNumber, Record, wire};
    #[cfg(feature = "fuzz")]
    pub use crate::fuzz::{TARGETS as FUZZ_TARGETS, Target as FuzzTarget};
    pub use crate::replay::reading_permits;
    pub use crate::track::health::Signs;
    pub use crate::track::{TrackSettings, run as track};
}
