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
mod key;
mod list;
mod listing;
mod logins;
mod partitions;
mod rebuild;
mod settings;
mod skip;
mod top;
mod trim;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::broker::lost_end::lost_end;
use crate::broker::objects::Object;
use crate::broker::objects::provision::{Means, provision, verify_patiently};
use crate::broker::{Broker, Monitor};
use crate::config::{self, Config};
use crate::http::serve::{Entrance, Ports};
use crate::http::{Address, Tls, TlsFiles, tls};
use crate::roles::{self, Role};
use crate::{fail_point, import, launch, logging, traces, up};
use settings::Settings;

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
        /// Only make a password for each of these users, in DIR/USER/password, and DIR/broker/users.conf with all of them
        #[arg(long, value_name = "DIR", conflicts_with_all = ["lower_replicas", "set_bounds", "print_permissions"])]
        make_logins: Option<PathBuf>,
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
    /// Make keys, list them, and take them back
    #[command(subcommand)]
    Key(key::Command),
    /// Send the messages of many rockets, as the field's sender does, and verify the result
    Launch(launch::Options),
    /// Send the messages of a file in batches, go on where that was stopped, and verify the result
    Import(import::Options),
    /// Print the script that completes this program in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the man page: everything that --help says, in one
    Man,
}

/// Parses the command line, runs what it says, and returns how the process ends.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    fail_point::choose_version();
    tls::choose_provider();
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
        Command::Import(options) => return run_import(options).await,
        Command::Completions { shell } => return about::completions(shell),
        Command::Man => return about::man(),
        Command::Skip(options) => return skip::run(options).await,
        Command::Dlq(command) => return dlq::run(command).await,
        Command::Key(command) => return key::run(command).await,
        Command::History(options) => return history::run(options).await,
        Command::Rebuild(options) => return rebuild::run(options).await,
        Command::Trim(options) => return trim::run(options).await,
        Command::Forget(options) => return forget::run(options).await,
        Command::Backup(options) => return backup::backup(options).await,
        Command::Restore(options) => return backup::restore(options).await,
        Command::Init { print_permissions: true, settings, .. } => return about::permissions(settings),
        Command::Init { make_logins: Some(folder), settings, .. } => return logins::run(&folder, settings),
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
            return with_keys(settings, async |config, auth| {
                let (entrance, shutdown) = (enter(&config, auth).await?, shutdown_signal()?);
                up::run(&config, &distinct(roles), entrance, shutdown).await
            })
            .await;
        }
        Command::Ingest(settings) => (settings, Role::Ingest),
        Command::Track(settings) => (settings, Role::Track),
        Command::Query(settings) => (settings, Role::Query),
    };
    with_keys(settings, async |config, auth| run_role(&config, auth, role).await).await
}

/// The same of what serves HTTP. Without the keys that it is to ask for it does not begin.
async fn with_keys(settings: Settings, command: impl AsyncFnOnce(Config, Auth) -> anyhow::Result<()>) -> ExitCode {
    let auth = |config: &Config| Auth::open(&config.auth).map_err(|error| wrong_usage(&error.to_string()));
    match loaded(settings).and_then(|config| Ok((auth(&config)?, config))) {
        Ok((auth, config)) => logged(config, async |config| command(config, auth).await).await,
        Err(code) => code,
    }
}

async fn with_config(settings: Settings, command: impl AsyncFnOnce(Config) -> anyhow::Result<()>) -> ExitCode {
    match loaded(settings) {
        Ok(config) => logged(config, command).await,
        Err(code) => code,
    }
}

async fn logged(config: Config, command: impl AsyncFnOnce(Config) -> anyhow::Result<()>) -> ExitCode {
    logging::start(config.log.format);
    match command(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<config::Wrong>() {
            Some(wrong) => wrong_settings(wrong),
            None => failed(&error),
        },
    }
}

/// The settings, or how the process ends without them.
fn loaded(settings: Settings) -> Result<Config, ExitCode> {
    settings.load().map_err(|wrong| wrong_settings(&wrong))
}

fn wrong_settings(wrong: &config::Wrong) -> ExitCode {
    wrong_usage(&format!("wrong settings\n{wrong}"))
}

async fn run_launch(options: launch::Options) -> ExitCode {
    logging::start(None);
    verdict(async |shutdown| launch::run(options, shutdown.cancelled_owned()).await).await
}

async fn run_import(options: import::Options) -> ExitCode {
    if let Some(contradiction) = options.contradiction() {
        return wrong_usage(contradiction);
    }
    logging::start_of_tool(None);
    verdict(async |shutdown| import::run(options, shutdown).await).await
}

/// How what sends ends, by whether all is well.
async fn verdict(send: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<bool>) -> ExitCode {
    let shutdown = match shutdown_signal() {
        Ok(shutdown) => shutdown,
        Err(error) => return failed(&error),
    };
    match send(shutdown).await {
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

async fn run_role(config: &Config, auth: Auth, role: Role) -> anyhow::Result<()> {
    let (entrance, shutdown) = (enter(config, auth).await?, shutdown_signal()?);
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
    roles::run(config, &[role], &connection, monitored, entrance, shutdown).await
}

/// Lets this process open as many files as it may: each connection is one, and many systems begin with 1,024.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, connections wait to be accepted instead.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

async fn enter(config: &Config, auth: Auth) -> anyhow::Result<Entrance> {
    let tls = config.tls.clone().map(encrypt).transpose()?;
    let public = listen("http.addr", config.http.addr, tls.clone()).await?;
    let operators = match config.http.admin_addr {
        Some(addr) => Some(listen("http.admin_addr", addr, tls).await?),
        None => None,
    };
    Ok(Entrance { public, operators, auth })
}

async fn listen(setting: &str, addr: Address, tls: Option<Arc<Tls>>) -> anyhow::Result<Ports> {
    let variable = format!("ROCKETS_{}", setting.to_uppercase().replace('.', "__"));
    let listeners = addr.bind().await;
    let listeners =
        listeners.with_context(|| format!("{setting}: cannot listen on {addr}; choose another ({variable})"))?;
    Ok(Ports { listeners, tls })
}

/// A certificate that cannot be used is a wrong setting.
fn encrypt(files: TlsFiles) -> anyhow::Result<Arc<Tls>> {
    let look = Arc::new(Notify::new());
    let tls = Tls::load(files, look.clone()).map_err(|error| config::Wrong(vec![error.to_string()]))?;
    let mut hangup = signal(SignalKind::hangup())?;
    #[expect(clippy::disallowed_methods, reason = "it waits for signals until the process ends")]
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            look.notify_one();
        }
    });
    Ok(Arc::new(tls))
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
