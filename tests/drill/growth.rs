//! From one replica to three, without a pause: the three brokers hold everything once, messages come all the time, and
//! `rockets init` is told to make it three times. After it, the node that alone had the messages may go.

use async_nats::jetstream;
use async_nats::jetstream::stream::ClusterInfo;

use crate::cluster::Cluster;
use crate::harness::broker::server_program;
use crate::harness::program::Start;
use crate::harness::{Flight, Program, eventually, load};

/// Messages that come meanwhile.
const MESSAGES: u64 = 8_000;
/// So many of them before it becomes three.
const MESSAGES_BEFORE: u64 = 2_000;
const STREAMS: [&str; 5] = ["ROCKETS", "KV_rockets", "ROCKETS_OUTCOMES", "ROCKETS_DLQ", "ROCKETS_CHECKPOINTS"];

/// Nothing is lost on the way, and nothing hangs on the first node any more.
pub async fn holds() {
    let mut cluster = Cluster::start(server_program().to_owned()).await;
    with_replicas(&cluster, &["init"], "1").ends().await.says(0);
    let home = cluster.leader_of("ROCKETS").await;
    let mut up = with_replicas(&cluster, &["up"], "1").start();
    let client = up.ready().await;
    let mut launch = load::launch(&client, &client, MESSAGES);
    load::reaches(&client, &mut launch, MESSAGES_BEFORE).await;
    assert!(launch.try_exit().is_none(), "nothing comes any more:\n{}", launch.output());

    let init = with_replicas(&cluster, &["init"], "3").ends().await;
    let said = init.says(0);
    assert!(STREAMS.iter().all(|stream| said.contains(&format!("changed  stream {stream}"))), "{said}");
    load::is_verified(launch).await;
    is_there_three_times(&cluster.jetstream().await).await;

    // Whoever starts now meets brokers that are about to elect others.
    cluster.kill(home);
    drop(up);
    let mut up = with_replicas(&cluster, &["up"], "3").start();
    let client = up.ready().await;
    let message = Flight::new().launched(1);
    let event = eventually("the other two store a message", async || {
        client.post(&message).await.body["data"]["event_id"].as_u64()
    })
    .await;
    eventually("and tell what became of it", async || {
        let answer = client.try_get(&format!("/events/{event}")).await?;
        (answer.body["data"]["status"] == "processed").then_some(())
    })
    .await;
    with_replicas(&cluster, &["rebuild", "--check"], "3").ends().await.says(0);
}

fn with_replicas(cluster: &Cluster, arguments: &[&str], replicas: &str) -> Start {
    Program::of(arguments).env("ROCKETS_NATS__URL", &cluster.urls()).env("ROCKETS_STREAM__REPLICAS", replicas)
}

/// Each stream has two followers that have everything.
async fn is_there_three_times(jetstream: &jetstream::Context) {
    for name in STREAMS {
        eventually("the followers have everything", async || {
            let stream = jetstream.get_stream(name).await.ok()?;
            stream.cached_info().cluster.as_ref().filter(|cluster| has_two_that_follow(cluster)).map(drop)
        })
        .await;
    }
}

fn has_two_that_follow(cluster: &ClusterInfo) -> bool {
    cluster.leader.is_some() && cluster.replicas.iter().filter(|follower| follower.current).count() == 2
}
