//! Bodies of chance and malice over HTTP (`tests/e2e/hostile/drive.py`): each is told what is wrong with it, what is taken reads the
//! same everywhere, and rockets go on.
//!
//! `E2E_BODIES=100000` sends more of them, `E2E_SEED=<seed>` others.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::contract_service::Service;
use super::harness::judge::judged;
use super::raw_http::{get, ingest, launch, new_channel};

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

#[tokio::test]
async fn hostile_bodies_are_told_what_is_wrong() {
    let service = Service::start().await;
    let mut drive = Command::new("python3");
    drive
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/hostile/drive.py"))
        .arg(format!("http://{}", service.addr()))
        .args([variable("E2E_BODIES", "5000"), variable("E2E_SEED", "17")]);
    let said = judged(&mut drive, Duration::from_secs(600)).await;
    assert!(said.contains("200: ") && said.contains("400: "), "{said}");
    let channel = new_channel();
    ingest(service.addr(), launch(&channel)).await;
    service.until_at(&channel, 1).await;
    assert_eq!(get(service.addr(), "/health").await.status, 200);
}
