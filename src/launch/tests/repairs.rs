//! Whole runs with losses and corrections against a service in miniature: what an operator has to do is done, whatever
//! goes wrong on the way, and what the service does wrong is found out.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::run_with;
use super::fake_service::FakeService;
use super::options;
use super::test_service::{Request, TestService};

type Answer = (u16, String);
type Shared = Arc<Mutex<FakeService>>;

/// What comes between the client and the service: it may ask the service, and may answer something else.
type Between = fn(usize, &Request, &mut FakeService) -> Answer;

fn nothing(_: usize, request: &Request, service: &mut FakeService) -> Answer {
    service.answer(request)
}

/// Of thirteen requests one is not taken, one is taken and its answer lost, one is taken and said to have failed. The
/// others in a row are enough for a whole list.
fn trouble(index: usize, request: &Request, service: &mut FakeService) -> Answer {
    if request.line == "POST /messages" {
        return service.answer(request);
    }
    match index % 13 {
        0 => (503, String::new()),
        1 => {
            service.answer(request);
            (0, String::new())
        }
        2 => {
            service.answer(request);
            (503, String::new())
        }
        _ => service.answer(request),
    }
}

/// Runs with these flags, and gives the result, what was printed without the spaces, and the service.
async fn run(between: Between, flags: &[&str]) -> (bool, String, Shared) {
    let shared = Shared::default();
    let service = serve(&shared, between).await;
    let (is_well, output) = run_on(&service, flags).await;
    (is_well, output, shared)
}

async fn serve(shared: &Shared, between: Between) -> TestService {
    let shared = Arc::clone(shared);
    TestService::start(move |index, request| between(index, request, &mut shared.lock().unwrap())).await
}

async fn run_on(service: &TestService, flags: &[&str]) -> (bool, String) {
    let (url, base) = (service.url("/messages"), service.url("/"));
    let all = [&[url.as_str(), "--verify", base.as_str(), "--max-messages", "300", "--shuffle", "30"], flags].concat();
    let mut output = Vec::new();
    let is_well = run_with(options(&all), Duration::from_millis(1), pending(), &mut output).await.unwrap();
    (is_well, String::from_utf8(output).unwrap().replace(' ', ""))
}

/// The number that stands behind these words in the table.
fn count(output: &str, names: &str) -> u64 {
    let line = output.lines().find(|line| line.contains(names)).unwrap_or_else(|| panic!("no {names}:\n{output}"));
    line.replace(names, "").parse().unwrap()
}

fn sorted_overrides(service: &Shared) -> Vec<String> {
    let mut overrides = service.lock().unwrap().overrides.clone();
    overrides.sort();
    overrides
}

#[tokio::test]
async fn gaps_are_closed_and_then_everything_is_right() {
    let (is_well, output, service) = run(nothing, &["--lost", "0.2", "--duplicates", "0.2"]).await;
    assert!(is_well && output.contains("rocketsright"), "{output}");
    let (lost, skipped) = (count(&output, "lostontheradio"), count(&output, "numbersskipped"));
    assert!(0 < skipped && skipped <= lost, "{output}");
    let overrides = sorted_overrides(&service);
    assert_eq!(overrides.len() as u64, count(&output, "skips"), "each skip was made once");
    assert!(overrides.iter().all(|overriding| overriding.contains("lost on the radio")));
    assert!(service.lock().unwrap().channels().count() > 15);
}

#[tokio::test]
async fn the_same_flags_make_the_same_skips_whatever_goes_wrong() {
    let flags = ["--lost", "0.1", "--hostile", "--rockets", "9"];
    let (_, _, calm) = run(nothing, &flags).await;
    let (is_well, output, troubled) = run(trouble, &flags).await;
    assert!(is_well, "{output}");
    assert_eq!(sorted_overrides(&calm), sorted_overrides(&troubled));
}

#[tokio::test]
async fn a_second_run_finds_the_gaps_closed() {
    let shared = Shared::default();
    let service = serve(&shared, nothing).await;
    let flags = ["--lost", "0.2", "--hostile", "--rockets", "12"];
    for _ in 0..2 {
        let (is_well, output) = run_on(&service, &flags).await;
        assert!(is_well, "{output}");
    }
}

#[tokio::test]
async fn foreign_channels_are_left_alone() {
    let shared = Shared::default();
    let service = serve(&shared, nothing).await;
    let metadata = json!({
        "channel": "193270a9-c9cf-404a-8f83-838e71d9ae67", "messageNumber": 3, "messageTime": "2022-02-02T19:39:05Z",
        "messageType": "RocketExploded",
    });
    let body = json!({ "metadata": metadata, "message": { "reason": "foreign" } }).to_string().into_bytes();
    shared.lock().unwrap().answer(&Request { line: "POST /messages".into(), body });
    assert!(run_on(&service, &["--lost", "0.2"]).await.0);
    let shared = shared.lock().unwrap();
    assert!(!shared.overrides.is_empty() && shared.overrides.iter().all(|overriding| !overriding.contains("193270a9")));
}

