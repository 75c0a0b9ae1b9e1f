//! Whether a container engine is there, and what is said to it by its command.

use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::OnceCell;

/// The project's image, under the name that the compose file has.
pub const IMAGE: &str = "rockets";
/// The folder of the project.
pub const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// Whether an engine answers; if not, says that this test is skipped.
pub async fn is_there(test: &str) -> bool {
    let answer = run_quietly(&["version", "--format", "{{.Server.Version}}"]).await;
    if let Err(why) = &answer {
        eprintln!("skipped: {test}: no container engine answers: {why}");
    }
    answer.is_ok()
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
