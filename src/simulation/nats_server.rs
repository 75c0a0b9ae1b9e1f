//! A real broker for the conformance of the model: a nats-server with a store of its own, on a port that it picks itself,
//! which ends with its owner.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::provision::provision;
use crate::broker::topology::Topology;
use crate::broker::{Broker, ConnectionSettings};

/// How long a server may take to begin; a machine with much else to do takes its time.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A running server.
pub struct NatsServer {
    child: Child,
    folder: TempDir,
}

impl NatsServer {
    /// Starts one.
    pub fn start() -> Self {
        let folder = TempDir::with_prefix("rockets-conformance-").unwrap();
        let child = Command::new(program())
            .args(["--jetstream", "--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
            .arg(folder.path())
            .arg("--store_dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self { child: child.expect("these tests need a nats-server: run `nats/get-nats-server`"), folder }
    }

    /// Connects to it, and makes its objects.
    pub async fn provisioned(&self, topology: &Topology) -> Broker {
        let settings = ConnectionSettings { urls: vec![self.url().await], creds: None };
        let broker = Broker::connect(&settings, "conformance").await.unwrap();
        provision(&broker, topology).await.unwrap();
        broker
    }

    /// Where it answers, once it does: it writes that into a file.
    async fn url(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(url) = self.ports_file().and_then(|file| url_in(&file)) {
                return url;
            }
            assert!(Instant::now() < deadline, "nats-server does not begin");
            tokio::time::sleep(POLL).await;
        }
    }

    fn ports_file(&self) -> Option<PathBuf> {
        let mut files = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|extension| extension == "ports"))
    }
}

fn url_in(ports_file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(ports_file).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(ports["nats"][0].as_str()?.to_owned())
}

/// The one that the project has fetched, else the one on the PATH.
fn program() -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/.bin/nats-server");
    if fetched.is_file() { fetched } else { "nats-server".into() }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
