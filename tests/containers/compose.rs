//! A compose project as a user has it, on ports of its own; taken down, with its volumes, when it is dropped.

use std::process::Command as BlockingCommand;

use serde_json::Value;
use tokio::process::Command;

use super::engine::{PROJECT, docker, image, said};
use super::harness::{Client, becomes, eventually, free_port};

/// A project of these files.
pub struct Compose {
    files: Vec<&'static str>,
    /// What of them is run that is not run otherwise.
    profiles: &'static str,
    project: String,
    ports: [(&'static str, u16); 4],
}

impl Compose {
    /// A project, not started yet; the image is built by now.
    pub async fn of(name: &str, files: &[&'static str], profiles: &'static str) -> Self {
        image().await;
        let ports = ["ROCKETS_PORT", "ROCKETS_QUERY_PORT", "NATS_PORT", "NATS_MONITOR_PORT"];
        let (ports, project) =
            (ports.map(|name| (name, free_port())), format!("rockets-{name}-{}", std::process::id()));
        Self { files: files.to_vec(), profiles, project, ports }
    }

    /// Runs a command of compose, such as `["up", "--detach"]`, and gives what it says.
    pub async fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).await.unwrap_or_else(|why| panic!("compose {}: {why}", arguments.join(" ")))
    }

    async fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let (program, before) = compose_command();
        let mut command = Command::new(program);
        said(command.args(before).args(self.arguments(arguments)).envs(self.environment())).await
    }

    /// Has a doctor look who is called so, until what is not well is just this, by level and check: what has changed a
    /// moment ago settles within seconds.
    pub async fn is_well_but_for(&self, doctor: &[&str], expected: &[[&str; 2]]) {
        let expected: Vec<_> = expected.iter().map(|finding| finding.map(str::to_owned)).collect();
        becomes("the doctor says what is the case", expected, async || {
            match self.try_run(&[doctor, &["doctor", "--json"]].concat()).await {
                Ok(said) => said.lines().map(finding).filter(|[level, _]| level != "ok").collect(),
                Err(why) => vec![["it failed".to_owned(), why]],
            }
        })
        .await;
    }

    /// What the logs of these services say of somebody who was not let in, or was not allowed something.
    pub async fn refusals(&self, brokers: &[&str]) -> Vec<String> {
        let log = self.run(&[&["logs", "--no-color"], brokers].concat()).await;
        assert!(log.contains("Server is ready"), "{log}");
        let is_refusal = |line: &&str| line.contains("Violation") || line.contains("authentication error");
        log.lines().filter(is_refusal).map(str::to_owned).collect()
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

    /// The port on this machine that a variable of the files names.
    pub fn port(&self, variable: &str) -> u16 {
        self.ports.iter().find(|(name, _)| *name == variable).expect("the files have it").1
    }

    /// A client of what is served at such a port.
    pub fn client(&self, variable: &str) -> Client {
        Client::new(&format!("http://127.0.0.1:{}", self.port(variable)))
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let files = self.files.iter().flat_map(|file| ["--file", file]);
        let all = ["--project-name", &self.project].into_iter().chain(files).chain(more.iter().copied());
        all.map(str::to_owned).collect()
    }

    fn environment(&self) -> impl Iterator<Item = (&'static str, String)> {
        let ports = self.ports.iter().map(|(name, port)| (*name, port.to_string()));
        ports.chain([("COMPOSE_PROFILES", self.profiles.to_owned())])
    }
}

/// Level and check of a line of the doctor's.
fn finding(line: &str) -> [String; 2] {
    let finding: Value = serde_json::from_str(line).unwrap();
    ["level", "check"].map(|field| finding[field].as_str().unwrap().to_owned())
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
