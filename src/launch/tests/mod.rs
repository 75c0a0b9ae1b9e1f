//! Whole runs against a tiny service: retries, connections, copies, the table, the verification, being stopped.

mod fake_service;
mod repairs;
mod test_service;

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Command, FromArgMatches as _};
use serde_json::{Map, Value, json};

use self::test_service::TestService;
use super::generate::{Generator, Recipe};
use super::oracle::Oracle;
use super::{Options, run_with};

const RETRY_AFTER: Duration = Duration::from_millis(1);

pub(super) fn options(arguments: &[&str]) -> Options {
    let command = <Options as clap::Args>::augment_args(Command::new("launch"));
    Options::from_arg_matches(&command.get_matches_from([&["launch"], arguments].concat())).unwrap()
}

fn ingested() -> (u16, String) {
    (200, json!({ "request_id": "r", "data": { "status": "ingested", "event_id": 1 } }).to_string())
}

/// Runs to the end, and gives the result and what was printed without the spaces.
async fn run(options: Options) -> (bool, String) {
    let mut output = Vec::new();
    let is_well = run_with(options, RETRY_AFTER, pending(), &mut output).await.unwrap();
    (is_well, String::from_utf8(output).unwrap().replace(' ', ""))
}

#[tokio::test]
async fn what_is_refused_or_lost_is_sent_again_until_it_is_through() {
    let bodies = Arc::new(Mutex::new(BTreeMap::<Vec<u8>, u32>::new()));
    let through = Arc::clone(&bodies);
    let service = TestService::start(move |index, request| match index {
        0 => (503, String::new()),
        1 => (400, String::new()),
        2 => (302, String::new()),
        3 => (0, String::new()),
        _ => {
            *through.lock().unwrap().entry(request.body.clone()).or_default() += 1;
            ingested()
        }
    })
    .await;
    let (is_well, output) = run(options(&[&service.url("/messages"), "--max-messages", "50"])).await;
    assert!(is_well);
    for row in ["sent,andthrough50", "retried4", "attempts54", "answer5031", "answer3021", "answer20050"] {
        assert!(output.contains(row), "{row}:\n{output}");
    }
    let bodies = bodies.lock().unwrap();
    assert_eq!((bodies.len(), bodies.values().max()), (50, Some(&1)));
}

#[tokio::test]
async fn every_message_has_a_connection_of_its_own_unless_kept_alive() {
    for (flags, expected) in [(&[] as &[&str], 40..=40), (&["--keep-alive"], 1..=3)] {
        let service = TestService::start(|_, _| ingested()).await;
        let url = service.url("/messages");
        let (is_well, _) = run(options(&[&[url.as_str(), "--max-messages", "40"], flags].concat())).await;
        assert!(is_well && expected.contains(&service.connections()), "{} with {flags:?}", service.connections());
    }
}

/// A service that takes everything, and how often it was sent each body.
async fn counting_service() -> (TestService, Arc<Mutex<BTreeMap<Vec<u8>, u32>>>) {
    let counts = Arc::new(Mutex::new(BTreeMap::<Vec<u8>, u32>::new()));
    let seen = Arc::clone(&counts);
    let service = TestService::start(move |_, request| {
        *seen.lock().unwrap().entry(request.body.clone()).or_default() += 1;
        ingested()
    })
    .await;
    (service, counts)
}

#[tokio::test]
async fn copies_are_sent_and_the_disorder_loses_nothing() {
    let (service, counts) = counting_service().await;
    let url = service.url("/messages");
    let flags = [url.as_str(), "--max-messages", "100", "--duplicates", "1", "--shuffle", "30", "--rate", "1000000"];
    assert!(run(options(&flags)).await.0);
    let counts = counts.lock().unwrap();
    assert!(counts.len() == 100 && counts.values().all(|count| *count == 2));
}

