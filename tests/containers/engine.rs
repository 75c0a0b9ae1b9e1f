//! Whether a container engine is there, and what is said to it by its command.

use std::io::Write as _;
use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::OnceCell;

/// The project's image, under the name that the compose file has.
pub const IMAGE: &str = "rockets";
/// The folder of the project.
pub const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// What everything here stands on.
const PUBLIC_IMAGES: [&str; 3] = ["nats:2.15.1-alpine", "rust:1.95-slim-bookworm", "debian:bookworm-slim"];

/// Whether an engine answers and has what is needed; if not, says that this test is skipped, and why. With the variable
/// `CI` set, an engine that answers must have it.
pub async fn is_there(test: &str) -> bool {
    static CONDITION: OnceCell<Result<(), String>> = OnceCell::const_new();
    let condition = CONDITION.get_or_init(condition).await;
    if let Err(why) = condition {
        // Past the capture of the test runner, which shows nothing of a test that passes.
        let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
    }
    condition.is_ok()
}

async fn condition() -> Result<(), String> {
    let answer = run_quietly(&["version", "--format", "{{.Server.Version}}"]).await;
    answer.map_err(|why| format!("no container engine answers: {why}"))?;
    for image in PUBLIC_IMAGES {
        if run_quietly(&["image", "inspect", image]).await.is_err() {
            let pulled = run_quietly(&["pull", "--quiet", image]).await;
            assert!(pulled.is_ok() || std::env::var_os("CI").is_none(), "{image} is not to be had: {pulled:?}");
            pulled.map_err(|why| format!("{image} is not to be had: {why}"))?;
        }
    }
    Ok(())
}

/// Runs `docker` with these arguments and gives what it says.
pub async fn docker(arguments: &[&str]) -> String {
    run_quietly(arguments).await.unwrap_or_else(|why| panic!("docker {}: {why}", arguments.join(" ")))
}

async fn run_quietly(arguments: &[&str]) -> Result<String, String> {
    said(Command::new("docker").args(arguments)).await
}

/// What a command says that ends well; else its complaint.
pub async fn said(command: &mut Command) -> Result<String, String> {
    let output = command.current_dir(PROJECT).stdin(Stdio::null()).output().await.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The project's image, built once for all tests.
pub async fn image() -> &'static str {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    BUILT.get_or_init(async || drop(docker(&["build", "--quiet", "--tag", IMAGE, "."]).await)).await;
    IMAGE
}
