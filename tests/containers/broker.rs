//! Brokers in containers, with the configuration that the project ships and a volume of its own for each. They are removed
//! when they are dropped.

use std::path::PathBuf;
use std::process::Command;

use testcontainers::core::{IntoContainerPort as _, Mount, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt as _};

use super::engine::PROJECT;
use super::harness::{Program, eventually, free_port};

const TAG: &str = "2.15.1-alpine";
const CLIENTS: u16 = 4222;
const MONITOR: u16 = 8222;

/// A broker in a container. Its ports stay the same when it is started again.
pub struct BrokerContainer {
    pub container: ContainerAsync<GenericImage>,
    volume: String,
    port: u16,
    monitor: u16,
}

impl BrokerContainer {
    /// One by itself.
    pub async fn start() -> Self {
        Self::of("nats/nats-server.conf", |request| request).await
    }

    /// The same, known in a network under a name.
    pub async fn in_network(network: &str, name: &str) -> Self {
        Self::of("nats/nats-server.conf", |request| request.with_network(network).with_container_name(name)).await
    }

    /// One of several that know each other by these names.
    pub async fn node(network: &str, name: &str, names: &[String]) -> Self {
        let routes: Vec<_> = names.iter().map(|name| format!("nats://{name}:6222")).collect();
        let routes = format!("[{}]", routes.join(", "));
        Self::of("nats/cluster/nats-server.conf", |request| {
            let request = request.with_network(network).with_container_name(name);
            request.with_env_var("NATS_NODE", name).with_env_var("NATS_ROUTES", routes)
        })
        .await
    }

    async fn of(
        config: &str,
        more: impl FnOnce(ContainerRequest<GenericImage>) -> ContainerRequest<GenericImage>,
    ) -> Self {
        let (port, monitor) = (free_port(), free_port());
        let volume = format!("rockets-{}-{port}", std::process::id());
        let ready = WaitFor::message_on_stderr("Server is ready");
        let request = GenericImage::new("nats", TAG)
            .with_wait_for(ready)
            .with_mapped_port(port, CLIENTS.tcp())
            .with_mapped_port(monitor, MONITOR.tcp())
            .with_copy_to("/etc/nats/rockets.conf", PathBuf::from(PROJECT).join(config))
            .with_mount(Mount::volume_mount(&volume, "/data"))
            .with_cmd(["--config", "/etc/nats/rockets.conf", "--store_dir", "/data"]);
        let container = more(request).start().await.unwrap();
        Self { container, volume, port, monitor }
    }

    /// Where clients on this machine connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Waits until it says that it is well; in a cluster that takes an election.
    pub async fn is_healthy(&self) {
        let url = format!("http://127.0.0.1:{}/healthz", self.monitor);
        eventually("the broker is healthy", async || {
            let answer = super::harness::client::http().build().ok()?.get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }
}

impl Drop for BrokerContainer {
    fn drop(&mut self) {
        // A volume goes only after its container, which the library would remove later than this.
        for arguments in [["rm", "--force", self.container.id()], ["volume", "rm", &self.volume]] {
            let removed = Command::new("docker").args(arguments).output();
            assert!(removed.is_ok_and(|output| output.status.success()) || std::thread::panicking(), "{arguments:?}");
        }
    }
}

/// The whole service as processes of this machine, at these brokers.
pub fn up(urls: &str, replicas: u8) -> Program {
    let replicas = replicas.to_string();
    Program::of(&["up"]).env("ROCKETS_NATS__URL", urls).env("ROCKETS_STREAM__REPLICAS", &replicas).start()
}
