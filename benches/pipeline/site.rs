//! A broker with a store of its own, set up by `rockets init`, and roles beside it: all of them processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::{self, message::PublishMessage};
use rockets::internals::topology::{message_id, subject};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Connections};
use crate::messages::Fleet;
use crate::process::{self, Process};

/// Publishes whose acknowledgements are awaited at once.
const ACKS_AWAITED_MAX: usize = 1_000;
/// How long a role may take until it is ready.
const READY_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// When the broker syncs to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before each acknowledgement, as the project ships it.
    Always,
    /// As nats-server does when it is not told otherwise.
    TwoMinutes,
}

impl Sync {
    pub const ALL: [Self; 2] = [Self::Always, Self::TwoMinutes];

    /// As nats-server's configuration has it.
    pub fn name(self) -> &'static str {
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
        process::run(rockets(), &site.command_line("init", &[])).await?;
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

    pub async fn jetstream(&self) -> anyhow::Result<jetstream::Context> {
        let client = async_nats::connect(self.url()).await?;
        let context = jetstream::ContextBuilder::new().max_ack_inflight(2 * ACKS_AWAITED_MAX).build(client);
        Ok(context)
    }

    /// Stores messages past the ingress, in order.
    pub async fn fill(&self, fleet: &mut Fleet, messages: u64) -> anyhow::Result<()> {
        let context = self.jetstream().await?;
        let mut acks = std::collections::VecDeque::new();
        for _ in 0..messages {
            let message = fleet.next();
            let channel = message.channel()?;
            let body: bytes::Bytes = message.body().into();
            let id = message_id(&channel, message.message_number()?, &body);
            let publish = PublishMessage::build().payload(body).message_id(id);
            acks.push_back(context.send_publish(subject(&channel), publish).await?);
            if acks.len() == ACKS_AWAITED_MAX
                && let Some(oldest) = acks.pop_front()
            {
                oldest.await?;
            }
        }
        for ack in acks {
            ack.await?;
        }
        Ok(())
    }

    /// Every setting as the project ships it, but for where things are.
    fn command_line(&self, subcommand: &str, more: &[&str]) -> Vec<String> {
        let defaults = concat!(env!("CARGO_MANIFEST_DIR"), "/config/rockets.toml");
        let url = self.url();
        let arguments = [subcommand, "--config", defaults, "--nats-url", &url];
        arguments.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
    }

    /// Where the broker is.
    pub fn url(&self) -> String {
        format!("nats://{}", self.broker.addr())
    }
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
