//! Copies at three brokers: they become fewer only where just that was asked for, and what is done to streams as wholes works
//! with them as with one.

use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

use super::cluster::Cluster;
use super::harness::broker::server_program;
use super::harness::program::Start;
use super::harness::stream::{all_is_applied, count, publish, records};
use super::harness::{ChannelLog, Flight, Program, becomes, eventually};

const STREAMS: [&str; 5] = ["ROCKETS", "ROCKETS_DLQ", "ROCKETS_OUTCOMES", "ROCKETS_CHECKPOINTS", "KV_rockets"];
const PARTITIONS: &str = "2";

/// A program at the cluster; without a number of replicas it has the default, 1.
fn at(cluster: &Cluster, arguments: &[&str], replicas: Option<&str>) -> Start {
    let start = Program::of(arguments).env("ROCKETS_NATS__URL", &cluster.urls());
    let start = start.env("ROCKETS_STREAM__PARTITIONS", PARTITIONS);
    replicas.into_iter().fold(start, |start, replicas| start.env("ROCKETS_STREAM__REPLICAS", replicas))
}

/// How many copies there are of each stream, and then of each durable.
async fn replicas(jetstream: &jetstream::Context) -> Vec<usize> {
    let mut all = Vec::new();
    for name in STREAMS {
        all.push(jetstream.get_stream(name).await.unwrap().cached_info().config.num_replicas);
    }
    let log = jetstream.get_stream("ROCKETS").await.unwrap();
    let durables: Vec<_> = log.consumers().map(|info| info.unwrap().config.num_replicas).collect().await;
    all.into_iter().chain(durables).collect()
}

#[tokio::test]
async fn copies_become_fewer_only_on_request() {
    let cluster = Cluster::start(server_program().to_owned()).await;
    at(&cluster, &["init"], Some("3")).ends().await.says(0);
    let jetstream = cluster.jetstream().await;

    // What is missing is made like the rest.
    jetstream.delete_stream("ROCKETS_DLQ").await.unwrap();
    jetstream.delete_consumer_from_stream("rockets-p01", "ROCKETS").await.unwrap();
    let mut up = at(&cluster, &["up"], None).start();
    up.ready().await;
    assert_eq!(replicas(&jetstream).await, [3; 7]);
    let lines = up.log_lines();
    let of = |level: &str, object: &str| lines.iter().any(|line| line["level"] == level && line["object"] == object);
    assert!(of("WARN", "stream ROCKETS") && of("WARN", "durable rockets-p00"), "{}", up.log());
    assert!(of("INFO", "stream ROCKETS_DLQ") && of("INFO", "durable rockets-p01"), "{}", up.log());
    drop(up);

    let ended = at(&cluster, &["init"], None).ends().await;
    let error = ended.fails(1);
    assert!(error.contains("stream ROCKETS has 3 replicas, the configuration says 1"), "{error}");
    assert!(error.contains("ROCKETS_STREAM__REPLICAS=3") && error.contains("rockets init --lower-replicas"), "{error}");
    assert_eq!((ended.output.as_str(), replicas(&jetstream).await), ("", vec![3; 7]));

    let ended = at(&cluster, &["init", "--lower-replicas"], None).ends().await;
    assert!(ended.says(0).contains("changed  stream ROCKETS\n         num_replicas: is 3, should be 1\n"), "{ended:?}");
    assert_eq!(replicas(&jetstream).await, [1; 7]);
}

