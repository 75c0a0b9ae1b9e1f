//! A PostgreSQL server of its own in a temporary folder on the same disk, of the machine's programs, ended with us.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::figures::Skipped;
use crate::process::{self, Process, User};

/// Where Debian's packages have their programs, a folder a version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Users as whom it runs where we are root, for which it refuses to run.
const USERS: [&str; 2] = ["postgres", "nobody"];
/// Pause between two looks, few enough not to be felt.
const POLL: Duration = Duration::from_millis(50);
/// What everybody sets who runs it in earnest: more memory than it dares to take by itself, and fewer checkpoints.
const SETTINGS: [&str; 3] = ["shared_buffers=512MB", "max_wal_size=4GB", "unix_socket_directories="];

/// A running server with an empty database.
pub struct Database {
    server: Process,
    _store: TempDir,
}

impl Database {
    /// Starts one, or says why there cannot be one here.
    pub async fn start() -> anyhow::Result<Self> {
        let programs = programs()?;
        let user = if geteuid().is_root() { Some(unprivileged()?) } else { None };
        let (store, port) = (process::temporary_folder()?, process::free_port()?);
        if let Some(user) = user {
            user.give(store.path())?;
        }
        let folder = store.path().to_str().context("the folder's name")?;
        let initdb = ["-D", folder, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        process::run(&programs.join("initdb"), &initdb.map(ToOwned::to_owned), user).await?;
        let port_text = port.to_string();
        let listening = ["-D", folder, "-h", "127.0.0.1", "-p", &port_text];
        let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
        let arguments: Vec<_> = listening.into_iter().chain(settings).map(ToOwned::to_owned).collect();
        // It does not wait for those who are connected.
        let farewell = Some(Signal::INT);
        let server = Process::start_as(&programs.join("postgres"), &arguments, port, user, farewell).await?;
        let database = Self { server, _store: store };
        database.answers().await?;
        Ok(database)
    }

    pub fn url(&self) -> String {
        let addr = self.server.addr();
        format!("host={} port={} user=bench dbname=postgres", addr.ip(), addr.port())
    }

    /// A connection, for as long as the tasks are kept.
    pub async fn connect(&self) -> anyhow::Result<(Client, JoinSet<anyhow::Result<()>>)> {
        let mut tasks = JoinSet::new();
        Ok((super::connect(&self.url(), &mut tasks).await?, tasks))
    }

    /// Messages that are applied.
    pub async fn applied(&self) -> anyhow::Result<u64> {
        let (client, _tasks) = self.connect().await?;
        let row = client.query_one("SELECT count(*) FROM messages WHERE applied_at IS NOT NULL", &[]).await?;
        Ok(u64::try_from(row.get::<_, i64>(0))?)
    }

    /// Waits until all are applied, or for so long; tells whether they are.
    pub async fn until_through(&self, within: Duration) -> anyhow::Result<bool> {
        let (client, _tasks) = self.connect().await?;
        let left = client.prepare("SELECT id FROM messages WHERE applied_at IS NULL ORDER BY id LIMIT 1").await?;
        let deadline = Instant::now() + within;
        loop {
            match client.query_opt(&left, &[]).await? {
                None => return Ok(true),
                Some(_) if Instant::now() >= deadline => return Ok(false),
                Some(_) => sleep(POLL).await,
            }
        }
    }

    /// It listens before it lets anybody in.
    async fn answers(&self) -> anyhow::Result<()> {
        let is_there = async || while self.connect().await.is_err() {};
        tokio::time::timeout(process::START_MAX, is_there()).await.context("PostgreSQL lets nobody in")
    }
}

/// Where `initdb` and `postgres` are: of several versions the newest.
fn programs() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut versions: Vec<_> =
        std::fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    versions.sort_by_key(|folder| folder.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
    let newest_first = versions.iter().rev().map(|version| version.join("bin"));
    let has_them = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file());
    let reason = || Skipped(format!("PostgreSQL's programs are neither on the PATH nor in {DEBIAN}"));
    Ok(std::env::split_paths(&path).chain(newest_first).find(has_them).ok_or_else(reason)?)
}

/// Somebody who is not root.
fn unprivileged() -> anyhow::Result<User> {
    let users = std::fs::read_to_string(Path::new("/etc/passwd"))?;
    let user = USERS.iter().find_map(|name| users.lines().find_map(|line| user(line, name)));
    Ok(user.ok_or_else(|| Skipped("PostgreSQL does not run as root, and there is nobody else".into()))?)
}

/// The user of a line `name:x:uid:gid:…`, if it has that name.
fn user(line: &str, name: &str) -> Option<User> {
    let mut fields = line.strip_prefix(name)?.strip_prefix(':')?.split(':').skip(1);
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}
