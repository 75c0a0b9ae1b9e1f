//! The compose files, as a new user runs them: up, load, scale, kill, down; who may do what there, and what each container is
//! denied.

use serde_json::{Value, json};

use super::compose::Compose;
use super::engine::{self, docker};
use super::harness::load::{is_verified, launch, reaches};
use super::harness::{Client, Flight, eventually};

/// What the load has left: messages that make no sense.
const DEAD_LETTERS: [&str; 2] = ["warn", "dead letters"];
/// Nobody is asked for a key unless somebody says so, and the API's port is everybody's.
const NO_KEYS: [&str; 2] = ["warn", "keys"];
/// A broker is away: it cannot be asked when it syncs, and its copies lag behind.
const ONE_AWAY: [[&str; 2]; 2] = [["warn", "sync"], ["warn", "replicas"]];
/// How the doctor is called: beside everything, and in the process that serves HTTP.
const APART: [&str; 4] = ["run", "--rm", "-T", "tools"];
const WITHIN: [&str; 4] = ["exec", "-T", "api", "rockets"];

#[tokio::test]
async fn the_service_is_scaled_and_loses_containers_under_load() {
    if !engine::is_there("the_service_is_scaled_and_loses_containers_under_load").await {
        return;
    }
    let compose = Compose::of("one", &["docker-compose.yml"], "").await;
    compose.run(&["up", "--detach"]).await;
    compose.healthy("api", 1).await;
    compose.healthy("tracker", 1).await;
    let client = compose.client("ROCKETS_PORT");
    nobody_comes_without_a_login(&compose).await;
    for service in ["nats", "api", "tracker"] {
        is_confined(&compose, service).await;
    }
    a_tool_skips(&compose, &client).await;
    let mut launch = launch(&client, &client, 4_000);

    reaches(&client, &mut launch, 300).await;
    compose.run(&["up", "--detach", "--scale", "tracker=4"]).await;
    compose.healthy("tracker", 4).await;
    docker(&["kill", &compose.running("tracker").await[0]]).await;
    reaches(&client, &mut launch, 1_500).await;
    compose.run(&["kill", "nats"]).await;
    compose.run(&["start", "nats"]).await;
    is_verified(launch).await;

    compose.is_well_but_for(&APART, &[DEAD_LETTERS]).await;
    compose.is_well_but_for(&WITHIN, &[DEAD_LETTERS, NO_KEYS]).await;
    let running = compose.running("tracker").await;
    assert_eq!(running.len(), 3);
    compose.run(&["stop"]).await;
    for container in running {
        let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &container]).await;
        assert_eq!(code, "0", "{}", docker(&["logs", "--tail", "20", &container]).await);
    }
    assert_eq!(compose.refusals(&["nats"]).await.len(), 1, "the one who came without a login");
}

#[tokio::test]
async fn three_brokers_lose_one_under_load_and_nothing_else() {
    if !engine::is_there("three_brokers_lose_one_under_load_and_nothing_else").await {
        return;
    }
    let compose = Compose::of("three", &["docker-compose.yml", "docker-compose.cluster.yml"], "split").await;
    compose.run(&["up", "--detach", "ingest", "query", "tracker"]).await;
    for role in ["ingest", "query", "tracker"] {
        compose.healthy(role, 1).await;
    }
    let (ingest, query) = (compose.client("ROCKETS_PORT"), compose.client("ROCKETS_QUERY_PORT"));
    compose.is_well_but_for(&APART, &[]).await;
    // By a route one would be let in without a login.
    assert!(reaches_port(&compose, 4222).await && !reaches_port(&compose, 6222).await);
    let mut launch = launch(&ingest, &query, 3_000);
    reaches(&query, &mut launch, 500).await;
    compose.run(&["kill", "nats-2"]).await;
    is_verified(launch).await;
    compose.is_well_but_for(&APART, &[&ONE_AWAY[..], &[DEAD_LETTERS]].concat()).await;
    compose.run(&["start", "nats-2"]).await;
    compose.healthy("nats-2", 1).await;
    assert_eq!(compose.refusals(&["nats", "nats-2", "nats-3"]).await, [""; 0]);
}

/// The broker's port on this machine is closed to who has no login.
async fn nobody_comes_without_a_login(compose: &Compose) {
    let refused = async_nats::connect(format!("127.0.0.1:{}", compose.port("NATS_PORT"))).await;
    assert_eq!(refused.map(drop).unwrap_err().kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
}

/// Whether a tracker comes through to a port of a broker.
async fn reaches_port(compose: &Compose, port: u16) -> bool {
    let tracker = &compose.running("tracker").await[0];
    let attempt = format!("timeout 3 bash -c '</dev/tcp/nats/{port}' 2>&1 && echo through || echo no");
    docker(&["exec", tracker, "bash", "-c", &attempt]).await.ends_with("through")
}

/// An operator's tool gives up a gap, and the rocket goes on.
async fn a_tool_skips(compose: &Compose, client: &Client) {
    let flight = Flight::new();
    for message in [flight.launched(1), flight.faster(4, 10)] {
        client.ingest(&message).await;
    }
    let number = async || client.rocket(&flight.channel).await.map(|rocket| rocket["lastMessageNumber"].clone());
    eventually("the gap is there", async || (client.list("/gaps").await.len() == 1).then_some(())).await;
    let skip = ["skip", &flight.channel, "--up-to", "3", "--reason", "lost", "--yes"];
    compose.run(&[&APART[..], &skip].concat()).await;
    eventually("the gap is skipped", async || (number().await == Some(json!(4))).then_some(())).await;
}

/// What the engine says that a service's container is denied, and what its process has.
async fn is_confined(compose: &Compose, service: &str) {
    let container = &compose.running(service).await[0];
    let inspected: Value = serde_json::from_str(&docker(&["inspect", container]).await).unwrap();
    let host = &inspected[0]["HostConfig"];
    assert_eq!(host["ReadonlyRootfs"], true, "{service}");
    assert_eq!(host["CapDrop"], json!(["ALL"]), "{service}");
    assert!(host["CapAdd"].is_null() && host["Privileged"] == false, "{service}: {host}");
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges:true"]), "{service}");
    assert!(host["PidsLimit"].as_u64() > Some(0) && host["Memory"].as_u64() > Some(0), "{service}: {host}");
    let user = if service == "nats" { "0:65532" } else { "65532:65532" };
    assert_eq!(inspected[0]["Config"]["User"], user, "{service}");
    let status = docker(&["exec", container, "cat", "/proc/1/status"]).await;
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{service}: {line:?} is not in\n{status}");
    }
}
