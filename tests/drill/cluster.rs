//! Three brokers on this machine, started with the configuration that the project ships (`nats/cluster`): only the ports
//! are others, because a machine has each of them once.

use std::path::{Path, PathBuf};
use std::process::Command;

use async_nats::jetstream;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::broker::{Server, server_program};
use crate::harness::{Client, eventually, free_port, tail};

/// The version that an upgrade begins with.
const FLOOR: &str = "2.14.6";

/// Three brokers, which end with their owner.
pub struct Cluster {
    nodes: Vec<Node>,
    routes: String,
    program: PathBuf,
}

struct Node {
    server: Option<Server>,
    name: String,
    port: u16,
    monitor: u16,
    route: u16,
    frozen: bool,
    folder: TempDir,
}

/// The oldest nats-server that the service takes, if it was fetched.
pub fn floor_program() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("nats/.bin/nats-server-{FLOOR}"));
    program.is_file().then_some(program)
}

impl Cluster {
    /// Starts all three with this program, and waits until each of them is well.
    pub async fn start(program: PathBuf) -> Self {
        let nodes: Vec<_> = (1..=3).map(|number| Node::new(format!("n{number}"))).collect();
        let routes: Vec<_> = nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.route)).collect();
        let routes = format!("[{}]", routes.join(", "));
        let mut cluster = Self { nodes, routes, program };
        for at in 0..3 {
            cluster.start_node(at).await;
        }
        cluster.is_well().await;
        cluster
    }

    /// Where they answer.
    pub fn urls(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect();
        urls.join(",")
    }

    /// JetStream on a connection of its own.
    pub async fn jetstream(&self) -> jetstream::Context {
        let urls: Vec<_> = self.urls().split(',').map(str::to_owned).collect();
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        jetstream::new(options.connect(urls).await.unwrap())
    }

    /// The node that leads a stream.
    pub async fn leader_of(&self, stream: &str) -> usize {
        let jetstream = self.jetstream().await;
        let name = eventually("a leader", async || {
            let info = jetstream.get_stream(stream).await.ok()?.cached_info().clone();
            info.cluster?.leader
        })
        .await;
        self.nodes.iter().position(|node| node.name == name).expect("the leader is one of them")
    }

    /// Ends a node as `kill -9` does.
    pub fn kill(&mut self, at: usize) {
        self.nodes[at].server = None;
    }

    /// Stops a node as a machine that hangs.
    pub fn freeze(&mut self, at: usize) {
        self.nodes[at].server.as_ref().expect("it runs").freeze();
        self.nodes[at].frozen = true;
    }

    /// Lets every node go on that was frozen, starts every one that was killed, and waits until all of them are well.
    pub async fn mend(&mut self) {
        for at in 0..self.nodes.len() {
            if std::mem::take(&mut self.nodes[at].frozen) {
                self.nodes[at].server.as_ref().expect("it runs").thaw();
            }
            if self.nodes[at].server.is_none() {
                self.start_node(at).await;
            }
        }
        self.is_well().await;
    }

    /// Stops one node after the other in good order and starts it again, each when all are well.
    pub async fn roll(&mut self) {
        for at in 0..self.nodes.len() {
            let server = self.nodes[at].server.take().expect("it runs");
            server.signal(Signal::TERM);
            server.exit().await;
            self.start_node(at).await;
            self.is_well().await;
        }
    }

    /// The same, with the program that tests use from then on.
    pub async fn upgrade(&mut self) {
        self.program = server_program().to_owned();
        self.roll().await;
    }

    /// Waits until each node says that it is well: it has caught up with the others.
    async fn is_well(&self) {
        for node in &self.nodes {
            let monitor = Client::new(&format!("http://127.0.0.1:{}", node.monitor));
            eventually("the node is well", async || {
                monitor.try_get("/healthz").await.filter(|answer| answer.status == 200)
            })
            .await;
        }
    }

    async fn start_node(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/cluster/nats-server.conf");
        let log = node.folder.path().join("server.log");
        let mut command = Command::new(&self.program);
        command.env("NATS_NODE", &node.name).env("NATS_ROUTES", &self.routes);
        command.arg("-c").arg(config).arg("--store_dir").arg(node.folder.path()).arg("-l").arg(&log);
        command.args(["-a", "127.0.0.1", "-p", &node.port.to_string(), "-m", &node.monitor.to_string()]);
        command.args(["--cluster", &format!("nats://127.0.0.1:{}", node.route)]);
        node.server = Some(Server::start(command, node.port, &log).await);
    }
}

impl Node {
    fn new(name: String) -> Self {
        let folder = TempDir::with_prefix("rockets-drill-node-").unwrap();
        let [port, monitor, route] = [free_port(), free_port(), free_port()];
        Self { server: None, name, port, monitor, route, frozen: false, folder }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
            eprintln!("--- the broker {}, its last lines:\n{}", self.name, tail(&log, 20));
        }
    }
}
