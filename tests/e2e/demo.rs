//! The demonstration of `make demo` and what the tour says of it: a rocket that exploded, a dead letter, rockets that fly.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::harness::{TestService, eventually};

#[tokio::test]
async fn the_demonstration_shows_one_of_each() {
    let service = TestService::start().await;
    let client = &service.ingest;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/demo");
    let mut demo = Command::new(script);
    demo.arg(env!("CARGO_BIN_EXE_rockets")).arg(client.base()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut demo = demo.kill_on_drop(true).spawn().unwrap();
    let channel = "00000000-0000-4000-8000-00000000de50";
    eventually("a rocket explodes, a message is a dead letter, and others fly", async || {
        let is_gone = client.rocket(channel).await.is_some_and(|rocket| rocket["status"] == "exploded");
        (is_gone && client.dead_letters_of(channel).await.len() == 1 && client.rockets().await.len() > 5).then_some(())
    })
    .await;
    // Only then does it end what it has started.
    kill_process(Pid::from_raw(demo.id().unwrap() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(demo.wait().await.unwrap().code(), Some(130));
    let refused = client.post(&serde_json::json!({ "metadata": { "channel": "x" } })).await;
    assert!(refused.error(400).starts_with("metadata."), "{refused:?}");
}
