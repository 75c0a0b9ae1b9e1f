//! Programs that judge the service from outside: clients, browsers and tools that we did not write.
//!
//! A test whose judge is not there is skipped and says why, except in continuous integration, where it has to be there.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// Says that a test is skipped, and why.
pub fn skipped(test: &str, reason: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{test}: {reason}, and this is continuous integration");
    // Past the test runner, which shows nothing of a test that passes.
    let mut past = std::io::stderr();
    writeln!(past, "SKIPPED {test}: {reason}").unwrap();
}

/// Runs it to its end, which has to be a good one, and gives what it has printed.
pub async fn judged(judge: &mut Command, patience: Duration) -> String {
    let run = judge.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(patience, run).await.expect("an end").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