#[tokio::test]
async fn what_is_deleted_while_a_node_is_gone_is_noticed_and_made_again() {
    let mut cluster = Cluster::start(server_program().to_owned()).await;
    at(&cluster, &["init"], Some("3")).ends().await.says(0);
    let start = |role| at(&cluster, &[role], Some("3")).start();
    let (mut track, mut query) = (start("track"), start("query"));
    let (track, query) = (track.ready().await, query.ready().await);
    let leader = cluster.leader_of("ROCKETS").await;
    cluster.kill(leader);
    let jetstream = cluster.jetstream().await;
    eventually("the others have elected a leader", async || {
        match jetstream.delete_consumer_from_stream("rockets-p01", "ROCKETS").await {
            Ok(_) => Some(()),
            // It was deleted by a try whose answer did not come.
            Err(error) => error.to_string().contains("consumer not found").then_some(()),
        }
    })
    .await;
    let problem = "durable rockets-p01 is missing: run `rockets init`";
    eventually("the tracker says so", async || {
        let answer = track.get("/readyz").await;
        (answer.status == 503 && answer.body["data"]["problems"].to_string().contains(problem)).then_some(())
    })
    .await;
    let of_query = query.get("/readyz").await.body.to_string();
    assert!(!of_query.contains("missing"), "what nobody answers for is not missing: {of_query}");
    let mut up = at(&cluster, &["up"], Some("3")).start();
    up.ready().await;
    becomes("the tracker", 200, async || track.get("/readyz").await.status).await;
    assert_eq!(replicas(&jetstream).await, [3; 7]);
}

/// More numbers than lie between two checkpoints.
const NUMBERS: u64 = 5_100;

#[tokio::test]
async fn a_log_is_trimmed_while_a_node_is_gone_and_comes_back_from_a_backup() {
    let mut cluster = Cluster::start(server_program().to_owned()).await;
    at(&cluster, &["init"], Some("3")).ends().await.says(0);
    let mut up = at(&cluster, &["up"], Some("3")).start();
    let (client, jetstream) = (up.ready().await, cluster.jetstream().await);
    let (long, gapped) = (Flight::new(), Flight::new());
    let mut messages = gapped.climb(20);
    let missing = messages.remove(10);
    let mut log = ChannelLog::new(&gapped.channel);
    for (event, message) in publish(&jetstream, &messages).await.into_iter().zip(&messages) {
        log.message(event, message);
    }
    publish(&jetstream, &long.climb(NUMBERS)).await;
    all_is_applied(&jetstream).await;
    eventually("a checkpoint", async || (count(&jetstream, "ROCKETS_CHECKPOINTS").await > 0).then_some(())).await;
    let shown = async || client.rocket(&long.channel).await.map(|rocket| rocket["lastMessageNumber"].clone());
    becomes("the number that is shown", Some(json!(NUMBERS)), shown).await;
    let before = (client.list("/rockets").await, records(&jetstream).await);
    sleep(Duration::from_secs(2)).await;

    let leader = cluster.leader_of("ROCKETS").await;
    cluster.kill(leader);
    let trim = async || at(&cluster, &["trim", "--keep", "1s", "--yes"], Some("3")).ends().await;
    eventually("the log is trimmed", async || (trim().await.code == Some(0)).then_some(())).await;
    let jetstream = cluster.jetstream().await;
    assert_eq!(count(&jetstream, "ROCKETS").await, 9, "what waits stays");
    let trimmed_through = async |path: String| client.get(&path).await.body["trimmed_through"].clone();
    let history = format!("/rockets/{}/history", long.channel);
    becomes("what was trimmed", json!(NUMBERS), async || trimmed_through(history.clone()).await).await;
    at(&cluster, &["rebuild", "--check"], Some("3")).ends().await.says(0);
    cluster.mend().await;

    let above = TempDir::with_prefix("rockets-e2e-replicas-").unwrap();
    let folder = above.path().join("backup").to_str().unwrap().to_owned();
    at(&cluster, &["backup", &folder], Some("3")).ends().await.says(0);
    drop(up);
    for name in STREAMS {
        jetstream.delete_stream(name).await.unwrap();
    }
    // A node that has just come back may be taken for offline for some seconds more.
    let restore = async || at(&cluster, &["restore", &folder], Some("3")).ends().await;
    eventually("it is restored", async || (restore().await.code == Some(0)).then_some(())).await;
    at(&cluster, &["init"], Some("3")).ends().await.says(0);
    assert_eq!(replicas(&jetstream).await, [3; 7]);
    at(&cluster, &["rebuild", "--check"], Some("3")).ends().await.says(0);
    let mut up = at(&cluster, &["up"], Some("3")).start();
    let client = up.ready().await;
    assert_eq!(client.list("/rockets").await, before.0);
    assert!(records(&jetstream).await == before.1, "what was restored is what was there");
    log.post(&client, &missing).await;
    log.rocket_holds(&client).await;
}
