//! A broker with a user for each kind of process: each may do all that it does, and nothing of what it does not.
//!
//! `E2E_USERS=1 cargo test --test e2e` runs every other test with these users too, and fails where one was not allowed
//! something.

use std::path::Path;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use rockets::internals::{Authorization, User};
use serde_json::{Value, json};
use strum::VariantArray as _;

use super::harness::service::settles;
use super::harness::{Broker, Flight, Program, eventually};

/// What somebody may try.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// To publish something there.
    Publish(&'static str),
    /// To ask the JetStream API, with this body.
    Ask(&'static str, &'static str),
    /// To read what comes there.
    Subscribe(&'static str),
}

use Call::{Ask, Publish, Subscribe};

/// What no process may ever do.
const NOBODY: [Call; 11] = [
    Ask("STREAM.NAMES", "{}"),
    Ask("STREAM.CREATE.OTHER", r#"{"name":"OTHER","subjects":["other"]}"#),
    Ask("STREAM.INFO.OTHER", "{}"),
    Ask("CONSUMER.CREATE.KV_rockets", r#"{"stream_name":"KV_rockets","config":{"deliver_subject":"rockets.x"}}"#),
    Ask("CONSUMER.DELETE.ROCKETS.rockets-p00", "{}"),
    Ask("STREAM.LEADER.STEPDOWN.ROCKETS", "{}"),
    Publish("$SYS.REQ.SERVER.PING"),
    Publish("other"),
    Subscribe(">"),
    Subscribe("_INBOX.>"),
    Subscribe("rockets.*"),
];

/// What only `admin` may do.
const ADMIN: [Call; 5] = [
    Ask("STREAM.UPDATE.ROCKETS", r#"{"name":"ROCKETS","subjects":["other"]}"#),
    Ask("STREAM.DELETE.ROCKETS_CHECKPOINTS", "{}"),
    Ask("STREAM.SNAPSHOT.ROCKETS", r#"{"deliver_subject":"_INBOX_x.y"}"#),
    Ask("STREAM.RESTORE.ROCKETS", "{}"),
    Publish("forgotten.0"),
];

/// What each other user may not do beside.
const FORBIDDEN: [(User, &[Call]); 5] = [
    (
        User::Ingest,
        &[
            Publish("$KV.rockets.x"),
            Publish("outcomes.0"),
            Publish("rockets_dlq.0.refused.x"),
            Publish("checkpoints.x.passed"),
            Publish("$JS.ACK.ROCKETS.rockets-p00.1.1.1.1.0"),
            Publish("rockets_trackers.word.x"),
            Ask("STREAM.PURGE.ROCKETS", "{}"),
            Ask("STREAM.MSG.DELETE.ROCKETS", r#"{"seq":1}"#),
            Ask("CONSUMER.MSG.NEXT.ROCKETS.rockets-p00", "1"),
            Ask("CONSUMER.CREATE.ROCKETS.x.rockets.0.*", "{}"),
            Ask("STREAM.CREATE.ROCKETS", r#"{"name":"ROCKETS"}"#),
            Subscribe("_INBOX_query.>"),
            Subscribe("$KV.rockets.>"),
        ],
    ),
    (
        User::Track,
        &[
            Publish("forgotten.0"),
            Ask("CONSUMER.CREATE.ROCKETS.rockets-p00.rockets.0.*", "{}"),
            Ask("CONSUMER.CREATE.KV_rockets.x.$KV.rockets.>", "{}"),
            Ask("STREAM.CREATE.ROCKETS", r#"{"name":"ROCKETS"}"#),
            Subscribe("_INBOX_query.>"),
        ],
    ),
    (
        User::Query,
        &[
            Publish("$KV.rockets.x"),
            Publish("outcomes.0"),
            Publish("rockets_dlq.0.refused.x"),
            Publish("$JS.ACK.ROCKETS.rockets-p00.1.1.1.1.0"),
            Publish("rockets_trackers.word.x"),
            Ask("STREAM.PURGE.ROCKETS", "{}"),
            Ask("STREAM.PURGE.ROCKETS_DLQ", "{}"),
            Ask("STREAM.MSG.DELETE.ROCKETS", r#"{"seq":1}"#),
            Ask("CONSUMER.MSG.NEXT.ROCKETS.rockets-p00", "1"),
            Ask("CONSUMER.CREATE.ROCKETS.x.rockets.0.*", "{}"),
            Ask("CONSUMER.CREATE.KV_rockets.x", "{}"),
            Subscribe("_INBOX_track.>"),
        ],
    ),
    (User::Up, &[Subscribe("_INBOX_admin.>")]),
    (
        User::Operator,
        &[
            Publish("$JS.ACK.ROCKETS.rockets-p00.1.1.1.1.0"),
            Publish("rockets_trackers.word.x"),
            Ask("STREAM.PURGE.ROCKETS", "{}"),
            Ask("STREAM.MSG.DELETE.ROCKETS", r#"{"seq":1}"#),
            Ask("CONSUMER.MSG.NEXT.ROCKETS.rockets-p00", "1"),
            Ask("STREAM.CREATE.ROCKETS", r#"{"name":"ROCKETS"}"#),
        ],
    ),
];

/// A client that logs in as a user.
async fn client(broker: &Broker, user: &str) -> Client {
    let options = ConnectOptions::new().custom_inbox_prefix(format!("_INBOX_{user}"));
    let options = options.user_and_password(user.to_owned(), format!("secret-of-{user}"));
    options.connect(broker.url_of(user)).await.unwrap()
}

/// How often the broker has complained.
async fn complaints(broker: &Broker, client: &Client) -> usize {
    // The answer to this comes behind whatever it said before.
    client.flush().await.unwrap();
    broker.violations().len()
}

/// Whether somebody may do this: whether the broker complains.
async fn is_allowed(broker: &Broker, client: &Client, call: Call) -> bool {
    let before = complaints(broker, client).await;
    let inbox = client.new_inbox();
    match call {
        Publish(subject) => client.publish(subject, "x".into()).await.unwrap(),
        Ask(call, body) => client.publish_with_reply(format!("$JS.API.{call}"), inbox, body.into()).await.unwrap(),
        Subscribe(subject) => drop(client.subscribe(subject).await.unwrap()),
    }
    let mut after = complaints(broker, client).await;
    // Its log may be a moment behind.
    for _ in 0..10 {
        if after == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
            after = complaints(broker, client).await;
        }
    }
    after == before
}

#[tokio::test]
async fn nobody_may_do_what_is_not_theirs_to_do() {
    let broker = Broker::start_with_users().await;
    Program::of(&["init"]).broker(&broker).ends().await.says(0);
    let mut wrong = Vec::new();
    for user in User::VARIANTS {
        let client = client(&broker, user.name()).await;
        let own = FORBIDDEN.iter().filter(|(of, _)| of == user).flat_map(|(_, calls)| *calls);
        let of_admin = ADMIN.iter().filter(|_| *user != User::Admin);
        for call in NOBODY.iter().chain(of_admin).chain(own) {
            if is_allowed(&broker, &client, *call).await {
                wrong.push((user.name(), *call));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The table above can fail: who may do everything is refused nothing.
#[tokio::test]
async fn who_may_do_everything_is_refused_nothing() {
    let broker = Broker::start_with_users().await;
    let client = client(&broker, "test").await;
    let all = FORBIDDEN.iter().flat_map(|(_, calls)| *calls).chain(&NOBODY).chain(&ADMIN);
    for call in all {
        assert!(is_allowed(&broker, &client, *call).await, "{call:?}");
    }
}

#[tokio::test]
async fn everybody_may_do_what_they_do() {
    let broker = Broker::start_with_users().await;
    let tool = async |arguments: &[&str]| Program::of(arguments).broker(&broker).ends().await.says(0).to_owned();
    tool(&["init"]).await;
    let mut roles = ["ingest", "track", "query"].map(|role| Program::of(&[role]).broker(&broker).start());
    let (ingest, query) = (roles[0].ready().await, roles[2].ready().await);
    roles[1].ready().await;
    let flight = Flight::new();
    for message in [flight.launched(1), flight.launched(2), flight.faster(3, 10), flight.faster(6, 100)] {
        ingest.ingest(&message).await;
    }
    let skip = json!({ "up_to": 5, "reason": "lost" });
    eventually("the gap is there", async || (query.list("/gaps").await.len() == 1).then_some(())).await;
    query.settled(query.skip(&flight.channel, &skip).await.ingested()).await;
    let dead_letter = query.dead_letters_of(&flight.channel).await[0]["id"].clone();
    query.settled(query.replay(&dead_letter, Some(&flight.faster(2, 1))).await.ingested()).await;
    let rocket = eventually("the rocket", async || {
        let rocket = query.rocket(&flight.channel).await?;
        (rocket["lastMessageNumber"] == 6).then_some(rocket)
    });
    rocket.await;
    for arguments in [
        &["list"][..],
        &["partitions"],
        &["top", "--once", "--every", "100ms"],
        &["gaps"],
        &["dlq", "list"],
        &["history", &flight.channel],
        &["rebuild", "--check"],
        &["rebuild", "--apply"],
        &["doctor"],
        &["trim", "--keep", "0s", "--yes"],
    ] {
        tool(arguments).await;
    }
    assert_eq!(query.list(&format!("/rockets/{}/history", flight.channel)).await.len(), 0, "it was trimmed");
    tool(&["forget", &flight.channel, "--yes"]).await;
    let folder = tempfile::TempDir::new().unwrap();
    tool(&["backup", folder.path().join("copy").to_str().unwrap()]).await;
    drop(roles);
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let (client, messages) = (up.ready().await, Flight::new().climb(3));
    for message in &messages {
        client.ingest(message).await;
    }
    settles(&client, &messages).await;
    assert_eq!(broker.violations(), [""; 0]);
}

#[tokio::test]
async fn the_file_is_what_the_program_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/users.conf");
    let begin = "# The users of a broker and what each may do there, made by `rockets init --print-permissions`. In the server's\n\
                 # configuration: `include ./users.conf`. The passwords are variables of its environment, as bcrypt hashes\n\
                 # (`nats server passwd`) or as they are.\n";
    let printed = Program::of(&["init", "--print-permissions"]).ends().await.says(0).to_owned();
    assert_eq!(printed, Authorization { inbox_prefix: "_INBOX" }.to_string());
    let expected = format!("{begin}{printed}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "nats/users.conf is old; UPDATE=1 cargo test --test e2e permissions writes it again");
    let other = Program::of(&["init", "--print-permissions", "--nats-inbox-prefix", "_X"]).ends().await;
    assert!(other.says(0).contains("\"_X_track.>\"") && !other.output.contains("_INBOX"), "{other:?}");
}

#[tokio::test]
async fn a_server_takes_the_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let users = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/users.conf");
    let config = folder.path().join("server.conf");
    std::fs::copy(users, folder.path().join("users.conf")).unwrap();
    std::fs::write(&config, "include ./users.conf\n").unwrap();
    let mut command = std::process::Command::new(super::harness::broker::server_program());
    command.arg("-t").arg("-c").arg(&config);
    for user in User::VARIANTS {
        command.env(format!("NATS_{}_PASSWORD", user.name().to_uppercase()), "secret");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// What a log says, for `Value`s that are lines of it.
fn is_complaint(line: &Value) -> bool {
    line["message"] == "the broker complains"
}

#[tokio::test]
async fn a_missing_permission_is_logged() {
    let broker = Broker::start_with_users().await;
    Program::of(&["init"]).broker(&broker).ends().await.says(0);
    let start = Program::of(&["track"]).env("ROCKETS_NATS__URL", &broker.url_of("ingest"));
    let program = start.start();
    let complaint = async || {
        let lines = program.log_lines();
        let line = lines.iter().find(|line| is_complaint(line))?;
        line["error"].as_str().map(str::to_owned)
    };
    let complaint = eventually("the log says what is not allowed", complaint).await;
    assert!(complaint.to_lowercase().contains("permissions violation"), "{complaint}");
}
