//! The service as it is run in containers: the program at a broker's container, the project's own image, and the two
//! compose files as they are.
//!
//! Where no container engine answers, or the public images are not to be had, each test says so and is skipped; with the
//! variable `CI` set, an engine that answers must have them.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "the log of a failed test is for whoever reads it, and why one is skipped")]

mod broker;
mod cluster;
mod compose;
mod compose_files;
mod engine;
#[allow(dead_code, unused_imports, reason = "shared with the end to end tests, which use all of it")]
#[path = "../e2e/harness/mod.rs"]
mod harness;
mod image;
mod one_broker;
