//! What an operator does at the command line: gaps, skip, dead letters, history, as tables and as JSON lines.

use futures_util::future::join_all;
use serde_json::Value;

use super::harness::program::Ended;
use super::harness::service::init;
use super::harness::stream::publish_bytes;
use super::harness::{Broker, ChannelLog, Client, Flight, Program, TestService, becomes, free_port};

const TOOLS: [&[&str]; 9] = [
    &["gaps"],
    &["skip"],
    &["dlq"],
    &["dlq", "list"],
    &["dlq", "show"],
    &["dlq", "replay"],
    &["dlq", "drop"],
    &["history"],
    &["rebuild"],
];

async fn run(broker: &Broker, arguments: &[&str]) -> Ended {
    Program::of(arguments).broker(broker).ends().await
}

#[tokio::test]
async fn every_tool_explains_itself_and_says_what_is_wrong() {
    for tool in TOOLS {
        let help = Program::of(&[tool, &["--help"]].concat()).ends().await;
        assert!(help.says(0).contains(&format!("Usage: rockets {}", tool.join(" "))), "{}", help.output);
    }
    let channel = Flight::new().channel;
    for wrong in [
        &["gaps", "stray"][..],
        &["skip"],
        &["skip", &channel],
        &["skip", "not-a-uuid", "--up-to", "3", "--reason", "x", "--yes"],
        &["skip", &channel, "--up-to", "0", "--reason", "x", "--yes"],
        &["skip", &channel, "--up-to", "x", "--reason", "x", "--yes"],
        &["dlq"],
        &["dlq", "show"],
        &["dlq", "show", "x"],
        &["dlq", "drop", "-1", "--yes"],
        &["dlq", "list", "--reason", "lost"],
        &["dlq", "list", "--limit", "0"],
        &["history"],
        &["history", "not-a-uuid"],
    ] {
        let ended = Program::of(wrong).ends().await;
        assert!(ended.fails(2).contains("--help"), "{wrong:?}: {}", ended.errors);
    }

    // Without a broker, and at one that nobody has set up, the way out is told.
    let nowhere = format!("nats://127.0.0.1:{}", free_port());
    let broker = Broker::start().await;
    for (url, says) in [(nowhere, "no broker answers"), (broker.url(), "rockets init")] {
        let tools = [&["gaps"][..], &["dlq", "list"], &["history", &channel], &["rebuild", "--check"]];
        join_all(tools.map(async |tool| {
            let ended = Program::of(tool).env("ROCKETS_NATS__URL", &url).ends().await;
            assert!(ended.fails(1).contains(says), "{tool:?}: {}", ended.errors);
        }))
        .await;
    }
    // And what is not there is named.
    init(&broker).await;
    for (tool, says) in [
        (&["dlq", "show", "7"][..], "dead letter"),
        (&["dlq", "replay", "7", "--yes"], "dead letter"),
        (&["dlq", "drop", "7", "--yes"], "dead letter"),
        (&["history", &channel], "rocket"),
        (&["skip", &channel, "--up-to", "3", "--reason", "x", "--yes"], &channel),
    ] {
        let ended = run(&broker, tool).await;
        assert!(ended.fails(1).starts_with("error: ") && ended.errors.contains(says), "{tool:?}: {}", ended.errors);
    }
    assert_eq!(run(&broker, &["gaps", "--json"]).await.rows(), Vec::<Value>::new());
    assert_eq!(run(&broker, &["dlq", "list", "--json"]).await.rows(), Vec::<Value>::new());
}

/// Fails unless a table has a line with all of these words.
#[track_caller]
fn assert_line(table: &Ended, words: &[&str]) {
    let output = table.says(0);
    let has_all = |line: &str| words.iter().all(|word| line.contains(word));
    assert!(output.lines().any(has_all), "{words:?} are not in a line of\n{output}");
}

