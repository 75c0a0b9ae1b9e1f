//! A `nats-server` of one test: killed, restarted and frozen at will, always on the same store and port.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use async_nats::jetstream;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, POLL, free_port, freeze, tail};

/// A broker with JetStream, which ends with its owner.
pub struct Broker {
    port: u16,
    sync: &'static str,
    /// Further settings.
    more: Value,
    folder: TempDir,
    child: Option<Child>,
}

impl Broker {
    /// A broker that syncs to disk rarely, for tests that kill no machine: a killed process loses nothing.
    pub async fn start() -> Self {
        Self::start_syncing("2m").await
    }

    /// A broker that syncs to disk at `always` or an interval.
    pub async fn start_syncing(sync: &'static str) -> Self {
        Self::start_with(sync, Value::Null).await
    }

    /// A broker with further settings, as its configuration has them.
    pub async fn start_with(sync: &'static str, more: Value) -> Self {
        let folder = TempDir::with_prefix("rockets-e2e-broker-").unwrap();
        let mut broker = Self { port: free_port(), sync, more, folder, child: None };
        broker.restart().await;
        broker
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection to it, past the service.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.unwrap()
    }

    /// JetStream on a connection of its own.
    pub async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client().await)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it, again if need be, and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        let config = self.folder.path().join("server.conf");
        std::fs::write(&config, self.config()).unwrap();
        let mut child = Command::new(server_program())
            .args([Path::new("--config"), &config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "no broker: {ended:?}\n{}", tail(&self.log(), 20));
            tokio::time::sleep(POLL).await;
        }
        self.child = Some(child);
    }

    /// Takes away its store, once it was killed.
    pub fn clear(&self) {
        assert!(self.child.is_none(), "the broker runs");
        std::fs::remove_dir_all(self.folder.path().join("jetstream")).unwrap();
    }

    /// Stops it as a machine that hangs: connections stay open and nothing answers.
    pub fn freeze(&self) {
        freeze(Pid::from_child(self.child.as_ref().expect("the broker runs")));
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("the broker runs").id();
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    }

    fn config(&self) -> String {
        let mut config = serde_json::json!({
            "listen": format!("127.0.0.1:{}", self.port),
            "log_file": self.folder.path().join("server.log"),
            "jetstream": { "store_dir": self.folder.path(), "sync_interval": self.sync },
        });
        for (name, value) in self.more.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        format!("{config:#}\n")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the broker on port {}, its last lines:\n{}", self.port, tail(&self.log(), 20));
        }
        // A frozen process is killed all the same.
        self.kill();
    }
}

/// The `nats-server` that tests use: the one that the project has fetched, else one on the PATH.
pub fn server_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/.bin/nats-server");
        let program = if fetched.is_file() { fetched } else { PathBuf::from("nats-server") };
        let version = Command::new(&program).arg("--version").output();
        assert!(
            version.is_ok_and(|output| output.status.success()),
            "these tests need a nats-server: run `nats/get-nats-server`, or put one on the PATH"
        );
        program
    })
}