#[tokio::test]
async fn when_all_is_lost_nothing_is_expected() {
    let (is_well, output, service) = run(nothing, &["--lost", "1"]).await;
    assert!(is_well && output.contains("all0rocketsright"), "{output}");
    assert_eq!((count(&output, "lostontheradio"), service.lock().unwrap().channels().count()), (300, 0));
}

/// Shows no gap of channels whose number 1 is missing.
fn blind(_: usize, request: &Request, service: &mut FakeService) -> Answer {
    let (status, text) = service.answer(request);
    let mut envelope: Value = serde_json::from_str(&text).unwrap();
    if request.line.starts_with("GET /gaps") {
        envelope["data"].as_array_mut().unwrap().retain(|row| row["waiting_for"] != 1);
    }
    (status, envelope.to_string())
}

#[tokio::test]
async fn a_gap_that_is_not_shown_is_found_out() {
    let (is_well, output, _) = run(blind, &["--lost", "0.2", "--verify-deadline", "1s"]).await;
    assert!(!is_well && output.contains("thegapfrom1wasnotclosedupto"), "{output}");
    assert!(!output.contains("notreadbeforethedeadline"), "{output}");
}

/// Takes skips, and does nothing about them.
fn lazy(_: usize, request: &Request, service: &mut FakeService) -> Answer {
    match request.line.ends_with("/skip") {
        true => (200, json!({ "data": { "status": "ingested", "event_id": 1 } }).to_string()),
        false => service.answer(request),
    }
}

#[tokio::test]
async fn a_skip_without_effect_is_found_out() {
    let (is_well, output, _) = run(lazy, &["--lost", "0.2", "--verify-deadline", "1s"]).await;
    assert!(!is_well && output.contains("lastMessageNumber:is"), "{output}");
}

const CORRECTIONS: [&str; 7] = ["--hostile", "--rockets", "9", "--lost", "0.1", "--corrections", "12"];

#[tokio::test]
async fn refusals_are_corrected_and_then_everything_is_right_again() {
    let (is_well, output, service) = run(nothing, &CORRECTIONS).await;
    assert!(is_well && count(&output, "corrected") == 12, "{output}");
    let overrides = sorted_overrides(&service);
    let corrections: Vec<&str> =
        overrides.iter().filter_map(|overriding| overriding.split_once(" of ")).map(|(of, _)| of).collect();
    assert_eq!(corrections.len(), 12);
    let channels: BTreeSet<&str> = corrections.iter().copied().collect();
    assert!(channels.len() > 5, "they are spread over the channels: {overrides:?}");
}

#[tokio::test]
async fn corrections_end_where_nothing_is_left_to_correct() {
    let flags = ["--hostile", "--rockets", "30", "--corrections", "100000"];
    let (is_well, output, _) = run(nothing, &flags).await;
    assert!(is_well && (20..200).contains(&count(&output, "corrected")), "{output}");
}

#[tokio::test]
async fn the_same_flags_make_the_same_corrections_whatever_goes_wrong() {
    let (_, _, calm) = run(nothing, &CORRECTIONS).await;
    for between in [trouble, forgetful_service] {
        let (is_well, output, troubled) = run(between, &CORRECTIONS).await;
        assert!(is_well, "{output}");
        assert_eq!(sorted_overrides(&calm), sorted_overrides(&troubled));
    }
}

/// The same trouble with a service that does not know a dead letter any more once it was replayed.
fn forgetful_service(index: usize, request: &Request, service: &mut FakeService) -> Answer {
    match trouble(index, request, service) {
        (200, text) if request.line.ends_with("/replay") && text.contains("duplicate") => (404, String::new()),
        answer => answer,
    }
}

#[tokio::test]
async fn a_correction_without_effect_is_found_out() {
    let lazy: Between = |_, request, service| match request.line.ends_with("/replay") {
        true => (200, json!({ "data": { "status": "ingested", "event_id": 1 } }).to_string()),
        false => service.answer(request),
    };
    let flags = [&CORRECTIONS[..], &["--verify-deadline", "1s"]].concat();
    let (is_well, output, _) = run(lazy, &flags).await;
    assert!(!is_well && output.contains("shouldbe\"Corrected\""), "{output}");
}

#[tokio::test]
async fn a_refusal_without_a_dead_letter_is_found_out() {
    let silent: Between = |_, request, service| match request.line.starts_with("GET /dead-letters") {
        true => (200, json!({ "data": [] }).to_string()),
        false => service.answer(request),
    };
    let flags = [&CORRECTIONS[..], &["--verify-deadline", "1s"]].concat();
    let (is_well, output, _) = run(silent, &flags).await;
    assert!(!is_well && output.contains("wasnotmade:thereisnodeadletterforit"), "{output}");
}

#[tokio::test]
async fn a_correction_that_is_refused_outright_is_found_out() {
    let strict: Between = |_, request, service| match request.line.ends_with("/replay") {
        true => (409, String::new()),
        false => service.answer(request),
    };
    let flags = [&CORRECTIONS[..], &["--verify-deadline", "1s"]].concat();
    let (is_well, output, _) = run(strict, &flags).await;
    assert!(!is_well && output.contains("wasnotmade:answer409"), "{output}");
    assert_eq!(count(&output, "corrected"), 0);
}
