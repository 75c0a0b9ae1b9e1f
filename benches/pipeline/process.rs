//! A server that runs as a process of its own, ends when it is dropped, and whose last words are shown when it fails.

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

/// How long a server may take until it takes connections; a large store is read first.
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// Where the processor time in `/proc/PID/stat` begins, behind the program's name, and its unit.
const STAT_UTIME: usize = 11;
const STAT_TICK: Duration = Duration::from_millis(10);

pub struct Process {
    child: Child,
    log: PathBuf,
    port: u16,
    /// Its working directory.
    _folder: TempDir,
}

impl Process {
    /// Starts a program that will listen on this port of 127.0.0.1, and waits until it does.
    pub async fn start(program: &Path, arguments: &[String], port: u16) -> anyhow::Result<Self> {
        let folder = temporary_folder()?;
        let log = folder.path().join("log");
        let child = command(program, arguments, folder.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut process = Self { child, log, port, _folder: folder };
        process.listens().await.with_context(|| format!("{} {}", program.display(), arguments.join(" ")))?;
        Ok(process)
    }

    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Memory that it has in use, in bytes.
    pub async fn resident_bytes(&self) -> anyhow::Result<u64> {
        let pid = self.child.id().context("it has ended")?;
        match std::fs::read_to_string(format!("/proc/{pid}/status")) {
            Ok(status) => kilobytes(status.lines().find_map(|line| line.strip_prefix("VmRSS:"))),
            // No Linux.
            Err(_) => {
                let output = Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().await?;
                kilobytes(Some(&String::from_utf8_lossy(&output.stdout)))
            }
        }
    }

    /// Processor time that it has used, on its own behalf and in the kernel.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let pid = self.child.id().context("it has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("there is no /proc")?;
        // The program's name is in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
        let ticks = fields.split_whitespace().skip(STAT_UTIME).take(2).map(str::parse::<u64>);
        Ok(STAT_TICK * u32::try_from(ticks.sum::<Result<u64, _>>()?)?)
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

/// Runs a program to its end, which must be a good one.
pub async fn run(program: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let folder = temporary_folder()?;
    let output = command(program, arguments, folder.path()).output().await?;
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
fn command(program: &Path, arguments: &[impl AsRef<OsStr>], folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    let settings = |name: &str| name.starts_with("ROCKETS_") || name.starts_with("NATS_") || name == "RUST_LOG";
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(settings)) {
        command.env_remove(name);
    }
    command
}

fn kilobytes(text: Option<&str>) -> anyhow::Result<u64> {
    let number = text.and_then(|text| text.split_whitespace().next()).context("its memory is not told")?;
    Ok(number.parse::<u64>()? * 1024)
}
