//! The page in a real browser: chromium, driven by Playwright from Python, uses it as people do (`tests/browser/check.py`).
//!
//! It runs where `.venv` and chromium are there (`tests/browser/get-browser`); elsewhere it is skipped, except in continuous
//! integration. Its pictures are in `target/browser`.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::contract_service::Service;

/// How long all of it may take: a page, its dialogs, axe in two themes, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn the_page_is_used_as_people_use_it() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = project.join(".venv/bin/python");
    if let Some(reason) = missing(&python).await {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{reason}, and this is continuous integration");
        // Past the test runner, which shows nothing of a test that passes.
        writeln!(std::io::stderr(), "SKIPPED browser: {reason}; tests/browser/get-browser gets what it needs").unwrap();
        return;
    }
    let service = Service::start().await;
    let run = Command::new(python)
        .arg("-B")
        .arg(project.join("tests/browser/check.py"))
        .arg(format!("http://{}", service.addr()))
        .arg(env!("CARGO_BIN_EXE_rockets"))
        .arg(project.join("target/browser"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, run).await.expect("an end").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stdout), "all seen\n");
}

/// What is not there of what it needs.
async fn missing(python: &Path) -> Option<&'static str> {
    if !Path::new("/usr/bin/chromium").is_file() {
        return Some("there is no /usr/bin/chromium");
    }
    if !python.is_file() {
        return Some("there is no .venv");
    }
    let imports = Command::new(python).args(["-c", "import playwright, axe_playwright_python"]).output().await;
    let is_there = imports.is_ok_and(|output| output.status.success());
    (!is_there).then_some("there is no playwright in .venv")
}
