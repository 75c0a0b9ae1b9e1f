//! A broker with a user for each kind of process: each may do all that it does, and nothing of what it does not.
//!
//! `E2E_USERS=1 cargo test --test e2e` runs every other test with these users too, and fails where one was not allowed
//! something.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use rockets::internals::{Authorization, User};
use serde_json::{Value, json};
use strum::VariantArray as _;

use super::cluster::Cluster;
use super::harness::broker::server_program;
use super::harness::program::Start;
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

/// One broker with users, or three that have the same ones.
trait Brokers {
    /// Where they are, with the login of a user.
    fn url_of(&self, user: &str) -> String;
    /// What their logs say that somebody was not allowed.
    fn violations(&self) -> Vec<String>;
    /// The program there, as the user for what it does.
    fn start(&self, arguments: &[&str]) -> Start;
}

impl Brokers for Broker {
    fn url_of(&self, user: &str) -> String {
        self.url_of(user)
    }

    fn violations(&self) -> Vec<String> {
        self.violations()
    }

    fn start(&self, arguments: &[&str]) -> Start {
        Program::of(arguments).broker(self)
    }
}

impl Brokers for Cluster {
    fn url_of(&self, user: &str) -> String {
        self.urls_of(user)
    }

    fn violations(&self) -> Vec<String> {
        self.violations()
    }

    fn start(&self, arguments: &[&str]) -> Start {
        let start = Program::of(arguments).logged_in(|user| self.urls_of(user));
        start.env("ROCKETS_STREAM__REPLICAS", "3").env("ROCKETS_STREAM__PARTITIONS", "2")
    }
}

/// A client that logs in as a user.
async fn client(brokers: &impl Brokers, user: &str) -> Client {
    let url = brokers.url_of(user);
    let (login, host) = url.split(',').next().unwrap().trim_start_matches("nats://").split_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let options = ConnectOptions::new().custom_inbox_prefix(format!("_INBOX_{user}"));
    options.user_and_password(user.to_owned(), password.to_owned()).connect(host).await.unwrap()
}

/// How often the brokers have complained.
async fn complaints(brokers: &impl Brokers, client: &Client) -> usize {
    // The answer to this comes behind whatever was said before.
    client.flush().await.unwrap();
    brokers.violations().len()
}

/// Whether somebody may do this: whether a broker complains.
async fn is_allowed(brokers: &impl Brokers, client: &Client, call: Call) -> bool {
    let before = complaints(brokers, client).await;
    let inbox = client.new_inbox();
    match call {
        Publish(subject) => client.publish(subject, "x".into()).await.unwrap(),
        Ask(call, body) => client.publish_with_reply(format!("$JS.API.{call}"), inbox, body.into()).await.unwrap(),
        Subscribe(subject) => drop(client.subscribe(subject).await.unwrap()),
    }
    let mut after = complaints(brokers, client).await;
    // Its log may be a moment behind.
    for _ in 0..10 {
        if after == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
            after = complaints(brokers, client).await;
        }
    }
    after == before
}

/// What of the table somebody may do all the same.
async fn wrongly_allowed(brokers: &impl Brokers) -> Vec<(&'static str, Call)> {
    let mut wrong = Vec::new();
    for user in User::VARIANTS {
        let client = client(brokers, user.name()).await;
        let own = FORBIDDEN.iter().filter(|(of, _)| of == user).flat_map(|(_, calls)| *calls);
        let of_admin = ADMIN.iter().filter(|_| *user != User::Admin);
        for call in NOBODY.iter().chain(of_admin).chain(own) {
            if is_allowed(brokers, &client, *call).await {
                wrong.push((user.name(), *call));
            }
        }
    }
    wrong
}

#[tokio::test]
async fn nobody_may_do_what_is_not_theirs_to_do() {
    let broker = Broker::start_with_users().await;
    broker.start(&["init"]).ends().await.says(0);
    let wrong = wrongly_allowed(&broker).await;
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

/// Every process does all that it does.
async fn everybody_works(brokers: &impl Brokers) {
    let tool = async |arguments: &[&str]| brokers.start(arguments).ends().await.says(0).to_owned();
    tool(&["init"]).await;
    let mut roles = ["ingest", "track", "query"].map(|role| brokers.start(&[role]).start());
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
    let mut up = brokers.start(&["up"]).start();
    let (client, messages) = (up.ready().await, Flight::new().climb(3));
    for message in &messages {
        client.ingest(message).await;
    }
    settles(&client, &messages).await;
}

#[tokio::test]
async fn everybody_may_do_what_they_do() {
    let broker = Broker::start_with_users().await;
    everybody_works(&broker).await;
    assert_eq!(broker.violations(), [""; 0]);
}

#[tokio::test]
async fn three_brokers_allow_the_same() {
    let cluster = Cluster::start_with_users(server_program().to_owned()).await;
    everybody_works(&cluster).await;
    assert_eq!(cluster.violations(), [""; 0]);
    let wrong = wrongly_allowed(&cluster).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
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
async fn logins_are_made_once_and_each_is_for_its_user_alone() {
    let folder = tempfile::TempDir::new().unwrap();
    let place = folder.path().join("logins");
    let make = async || Program::of(&["init", "--make-logins", place.to_str().unwrap()]).ends().await;
    let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
    let password = |user: &User| read(&format!("{}/password", user.name()));
    assert_eq!(make().await.says(0).matches("made").count(), User::VARIANTS.len());
    let made: BTreeSet<_> = User::VARIANTS.iter().map(password).collect();
    assert_eq!(made.len(), User::VARIANTS.len());
    assert!(made.iter().all(|password| password.trim().len() == 40), "{made:?}");
    for file in ["broker/users.conf", "track/password"] {
        let mode = std::fs::metadata(place.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{file} is {mode:o}");
    }

    // Another version's permissions and somebody's own password come into the file.
    std::fs::write(place.join("broker/users.conf"), "old").unwrap();
    std::fs::write(place.join("track/password"), "my own\n").unwrap();
    std::fs::remove_file(place.join("query/password")).unwrap();
    assert_eq!(make().await.says(0).matches("made").count(), 1);
    let users = read("broker/users.conf");
    assert!(users.contains("NATS_TRACK_PASSWORD: \"my own\"\n"), "{users}");
    assert!(users.ends_with(&Authorization { inbox_prefix: "_INBOX" }.to_string()), "{users}");
    assert_eq!(made.intersection(&User::VARIANTS.iter().map(password).collect()).count(), User::VARIANTS.len() - 2);

    std::fs::write(place.join("track/password"), "a\" }").unwrap();
    let ended = make().await;
    assert!(ended.fails(1).contains("track/password must be one line without quotes"), "{ended:?}");
    assert_eq!(read("broker/users.conf"), users);
}

#[tokio::test]
async fn a_server_takes_the_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let users = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/users.conf");
    let config = folder.path().join("server.conf");
    std::fs::copy(users, folder.path().join("users.conf")).unwrap();
    std::fs::write(&config, "include ./users.conf\n").unwrap();
    let mut command = std::process::Command::new(server_program());
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
