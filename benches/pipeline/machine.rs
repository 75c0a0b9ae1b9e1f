//! On what it was measured: a figure without it says nothing.

use std::fmt;
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::temporary_folder;
use crate::report::quantile;
use crate::site::broker_program;

/// Writes that are synced to find out what syncing costs.
const SYNCS: usize = 500;

/// How long a small write takes to reach the disk on which the stores lie. It decides what syncing costs, and where a
/// disk is shared it differs from minute to minute.
#[derive(Clone, Copy)]
pub struct SyncTime {
    p50: Duration,
    p99: Duration,
}

/// One line, with what syncing took before and after all of it.
pub fn describe(before: SyncTime, after: SyncTime) -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism()?;
    let version = Command::new(broker_program()).arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout).replace(':', "");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    Ok(format!(
        "{cores} cores, {os} {arch}, {}. To sync a small write to disk took {before} before and {after} after.",
        version.trim()
    ))
}

impl SyncTime {
    pub fn measure() -> anyhow::Result<Self> {
        let folder = temporary_folder()?;
        let mut file = std::fs::File::create(folder.path().join("file"))?;
        let mut times = Vec::new();
        for _ in 0..SYNCS {
            let start = Instant::now();
            file.write_all(&[b'x'; 300])?;
            file.sync_all()?;
            times.push(start.elapsed());
        }
        Ok(Self { p50: quantile(&mut times, 0.5), p99: quantile(&mut times, 0.99) })
    }
}

impl fmt::Display for SyncTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [self.p50, self.p99].map(|time| 1_000.0 * time.as_secs_f64());
        write!(f, "{p50:.2} ms (p99 {p99:.2} ms)")
    }
}
