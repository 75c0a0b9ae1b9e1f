//! The command line: what can be said, and where it leads. What an operator's tools do is in the modules below.

mod about;
mod backup;
mod common;
mod consent;
mod dlq;
mod doctor;
mod forget;
mod gaps;
mod health;
mod history;
mod list;
mod listing;
mod partitions;
mod rebuild;
mod skip;
mod top;
mod trim;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::broker::lost_end::lost_end;
use crate::broker::objects::Object;
use crate::broker::objects::provision::{Means, provision, verify_patiently};
use crate::broker::{Broker, Monitor};
use crate::config::{self, Config};
use crate::roles::{self, Role};
use crate::{fail_point, launch, logging, traces, up};

/// Exit code for wrong usage or configuration, as clap has it.
const WRONG_USAGE: u8 = 2;
/// Exit code of what somebody ended with Ctrl-C, as shells have it. A service ends well then.
const INTERRUPTED: u8 = 130;
/// Whether somebody has pressed Ctrl-C where that is waited for.
static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What the help says at its end.
const ENDS: &str = "Exit codes: 0 all is well; 1 it failed, found a difference, or was not confirmed; 2 wrong usage or settings; \
                    130 a tool was ended with Ctrl-C.\n\
                    Data goes to standard output, everything else to standard error. What is listed, --json lists as JSON \
                    lines. NO_COLOR, CLICOLOR_FORCE and TERM=dumb are obeyed.";

/// Takes the messages of many rockets, out of order and more than once, and always knows each rocket's true state
#[derive(Debug, Parser)]
#[command(name = "rockets", version, propagate_version = true, after_help = ENDS)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process, with a broker of its own unless one is configured
    #[command(after_help = traces::settings::HELP)]
    Up {
        /// Only these roles
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Role::Ingest, Role::Track, Role::Query])]
        roles: Vec<Role>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Take messages in: POST /messages
    #[command(after_help = traces::settings::HELP)]
    Ingest(Settings),
    /// Put messages in order and keep each rocket's state
    #[command(after_help = traces::settings::HELP)]
    Track(Settings),
    /// Answer questions about rockets: GET /rockets
    #[command(after_help = traces::settings::HELP)]
    Query(Settings),
    /// Make the broker's streams, durables and bucket, or change what differs
    Init {
        /// Also have fewer copies of streams and durables than there are
        #[arg(long)]
        lower_replicas: bool,
        /// Also give streams the configured bounds that have others
        #[arg(long)]
        set_bounds: bool,
        /// Only print what users the broker should have and what they may do, for its configuration
        #[arg(long, conflicts_with_all = ["lower_replicas", "set_bounds"])]
        print_permissions: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show how all of it goes, on one screen: throughput, lag, gaps, dead letters
    Top(top::Options),
    /// List rockets
    List(list::Options),
    /// Show who works on what, what is waiting to be applied, and whether more trackers would help
    Partitions(partitions::Options),
    /// Ask a running role whether it is ready
    Health(health::Options),
    /// Look for what is wrong or soon will be, with what to do about it
    Doctor(doctor::Options),
    /// Show which channels wait for a missing number, and since when
    Gaps(gaps::Options),
    /// Give up waiting for numbers of a rocket that will not come
    Skip(skip::Options),
    /// Look at what could not be applied, replay it or drop it
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Show how a rocket came to be what it is, number by number
    History(history::Options),
    /// Fold every rocket from the stream, compare with the bucket, and repair it if asked to
    Rebuild(rebuild::Options),
    /// Remove what was applied and is older than asked from the log
    Trim(trim::Options),
    /// Remove everything that is stored of one rocket
    Forget(forget::Options),
    /// Save everything that the service has stored into a new folder
    Backup(backup::BackupOptions),
    /// Bring a backup back, at a broker that has none of its streams
    Restore(backup::RestoreOptions),
    /// Send the messages of many rockets, as the field's sender does, and verify the result
    Launch(launch::Options),
    /// Print the script that completes this program in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the man page: everything that --help says, in one
    Man,
}

