//! Bodies of chance and malice over HTTP (`tests/e2e/hostile/drive.py`): each is told what is wrong with it, what is taken reads the
//! same everywhere, and rockets go on.
//!
//! `E2E_BODIES=100000` sends more of them, `E2E_SEED=<seed>` others.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::contract_service::Service;
use super::raw_http::{get, ingest, launch, new_channel};

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

#[tokio::test]
async fn hostile_bodies_are_told_what_is_wrong() {
    let service = Service::start().await;
    let run = Command::new("python3")
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/hostile/drive.py"))
        .arg(format!("http://{}", service.addr()))
        .args([variable("E2E_BODIES", "5000"), variable("E2E_SEED", "17")])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(600), run).await.expect("an end").expect("a python3");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(
        text(&output.stdout).contains("200: ") && text(&output.stdout).contains("400: "),
        "{}",
        text(&output.stdout)
    );
    let channel = new_channel();
    ingest(service.addr(), launch(&channel)).await;
    service.until_at(&channel, 1).await;
    assert_eq!(get(service.addr(), "/health").await.status, 200);
}
