//! One connection to the broker: made, named, kept, and its losses logged once each.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::connection::State;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerError};
use semver::Version;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::BrokerError;
use super::address::{without_login, without_secrets};
use super::login::Login;

/// Oldest server that is known to keep what it acknowledged; see docs/decisions.
pub const SERVER_VERSION_FLOOR: Version = Version::new(2, 14, 6);

/// How often the connection is probed. A peer that died without a word is noticed when the third probe would be due while
/// two are unanswered: the view must be fresh again, or known to be stale, 10 s after it died.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// One attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a program that has just been started waits for a broker before it gives up.
pub const FIRST_CONNECT_MAX: Duration = Duration::from_secs(30);
/// Longest pause between two attempts to connect again; they go on for ever.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long the same complaint of the broker is not logged again.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);
/// Of a machine's name so much is in the name of a connection.
const HOST_CHARS_MAX: usize = 32;
/// One question to the JetStream API. Nobody answers one that comes while a leader is being elected: who asks again soon is
/// answered soon after the election.
const API_TIMEOUT: Duration = Duration::from_secs(2);
/// One change of an object at the broker: with three replicas, it has to be agreed on.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// One publish, and the wait for its acknowledgement. Two fit into the ingress's own deadline.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the broker is and how to be let in.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// Addresses, `nats://host:port`; any one of them will do.
    pub urls: Vec<String>,
    /// How to be let in, and what to trust.
    pub login: Login,
}

impl ConnectionSettings {
    /// Of one broker that lets everybody in.
    pub fn at(url: impl Into<String>) -> Self {
        Self { urls: vec![url.into()], login: Login::default() }
    }

    /// The addresses, as they may be told to anybody.
    pub fn shown(&self) -> String {
        without_secrets(&self.urls.join(","))
    }
}

/// A connection of one role.
#[derive(Clone)]
pub struct Broker {
    client: Client,
    jetstream: jetstream::Context,
    instance: Arc<str>,
    /// Changes after the connection has been made again.
    connections: watch::Receiver<()>,
}

impl Broker {
    /// Connects as `rockets-<role>-<instance>` within [`FIRST_CONNECT_MAX`], and refuses a server that is too old.
    pub async fn connect(settings: &ConnectionSettings, role: &str) -> anyhow::Result<Self> {
        let broker = Self::reach(settings, role, FIRST_CONNECT_MAX).await?;
        let version = broker.server_version();
        anyhow::ensure!(
            is_supported(&version),
            "the broker at {} is nats-server {version}; at least {} is needed: older ones lose acknowledged messages",
            settings.shown(),
            SERVER_VERSION_FLOOR
        );
        Ok(broker)
    }

    /// The same within so long a time, to a server of any version.
    pub async fn reach(settings: &ConnectionSettings, role: &str, patience: Duration) -> anyhow::Result<Self> {
        let (instance, (made, connections)) = (instance(), watch::channel(()));
        let client = connect_patiently(settings, role, &instance, &Arc::new(made), patience).await?;
        let jetstream = ContextBuilder::new().timeout(API_TIMEOUT).build(client.clone());
        Ok(Self { client, jetstream, instance, connections })
    }

    /// What tells this connection from all others, `<host>-<process>-<random>`: one token of a subject.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether the connection stands. If not, whatever is asked now would only wait.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Name that the broker gave itself.
    pub fn server_name(&self) -> String {
        self.client.server_info().server_name
    }

    /// Its version, as it says itself.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// The address on which it listens, as it says itself.
    pub fn listens_on(&self) -> String {
        self.client.server_info().host
    }

    /// Whether it lets nobody in who has no login.
    pub fn needs_login(&self) -> bool {
        self.client.server_info().auth_required
    }

    /// Waits until the broker has seen everything that was sent on this connection so far, or is away.
    pub async fn flush(&self) -> Result<(), BrokerError> {
        within(PUBLISH_TIMEOUT, "flushing", self.client.flush()).await
    }

