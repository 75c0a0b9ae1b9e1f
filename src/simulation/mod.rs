//! The tracker's own code under a model of the broker, in schedules that are drawn from a seed: one seed, one schedule, on
//! every machine.
//!
//! In a schedule several workers share one partition. What arrives is in [`workload`] (made of [`messages`]), how much
//! goes wrong in [`profile`], and what in [`faults`]; [`run`] gives the workers their turns, call by call
//! ([`faulty_broker`], and [`group`] for records that are written together), in the [`environment`] around the model. At everything that is stored, reported or acknowledged
//! the [`invariants`] of the contract are checked against an [`oracle`], which is written down apart from the code under
//! test; [`final_checks`] judges the end, [`asked`] what those are told who ask then. There is no clock, no thread and no
//! sleep in a schedule.
//!
//! The bounds of what is kept and done at once are small in most schedules; [`shares`] counts how often the tracker comes
//! beyond each, and fails a run in which that has become rare.
//!
//! A seed that fails is run again with its story told. `SIMULATION_SEED=123 cargo test --lib simulation` runs that one;
//! `SIMULATION_SECONDS=60` or `SIMULATION_SCHEDULES=100000` says how long to look, `SIMULATION_LENGTH=20` makes the
//! schedules shorter.
//!
//! Not here: what async-nats and a real broker do. That the model answers as a real one does is checked in
//! [`conformance`], and real processes are the end to end tests' to kill. [`testing`] is the same model for unit tests,
//! in which nothing goes wrong.

mod asked;
mod channel;
mod conformance;
mod environment;
mod faults;
mod faulty_broker;
mod final_checks;
mod group;
mod invariants;
mod messages;
mod model;
pub mod nats_server;
mod oracle;
mod profile;
mod random;
mod record_text;
mod run;
mod search;
mod shares;
pub mod testing;
mod workload;

use search::Search;

#[test]
fn no_schedule_loses_doubles_or_disorders_a_message() {
    Search::of_environment().run();
}
