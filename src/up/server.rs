//! The broker that `rockets up` starts: a `nats-server` on 127.0.0.1 with its store in our folder, watched, started again
//! when it dies, and ended last.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::store_lock::StoreLock;
use crate::broker::connection::{SERVER_VERSION_FLOOR, is_supported};
use crate::config;

/// How long the broker may take until it answers; a large store is read first.
const START_MAX: Duration = Duration::from_secs(120);
/// How long it may take to end.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Pauses before it is started again, growing while it does not live for long.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);
const LIVED_LONG: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// A broker of our own.
pub struct OwnBroker {
    port: u16,
    name: String,
    stop: CancellationToken,
    supervisor: JoinSet<()>,
}

/// How to start it.
struct Server {
    program: PathBuf,
    port: u16,
    config_file: PathBuf,
    lock: StoreLock,
}

impl OwnBroker {
    /// Starts a broker whose streams may take so many bytes, and waits until it answers. Nothing else may be on the store or
    /// on the port.
    pub async fn start(settings: &config::Broker, streams_bytes: u64) -> anyhow::Result<Self> {
        refuse_unfit(&settings.server).await?;
        let folder = &settings.data_dir;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("broker.data_dir: cannot make {}", folder.display()))?;
        let folder = folder.canonicalize().context("broker.data_dir")?;
        let lock = StoreLock::acquire(&folder)?;
        // Ends an old broker of ours, which may hold the port as well.
        drop(lock.for_broker().await?);
        let port = free_port(settings.port)?;
        let name = format!("rockets-up-{}", uuid::Uuid::new_v4().simple());
        let config_file = config_file(&folder);
        std::fs::write(
            &config_file,
            server_config(port, &name, &folder, &lock.pid_file(), settings.sync, streams_bytes),
        )
        .with_context(|| format!("broker.data_dir: cannot write {}", config_file.display()))?;
        let server = Server { program: settings.server.clone(), port, config_file, lock };

        let mut child = server.spawn().await?;
        if let Err(error) = server.answers(&mut child).await {
            end(&mut child).await;
            return Err(error);
        }
        tracing::info!(port, store = %folder.display(), "started a broker");
        let (stop, mut supervisor) = (CancellationToken::new(), JoinSet::new());
        supervisor.spawn(server.supervise(child, stop.clone()));
        Ok(Self { port, name, stop, supervisor })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What it calls itself, so that it can be told from another one on the same port.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends it in good order.
    pub async fn stop(self) {
        self.stop.cancel();
        self.supervisor.join_all().await;
    }
}

impl Server {
    async fn spawn(&self) -> anyhow::Result<Child> {
        let lock = self.lock.for_broker().await?;
        let mut child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config_file)
            .stdin(Stdio::from(lock))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Not ended by the terminal's Ctrl-C: it is needed until we have drained.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("broker.server: cannot start {}", self.program.display()))?;
        if let Some(log) = child.stderr.take() {
            // Ends with the broker.
            #[expect(clippy::disallowed_methods, reason = "it ends with the broker, whose end is waited for")]
            tokio::spawn(copy_log(log));
        }
        Ok(child)
    }

    async fn answers(&self, child: &mut Child) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_err() {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("the broker ended at once ({status}); its last lines in the log say why");
            }
            anyhow::ensure!(Instant::now() < deadline, "the broker did not answer within {START_MAX:?}");
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts it again whenever it dies, until it is to stop.
    async fn supervise(self, mut child: Child, stop: CancellationToken) {
        let mut pause = RESTART_PAUSE_MIN;
        loop {
            let started = Instant::now();
            let status = tokio::select! {
                () = stop.cancelled() => return end(&mut child).await,
                status = child.wait() => status,
            };
            tracing::error!(status = ?status.ok().map(|status| status.to_string()), "the broker died, starting it again");
            pause = if started.elapsed() > LIVED_LONG { RESTART_PAUSE_MIN } else { pause };
            child = loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(pause) => {}
                }
                pause = RESTART_PAUSE_MAX.min(2 * pause);
                match self.spawn().await {
                    Ok(child) => break child,
                    Err(error) => tracing::error!(?error, "the broker cannot be started"),
                }
            };
        }
    }
}

async fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
        // Not reaped yet, so nobody else has its id.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(STOP_MAX, child.wait()).await.is_err() {
        tracing::warn!("the broker does not end, killing it");
        let _ = child.kill().await;
    }
}

/// The file with which the broker on this store was started last.
pub fn config_file(data_dir: &Path) -> PathBuf {
    data_dir.join("nats-server.conf")
}

fn server_config(
    port: u16,
    name: &str,
    folder: &Path,
    pid_file: &Path,
    sync: config::Sync,
    streams_bytes: u64,
) -> String {
    let sync_interval = match sync {
        config::Sync::Always => "always".to_owned(),
        config::Sync::Every(interval) => format!("{}ms", interval.as_millis()),
    };
    let config = serde_json::json!({
        "server_name": name,
        "listen": format!("127.0.0.1:{port}"),
        "pid_file": pid_file,
        // A message of the largest size, with the headers of a dead letter, must fit.
        "max_payload": 1024 * 1024,
        "jetstream": { "store_dir": folder, "sync_interval": sync_interval, "max_file_store": room(folder, streams_bytes) },
    });
    format!("{config:#}\n")
}

/// Bytes that the store may take: three quarters of the disk, as the server itself would have it, but no less than what the
/// streams may take and some for files of its own.
fn room(folder: &Path, streams_bytes: u64) -> u64 {
    let of_disk = rustix::fs::statvfs(folder).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize)) / 4 * 3;
    let of_streams = streams_bytes.saturating_add(streams_bytes / 10);
    if of_disk < of_streams {
        tracing::warn!(
            of_disk,
            of_streams,
            "the disk has less room than the streams may take (stream.log_max_bytes and so on)"
        );
    }
    // The server's numbers have a sign.
    of_disk.max(of_streams).min(i64::MAX.cast_unsigned())
}

/// The port if nobody listens there; for 0 one that is free.
fn free_port(port: u16) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
        format!(
            "broker.port: another program listens on 127.0.0.1:{port}; choose another port (ROCKETS_BROKER__PORT, 0 \
             picks a free one), or, if it is a broker, use it (ROCKETS_NATS__URL=nats://127.0.0.1:{port})"
        )
    })?;
    Ok(listener.local_addr()?.port())
}

async fn refuse_unfit(program: &Path) -> anyhow::Result<()> {
    let output = match Command::new(program).arg("--version").stdin(Stdio::null()).output().await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => return Err(error).with_context(|| how_to_get_it(program)),
    };
    let version = output.trim().rsplit(['v', ' ']).next().unwrap_or_default();
    anyhow::ensure!(
        is_supported(version),
        "broker.server: {} is {output:?}, at least {SERVER_VERSION_FLOOR} is needed. {}",
        program.display(),
        how_to_get_it(program)
    );
    Ok(())
}

fn how_to_get_it(program: &Path) -> String {
    format!(
        "broker.server: no {} (at least {SERVER_VERSION_FLOOR}) is found. `make run` gets one into nats/.bin; or put one on the PATH \
         (https://nats.io/download, `brew install nats-server`); or name it (ROCKETS_BROKER__SERVER=/path/to/nats-server); \
         or use a broker that runs elsewhere (ROCKETS_NATS__URL=nats://host:4222), as `docker compose up` does: the image has none",
        program.display()
    )
}

/// The broker's log lines, in ours.
async fn copy_log(log: ChildStderr) {
    let mut lines = BufReader::new(log).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // `[pid] date time [INF] text`
        let (level, text) = line
            .split_once("] ")
            .map_or("", |(_, rest)| rest)
            .split_once(" [")
            .map_or(("", line.as_str()), |(_, rest)| rest.split_once("] ").unwrap_or(("", rest)));
        match level {
            "ERR" | "FTL" => tracing::error!(target: "nats_server", "{text}"),
            "WRN" => tracing::warn!(target: "nats_server", "{text}"),
            "INF" => tracing::info!(target: "nats_server", "{text}"),
            _ => tracing::debug!(target: "nats_server", "{text}"),
        }
    }
}