/// Every setting as a flag, before the variables and the file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings (also in config/rockets.toml and in variables, ROCKETS_HTTP__ADDR and so on)")]
struct Settings {
    /// Settings file instead of config/rockets.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where HTTP is served [default: 0.0.0.0:8088]
    #[arg(long, value_name = "ADDR")]
    http_addr: Option<String>,
    /// How long serving goes on after SIGTERM, while /readyz says 503 [default: 0s]
    #[arg(long, value_name = "TIME")]
    http_drain_delay: Option<String>,
    /// Origins whose pages browsers may let call, several with commas [default: none]
    #[arg(long, value_name = "ORIGINS")]
    http_cors_origins: Option<String>,
    /// Where the broker is, several with commas [default: none for `up`, else nats://127.0.0.1:4222]
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// Credentials file for it
    #[arg(long, value_name = "FILE")]
    nats_creds: Option<String>,
    /// File with the seed of an nkey for it
    #[arg(long, value_name = "FILE")]
    nats_nkey: Option<String>,
    /// User there
    #[arg(long, value_name = "NAME")]
    nats_user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE")]
    nats_password_file: Option<String>,
    /// Certificates to trust, PEM: with any of these nothing is said without TLS
    #[arg(long, value_name = "FILE")]
    nats_ca: Option<String>,
    /// Our own certificate, PEM
    #[arg(long, value_name = "FILE")]
    nats_cert: Option<String>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE")]
    nats_key: Option<String>,
    /// What the subjects of replies begin with [default: _INBOX, with a user _INBOX_ and its name]
    #[arg(long, value_name = "SUBJECT")]
    nats_inbox_prefix: Option<String>,
    /// Port of the broker's monitoring, for `doctor`; 0: it has none [default: 8222]
    #[arg(long, value_name = "PORT")]
    nats_monitor_port: Option<String>,
    /// Port of the broker that `up` starts [default: 4222]
    #[arg(long, value_name = "PORT")]
    broker_port: Option<String>,
    /// Folder of its store [default: ./data]
    #[arg(long, value_name = "DIR")]
    broker_data_dir: Option<String>,
    /// When it syncs to disk: always, or an interval [default: always]
    #[arg(long, value_name = "WHEN")]
    broker_sync: Option<String>,
    /// The nats-server program [default: nats-server on the PATH]
    #[arg(long, value_name = "PROGRAM")]
    broker_server: Option<String>,
    /// Partitions of the stream, fixed for its life [default: 16]
    #[arg(long, value_name = "N")]
    stream_partitions: Option<String>,
    /// Copies of each stream [default: 1]
    #[arg(long, value_name = "N")]
    stream_replicas: Option<String>,
    /// Room of the log: unlimited, or a size [default: 4GiB]
    #[arg(long, value_name = "SIZE")]
    stream_log_max_bytes: Option<String>,
    /// Room of dead letters [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    stream_dead_letters_max_bytes: Option<String>,
    /// Room of outcomes [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    stream_outcomes_max_bytes: Option<String>,
    /// Room of checkpoints [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    stream_checkpoints_max_bytes: Option<String>,
    /// Room of the bucket [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    stream_bucket_max_bytes: Option<String>,
    /// How long a tracker may hold a message unacknowledged [default: 5s]
    #[arg(long, value_name = "TIME")]
    track_ack_wait: Option<String>,
    /// For how long the log keeps what was applied: forever, or a time [default: forever]
    #[arg(long, value_name = "TIME")]
    retention_keep: Option<String>,
    /// For how long dead letters are kept: forever, or a time [default: forever]
    #[arg(long, value_name = "TIME")]
    retention_dead_letters: Option<String>,
    /// When numbers that have not arrived are skipped: never, or a time [default: never]
    #[arg(long, value_name = "TIME")]
    gaps_skip_after: Option<String>,
    /// How much of messages a process keeps in memory [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    memory_messages: Option<String>,
    /// text, json or auto [default: auto]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Settings {
    fn load(self) -> Result<Config, config::Wrong> {
        let flags = [
            ("http.addr", self.http_addr),
            ("http.drain_delay", self.http_drain_delay),
            ("http.cors_origins", self.http_cors_origins),
            ("nats.url", self.nats_url),
            ("nats.creds", self.nats_creds),
            ("nats.nkey", self.nats_nkey),
            ("nats.user", self.nats_user),
            ("nats.password_file", self.nats_password_file),
            ("nats.ca", self.nats_ca),
            ("nats.cert", self.nats_cert),
            ("nats.key", self.nats_key),
            ("nats.inbox_prefix", self.nats_inbox_prefix),
            ("nats.monitor_port", self.nats_monitor_port),
            ("broker.port", self.broker_port),
            ("broker.data_dir", self.broker_data_dir),
            ("broker.sync", self.broker_sync),
            ("broker.server", self.broker_server),
            ("stream.partitions", self.stream_partitions),
            ("stream.replicas", self.stream_replicas),
            ("stream.log_max_bytes", self.stream_log_max_bytes),
            ("stream.dead_letters_max_bytes", self.stream_dead_letters_max_bytes),
            ("stream.outcomes_max_bytes", self.stream_outcomes_max_bytes),
            ("stream.checkpoints_max_bytes", self.stream_checkpoints_max_bytes),
            ("stream.bucket_max_bytes", self.stream_bucket_max_bytes),
            ("track.ack_wait", self.track_ack_wait),
            ("retention.keep", self.retention_keep),
            ("retention.dead_letters", self.retention_dead_letters),
            ("gaps.skip_after", self.gaps_skip_after),
            ("memory.messages", self.memory_messages),
            ("log.format", self.log_format),
        ];
        let given: Vec<_> = flags.into_iter().filter_map(|(setting, value)| Some((setting, value?))).collect();
        config::load(self.config.as_deref(), &given)
    }
}

