//! The compose files, as a new user runs them: up, load, scale, kill, down.

use super::compose::Compose;
use super::engine::{self, docker};
use super::harness::load::{is_verified, launch, reaches};

#[tokio::test]
async fn the_service_is_scaled_and_loses_containers_under_load() {
    if !engine::is_there("the_service_is_scaled_and_loses_containers_under_load").await {
        return;
    }
    let compose = Compose::of("one", &["docker-compose.yml"]).await;
    compose.run(&["up", "--detach"]).await;
    compose.healthy("api", 1).await;
    compose.healthy("tracker", 1).await;
    let client = compose.client();
    let mut launch = launch(&client, &client, 4_000);

    reaches(&client, &mut launch, 300).await;
    compose.run(&["up", "--detach", "--scale", "tracker=4"]).await;
    compose.healthy("tracker", 4).await;
    docker(&["kill", &compose.running("tracker").await[0]]).await;
    reaches(&client, &mut launch, 1_500).await;
    compose.run(&["kill", "nats"]).await;
    compose.run(&["start", "nats"]).await;
    is_verified(launch).await;

    let running = compose.running("tracker").await;
    assert_eq!(running.len(), 3);
    compose.run(&["stop"]).await;
    for container in running {
        let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &container]).await;
        assert_eq!(code, "0", "{}", docker(&["logs", "--tail", "20", &container]).await);
    }
}

#[tokio::test]
async fn three_brokers_lose_one_under_load_and_nothing_else() {
    if !engine::is_there("three_brokers_lose_one_under_load_and_nothing_else").await {
        return;
    }
    let compose = Compose::of("three", &["docker-compose.yml", "docker-compose.cluster.yml"]).await;
    compose.run(&["up", "--detach"]).await;
    compose.healthy("api", 1).await;
    let client = compose.client();
    let mut launch = launch(&client, &client, 3_000);
    reaches(&client, &mut launch, 500).await;
    compose.run(&["kill", "nats-2"]).await;
    is_verified(launch).await;
    compose.run(&["start", "nats-2"]).await;
    compose.healthy("nats-2", 1).await;
}
