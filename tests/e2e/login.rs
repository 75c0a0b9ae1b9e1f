//! How a broker lets us in: TLS, an nkey, user and password from files. And that no secret is ever shown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::program::Start;
use super::harness::{Broker, Flight, Program, eventually};

/// What no output may have.
const SECRET: &str = "cAnArY-s3cr3t";
/// An nkey as the documentation of NATS has it for an example.
const NKEY: [&str; 2] = [
    "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
];

/// A certificate or key of tests/e2e/tls, which has the program that made them.
fn pem(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/tls").join(name);
    path.to_str().unwrap().to_owned()
}

/// A file with a secret, which only its owner can read.
fn secret_file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, format!("{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A program with these settings of `[nats]`.
fn program(arguments: &[&str], broker: &Broker, settings: &[(&str, &str)]) -> Start {
    let start = Program::of(arguments).env("ROCKETS_NATS__URL", &format!("nats://127.0.0.1:{}", broker.port()));
    settings.iter().fold(start, |start, (setting, value)| start.env(&format!("ROCKETS_NATS__{setting}"), value))
}

/// A broker to which one of these users belongs, and nobody else.
async fn broker_with(user: Value) -> Broker {
    Broker::start_with("2m", json!({ "authorization": { "users": [user] } })).await
}

#[tokio::test]
async fn tls_is_spoken_in_both_directions_or_nothing_is_said() {
    let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(pem);
    let tls = json!({ "cert_file": cert, "key_file": key, "ca_file": ca, "verify": true });
    let broker = Broker::start_with("2m", json!({ "tls": tls, "authorization": {} })).await;
    let [cert, key] = ["client.pem", "client.key"].map(pem);
    let all = [("CA", &*ca), ("CERT", &*cert), ("KEY", &*key)];
    program(&["init"], &broker, &all).ends().await.says(0);
    let mut up = program(&["up"], &broker, &all).start();
    up.ready().await.ingest(&Flight::new().launched(1)).await;
    for known in [&all[..1], &all[1..], &[]] {
        let ended = program(&["doctor"], &broker, known).ends().await;
        assert!(ended.says(1).contains("no broker answers"), "{known:?}: {ended:?}");
    }
    // Somebody in between would say that the broker has no TLS.
    let plain = Broker::start_with("2m", json!({ "authorization": {} })).await;
    let ended = program(&["doctor"], &plain, &all).ends().await;
    assert!(ended.says(1).contains("no broker answers"), "{ended:?}");
}

#[tokio::test]
async fn a_new_password_counts_from_the_next_connection_on() {
    let user = |password: &str| json!({ "authorization": { "users": [{ "user": "us", "password": password }] } });
    let (mut broker, folder) = (Broker::start_with("2m", user(SECRET)).await, TempDir::new().unwrap());
    let file = secret_file(&folder, "password", SECRET);
    let mut up = program(&["up"], &broker, &[("USER", "us"), ("PASSWORD_FILE", file.to_str().unwrap())]).start();
    let client = up.ready().await;
    client.ingest(&Flight::new().launched(1)).await;
    broker.reload(user("another"));
    eventually("it is cut", async || up.log().contains("lost the broker").then_some(())).await;
    // Nobody is let in with the old one, however often that is tried; the new one comes late here.
    eventually("it is refused", async || up.log().contains("authorization violation").then_some(())).await;
    secret_file(&folder, "password", "another");
    eventually("a message is stored", async || {
        (client.post(&Flight::new().launched(1)).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_nkey_lets_in() {
    let (broker, folder) = (broker_with(json!({ "nkey": NKEY[1] })).await, TempDir::new().unwrap());
    let file = secret_file(&folder, "seed", NKEY[0]);
    program(&["init"], &broker, &[("NKEY", file.to_str().unwrap())]).ends().await.says(0);
    let ended = program(&["init"], &broker, &[]).ends().await;
    assert!(ended.fails(1).contains("nats.nkey"), "{ended:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = program(&["init"], &broker, &[("NKEY", file.to_str().unwrap())]).ends().await;
    assert!(ended.fails(1).contains("everybody on this machine can read"), "{ended:?}");
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    let (broker, folder) = (broker_with(json!({ "user": "us", "password": SECRET })).await, TempDir::new().unwrap());
    let [right, wrong, no_seed, no_creds] = [
        ("right", SECRET.to_owned()),
        ("wrong", format!("{SECRET}-wrong")),
        ("no_seed", format!("SU{SECRET}")),
        ("no_creds", format!("-----BEGIN NATS USER JWT-----\n{SECRET}\n------END NATS USER JWT------\n")),
    ]
    .map(|(name, text)| secret_file(&folder, name, &text).to_str().unwrap().to_owned());
    let url = |login: &str| format!("nats://{login}@127.0.0.1:{}", broker.port());
    let mut shown = Vec::new();
    for settings in [
        &[("USER", "us"), ("PASSWORD_FILE", &*right)][..],
        &[("USER", "us"), ("PASSWORD_FILE", &*wrong)],
        &[("NKEY", &*no_seed)],
        &[("CREDS", &*no_creds)],
        &[("URL", &*url(&format!("us:{SECRET}")))],
        &[("URL", &*url(&format!("us:{SECRET}-wrong")))],
        &[("URL", &*url(&format!("{SECRET}-token")))],
        &[("URL", &*format!("nats://us:{SECRET}@:"))],
        &[("URL", &*format!("nats://us:{SECRET}@127.0.0.1:1")), ("USER", "us")],
    ] {
        for arguments in [&["init"][..], &["doctor"], &["doctor", "--json"], &["gaps"], &["init", "--help"]] {
            let ended = program(arguments, &broker, settings).rust_log("trace").ends().await;
            shown.push(format!("{arguments:?} {settings:?}:\n{}{}", ended.output, ended.errors));
        }
    }
    let mut up = program(&["up"], &broker, &[("USER", "us"), ("PASSWORD_FILE", &right)]).rust_log("trace").start();
    let client = up.ready().await;
    let metrics = reqwest::get(client.url("/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("rockets_build_info"), "{metrics}");
    for path in ["/readyz", "/health", "/openapi.json"] {
        shown.push(client.get(path).await.body.to_string());
    }
    up.term().await;
    shown.extend([metrics, up.log(), up.output()]);
    for shown in shown {
        // The settings of the test itself stand in the first line.
        let text = shown.split_once(":\n").map_or(&*shown, |(_, text)| text);
        assert!(!text.contains(SECRET), "{shown}");
    }
}
