//! The page in a real browser: chromium, driven by Playwright from Python, uses it as people do (`tests/browser/check.py`), also
//! where a key is asked for (`tests/browser/keys.py`).
//!
//! It runs where `.venv` and chromium are there (`tests/browser/get-browser`); elsewhere it is skipped, except in continuous
//! integration. Its pictures are in `target/browser`.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::contract_service::Service;
use super::harness::Broker;
use super::harness::judge::{judged, skipped};
use super::keys::Keys;

/// How long all of it may take: a page, its dialogs, axe in two themes, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn the_page_is_used_as_people_use_it() {
    let Some(python) = python().await else { return };
    let service = Service::start().await;
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser");
    let url = format!("http://{}", service.addr());
    sees(python, "check.py", [&url, env!("CARGO_BIN_EXE_rockets"), pictures.to_str().unwrap()]).await;
}

#[tokio::test]
async fn the_page_asks_for_a_key() {
    let Some(python) = python().await else { return };
    let (keys, broker) = (Keys::new(), Broker::start().await);
    let read = keys.key(&["--scope", "read"]).await;
    let ingest = keys.key(&["--scope", "ingest"]).await;
    let (_program, client) = keys.up(&broker).start_and_ready().await;
    sees(python, "keys.py", [client.base(), &read, &ingest]).await;
}

/// Runs one of the scripts, which looks at the page until it has seen all.
async fn sees(mut python: Command, script: &str, arguments: [&str; 3]) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let look = python.arg("-B").arg(scripts.join(script)).args(arguments);
    assert_eq!(judged(look, PATIENCE).await, "all seen\n");
}

/// What runs the scripts, where that is there with all that it needs.
async fn python() -> Option<Command> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let Some(reason) = missing(&python).await else { return Some(Command::new(python)) };
    skipped("browser", &format!("{reason}; tests/browser/get-browser gets what it needs"));
    None
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
