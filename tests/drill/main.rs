//! The drill: real brokers and real `rockets` processes under a continuous load, one fault after the other, and an oracle
//! outside that knows what must have become of every message.
//!
//! [`plan`] draws the faults from a seed, [`site`] is all that runs, [`faults`] does them to it, with
//! [`by_hand`] what operators do. [`load`] are the rockets, which send a part of their messages as a [`batch`],
//! [`course`] knows what each of them must be after each of its messages, [`readers`] ask all the time and catch answers
//! that lie. After each fault a probe must come through, in a named time ([`probe`]); at the end [`verdict`] looks at
//! everything once more, and [`report`] prints it. [`agreement`] has no faults: what three brokers do by themselves;
//! nor has [`growth`]: one replica becomes three.
//!
//! `make drill SEED=… FAULTS=…` runs one of them; a seed gives the same faults in the same order, though what they meet
//! differs from one run to the next. As a test, without settings, it takes some minutes with a seed of the day.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a drill that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "the log of a failed drill is for whoever reads it")]

mod agreement;
mod batch;
mod by_hand;
mod cluster;
mod course;
mod faults;
mod groups;
mod growth;
#[allow(dead_code, unused_imports, reason = "shared with the end to end tests, which use all of it")]
#[path = "../e2e/harness/mod.rs"]
mod harness;
mod load;
mod plan;
mod probe;
mod proxy;
mod readers;
mod report;
mod site;
mod verdict;

use std::time::{SystemTime, UNIX_EPOCH};

use plan::Plan;
use tokio::sync::Mutex;

/// Faults of a run that was not told how many.
const FAULTS_DEFAULT: usize = 60;
/// The same of three brokers, whose elections take their time.
const FAULTS_OF_THREE_DEFAULT: usize = 5;

/// Drills share the machine with nobody, so that recovery takes as long as it takes.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number: {text}")))
}

/// The seed of a run that was not told one: another one each day.
fn seed_of_the_day() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / (24 * 60 * 60)
}

fn seed() -> u64 {
    setting("DRILL_SEED").unwrap_or_else(seed_of_the_day)
}

fn faults(default: usize) -> usize {
    setting("DRILL_FAULTS").map_or(default, |faults| faults.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_and_every_kind_of_fault() {
    let _turn = ONE_AT_A_TIME.lock().await;
    if site::clock_library().is_none() {
        report::say("no clock that is an hour off: libfaketime (Debian's package faketime) is not installed");
    }
    verdict::drill(Plan::for_one_broker(seed(), faults(FAULTS_DEFAULT))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_agree_before_anything_is_answered() {
    let _turn = ONE_AT_A_TIME.lock().await;
    agreement::holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_becomes_three_while_messages_come() {
    let _turn = ONE_AT_A_TIME.lock().await;
    growth::holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_that_go_and_come_back() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let upgrades = cluster::floor_program().is_some();
    if !upgrades {
        let why = "no upgrade: tests/drill/get-nats-server-floor could not fetch the version to upgrade from";
        assert!(std::env::var("CI").is_err(), "{why}");
        report::say(why);
    }
    verdict::drill(Plan::for_three_brokers(seed(), faults(FAULTS_OF_THREE_DEFAULT), upgrades)).await;
}
