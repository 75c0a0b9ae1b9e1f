//! Three brokers on this machine, started with the configuration that the project ships (`nats/cluster`): only the ports
//! are others, because a machine has each of them once.

use std::path::{Path, PathBuf};
use std::process::Command;

use async_nats::jetstream;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::broker::{Server, server_program, violations};
use crate::harness::{Client, Program, eventually, free_port, tail};
use crate::proxy::{Line, Proxy};

/// The version that an upgrade begins with.
const FLOOR: &str = "2.14.6";

/// Three brokers, which end with their owner.
pub struct Cluster {
    nodes: Vec<Node>,
    program: PathBuf,
    /// What all of them are started with.
    config: PathBuf,
    /// The passwords of their users, where they have any.
    logins: Option<TempDir>,
}

struct Node {
    /// The ways to the other nodes, by their number.
    routes: Vec<(usize, Proxy)>,
    server: Option<Server>,
    name: String,
    port: u16,
    monitor: u16,
    route: u16,
    nowhere: u16,
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
        Self::start_with(program, shipped("cluster/nats-server.conf"), None).await
    }

    /// The same with users and their logins, as they are made for who runs the project.
    #[allow(dead_code, reason = "for the end-to-end tests alone")]
    pub async fn start_with_users(program: PathBuf) -> Self {
        let folder = TempDir::with_prefix("rockets-drill-logins-").unwrap();
        let path = |name: &str| folder.path().join(name);
        Program::of(&["init", "--make-logins", path("made").to_str().unwrap()]).ends().await.says(0);
        std::fs::rename(path("made/broker"), path("login")).unwrap();
        for (file, name) in [("with-users.conf", "with-users.conf"), ("cluster/nats-server.conf", "nats-server.conf")] {
            std::fs::copy(shipped(file), path(name)).unwrap();
        }
        Self::start_with(program, path("with-users.conf"), Some(folder)).await
    }

    async fn start_with(program: PathBuf, config: PathBuf, logins: Option<TempDir>) -> Self {
        let nodes: Vec<_> = (1..=3).map(|number| Node::new(format!("n{number}"))).collect();
        let mut cluster = Self { nodes, program, config, logins };
        cluster.lay_routes().await;
        for at in 0..3 {
            cluster.start_node(at).await;
        }
        cluster.is_well().await;
        cluster
    }

    /// From each node a way of its own to each other one, so that any of them can be cut off.
    async fn lay_routes(&mut self) {
        let ports: Vec<_> = self.nodes.iter().map(|node| node.route).collect();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            for (other, port) in ports.iter().enumerate().filter(|(other, _)| *other != at) {
                node.routes.push((other, Proxy::to(*port).await));
            }
        }
    }

    /// Cuts a node off from the others, or lets it speak to them again.
    pub fn cut_off(&mut self, at: usize, is_cut: bool) {
        let line = if is_cut { Line::Cut } else { Line::Open };
        for (from, node) in self.nodes.iter().enumerate() {
            let ways = node.routes.iter().filter(|(to, _)| from == at || *to == at);
            ways.for_each(|(_, way)| way.set(line));
        }
    }

    /// Where they answer.
    pub fn urls(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect();
        urls.join(",")
    }

    /// Where they answer, to a user.
    #[allow(dead_code, reason = "for the end-to-end tests alone")]
    pub fn urls_of(&self, user: &str) -> String {
        let folder = self.logins.as_ref().expect("they have users").path();
        let password = std::fs::read_to_string(folder.join("made").join(user).join("password")).unwrap();
        self.urls().replace("nats://", &format!("nats://{user}:{}@", password.trim_end()))
    }

    /// What their logs say that somebody was not allowed.
    #[allow(dead_code, reason = "for the end-to-end tests alone")]
    pub fn violations(&self) -> Vec<String> {
        self.nodes.iter().flat_map(|node| violations(&node.log_file())).collect()
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
        let log = node.log_file();
        let mut command = Command::new(&self.program);
        let routes: Vec<_> = node.routes.iter().map(|(_, way)| way.url()).collect();
        command.env("NATS_NODE", &node.name).env("NATS_ROUTES", format!("[{}]", routes.join(", ")));
        command.arg("-c").arg(&self.config).arg("--store_dir").arg(node.folder.path()).arg("-l").arg(&log);
        command.args(["-a", "127.0.0.1", "-p", &node.port.to_string(), "-m", &node.monitor.to_string()]);
        command.args(["--cluster", &format!("nats://127.0.0.1:{}", node.route)]);
        // Nodes tell each other of one another: nobody listens where they say that they are, so that only the ways above
        // lead to them.
        command.args(["--cluster_advertise", &format!("127.0.0.1:{}", node.nowhere)]);
        node.server = Some(Server::start(command, node.port, &log).await);
    }
}

impl Node {
    fn new(name: String) -> Self {
        let folder = TempDir::with_prefix("rockets-drill-node-").unwrap();
        let [port, monitor, route, nowhere] = [(); 4].map(|()| free_port());
        Self { routes: Vec::new(), server: None, name, port, monitor, route, nowhere, frozen: false, folder }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }
}

/// A file of the project's configuration for brokers.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nats").join(name)
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
            eprintln!("--- the broker {}, its last lines:\n{}", self.name, tail(&log, 20));
        }
    }
}
