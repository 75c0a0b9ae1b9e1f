//! The folder in which `rockets up` keeps the store of its own broker, cleared of whatever is left running on it.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, POLL};

/// A data folder of one test. When it is dropped, a broker that was left behind on it is ended.
pub struct DataDir {
    folder: TempDir,
}

impl DataDir {
    /// An empty one.
    pub fn new() -> Self {
        Self { folder: TempDir::with_prefix("rockets-e2e-data-").unwrap() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The process on the store; none where none runs. The lock that the broker holds proves that the id is its own.
    pub fn broker_pid(&self) -> Option<Pid> {
        let lock = File::open(self.path().join("broker.lock")).ok()?;
        if lock.try_lock().is_ok() {
            return None;
        }
        let pid = std::fs::read_to_string(self.path().join("nats-server.pid")).ok()?;
        Pid::from_raw(pid.trim().parse().ok()?)
    }

    /// Where the broker answers.
    pub fn broker_url(&self) -> String {
        let config = std::fs::read(self.path().join("nats-server.conf")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        format!("nats://{}", config["listen"].as_str().unwrap())
    }

    /// Ends the broker as `kill -9` does.
    pub fn kill_broker(&self) {
        kill_process(self.broker_pid().expect("a broker runs on the store"), Signal::KILL).unwrap();
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(pid) = self.broker_pid()
            && Instant::now() < deadline
        {
            let _ = kill_process(pid, Signal::KILL);
            std::thread::sleep(POLL);
        }
    }
}
