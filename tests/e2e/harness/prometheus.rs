//! Prometheus and its promtool, where they are to be had: `tests/e2e/get-prometheus` puts them into `tests/.bin`.
//!
//! Where they are not, tests that need them are skipped, except in continuous integration.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::judge::skipped;
use super::{Client, eventually, free_port};

/// The path of one of its programs; none where it is not to be had, which is said.
pub fn program(name: &str, test: &str) -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = [unpacked].into_iter().chain(std::env::split_paths(&path)).map(|folder| folder.join(name));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        skipped(test, &format!("there is no {name}; tests/e2e/get-prometheus may get it"));
    }
    found
}

/// Runs promtool in the project's folder with this input; none where it is not to be had.
pub fn promtool(arguments: &[&str], input: &str, test: &str) -> Option<Output> {
    let mut command = Command::new(program("promtool", test)?);
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

/// A Prometheus that scrapes every second; killed when it is dropped.
pub struct Prometheus {
    child: Child,
    client: Client,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these addresses, with this project's alerts; none where it is not to be had.
    pub async fn start(addresses: &[String], test: &str) -> Option<Self> {
        let program = program("prometheus", test)?;
        let (folder, port) = (TempDir::with_prefix("rockets-e2e-prometheus-").unwrap(), free_port());
        let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{alerts:?}]\n\
             scrape_configs: [{{job_name: rockets, static_configs: [{{targets: {addresses:?}}}]}}]\n"
        );
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut prometheus = Self { child, client: Client::new(&format!("http://127.0.0.1:{port}")), folder };
        prometheus.answers().await;
        Some(prometheus)
    }

    async fn answers(&mut self) {
        eventually("Prometheus answers", async || {
            assert_eq!(self.child.try_wait().unwrap(), None, "{}", self.log());
            let ready = self.client.request(reqwest::Method::GET, "/-/ready").send().await.ok()?;
            (ready.status() == 200).then_some(())
        })
        .await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What it answers to a question of its API.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let asked = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let mut answer = self.client.get(&format!("/api/v1/{path}?{asked}")).await;
        assert_eq!(answer.body["status"], "success", "{path} {query:?}: {}", answer.body);
        answer.body["data"].take()
    }

    /// The values of an expression at this moment.
    pub async fn values(&self, expression: &str) -> Vec<f64> {
        let found = self.get("query", &[("query", expression)]).await;
        let rows = found["result"].as_array().cloned().unwrap_or_default();
        rows.iter().filter_map(|row| row["value"][1].as_str()?.parse().ok()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // One that has ended by itself is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
