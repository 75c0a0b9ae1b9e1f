//! An independent client: nats-py and Python's own HTTP drive the service, and see what we say that they see.
//!
//! It runs where `.venv` is there (`tests/e2e/get-nats-py`); elsewhere it is skipped, except in continuous integration.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::contract_service::Service;

#[tokio::test]
async fn nats_py_sees_and_sends_what_we_do() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = project.join(".venv/bin/python");
    if !python.is_file() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no .venv, and this is continuous integration");
        // Past the test runner, which shows nothing of a test that passes.
        let reason = "there is no .venv with nats-py; tests/e2e/get-nats-py makes it, where there is a python3";
        writeln!(std::io::stderr(), "SKIPPED nats_py: {reason}").unwrap();
        return;
    }
    let mut service = Service::start().await;
    let run = Command::new(python)
        .arg(project.join("tests/e2e/nats_py/drive.py"))
        .arg(format!("http://{}", service.addr()))
        .arg(service.broker_url())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(60), run).await.expect("an end").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stdout), "all seen\n");
}
