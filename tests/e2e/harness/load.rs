//! Load: `rockets launch` as a process of its own, which sends until everything is through and then verifies.

use std::time::Duration;

use super::{Client, Program, eventually};

/// How long a run may take, kills and verification included.
const RUN_MAX: Duration = Duration::from_secs(150);

/// Starts a run of this many messages, in disorder, some twice, some that make no sense.
pub fn launch(ingest: &Client, query: &Client, messages: u64) -> Program {
    let (url, verify, messages) = (ingest.url("/messages"), query.url(""), messages.to_string());
    let disorder = ["--duplicates", "0.1", "--shuffle", "50", "--hostile"];
    let run = ["launch", &url, "--max-messages", &messages, "--verify", &verify, "--verify-deadline", "60s"];
    Program::of(&[&run[..], &disorder].concat()).start()
}

/// Waits until the run is through and has found no difference.
pub async fn is_verified(mut launch: Program) {
    let status = launch.exit_within(RUN_MAX).await;
    assert!(status.success(), "{status}\n{}", launch.output());
}

/// Waits until about so many messages have been applied, or the run is through.
pub async fn reaches(client: &Client, launch: &mut Program, applied_min: u64) {
    eventually("the load goes on", async || {
        let done = launch.try_exit().is_some();
        (done || applied(client).await >= applied_min).then_some(())
    })
    .await;
}

/// How many messages have been applied in all; none where the service is away.
async fn applied(client: &Client) -> u64 {
    let Some(answer) = client.try_get("/rockets").await else { return 0 };
    let rockets = answer.body["data"].as_array().cloned().unwrap_or_default();
    rockets.iter().filter_map(|rocket| rocket["lastMessageNumber"].as_u64()).sum()
}
