//! Real brokers for the conformance of the model: a nats-server with a store of its own, on a port that it picks itself, or
//! three that agree. They end with their owner.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::objects::provision::{Means, provision};
use crate::broker::topology::Topology;
use crate::broker::{Broker, ConnectionSettings};

/// How long a server may take to begin; a machine with much else to do takes its time.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A running server.
pub struct NatsServer {
    child: Child,
    folder: TempDir,
    args: Vec<String>,
}

/// Three of them that agree before they answer.
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
    urls: Vec<String>,
}

impl NatsServer {
    /// Starts one.
    pub fn start() -> Self {
        Self::with(vec!["--port".into(), "-1".into()])
    }

    fn with(args: Vec<String>) -> Self {
        let folder = TempDir::with_prefix("rockets-conformance-").unwrap();
        Self { child: process(&folder, &args), folder, args }
    }

    /// Kills it.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was stopped, with what it has stored.
    pub fn start_again(&mut self) {
        self.child = process(&self.folder, &self.args);
    }

    /// Connects to it, and makes its objects.
    pub async fn provisioned(&self, topology: &Topology) -> Broker {
        provisioned(vec![self.url().await], topology).await
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

impl NatsCluster {
    /// Starts three.
    pub fn start() -> Self {
        let ports: Vec<_> = (0..6).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
        let ports: Vec<_> = ports.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let url = |port: &u16| format!("nats://127.0.0.1:{port}");
        let routes = ports[3..].iter().map(url).collect::<Vec<_>>().join(",");
        let node = |at: usize| {
            let args = format!(
                "--port {} --server_name n{at} --cluster_name conformance --cluster {} --routes {routes}",
                ports[at],
                url(&ports[3 + at])
            );
            NatsServer::with(args.split(' ').map(str::to_owned).collect())
        };
        Self { nodes: (0..3).map(node).collect(), urls: ports[..3].iter().map(url).collect() }
    }

    /// Connects to it, and makes its objects.
    pub async fn provisioned(&self, topology: &Topology) -> Broker {
        provisioned(self.urls.clone(), topology).await
    }

    /// One of its nodes, from 0.
    pub fn node(&mut self, at: usize) -> &mut NatsServer {
        &mut self.nodes[at]
    }
}

/// Connects to a server that begins, and makes its objects as soon as it can.
async fn provisioned(urls: Vec<String>, topology: &Topology) -> Broker {
    let deadline = Instant::now() + PATIENCE;
    let broker =
        Broker::connect(&ConnectionSettings { urls, ..ConnectionSettings::at("") }, "conformance").await.unwrap();
    while let Err(error) =
        provision(&broker, topology, Means::Change { lower_replicas: false, set_bounds: false }).await
    {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(POLL).await;
    }
    broker
}

fn process(folder: &TempDir, args: &[String]) -> Child {
    let child = Command::new(program())
        .args(["--jetstream", "--addr", "127.0.0.1", "--ports_file_dir"])
        .arg(folder.path())
        .arg("--store_dir")
        .arg(folder.path())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.expect("these tests need a nats-server: run `nats/get-nats-server`")
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
        self.stop();
    }
}
