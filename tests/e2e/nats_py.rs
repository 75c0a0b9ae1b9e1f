//! An independent client: nats-py and Python's own HTTP drive the service, and see what we say that they see.
//!
//! It runs where `.venv` is there (`tests/e2e/get-nats-py`); elsewhere it is skipped, except in continuous integration.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::contract_service::Service;
use super::harness::judge::{judged, skipped};

#[tokio::test]
async fn nats_py_sees_and_sends_what_we_do() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = project.join(".venv/bin/python");
    if !python.is_file() {
        let reason = "there is no .venv with nats-py; tests/e2e/get-nats-py makes it, where there is a python3";
        return skipped("nats_py", reason);
    }
    let mut service = Service::start().await;
    let mut drive = Command::new(python);
    drive
        .arg(project.join("tests/e2e/nats_py/drive.py"))
        .arg(format!("http://{}", service.addr()))
        .arg(service.broker_url());
    assert_eq!(judged(&mut drive, Duration::from_secs(60)).await, "all seen\n");
}
