//! A broker with a store of its own, set up by `rockets init`, and roles beside it: all of them processes. Or all of it in
//! one, as `rockets up` does it ([`Whole`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::{self, Context};
use rockets::internals::topology::{
    BUCKET_STREAM, Bounds, CHECKPOINT_STREAM, OUTCOME_STREAM, STREAM, Topology, durable_name,
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Connections};
use crate::messages::{Fleet, Message};
use crate::partners::publish::{ACKS_AWAITED_MAX, BATCH_MAX, FILLING, in_batches, ingested};
use crate::process::{self, Process};

/// How long a role may take until it is ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long the broker may take to store something before something is wrong.
const STORED_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// The settings that `rockets` has unless it is told otherwise.
pub const TOPOLOGY: Topology =
    Topology { partitions: 16, replicas: 1, ack_wait: Duration::from_secs(5), bounds: Bounds::UNLIMITED };

/// When the broker syncs to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before each acknowledgement, as the project ships it.
    Always,
    /// As nats-server does when it is not told otherwise.
    TwoMinutes,
}

impl Sync {
    /// As the table has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Always => "synced",
            Self::TwoMinutes => "unsynced",
        }
    }

    /// As nats-server's configuration has it.
    fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::TwoMinutes => "2m",
        }
    }
}

pub struct Site {
    pub broker: Process,
    store: TempDir,
}

impl Site {
    /// A broker with an empty store, set up.
    pub async fn start(sync: Sync) -> anyhow::Result<Self> {
        let store = process::temporary_folder()?;
        let site = Self { broker: start_broker(store.path(), sync).await?, store };
        site.command("init", &[]).await?;
        Ok(site)
    }

    /// The same store under another broker. It reads its store again, as after a night without trackers.
    pub async fn restart(self, sync: Sync) -> anyhow::Result<Self> {
        let Self { broker, store } = self;
        broker.stop().await?;
        Ok(Self { broker: start_broker(store.path(), sync).await?, store })
    }

    /// Starts `rockets <role>`.
    pub async fn role(&self, role_name: &str) -> anyhow::Result<Process> {
        let port = process::free_port()?;
        let addr = format!("127.0.0.1:{port}");
        let role = Process::start(rockets(), &self.command_line(role_name, &["--http-addr", &addr]), port).await?;
        until_ready(&role).await.with_context(|| format!("rockets {role_name}"))?;
        Ok(role)
    }

    pub async fn jetstream(&self) -> anyhow::Result<Context> {
        jetstream_at(&self.url()).await
    }

    /// Stores messages past the ingress, in order.
    pub async fn store(&self, messages: impl Iterator<Item = Message>) -> anyhow::Result<()> {
        let messages = messages.map(|message| ingested(&message));
        in_batches(&self.jetstream().await?, messages, BATCH_MAX, FILLING).await?;
        Ok(())
    }

    /// The same with the next messages of these rockets.
    pub async fn fill(&self, fleet: &mut Fleet, messages: u64) -> anyhow::Result<()> {
        self.store((0..messages).map(|_| fleet.next())).await
    }

    /// Forgets how far the trackers have come, so that they begin again with the same messages.
    pub async fn forget_progress(&self) -> anyhow::Result<()> {
        let context = self.jetstream().await?;
        for stream in [BUCKET_STREAM, OUTCOME_STREAM, CHECKPOINT_STREAM] {
            context.delete_stream(stream).await?;
        }
        let log = context.get_stream(STREAM).await?;
        for partition in 0..TOPOLOGY.partitions {
            log.delete_consumer(&durable_name(partition)).await?;
        }
        self.command("init", &[]).await
    }

    /// Runs one of our commands to its end.
    pub async fn command(&self, subcommand: &str, more: &[&str]) -> anyhow::Result<()> {
        process::run(rockets(), &self.command_line(subcommand, more), None).await
    }

    /// Every setting as the project ships it, but for where things are.
    fn command_line(&self, subcommand: &str, more: &[&str]) -> Vec<String> {
        let (mut arguments, url) = (by_defaults(subcommand), self.url());
        arguments.extend(["--nats-url", &url].iter().chain(more).map(ToString::to_string));
        arguments
    }

    /// Where the broker is.
    pub fn url(&self) -> String {
        format!("nats://{}", self.broker.addr())
    }
}

/// `rockets up` with a broker of its own.
pub struct Whole {
    pub process: Process,
    broker_port: u16,
    _data: TempDir,
}

impl Whole {
    pub async fn start(sync: Sync) -> anyhow::Result<Self> {
        let (data, port, broker_port) = (process::temporary_folder()?, process::free_port()?, process::free_port()?);
        let (http, folder) = (format!("127.0.0.1:{port}"), data.path().to_str().context("the folder's name")?);
        let (broker, server) = (broker_port.to_string(), broker_program());
        let server = server.to_str().context("the broker's name")?;
        let mut arguments = by_defaults("up");
        let own = ["--broker-port", &broker, "--broker-data-dir", folder, "--broker-sync", sync.name()];
        let where_it_is = ["--http-addr", &http, "--broker-server", server];
        arguments.extend(own.iter().chain(&where_it_is).map(ToString::to_string));
        // Its broker would outlive it.
        let process = Process::start_as(rockets(), &arguments, port, None, Some(Signal::TERM)).await?;
        until_ready(&process).await.context("rockets up")?;
        Ok(Self { process, broker_port, _data: data })
    }

    /// Its broker.
    pub async fn jetstream(&self) -> anyhow::Result<Context> {
        jetstream_at(&format!("nats://127.0.0.1:{}", self.broker_port)).await
    }
}

/// Publishes there may be many of at once.
async fn jetstream_at(url: &str) -> anyhow::Result<Context> {
    let client = async_nats::connect(url).await?;
    let context = jetstream::ContextBuilder::new().timeout(STORED_MAX).ack_timeout(STORED_MAX);
    Ok(context.max_ack_inflight(2 * ACKS_AWAITED_MAX).build(client))
}

/// A command with every setting as the project ships it.
fn by_defaults(subcommand: &str) -> Vec<String> {
    let defaults = concat!(env!("CARGO_MANIFEST_DIR"), "/config/rockets.toml");
    [subcommand, "--config", defaults].map(ToOwned::to_owned).into()
}

/// A role's port is open before it is ready.
async fn until_ready(role: &Process) -> anyhow::Result<()> {
    let (mut client, deadline) = (Client::new(role.addr(), Connections::New), Instant::now() + READY_MAX);
    while client.get("/readyz").await?.0 != 200 {
        anyhow::ensure!(Instant::now() < deadline, "it is not ready");
        sleep(POLL).await;
    }
    Ok(())
}

/// What users run: cargo has built it as it is released.
fn rockets() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_rockets"))
}

/// The broker's program: what was fetched into the checkout, else what is on the PATH.
pub fn broker_program() -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/.bin/nats-server");
    if fetched.is_file() { fetched } else { "nats-server".into() }
}

async fn start_broker(store: &Path, sync: Sync) -> anyhow::Result<Process> {
    let port = process::free_port()?;
    let config = serde_json::json!({
        "listen": format!("127.0.0.1:{port}"),
        "max_payload": 1024 * 1024,
        "jetstream": { "store_dir": store, "sync_interval": sync.name() },
    });
    let file = store.join("nats-server.conf");
    std::fs::write(&file, format!("{config:#}\n"))?;
    let arguments = ["--config".to_owned(), file.to_str().context("the folder's name")?.to_owned()];
    Process::start(&broker_program(), &arguments, port).await
}