    /// How many times the connection has been made: what was asked on an earlier one may never be answered.
    pub(super) fn times_connected(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Changes after the connection has been made again.
    pub(super) fn connections(&self) -> watch::Receiver<()> {
        self.connections.clone()
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// A context for changing objects at the broker.
    pub(super) fn changing(&self) -> jetstream::Context {
        ContextBuilder::new().timeout(CHANGE_TIMEOUT).build(self.client.clone())
    }

    /// A context for publishing, with this many acknowledgements awaited at once; further publishes wait their turn.
    pub(super) fn publishing(&self, acks_in_flight_max: usize) -> jetstream::Context {
        ContextBuilder::new()
            .timeout(PUBLISH_TIMEOUT)
            .ack_timeout(PUBLISH_TIMEOUT)
            .max_ack_inflight(acks_in_flight_max)
            .backpressure_on_inflight(true)
            .build(self.client.clone())
    }
}

async fn connect_patiently(
    settings: &ConnectionSettings,
    role: &str,
    instance: &str,
    made: &Arc<watch::Sender<()>>,
    patience: Duration,
) -> anyhow::Result<Client> {
    let addresses: Vec<_> = settings.urls.iter().map(|url| without_login(url)).collect();
    let deadline = Instant::now() + patience;
    let mut shown = false;
    loop {
        let options = options(settings, role, instance, made.clone())?;
        let attempt = options.connect(addresses.as_slice()).await;
        let error = match attempt {
            Ok(client) => return Ok(client),
            // Waiting does not make a password right.
            Err(error) if error.kind() == ConnectErrorKind::AuthorizationViolation => {
                return Err(error).with_context(|| not_let_in(settings));
            }
            Err(error) if Instant::now() < deadline => error,
            Err(error) => return Err(error).with_context(|| no_broker(settings)),
        };
        if !std::mem::replace(&mut shown, true) {
            tracing::warn!(%error, urls = settings.shown(), "no broker answers yet, trying again");
        }
        sleep(Duration::from_millis(250)).await;
    }
}

fn no_broker(settings: &ConnectionSettings) -> String {
    format!(
        "no broker answers at {} (nats.url); start one (`nats-server -js`), or use `rockets up`, which brings its own",
        settings.shown()
    )
}

fn not_let_in(settings: &ConnectionSettings) -> String {
    format!(
        "the broker at {} does not let us in; name a credentials file (nats.creds), an nkey (nats.nkey), or a user and the \
         file with its password (nats.user, nats.password_file; or nats://user:password@host:port in nats.url)",
        settings.shown()
    )
}

/// A name for one connection of this process.
fn instance() -> Arc<str> {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy().into_owned();
    let legible = |char: char| if char.is_ascii_alphanumeric() { char } else { '-' };
    let host: String = host.chars().map(legible).take(HOST_CHARS_MAX).collect();
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{host}-{}-{}", std::process::id(), &random[..4]).into()
}

fn options(
    settings: &ConnectionSettings,
    role: &str,
    instance: &str,
    made: Arc<watch::Sender<()>>,
) -> anyhow::Result<ConnectOptions> {
    let log = EventLog { role: role.to_owned(), complaint: Mutex::new(None) };
    let options = settings
        .login
        .options(&settings.urls)?
        .name(format!("rockets-{role}-{instance}"))
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_TIMEOUT)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| RECONNECT_PAUSE_MAX.min(Duration::from_millis(50 * attempts as u64)))
        .event_callback(move |event| {
            if event == Event::Connected {
                made.send_replace(());
            }
            log.write(&event);
            std::future::ready(())
        });
    Ok(options)
}

/// What is logged of a connection.
struct EventLog {
    role: String,
    /// What the broker complained of last, and when: what is done again and again is not worth a line each time.
    complaint: Mutex<Option<(ServerError, Instant)>>,
}

impl EventLog {
    /// Losses and returns are sentences of their own; attempts in between are not worth one.
    fn write(&self, event: &Event) {
        let role = &self.role;
        match event {
            Event::Connected => tracing::info!(role, "connected to the broker"),
            Event::Disconnected => tracing::warn!(role, "lost the broker, connecting again"),
            Event::LameDuckMode => tracing::warn!(role, "the broker is about to shut down"),
            Event::SlowConsumer(subscription) => tracing::warn!(role, subscription, "messages came faster than taken"),
            // A missing permission shows only here.
            Event::ServerError(error) if self.is_new(error) => tracing::error!(role, %error, "the broker complains"),
            Event::ServerError(error) => tracing::debug!(role, %error, "the broker complains again"),
            Event::ClientError(error) => tracing::debug!(role, %error, "the connection has a problem"),
            Event::Draining | Event::Closed => tracing::debug!(role, %event, "the connection ends"),
        }
    }

    /// Whether this complaint is another one than the last, or that is long ago.
    fn is_new(&self, error: &ServerError) -> bool {
        let mut last = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = last.as_ref().is_none_or(|(last, at)| last != error || at.elapsed() > COMPLAINT_PAUSE);
        if is_new {
            *last = Some((error.clone(), Instant::now()));
        }
        is_new
    }
}

/// Whether a server of this version may be used.
pub fn is_supported(version: &str) -> bool {
    is_at_least(version, &SERVER_VERSION_FLOOR)
}

/// Whether a version is this one or a newer one.
pub(super) fn is_at_least(version: &str, floor: &Version) -> bool {
    Version::parse(version).is_ok_and(|version| version >= *floor)
}

/// Bounds a call that has no deadline of its own.
pub(super) async fn within<T, E: std::fmt::Display>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, BrokerError> {
    match timeout(limit, call).await {
        Ok(result) => result.map_err(BrokerError::unavailable),
        Err(_) => Err(BrokerError::timed_out(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::is_supported;

    #[test]
    fn versions_compare_by_number() {
        for version in ["2.14.6", "2.15.1", "2.15.0-RC.1", "3.0.0", "2.100.0"] {
            assert!(is_supported(version), "{version}");
        }
        for version in ["2.14.5", "2.9.22", "2.14", "", "x.y.z", "2.14.6x", "2.14.6-RC.1"] {
            assert!(!is_supported(version), "{version}");
        }
    }
}