#[tokio::test]
async fn what_is_lost_is_never_sent_not_even_a_copy_and_the_table_says_so() {
    let mut runs = Vec::new();
    for workers in ["1", "4"] {
        let (service, counts) = counting_service().await;
        let url = service.url("/messages");
        let flags =
            [&url, "--max-messages", "200", "--lost", "0.3", "--duplicates", "1", "--concurrency-level", workers];
        let (is_well, output) = run(options(&flags)).await;
        let sent = counts.lock().unwrap().clone();
        assert!(is_well && (110..170).contains(&sent.len()) && sent.values().all(|count| *count == 2), "{output}");
        for row in ["messagesgenerated200".to_owned(), format!("lostontheradio{}", 200 - sent.len())] {
            assert!(output.contains(&row), "{row}:\n{output}");
        }
        runs.push(sent);
    }
    assert_eq!(runs[0], runs[1], "the same flags lose the same messages");
}

/// Starts a service which knows the final states of a run; `change` may falsify them.
async fn service_with_states(recipe: Recipe, change: fn(&mut Map<String, Value>)) -> TestService {
    let mut oracle = Oracle::default();
    Generator::new(&recipe).for_each(|message| oracle.observe(&message));
    let mut states = BTreeMap::new();
    for (channel, expected) in oracle.channels().filter(|(_, expected)| expected.is_launched()) {
        let fields = expected.fields(channel).into_iter();
        let mut rocket: Map<String, Value> =
            fields.filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))).collect();
        change(&mut rocket);
        states.insert(format!("GET /rockets/{channel}"), json!({ "request_id": "r", "data": rocket }).to_string());
    }
    let unavailable = AtomicUsize::new(states.len());
    TestService::start(move |_, request| {
        if request.line.starts_with("POST") {
            return ingested();
        }
        // At first the service is restarting.
        if unavailable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return (503, String::new());
        }
        states.get(&request.line).map_or((404, "{}".to_owned()), |state| (200, state.clone()))
    })
    .await
}

async fn verify(change: fn(&mut Map<String, Value>)) -> (bool, String) {
    let recipe = Recipe { seed: 5, rockets: 16, max_messages: 400, hostile: true, lost: 0.0 };
    let service = service_with_states(recipe, change).await;
    let (url, base) = (service.url("/messages"), service.url("/"));
    let flags = ["--seed", "5", "--rockets", "16", "--max-messages", "400", "--hostile"];
    run(options(&[&[url.as_str(), "--verify", base.as_str()], &flags[..]].concat())).await
}

#[tokio::test]
async fn a_service_that_is_right_is_verified() {
    let (is_well, output) = verify(|_| {}).await;
    assert!(is_well && output.contains("all14rocketsright,and2channelswithoutalaunch"), "{output}");
}

#[tokio::test]
async fn a_service_that_is_wrong_is_found_out() {
    let (is_well, output) = verify(|rocket| drop(rocket.insert("mission".into(), json!("WRONG")))).await;
    assert!(!is_well && output.contains("mission:is\"WRONG\",shouldbe"), "{output}");
    assert!(output.contains("14differencesin14rockets"), "{output}");
}

#[tokio::test]
async fn without_a_service_the_deadline_ends_the_verification() {
    let service = TestService::start(|_, request| match request.line.starts_with("POST") {
        true => ingested(),
        false => (0, String::new()),
    })
    .await;
    let (url, base) = (service.url("/messages"), service.url("/"));
    let flags = [url.as_str(), "--max-messages", "9", "--verify", base.as_str(), "--verify-deadline", "50ms"];
    let (is_well, output) = run(options(&flags)).await;
    assert!(!is_well && output.contains("cannotbecompared"), "{output}");
}

#[tokio::test]
async fn being_stopped_is_a_failure_with_a_table() {
    let service = TestService::start(|_, _| (503, String::new())).await;
    let mut output = Vec::new();
    let options = options(&[&service.url("/messages"), "--max-messages", "10"]);
    let is_well = run_with(options, RETRY_AFTER, ready(()), &mut output).await.unwrap();
    let output = String::from_utf8(output).unwrap();
    assert!(!is_well && output.contains("messages generated") && output.contains("stopped"), "{output}");
}
