//! The program is killed under load, again and again: whoever sends until everything is through loses nothing.

use super::harness::{Broker, Client, DataDir, Program, free_port, load, program::Start};

/// Kills a program whenever the load has come a piece further, and starts the next in its place.
async fn is_killed_under_load(start: impl Fn() -> Start) {
    let port = free_port();
    let mut up = start().http_port(port).start();
    let client: Client = up.ready().await;
    let mut launch = load::launch(&client, &client, 5_000);
    for applied_min in [500, 2_000, 3_500] {
        load::reaches(&client, &mut launch, applied_min).await;
        up.kill();
        up = start().http_port(port).start();
        up.ready().await;
    }
    load::is_verified(launch).await;
}

#[tokio::test]
async fn with_a_broker_elsewhere() {
    let broker = Broker::start().await;
    is_killed_under_load(|| Program::of(&["up"]).broker(&broker)).await;
}

#[tokio::test]
async fn with_its_own_broker() {
    let data = DataDir::new();
    is_killed_under_load(|| Program::of(&["up"]).data_dir(&data)).await;
}

#[tokio::test]
async fn trackers_that_freeze_thaw_and_die_count_nothing_twice() {
    let broker = Broker::start().await;
    let start = |role| Program::of(&[role]).broker(&broker).env("ROCKETS_TRACK__ACK_WAIT", "1s").start();
    assert!(start("init").exit().await.success());
    let mut programs: Vec<_> = ["track", "track", "ingest", "query"].map(start).into();
    for program in &mut programs {
        program.ready().await;
    }
    let (ingest, query) = (programs[2].client().await, programs[3].client().await);
    let mut launch = load::launch(&ingest, &query, 5_000);
    load::reaches(&query, &mut launch, 500).await;
    programs[0].freeze();
    load::reaches(&query, &mut launch, 2_000).await;
    // It finds in hand what the other one has long done.
    programs[0].thaw();
    load::reaches(&query, &mut launch, 3_500).await;
    programs[1].kill();
    load::is_verified(launch).await;
}