/// Parses the command line, runs what it says, and returns how the process ends.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    fail_point::choose_version();
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    runtime.block_on(run(cli.command))
}

async fn run(command: Command) -> ExitCode {
    let (settings, role) = match command {
        Command::Launch(options) => return run_launch(options).await,
        Command::Completions { shell } => return about::completions(shell),
        Command::Man => return about::man(),
        Command::Skip(options) => return skip::run(options).await,
        Command::Dlq(command) => return dlq::run(command).await,
        Command::History(options) => return history::run(options).await,
        Command::Rebuild(options) => return rebuild::run(options).await,
        Command::Trim(options) => return trim::run(options).await,
        Command::Forget(options) => return forget::run(options).await,
        Command::Backup(options) => return backup::backup(options).await,
        Command::Restore(options) => return backup::restore(options).await,
        Command::Init { print_permissions: true, settings, .. } => return about::permissions(settings),
        Command::Init { lower_replicas, set_bounds, settings, .. } => {
            let means = Means::Change { lower_replicas, set_bounds };
            return with_config(settings, async |config| init(config, means).await).await;
        }
        Command::Top(options) => return top::run(options).await,
        Command::List(options) => return list::run(options).await,
        Command::Partitions(options) => return partitions::run(options).await,
        Command::Health(options) => return health::run(options).await,
        Command::Doctor(options) => return doctor::run(options).await,
        Command::Gaps(options) => return gaps::run(options).await,
        Command::Up { roles, settings } => {
            return with_config(settings, async |config| {
                let (listener, shutdown) = (listen(&config).await?, shutdown_signal()?);
                up::run(&config, &distinct(roles), listener, shutdown).await
            })
            .await;
        }
        Command::Ingest(settings) => (settings, Role::Ingest),
        Command::Track(settings) => (settings, Role::Track),
        Command::Query(settings) => (settings, Role::Query),
    };
    with_config(settings, async |config| run_role(&config, role).await).await
}

