//! The commands of the README and of docs/api.md, run as they stand there, one document after the other at a service of its
//! own. A block of commands says above it which test runs it, or why none does; `tests/tidy.rs` sees to that. What stands in a
//! block of JSON behind it must be the answer, but for ids and times.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::harness::TestService;

const MARK: &str = "<!-- run by tests/e2e/documents.rs -->\n```sh\n";
const MARK_APART: &str = "<!-- run by tests/e2e/documents.rs, at a service of its own -->\n```sh\n";
/// How long the commands of one block may take.
const RUNS_WITHIN: Duration = Duration::from_secs(120);
/// Fields that are another value each time.
const VARY: [&str; 4] = ["request_id", "received_at", "processed_at", "event_id"];

/// A block of commands, and the answer that is shown behind it.
struct Block<'a> {
    commands: &'a str,
    answer: Option<&'a str>,
}

fn blocks<'a>(document: &'a str, mark: &str) -> Vec<Block<'a>> {
    let block = |text: &'a str| {
        let (commands, rest) = text.split_once("```")?;
        let answer = rest.strip_prefix("\n```json\n").and_then(|rest| Some(rest.split_once("```")?.0));
        Some(Block { commands, answer })
    };
    document.split(mark).skip(1).filter_map(block).collect()
}

async fn run(commands: &str, service: &TestService) -> Output {
    let commands = commands.replace("http://localhost:8088", service.query.base()).replace("target/release/", "");
    // Less than a reader sends: this program is not optimised.
    let commands = commands.replace("rockets launch ", "rockets launch --max-messages 2000 ");
    let bin = Path::new(env!("CARGO_BIN_EXE_rockets")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &commands]).env("PATH", path).stdin(Stdio::null());
    bash.env("ROCKETS_NATS__URL", service.broker.as_ref().unwrap().url()).kill_on_drop(true);
    timeout(RUNS_WITHIN, bash.output()).await.expect("the commands end in time").unwrap()
}

/// The same without what is another each time.
fn comparable(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields
                .iter_mut()
                .filter(|(name, _)| VARY.contains(&name.as_str()))
                .for_each(|(_, value)| *value = Value::Null);
            fields.values_mut().for_each(|value| *value = comparable(value.take()));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = comparable(value.take())),
        _ => {}
    }
    value
}

async fn check(document: &str) {
    for tool in ["bash", "curl"] {
        if Command::new(tool).arg("--version").stdout(Stdio::null()).status().await.is_err() {
            eprintln!("skipped: the commands of {document} take {tool}, which is not installed");
            return;
        }
    }
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let (together, service) = (blocks(&text, MARK), TestService::start().await);
    assert!(together.len() > 2, "{document} has blocks of commands that are run here");
    for block in together {
        check_block(document, &block, &service).await;
    }
    for block in blocks(&text, MARK_APART) {
        check_block(document, &block, &TestService::start().await).await;
    }
}

async fn check_block(document: &str, Block { commands, answer }: &Block<'_>, service: &TestService) {
    let output = run(commands, service).await;
    let (shown, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{document}: {commands}\n{shown}\n{errors}");
    if let Some(answer) = answer {
        let [shown, expected] = [&*shown, answer].map(|text| comparable(serde_json::from_str(text).unwrap()));
        assert_eq!(shown, expected, "{document}: {commands}");
    }
}

#[tokio::test]
async fn the_readme_can_be_run() {
    check("README.md").await;
}

#[tokio::test]
async fn the_api_s_description_can_be_run() {
    check("docs/api.md").await;
}
