//! End to end: the program as it is, with real brokers, real sockets and real kills, seen only from outside.
//!
//! Every test starts what it needs on free ports, with a store of its own, and ends it. They need a `nats-server`, in
//! `nats/.bin` (`nats/get-nats-server`) or on the PATH, and the feature `fail-points` where a test stops the program at
//! an exact place.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "the log of a failed test is for whoever reads it")]

mod acknowledgements;
mod alike;
mod askers;
mod backup;
mod batches;
mod bounds;
mod browser;
mod checkpoints;
mod cli;
#[allow(dead_code, reason = "shared with the drill, which uses all of it")]
#[path = "../drill/cluster.rs"]
mod cluster;
mod command_line;
mod conflicts;
mod contract_http;
mod contract_ingest;
mod contract_rockets;
mod contract_service;
mod corrections;
mod dead_letters;
mod demo;
mod described;
mod doctor;
mod documents;
mod dry_run;
mod events;
mod fail_points;
mod fail_points_overrides;
mod faults_broker;
mod faults_bucket;
mod faults_full;
mod faults_program;
mod foreign;
mod forget;
mod formats;
mod gap;
mod gaps_and_skips;
mod group_commit;
mod harness;
mod health;
mod health_repair;
mod history;
mod hostile_bytes;
mod hostile_http;
mod https;
mod import;
mod keys;
mod live;
mod login;
mod lost_end;
mod metrics;
mod nats_py;
mod observe;
mod one_store;
mod own_writes;
mod packing;
mod partitions;
mod permissions;
mod pipeline;
mod poison;
mod provision;
#[allow(dead_code, reason = "shared with the drill, which uses all of it")]
#[path = "../drill/proxy.rs"]
mod proxy;
mod raw_http;
mod rebuild;
mod replicas;
mod restart;
mod scale;
mod shutdown;
mod stats;
mod tools;
mod traces;
mod trim;
mod trimmed;
mod upkeep;
