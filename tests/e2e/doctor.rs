//! `rockets doctor`: says nothing wrong of what is well, and finds what is not, with what to do about it.

use serde_json::{Value, json};

use super::harness::program::Start;
use super::harness::service::init;
use super::harness::{Broker, DataDir, Flight, Program, TestService, free_port};
use super::keys::Keys;

/// The findings of a doctor who ends with this code, each with its level, what was looked at, and its detail.
async fn findings(doctor: Start, code: i32) -> Vec<[String; 3]> {
    let ended = doctor.ends().await;
    let lines = ended.says(code).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let finding = |finding: Value| {
        assert_eq!(finding["remedy"].is_string(), finding["level"] != "ok", "{finding}");
        ["level", "check", "detail"].map(|field| text(&finding, field))
    };
    lines.map(finding).collect()
}

fn doctor(broker: &Broker) -> Start {
    Program::of(&["doctor", "--json"]).broker(broker)
}

/// Of each level what was looked at.
fn checks<'a>(findings: &'a [[String; 3]], level: &str) -> Vec<&'a str> {
    findings.iter().filter(|[of, ..]| of == level).map(|[_, check, _]| check.as_str()).collect()
}

#[track_caller]
fn finds(findings: &[[String; 3]], level: &str, check: &str, detail: &str) {
    let is_it = |finding: &&[String; 3]| finding[0] == level && finding[1] == check && finding[2].contains(detail);
    assert!(findings.iter().any(|finding| is_it(&finding)), "no {level} {check}: {detail} in {findings:#?}");
}

#[tokio::test]
async fn a_service_with_its_own_broker_is_well() {
    let (data, ports) = (DataDir::new(), [free_port(), free_port()]);
    let start = |arguments: &[&str]| {
        let port = ports[0].to_string();
        Program::of(arguments).data_dir(&data).env("ROCKETS_BROKER__PORT", &port).http_port(ports[1])
    };
    let mut up = start(&["up"]).start();
    let client = up.ready().await;
    client.ingest(&Flight::new().launched(1)).await;
    let found = findings(start(&["doctor", "--json"]), 0).await;
    // How much the disk of this machine has left is its own affair.
    let warned: Vec<_> = checks(&found, "warn").into_iter().filter(|check| *check != "disk").collect();
    assert_eq!((warned, checks(&found, "bad")), (vec![], vec![]), "{found:#?}");
    let looked_at = [
        "broker",
        "version",
        "login",
        "sync",
        "room",
        "objects",
        "replicas",
        "trackers",
        "lag",
        "gaps",
        "dead letters",
        "role",
        "keys",
    ];
    for check in looked_at {
        assert!(checks(&found, "ok").contains(&check), "{check}: {found:#?}");
    }
    up.term().await;
    let found = findings(start(&["doctor", "--json"]), 1).await;
    assert_eq!(checks(&found, "bad"), ["broker"], "{found:#?}");
    finds(&found, "ok", "role", "nothing serves HTTP");
}

#[tokio::test]
async fn what_is_not_well_is_found() {
    let broker = Broker::start().await;
    finds(&findings(doctor(&broker), 1).await, "bad", "objects", "stream ROCKETS is missing");
    init(&broker).await;
    let found = findings(doctor(&broker), 1).await;
    finds(&found, "bad", "trackers", "no tracker is there");
    finds(&found, "warn", "sync", "it is not known");
    assert_eq!(checks(&found, "bad"), ["trackers"], "{found:#?}");

    let jetstream = broker.jetstream().await;
    let config = |stream: async_nats::jetstream::stream::Stream| stream.cached_info().config.clone();
    let mut log = config(jetstream.get_stream("ROCKETS").await.unwrap());
    log.max_messages = 1;
    jetstream.update_stream(&log).await.unwrap();
    jetstream.publish("rockets.no-channel", "x".into()).await.unwrap().await.unwrap();
    jetstream.delete_consumer_from_stream("rockets-p03", "ROCKETS").await.unwrap();
    let mut outcomes = config(jetstream.get_stream("ROCKETS_OUTCOMES").await.unwrap());
    (outcomes.max_bytes, outcomes.allow_direct) = (-1, false);
    jetstream.update_stream(&outcomes).await.unwrap();
    let found = findings(doctor(&broker), 1).await;
    finds(&found, "bad", "objects", "stream ROCKETS is full: 1 of 1 messages");
    finds(&found, "bad", "objects", "durable rockets-p03 is missing");
    finds(&found, "bad", "objects", "stream ROCKETS_OUTCOMES is set up otherwise");
    finds(&found, "warn", "room", "stream ROCKETS_OUTCOMES has 0 B and no bound");
}

#[tokio::test]
async fn a_process_that_is_not_ready_and_dead_letters_are_told() {
    let mut service = TestService::start().await;
    let flight = Flight::new();
    for message in [flight.launched(1), flight.launched(2)] {
        service.ingest.settled(service.ingest.ingest(&message).await).await;
    }
    let addr = service.query.base().trim_start_matches("http://").to_owned();
    let doctor = doctor(service.broker()).env("ROCKETS_HTTP__ADDR", &addr);
    let found = findings(doctor, 0).await;
    finds(&found, "warn", "dead letters", "1 refused could not be applied");
    finds(&found, "ok", "role", "is ready");
}

#[tokio::test]
async fn a_process_is_asked_whether_it_asks_for_keys() {
    let (keys, broker) = (Keys::new(), Broker::start().await);
    keys.key(&["--scope", "read"]).await;
    let (mut up, _) = keys.up(&broker).start_and_ready().await;
    let mut open = Program::of(&["ingest"]).broker(&broker).start();
    open.ready().await;
    // The doctor's own settings ask for no keys, and are not what is told of.
    for (addr, detail) in [(up.addr().await, "lets nobody in"), (open.addr().await, "asks for none")] {
        let found = findings(doctor(&broker).env("ROCKETS_HTTP__ADDR", &addr), 0).await;
        finds(&found, "ok", "keys", &format!("the process at {addr} {detail}"));
    }
    let nobody = format!("127.0.0.1:{}", free_port());
    let found = findings(doctor(&broker).env("ROCKETS_HTTP__ADDR", &nobody), 0).await;
    finds(&found, "ok", "role", "nothing serves HTTP");
    assert!(!found.iter().any(|[_, check, _]| check == "keys"), "{found:#?}");
}

#[tokio::test]
async fn monitoring_tells_when_a_broker_syncs_and_what_it_gives() {
    let port = free_port();
    let broker = Broker::start_with("2m", json!({ "http": format!("127.0.0.1:{port}") })).await;
    init(&broker).await;
    let found = findings(doctor(&broker).env("ROCKETS_NATS__MONITOR_PORT", &port.to_string()), 1).await;
    finds(&found, "warn", "sync", "syncs to disk every 2m");
    finds(&found, "ok", "room", "all streams together may take 8.0 GiB of 1.0 TiB");
}
