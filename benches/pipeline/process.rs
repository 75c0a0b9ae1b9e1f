//! A server that runs as a process of its own, ends when it is dropped, and whose last words are shown when it fails. What it
//! costs is read where Linux tells it.

use std::ffi::OsStr;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::figures::Skipped;

/// How long a server may take until it takes connections; a large store is read first.
pub const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);
/// The same of one that is dropped.
const FAREWELL_MAX: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);
/// Where the processor time in `/proc/PID/stat` begins, behind the program's name, and its unit.
const STAT_UTIME: usize = 11;
const STAT_TICK: Duration = Duration::from_millis(10);

/// What is said of memory in `/proc/PID/status`.
#[derive(Clone, Copy)]
pub enum Memory {
    /// What is in use.
    Now,
    /// The most that has been.
    Peak,
}

pub struct Process {
    child: Child,
    /// By what it is told to end when it is dropped, where killing it would leave processes of its own behind.
    farewell: Option<Signal>,
    log: PathBuf,
    port: u16,
    /// Its working directory.
    _folder: TempDir,
}

impl Process {
    /// Starts a program that will listen on this port of 127.0.0.1, and waits until it does.
    pub async fn start(program: &Path, arguments: &[String], port: u16) -> anyhow::Result<Self> {
        Self::start_as(program, arguments, port, None, None).await
    }

    /// The same as another user, and told to end by this signal when it is dropped.
    pub async fn start_as(
        program: &Path,
        arguments: &[String],
        port: u16,
        user: Option<User>,
        farewell: Option<Signal>,
    ) -> anyhow::Result<Self> {
        let folder = temporary_folder()?;
        let log = folder.path().join("log");
        let mut command = command(program, arguments, folder.path(), user)?;
        let child = command.stdout(Stdio::null()).stderr(std::fs::File::create(&log)?).spawn();
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        let mut process = Self { child, farewell, log, port, _folder: folder };
        process.listens().await.with_context(|| format!("{} {}", program.display(), arguments.join(" ")))?;
        Ok(process)
    }

    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its memory, in bytes.
    pub fn resident_bytes(&self, memory: Memory) -> anyhow::Result<u64> {
        let field = match memory {
            Memory::Now => "VmRSS:",
            Memory::Peak => "VmHWM:",
        };
        let status = self.of_proc("status")?;
        let kibibytes = status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next());
        Ok(kibibytes.context("its memory is not told")?.parse::<u64>()? * 1024)
    }

    /// Processor time that it has used, on its own behalf and in the kernel.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = self.of_proc("stat")?;
        // The program's name is in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
        let ticks = fields.split_whitespace().skip(STAT_UTIME).take(2).map(str::parse::<u64>);
        Ok(STAT_TICK * u32::try_from(ticks.sum::<Result<u64, _>>()?)?)
    }

    fn of_proc(&self, file: &str) -> anyhow::Result<String> {
        let pid = self.child.id().context("it has ended")?;
        std::fs::read_to_string(format!("/proc/{pid}/{file}"))
            .map_err(|_| Skipped("there is no /proc here, which tells what a process costs".into()).into())
    }

    /// Stops it where it is, or lets it go on.
    pub fn freeze(&self, is_frozen: bool) -> anyhow::Result<()> {
        self.signal(if is_frozen { Signal::STOP } else { Signal::CONT })
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).context("it has ended")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Ends it in good order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        timeout(STOP_MAX, self.child.wait()).await.context("it does not end")??;
        Ok(())
    }

    async fn listens(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(self.addr()).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("ended at once ({status}):\n{}", self.last_words());
            }
            anyhow::ensure!(Instant::now() < deadline, "does not listen:\n{}", self.last_words());
            sleep(POLL).await;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let mut words = String::new();
        let _ = std::fs::File::open(&self.log).and_then(|mut log| log.read_to_string(&mut words));
        words
    }
}

/// Waits for one that has processes of its own; any other is killed.
impl Drop for Process {
    fn drop(&mut self) {
        let Some(signal) = self.farewell else { return };
        let deadline = std::time::Instant::now() + FAREWELL_MAX;
        let _ = self.signal(signal);
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }
}

/// Somebody as whom a program is run.
#[derive(Clone, Copy)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

impl User {
    /// Makes a folder this user's own.
    pub fn give(self, folder: &Path) -> std::io::Result<()> {
        std::os::unix::fs::chown(folder, Some(self.uid), Some(self.gid))
    }
}

/// Runs a program to its end, which must be a good one.
pub async fn run(program: &Path, arguments: &[String], user: Option<User>) -> anyhow::Result<()> {
    let folder = temporary_folder()?;
    let output = command(program, arguments, folder.path(), user)?.output().await?;
    let words = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{} {}: {words}", program.display(), arguments.join(" "));
    Ok(())
}

/// A port of 127.0.0.1 on which nobody listens.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A folder on the disk of the checkout: `/tmp` is in memory on many machines, where syncing costs nothing.
pub fn temporary_folder() -> std::io::Result<TempDir> {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}

/// The user's own settings are kept away from what is measured.
fn command(
    program: &Path,
    arguments: &[impl AsRef<OsStr>],
    folder: &Path,
    user: Option<User>,
) -> std::io::Result<Command> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    let settings = |name: &str| name.starts_with("ROCKETS_") || name.starts_with("NATS_") || name == "RUST_LOG";
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(settings)) {
        command.env_remove(name);
    }
    if let Some(user) = user {
        user.give(folder)?;
        command.uid(user.uid).gid(user.gid);
    }
    Ok(command)
}
