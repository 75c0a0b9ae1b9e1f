//! What tests are made of: brokers, programs, clients and messages, each ended and cleaned up when it is dropped.
//!
//! Nothing here knows the crate's own types: what is sent and what is expected is written down a second time.

pub mod backup;
pub mod balancer;
pub mod broker;
pub mod channel_log;
pub mod client;
pub mod collector;
pub mod data_dir;
pub mod follower;
pub mod judge;
pub mod load;
pub mod messages;
pub mod program;
pub mod prometheus;
pub mod service;
pub mod stream;
pub mod terminal;
pub mod trackers;

use std::fmt::Debug;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;

pub use broker::Broker;
pub use channel_log::ChannelLog;
pub use client::Client;
pub use collector::Collector;
pub use data_dir::DataDir;
pub use follower::Follower;
pub use messages::Flight;
pub use program::Program;
pub use service::TestService;
pub use terminal::Terminal;
pub use trackers::Trackers;

/// How long a condition may take to come true on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Looks again and again until there is something, and gives it; fails with `what` when that takes too long.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Looks again and again until it sees what is expected; fails with what was seen last when that takes too long.
pub async fn becomes<T: PartialEq + Debug>(what: &str, expected: T, mut look: impl AsyncFnMut() -> T) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        if seen == expected {
            return;
        }
        if Instant::now() >= deadline {
            assert_eq!(seen, expected, "not within {PATIENCE:?}: {what}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Some fields of an object, as an array.
pub fn pick<const N: usize>(object: &Value, fields: [&str; N]) -> Value {
    fields.map(|field| object[field].clone()).to_vec().into()
}

/// Stops a child process as a machine that hangs, and waits until all of its threads stand still: the signal alone lets
/// them go on for a moment.
pub fn freeze(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().expect("it is waited for");
    assert!(status.stopped(), "{status:?}");
}

/// A port on which nobody listens, and which no outgoing connection gets by chance while a broker is away for a moment:
/// below the ports that systems give out by themselves.
pub fn free_port() -> u16 {
    const FIRST: u16 = 18_000;
    const COUNT: u16 = 14_000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Test binaries that run at the same time begin at different places.
    let next = NEXT.get_or_init(|| AtomicU16::new((std::process::id() % 1_000) as u16 * 14));
    loop {
        let port = FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The lines at the end of a log.
pub fn tail(log: &str, lines: usize) -> String {
    let all: Vec<_> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
