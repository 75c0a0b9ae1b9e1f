//! A `nats-server` of one test: killed, restarted and frozen at will, always on the same store and port.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use async_nats::{ConnectOptions, jetstream};
use rockets::internals::User;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use strum::VariantArray as _;
use tempfile::TempDir;

use super::{PATIENCE, POLL, free_port, freeze, tail};

/// A broker with JetStream, which ends with its owner.
pub struct Broker {
    server: Option<Server>,
    port: u16,
    sync: &'static str,
    /// Bytes that its store may take; none for as many as there are.
    room: Option<u64>,
    /// Further settings.
    more: Value,
    /// Whether each program logs in as a user of its own, who may do no more than it needs.
    has_users: bool,
    /// Whether a test fails in which a program was not allowed something.
    is_strict: bool,
    folder: TempDir,
}

/// A process of `nats-server`, which ends with its owner.
pub struct Server {
    child: Child,
}

impl Broker {
    /// A broker that syncs to disk rarely, for tests that kill no machine: a killed process loses nothing.
    pub async fn start() -> Self {
        Self::start_syncing("2m").await
    }

    /// A broker that syncs to disk at `always` or an interval.
    pub async fn start_syncing(sync: &'static str) -> Self {
        Self::start_with(sync, Value::Null).await
    }

    /// A broker with further settings, as its configuration has them.
    pub async fn start_with(sync: &'static str, more: Value) -> Self {
        let folder = TempDir::with_prefix("rockets-e2e-broker-").unwrap();
        // A test may have users of its own.
        let has_users = std::env::var_os("E2E_USERS").is_some() && more["authorization"].is_null();
        let mut broker =
            Self { server: None, port: free_port(), sync, room: None, more, has_users, is_strict: has_users, folder };
        broker.restart().await;
        broker
    }

    /// A broker with users, whatever the environment says.
    #[allow(dead_code, reason = "for the end-to-end tests alone")]
    pub async fn start_with_users() -> Self {
        let mut broker = Self::start().await;
        (broker.has_users, broker.is_strict) = (true, false);
        broker.restart().await;
        broker
    }

    /// Where it answers, to who may do everything.
    pub fn url(&self) -> String {
        self.url_of("test")
    }

    /// Where it answers, to a user; without users, to anybody.
    pub fn url_of(&self, user: &str) -> String {
        let login = if self.has_users { format!("{user}:{}@", password_of(user)) } else { String::new() };
        format!("nats://{login}127.0.0.1:{}", self.port)
    }

    /// What its log says that somebody was not allowed.
    pub fn violations(&self) -> Vec<String> {
        violations(&self.log_file())
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection to it, past the service.
    pub async fn client(&self) -> async_nats::Client {
        // The library looks past the login that an address holds.
        let options = match self.has_users {
            true => ConnectOptions::with_user_and_password("test".into(), password_of("test")),
            false => ConnectOptions::new(),
        };
        options.connect(self.url()).await.unwrap()
    }

    /// JetStream on a connection of its own.
    pub async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client().await)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// From its next start on its store may take so many bytes; none for as many as there are.
    pub fn give_room(&mut self, bytes: Option<u64>) {
        self.room = bytes;
    }

    /// Starts it, again if need be, and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        let config = self.folder.path().join("server.conf");
        std::fs::write(&config, self.config()).unwrap();
        let mut command = Command::new(server_program());
        command.args([Path::new("--config"), &config]);
        self.server = Some(Server::start(command, self.port, &self.log_file()).await);
    }

    /// Has it read its configuration again, with these further settings instead of those that it had.
    #[allow(dead_code, reason = "for the end-to-end tests alone")]
    pub fn reload(&mut self, more: Value) {
        self.more = more;
        std::fs::write(self.folder.path().join("server.conf"), self.config()).unwrap();
        self.server.as_ref().expect("the broker runs").signal(Signal::HUP);
    }

    /// Takes away its store, once it was killed.
    pub fn clear(&self) {
        assert!(self.server.is_none(), "the broker runs");
        std::fs::remove_dir_all(self.folder.path().join("jetstream")).unwrap();
    }

    /// Stops it as a machine that hangs: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.server.as_ref().expect("the broker runs").freeze();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.server.as_ref().expect("the broker runs").thaw();
    }

    fn config(&self) -> String {
        let mut config = serde_json::json!({
            "listen": format!("127.0.0.1:{}", self.port),
            "log_file": self.log_file(),
            "jetstream": { "store_dir": self.folder.path(), "sync_interval": self.sync },
        });
        // Else the server gives a part of what this machine's disk has left, which may be less than the streams may take.
        config["jetstream"]["max_file_store"] = self.room.unwrap_or(1 << 40).into();
        if self.has_users {
            config["authorization"] = users();
        }
        for (name, value) in self.more.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        format!("{config:#}\n")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }
}

/// The users of `nats/users.conf`, and one who may do everything.
fn users() -> Value {
    let user = |user: &User| {
        let name = user.name();
        serde_json::json!({
            "user": name, "password": password_of(name), "permissions": user.permissions("_INBOX").to_json()
        })
    };
    let everything = serde_json::json!({ "user": "test", "password": password_of("test") });
    let users: Vec<_> = User::VARIANTS.iter().map(user).chain([everything]).collect();
    serde_json::json!({ "users": users })
}

fn password_of(user: &str) -> String {
    format!("secret-of-{user}")
}

impl Server {
    /// Runs a command that starts one, and waits until it answers on its port; where it does not, shows its log.
    pub async fn start(mut command: Command, port: u16, log: &Path) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self { child: command.spawn().unwrap() };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "no broker: {ended:?}\n{}", end_of(log));
            tokio::time::sleep(POLL).await;
        }
        server
    }

    /// Stops it as a machine that hangs: connections stay open and nothing answers.
    pub fn freeze(&self) {
        freeze(self.pid());
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended.
    #[allow(dead_code, reason = "for the drill alone")]
    pub async fn exit(mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the broker does not end");
            tokio::time::sleep(POLL).await;
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended is not there to be killed; a frozen one is killed all the same.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// The lines of a log that say that somebody was not allowed something.
pub fn violations(log: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
}

/// The lines at the end of a log file.
fn end_of(log: &Path) -> String {
    tail(&std::fs::read_to_string(log).unwrap_or_default(), 20)
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.is_strict && !std::thread::panicking() {
            let violations = self.violations();
            assert!(violations.is_empty(), "{}", violations.join("\n"));
        }
        if std::thread::panicking() {
            eprintln!("--- the broker on port {}, its last lines:\n{}", self.port, end_of(&self.log_file()));
        }
    }
}

/// The `nats-server` that tests use: the one that the project has fetched, else one on the PATH.
pub fn server_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/.bin/nats-server");
        let program = if fetched.is_file() { fetched } else { PathBuf::from("nats-server") };
        let version = Command::new(&program).arg("--version").output();
        assert!(
            version.is_ok_and(|output| output.status.success()),
            "these tests need a nats-server: run `nats/get-nats-server`, or put one on the PATH"
        );
        program
    })
}