async fn with_config(settings: Settings, command: impl AsyncFnOnce(Config) -> anyhow::Result<()>) -> ExitCode {
    let config = match loaded(settings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    logging::start(config.log.format);
    match command(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// The settings, or how the process ends without them.
fn loaded(settings: Settings) -> Result<Config, ExitCode> {
    settings.load().map_err(|wrong| wrong_usage(&format!("wrong settings\n{wrong}")))
}

async fn run_launch(options: launch::Options) -> ExitCode {
    logging::start(None);
    let shutdown = match shutdown_signal() {
        Ok(shutdown) => shutdown,
        Err(error) => return failed(&error),
    };
    match launch::run(options, shutdown.cancelled_owned()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => failure(),
        // Whoever reads the output has seen enough of it. What was not verified is not well for that.
        Err(error) if is_closed(&error) => failure(),
        Err(error) => failed(&error),
    }
}

async fn init(config: Config, means: Means) -> anyhow::Result<()> {
    let broker = Broker::connect(&config.broker_of_a_role(), "init").await?;
    let mut output = io::stdout();
    for step in provision(&broker, &config.topology(), means).await? {
        writeln!(output, "{step}")?;
    }
    // Where nobody tells, the roles will.
    if let Ok(Some(lost)) = lost_end(&broker).await {
        writeln!(output, "warning  {} {lost}: run `rockets rebuild --check`", Object::Log)?;
    }
    Ok(())
}

async fn run_role(config: &Config, role: Role) -> anyhow::Result<()> {
    let (listener, shutdown) = (listen(config).await?, shutdown_signal()?);
    let connection = config.broker_of_a_role();
    let verified = async {
        let broker = Broker::connect(&connection, role.into()).await?;
        anyhow::Ok(verify_patiently(&broker, &config.topology()).await?)
    };
    match shutdown.run_until_cancelled(verified).await {
        None => return Ok(()),
        Some(verified) => verified?,
    }
    let monitored = Monitor::new(config.topology());
    roles::run(config, &[role], &connection, monitored, listener, shutdown).await
}

/// Lets this process open as many files as it may: each connection is one, and many systems begin with 1,024.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, connections wait to be accepted instead.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let addr = config.http.addr;
    TcpListener::bind(addr)
        .await
        .with_context(|| format!("http.addr: cannot listen on {addr}; choose another (ROCKETS_HTTP__ADDR)"))
}

/// Ends with SIGTERM or SIGINT.
fn shutdown_signal() -> anyhow::Result<CancellationToken> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = CancellationToken::new();
    let cancelled = shutdown.clone();
    #[expect(clippy::disallowed_methods, reason = "it waits for signals until the process ends")]
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => IS_INTERRUPTED.store(true, Ordering::Relaxed),
        }
        tracing::info!("shutting down");
        cancelled.cancel();
    });
    Ok(shutdown)
}

fn distinct(mut roles: Vec<Role>) -> Vec<Role> {
    roles.sort_unstable();
    roles.dedup();
    roles
}

/// Says what is wrong with how the program was called, and returns how it ends.
fn wrong_usage(problem: &str) -> ExitCode {
    tell(&format!("error: {problem}"));
    ExitCode::from(WRONG_USAGE)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    tell(&format!("error: {error:#}"));
    failure()
}

/// How what has failed ends.
fn failure() -> ExitCode {
    if IS_INTERRUPTED.load(Ordering::Relaxed) { ExitCode::from(INTERRUPTED) } else { ExitCode::FAILURE }
}

/// How what goes on until it is told to end has ended.
fn stopped() -> ExitCode {
    if IS_INTERRUPTED.load(Ordering::Relaxed) { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS }
}

/// Whether nobody reads the output any more: `rockets gaps | head`.
fn is_closed(error: &anyhow::Error) -> bool {
    let of = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    error.chain().any(|cause| of(cause) == Some(io::ErrorKind::BrokenPipe))
}

/// Says something to the user, log or no log. Where nobody listens any more nothing can be done about it.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
