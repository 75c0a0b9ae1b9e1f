//! The project's own image: what is in it, and that it works as it is meant to be run.

use tokio::process::Command;

use super::broker::BrokerContainer;
use super::engine::{self, docker, image, said};
use super::harness::service::settles;
use super::harness::{Client, Flight, eventually, free_port};

/// Bytes that the image may have, what it stands on included.
const IMAGE_BYTES_MAX: u64 = 120_000_000;

/// A container that is removed when it is dropped.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        let removed = std::process::Command::new("docker").args(["rm", "--force", "--volumes", &self.0]).output();
        assert!(removed.is_ok_and(|output| output.status.success()) || std::thread::panicking(), "{}", self.0);
    }
}

#[tokio::test]
async fn the_image_is_small_and_runs_as_nobody() {
    if !engine::is_there("the_image_is_small_and_runs_as_nobody").await {
        return;
    }
    let image = image().await;
    let size: u64 = docker(&["image", "inspect", "--format", "{{.Size}}", image]).await.parse().unwrap();
    assert!(size <= IMAGE_BYTES_MAX, "{size} bytes");
    let settings = docker(&["image", "inspect", "--format", "{{.Config.User}} {{.Config.StopSignal}}", image]).await;
    assert_eq!(settings, "65532:65532 SIGTERM");
    let help = docker(&["run", "--rm", "--read-only", image]).await;
    assert!(help.contains("Usage: rockets"), "{help}");
    let why = said(Command::new("docker").args(["run", "--rm", "--read-only", image, "up"])).await.unwrap_err();
    assert!(why.contains("ROCKETS_NATS__URL=nats://host:4222") && why.contains("`docker compose up`"), "{why}");
}

#[tokio::test]
async fn the_image_serves_from_a_file_system_that_is_read_only_and_ends_well() {
    if !engine::is_there("the_image_serves_from_a_file_system_that_is_read_only_and_ends_well").await {
        return;
    }
    let image = image().await;
    let network = format!("rockets-image-{}", std::process::id());
    let broker_name = format!("{network}-nats");
    let _broker = BrokerContainer::in_network(&network, &broker_name).await;
    let port = free_port();
    let (publish, url) = (format!("127.0.0.1:{port}:8088"), format!("ROCKETS_NATS__URL=nats://{broker_name}:4222"));
    let run =
        ["run", "--detach", "--read-only", "--network", &network, "--publish", &publish, "--env", &url, image, "up"];
    let service = Container(docker(&run).await);
    healthy(&service.0).await;

    let client = Client::new(&format!("http://127.0.0.1:{port}"));
    let messages = Flight::new().climb(20);
    for message in messages.iter().rev() {
        client.ingest(message).await;
    }
    settles(&client, &messages).await;
    docker(&["stop", &service.0]).await;
    let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &service.0]).await;
    assert_eq!(code, "0", "{}", docker(&["logs", &service.0]).await);
}

/// Waits until the image's own health check says that it is well.
async fn healthy(container: &str) {
    eventually("the container is healthy", async || {
        let health = docker(&["inspect", "--format", "{{.State.Health.Status}}", container]).await;
        (health == "healthy").then_some(())
    })
    .await;
}
