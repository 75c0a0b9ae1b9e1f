//! On what it was measured: a figure without it says nothing.

use std::fmt;
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::load::quantile;
use crate::process::temporary_folder;
use crate::site::broker_program;

/// Writes that are synced to find out what syncing costs.
const SYNCS: usize = 500;

/// What the figures depend on.
#[derive(Clone, Serialize, Deserialize)]
pub struct Machine {
    cores: usize,
    /// What the processor calls itself, where that can be read.
    processor: Option<String>,
    memory_bytes: Option<u64>,
    system: String,
    broker: String,
    build: String,
    sync_before: SyncTime,
    sync_after: SyncTime,
}

/// How long a small write takes to reach the disk on which the stores lie. It decides what syncing costs, and where a
/// disk is shared it differs from minute to minute.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct SyncTime {
    p50_seconds: f64,
    p99_seconds: f64,
}

impl Machine {
    /// Looks at it before anything is measured.
    pub fn look() -> anyhow::Result<Self> {
        let version = Command::new(broker_program()).arg("--version").output()?;
        let sync = SyncTime::measure()?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: field_of("/proc/cpuinfo", "model name"),
            memory_bytes: field_of("/proc/meminfo", "MemTotal").and_then(|text| kibibytes(&text)),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            broker: String::from_utf8_lossy(&version.stdout).replace(':', "").trim().to_owned(),
            build: if cfg!(debug_assertions) { "a build without optimisations" } else { "a release build" }.to_owned(),
            sync_before: sync,
            sync_after: sync,
        })
    }

    /// Looks at what may have changed meanwhile.
    pub fn look_again(&mut self) -> anyhow::Result<()> {
        self.sync_after = SyncTime::measure()?;
        Ok(())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, processor, memory_bytes, system, broker, build, sync_before, sync_after } = self;
        write!(f, "{cores} cores")?;
        if let Some(processor) = processor {
            write!(f, " ({processor})")?;
        }
        if let Some(bytes) = memory_bytes {
            write!(f, ", {:.0} GiB", *bytes as f64 / f64::from(1 << 30))?;
        }
        write!(f, ", {system}, {broker}, {build}. To sync a small write to disk took {sync_before} before and ")?;
        write!(f, "{sync_after} after.")
    }
}

impl SyncTime {
    fn measure() -> anyhow::Result<Self> {
        let folder = temporary_folder()?;
        let mut file = std::fs::File::create(folder.path().join("file"))?;
        let mut times = Vec::new();
        for _ in 0..SYNCS {
            let start = Instant::now();
            file.write_all(&[b'x'; 300])?;
            file.sync_all()?;
            times.push(start.elapsed());
        }
        let [p50, p99] = [0.5, 0.99].map(|share| quantile(&mut times, share));
        Ok(Self { p50_seconds: p50.as_secs_f64(), p99_seconds: p99.as_secs_f64() })
    }
}

impl fmt::Display for SyncTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [self.p50_seconds, self.p99_seconds].map(Duration::from_secs_f64);
        write!(f, "{:.2} ms (p99 {:.2} ms)", 1_000.0 * p50.as_secs_f64(), 1_000.0 * p99.as_secs_f64())
    }
}

/// A line `name : value` of a file that Linux has.
fn field_of(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

fn kibibytes(text: &str) -> Option<u64> {
    Some(text.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
