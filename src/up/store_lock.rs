//! One program at a time on a store: two brokers on one store destroy it, and the broker takes no lock of its own.
//!
//! Two locks lie beside the store. `up.lock` is held by `rockets up`. `broker.lock` is held by the broker itself: it gets
//! the locked file as its standard input, and the kernel lets the lock go when the last process that has the file is
//! gone, however it went. So a free `broker.lock` proves that no broker of ours is left on the store, and a taken one
//! that there is one, without trust in process ids or ports.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long an old broker may take to end after SIGTERM, before it is killed.
const TERM_MAX: Duration = Duration::from_secs(15);
/// How long the kernel may take to clear away a killed one.
const KILL_MAX: Duration = Duration::from_secs(10);
/// How long a broker that has just been started may take to say its process id.
const PID_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// The locks of one store.
pub struct StoreLock {
    folder: PathBuf,
    /// Held for as long as this lives.
    _up: File,
}

impl StoreLock {
    /// Takes the store for this process, or says who has it.
    pub fn acquire(folder: &Path) -> anyhow::Result<Self> {
        let up = open(&folder.join("up.lock"))?;
        match up.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _up: up }),
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "broker.data_dir: another `rockets up` works on {}; end it, or choose another folder \
                 (ROCKETS_BROKER__DATA_DIR)",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("broker.data_dir: cannot lock {}", folder.display()))
            }
        }
    }

    /// Where a broker on this store writes its process id.
    pub fn pid_file(&self) -> PathBuf {
        self.folder.join("nats-server.pid")
    }

    /// The lock that the next broker is to hold. A broker that was left behind by an earlier `rockets up` is ended first.
    pub async fn for_broker(&self) -> anyhow::Result<File> {
        let path = self.folder.join("broker.lock");
        let file = open(&path)?;
        if !is_free(&file)? {
            self.end_old_broker(&file).await?;
        }
        // The holder alone writes it, so that whoever finds the lock taken finds the holder's id or none.
        match std::fs::remove_file(self.pid_file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("broker.data_dir"),
            _ => Ok(file),
        }
    }

    async fn end_old_broker(&self, lock: &File) -> anyhow::Result<()> {
        let deadline = Instant::now() + PID_MAX;
        let pid = loop {
            match self.old_pid() {
                Some(pid) => break pid,
                None if is_free(lock)? => return Ok(()),
                None if Instant::now() < deadline => sleep(POLL).await,
                None => anyhow::bail!(
                    "broker.data_dir: an old broker is still on {} and has not said its process id; end it",
                    self.folder.display()
                ),
            }
        };
        let pid_number = pid.as_raw_nonzero();
        tracing::info!(pid = pid_number, "ending the broker that an earlier `rockets up` has left behind");
        for (signal, patience) in [(Signal::TERM, TERM_MAX), (Signal::KILL, KILL_MAX)] {
            // The lock is taken, so the process that wrote the id still lives and nobody else has its id.
            let _ = kill_process(pid, signal);
            if becomes_free(lock, patience).await? {
                return Ok(());
            }
        }
        anyhow::bail!(
            "broker.data_dir: the old broker on {} (process {pid_number}) does not end",
            self.folder.display()
        )
    }

    fn old_pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.pid_file()).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    let options = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    options.with_context(|| format!("broker.data_dir: cannot write {}", path.display()))
}

fn is_free(lock: &File) -> anyhow::Result<bool> {
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).context("broker.data_dir: cannot lock"),
    }
}

async fn becomes_free(lock: &File, patience: Duration) -> anyhow::Result<bool> {
    let deadline = Instant::now() + patience;
    while !is_free(lock)? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(POLL).await;
    }
    Ok(true)
}
