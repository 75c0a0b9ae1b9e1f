//! The program `rockets`, any subcommand, as an operator runs it: started with an environment of its own, its log read,
//! ended by signals.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::broker::server_program;
use super::{Broker, Client, DataDir, PATIENCE, POLL, eventually, freeze, tail};

/// A process that runs or has run. It is killed when it is dropped.
pub struct Program {
    name: String,
    child: Child,
    log: Arc<Mutex<String>>,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    /// No settings file is found in it.
    _folder: TempDir,
}

/// How a program that was to end has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

impl Ended {
    /// The output of one that ended with this code.
    #[track_caller]
    pub fn says(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}\n{}", self.output, self.errors);
        &self.output
    }

    /// The errors of one that ended with this code.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &str {
        self.says(code);
        &self.errors
    }

    /// The rows of one that ended well and speaks JSON lines.
    #[track_caller]
    pub fn rows(&self) -> Vec<Value> {
        self.says(0).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// How to start one. It knows no broker and serves HTTP on a free port, unless told otherwise.
pub struct Start {
    command: Command,
    name: String,
    folder: TempDir,
}

impl Program {
    /// A subcommand with its arguments, such as `["up", "--roles", "query"]`.
    pub fn of(arguments: &[&str]) -> Start {
        let folder = TempDir::with_prefix("rockets-e2e-program-").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rockets"));
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if ["ROCKETS_", "NATS_", "RUST_LOG", "FAIL_POINT", "NO_COLOR", "CLICOLOR", "CI", "OTEL_"]
                .iter()
                .any(|prefix| name_text.starts_with(prefix))
            {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .current_dir(folder.path())
            .env("ROCKETS_HTTP__ADDR", "127.0.0.1:0")
            .env("ROCKETS_LOG__FORMAT", "json")
            .env("ROCKETS_BROKER__SERVER", server_program())
            .env("ROCKETS_BROKER__PORT", "0");
        Start { command, name: arguments.join(" "), folder }
    }

    /// Where it serves HTTP, once it does.
    pub async fn addr(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.log_lines().iter().find(|line| line["message"] == "serving HTTP") {
                return line["addr"].as_str().unwrap().to_owned();
            }
            if let Some(status) = self.try_exit() {
                panic!("`rockets {}` ended ({status}) before it served HTTP:\n{}", self.name, self.log());
            }
            assert!(Instant::now() < deadline, "`rockets {}` does not serve HTTP", self.name);
            tokio::time::sleep(POLL).await;
        }
    }

    /// A client of its HTTP, once it is served.
    pub async fn client(&mut self) -> Client {
        Client::new(&format!("http://{}", self.addr().await))
    }

    /// A client of its HTTP, once `/readyz` says that it is ready, not degraded.
    pub async fn ready(&mut self) -> Client {
        let client = self.client().await;
        eventually("/readyz says ready", async || {
            let answer = client.try_get("/readyz").await?;
            (answer.status == 200 && answer.body["data"]["status"] == "ready").then_some(())
        })
        .await;
        client
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        // One that has ended by itself is not there to be killed.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Stops it as a machine that hangs: connections stay open and nothing answers.
    pub fn freeze(&self) {
        freeze(self.pid());
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Sends SIGTERM.
    pub fn send_term(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn term(&mut self) -> ExitStatus {
        self.send_term();
        self.exit_within(Duration::from_secs(30)).await
    }

    /// Waits for the end.
    pub async fn exit(&mut self) -> ExitStatus {
        self.exit_within(PATIENCE).await
    }

    /// Waits for the end, but only for so long.
    pub async fn exit_within(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.try_exit() {
                return status;
            }
            assert!(Instant::now() < deadline, "`rockets {}` does not end within {patience:?}", self.name);
            tokio::time::sleep(POLL).await;
        }
    }

    /// How it has ended, if it has; all of its log and output is there then.
    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap()?;
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        Some(status)
    }

    /// Its standard error.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its standard output.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// The lines of its log that are JSON.
    pub fn log_lines(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Memory that it has in use, in bytes, where there is a `/proc`.
    pub fn resident_bytes(&self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    /// The most that it ever had in use.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    }
}

impl Start {
    /// With one more variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With this broker, as the user for what it does.
    pub fn broker(self, broker: &Broker) -> Self {
        self.logged_in(|user| broker.url_of(user))
    }

    /// The same where this is the address for a user.
    pub fn logged_in(self, url_of: impl Fn(&str) -> String) -> Self {
        let url = url_of(user_of(&self.name));
        self.env("ROCKETS_NATS__URL", &url)
    }

    /// With a broker of its own on this store.
    pub fn data_dir(self, data: &DataDir) -> Self {
        let path = data.path().to_str().unwrap().to_owned();
        self.env("ROCKETS_BROKER__DATA_DIR", &path)
    }

    /// With this port instead of a free one, so that the next program can have the same.
    pub fn http_port(self, port: u16) -> Self {
        self.env("ROCKETS_HTTP__ADDR", &format!("127.0.0.1:{port}"))
    }

    /// With this in the log, such as `rockets=debug`.
    pub fn rust_log(self, filter: &str) -> Self {
        self.env("RUST_LOG", filter)
    }

    /// Dying at this point, such as `track.record-written:3`.
    #[cfg(feature = "fail-points")]
    pub fn fail_point(self, point: &str) -> Self {
        self.env("FAIL_POINT", point)
    }

    /// The command, for who connects it in a way of their own, and the folder that it is to be run in.
    pub fn into_command(self) -> (Command, TempDir) {
        (self.command, self.folder)
    }

    /// Starts it and waits for its end.
    pub async fn ends(self) -> Ended {
        let mut program = self.start();
        let status = program.exit().await;
        Ended { code: status.code(), output: program.output(), errors: program.log() }
    }

    /// Starts it and waits until it is ready.
    pub async fn start_and_ready(self) -> (Program, Client) {
        let mut program = self.start();
        let client = program.ready().await;
        (program, client)
    }

    /// Starts it and waits for nothing.
    pub fn start(mut self) -> Program {
        let command = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (log, output) = (Arc::default(), Arc::default());
        let readers = vec![collect(child.stderr.take().unwrap(), &log), collect(child.stdout.take().unwrap(), &output)];
        Program { name: self.name, child, log, output, readers, _folder: self.folder }
    }
}

/// The broker's user as whom a subcommand runs.
fn user_of(arguments: &str) -> &str {
    match arguments.split(' ').next().unwrap_or_default() {
        role @ ("up" | "ingest" | "track" | "query") => role,
        "init" | "trim" | "forget" | "backup" | "restore" => "admin",
        _ => "operator",
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- `rockets {}`, its last lines:\n{}", self.name, tail(&self.log(), 40));
        }
    }
}

/// Reads everything that comes, so that the program never waits for its reader.
fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let into = into.clone();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