#[tokio::test]
async fn the_tools_say_and_do_what_the_routes_do() {
    let mut service = TestService::start().await;
    let client = service.ingest.clone();
    let flight = Flight::new();
    let channel = &*flight.channel;
    let mut log = ChannelLog::new(channel);
    for message in [flight.launched(1), flight.launched(2), flight.faster(3, 10), flight.faster(6, 100)] {
        log.post(&client, &message).await;
    }
    log.holds(&client).await;
    let broker = service.broker();

    // A gap, and a skip that asks before it is done.
    assert_eq!(run(broker, &["gaps", "--json"]).await.rows(), client.list("/gaps").await);
    assert_line(&run(broker, &["gaps"]).await, &[channel, "4", "1"]);
    let skip = ["skip", channel, "--up-to", "5", "--reason", "radio lost"];
    let asked = run(broker, &skip).await;
    assert!(asked.code != Some(0) && asked.errors.contains("--yes"), "{asked:?}");
    log.holds(&client).await;
    let beyond = run(broker, &["skip", channel, "--up-to", "7", "--reason", "x", "--yes"]).await;
    assert!(beyond.fails(1).contains('6'), "the highest that may be said is told: {}", beyond.errors);
    run(broker, &[&skip[..], &["--yes"]].concat()).await.says(0);
    let rows = history_of(&client, channel, 6).await;
    assert_eq!([3, 4].map(|row: usize| rows[row]["status"].clone()), ["skipped", "skipped"]);
    assert_eq!(run(broker, &["gaps", "--json"]).await.rows(), Vec::<Value>::new());

    // Dead letters: listed, shown, dropped, sent again.
    let jetstream = broker.jetstream().await;
    let garbage = publish_bytes(&jetstream, &format!("rockets.{channel}"), b"garbage \xff".to_vec()).await;
    client.settled(garbage).await;
    let dead_letters = client.list("/dead-letters").await;
    let [malformed, refused] = &dead_letters[..] else { panic!("{dead_letters:?}") };
    let [malformed_id, refused_id] = [malformed, refused].map(|dead_letter| dead_letter["id"].to_string());
    assert_eq!(run(broker, &["dlq", "list", "--json"]).await.rows(), dead_letters);
    let rows = run(broker, &["dlq", "list", "--json", "--reason", "refused", "--channel", channel]).await.rows();
    assert_eq!(rows, dead_letters[1..]);
    assert_line(&run(broker, &["dlq", "list"]).await, &[&malformed_id, "malformed", channel]);
    for dead_letter in &dead_letters {
        let shown = run(broker, &["dlq", "show", &dead_letter["id"].to_string(), "--json"]).await.rows();
        assert_eq!(shown, [client.dead_letter(&dead_letter["id"]).await.unwrap()]);
    }
    let shown = run(broker, &["dlq", "show", &refused_id]).await;
    assert!(shown.says(0).contains("RocketLaunched") && shown.output.contains("refused"), "{}", shown.output);
    let ended = run(broker, &["dlq", "replay", &malformed_id, "--yes"]).await;
    assert!(!ended.fails(1).is_empty(), "it is no message as it is");
    let asked = run(broker, &["dlq", "drop", &malformed_id]).await;
    assert!(asked.code != Some(0) && asked.errors.contains("--yes"), "{asked:?}");
    assert_eq!(client.list("/dead-letters").await.len(), 2);
    run(broker, &["dlq", "drop", &malformed_id, "--yes"]).await.says(0);
    assert_eq!(client.list("/dead-letters").await, dead_letters[1..]);
    let folder = tempfile::TempDir::new().unwrap();
    let body = folder.path().join("mended.json");
    std::fs::write(&body, flight.faster(2, 1_000).to_string()).unwrap();
    let replay = ["dlq", "replay", &refused_id, "--yes", "--body", body.to_str().unwrap()];
    for says in ["ingested", "duplicate"] {
        let ended = run(broker, &replay).await;
        assert!(ended.says(0).contains(says), "{}", ended.output);
    }
    becomes("the speed", 1_610, async || client.rocket(channel).await.unwrap()["currentSpeed"].as_u64().unwrap()).await;

    let newest_first = history_of(&client, channel, 6).await.into_iter().rev().collect::<Vec<_>>();
    assert_eq!(run(broker, &["history", channel, "--json"]).await.rows(), newest_first);
    let table = run(broker, &["history", channel]).await;
    assert_line(&table, &["RocketLaunched", "processed"]);
    assert_line(&table, &["4", "skipped"]);
}

/// The history of a channel, once it is so long, oldest first.
async fn history_of(client: &Client, channel: &str, rows: usize) -> Vec<Value> {
    let path = format!("/rockets/{channel}/history?order=asc");
    becomes("rows of the history", rows, async || client.list(&path).await.len()).await;
    client.list(&path).await
}
