//! A compose project as a user has it, on ports of its own; taken down, with its volumes, when it is dropped.

use std::process::Command as BlockingCommand;

use tokio::process::Command;

use super::engine::{PROJECT, docker, image, said};
use super::harness::{Client, eventually, free_port};

/// A project of these files.
pub struct Compose {
    files: Vec<&'static str>,
    project: String,
    ports: [(&'static str, u16); 3],
}

impl Compose {
    /// A project, not started yet; the image is built by now.
    pub async fn of(name: &str, files: &[&'static str]) -> Self {
        image().await;
        let ports = ["ROCKETS_PORT", "NATS_PORT", "NATS_MONITOR_PORT"].map(|name| (name, free_port()));
        Self { files: files.to_vec(), project: format!("rockets-{name}-{}", std::process::id()), ports }
    }

    /// Runs a command of compose, such as `["up", "--detach"]`, and gives what it says.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let (program, before) = compose_command();
        let mut command = Command::new(program);
        command.args(before).args(self.arguments(arguments)).envs(self.environment());
        said(&mut command).await.unwrap_or_else(|why| panic!("compose {}: {why}", arguments.join(" ")))
    }

    /// The containers of a service that run.
    pub async fn running(&self, service: &str) -> Vec<String> {
        self.which(service, "{{.State.Running}}", "true").await
    }

    /// Waits until a service has so many containers that say that they are healthy.
    pub async fn healthy(&self, service: &str, count: usize) {
        eventually(&format!("{count} healthy containers of {service}"), async || {
            let healthy = self.which(service, "{{.State.Health.Status}}", "healthy").await;
            (healthy.len() == count).then_some(())
        })
        .await;
    }

    /// The containers of a service of which the engine says this.
    async fn which(&self, service: &str, format: &str, says: &str) -> Vec<String> {
        let mut found = Vec::new();
        for container in self.run(&["ps", "--quiet", service]).await.lines() {
            if docker(&["inspect", "--format", format, container]).await == says {
                found.push(container.to_owned());
            }
        }
        found
    }

    /// A client of the API.
    pub fn client(&self) -> Client {
        let (_, port) = self.ports[0];
        Client::new(&format!("http://127.0.0.1:{port}"))
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let files = self.files.iter().flat_map(|file| ["--file", file]);
        let all = ["--project-name", &self.project].into_iter().chain(files).chain(more.iter().copied());
        all.map(str::to_owned).collect()
    }

    fn environment(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.ports.iter().map(|(name, port)| (*name, port.to_string()))
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        let (program, before) = compose_command();
        let command = |arguments: &[&str]| {
            let mut command = BlockingCommand::new(program);
            command.args(before).args(self.arguments(arguments)).envs(self.environment()).current_dir(PROJECT);
            command.output().unwrap()
        };
        if std::thread::panicking() {
            let logs = command(&["logs", "--tail", "30"]);
            eprintln!("--- {}\n{}", self.project, String::from_utf8_lossy(&logs.stdout));
        }
        let down = command(&["down", "--volumes", "--remove-orphans", "--timeout", "20"]);
        assert!(down.status.success() || std::thread::panicking(), "{}", String::from_utf8_lossy(&down.stderr));
    }
}

/// Today's compose is a part of `docker`, the one before it a program of its own.
fn compose_command() -> (&'static str, &'static [&'static str]) {
    let today = BlockingCommand::new("docker").args(["compose", "version"]).output();
    match today.is_ok_and(|output| output.status.success()) {
        true => ("docker", &["compose"]),
        false => ("docker-compose", &[]),
    }
}
