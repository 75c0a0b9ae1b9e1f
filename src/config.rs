//! The settings: layers of them turned into one typed value, with all that is wrong in it told at once.
//!
//! Rising precedence: built-in defaults, `config/rockets.toml` (or the file that `--config` names), variables, flags.
//! A setting `a.b` is `[a] b` in the file and `ROCKETS_A__B` among the variables. Each problem names the setting, where
//! it came from, and what it may be.

mod access;
mod nats;
mod streams;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Value};

pub use self::nats::Nats;
pub use self::streams::Stream;
use crate::auth::AuthSettings;
use crate::broker::address::without_secrets;
use crate::broker::topology::Topology;
use crate::broker::{ConnectionSettings, GroupCommit};
use crate::http::{Address, Bounds, TlsFiles};
use crate::ingest::IngestSettings;
use crate::traces::settings as traces;
use crate::{logging, memory};

/// The file that is read without `--config`, if it is there.
pub const DEFAULT_FILE: &str = "config/rockets.toml";

const VARIABLE_PREFIX: &str = "ROCKETS_";

/// What a number of connections may be.
const CONNECTIONS: &str = "a number of connections from 1 to 1000000";

/// Longest time that serving goes on after SIGTERM.
const DRAIN_DELAY_MAX: Duration = Duration::from_secs(300);

/// Where a broker listens that is told nothing else.
const DEFAULT_PORT: u16 = 4222;

/// Every setting, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Serving HTTP.
    pub http: Http,
    /// Serving it as HTTPS.
    pub tls: Option<TlsFiles>,
    /// Who may do what.
    pub auth: AuthSettings,
    /// How much may come in, and how it is stored.
    pub ingest: IngestSettings,
    /// Reaching a broker.
    pub nats: Nats,
    /// The broker that `rockets up` starts.
    pub broker: Broker,
    /// The streams.
    pub stream: Stream,
    /// The tracker.
    pub track: Track,
    /// What becomes of messages in time.
    pub retention: Retention,
    /// What becomes of gaps in time.
    pub gaps: Gaps,
    /// How much of messages a process keeps.
    pub memory: Memory,
    /// The log.
    pub log: Log,
}

impl Config {
    /// The objects at the broker that these settings ask for.
    pub fn topology(&self) -> Topology {
        let Stream { partitions, replicas, bounds } = self.stream;
        Topology { partitions, replicas, ack_wait: self.track.ack_wait, bounds }
    }

    /// The broker that is named; where none is, `rockets up` starts its own.
    pub fn named_broker(&self) -> Option<ConnectionSettings> {
        let urls = self.nats.urls.clone();
        (!urls.is_empty()).then(|| self.nats.at(urls))
    }

    /// The broker of a role by itself: the named one, or the one that `nats-server` without any configuration is.
    pub fn broker_of_a_role(&self) -> ConnectionSettings {
        self.named_broker().unwrap_or_else(|| self.broker_here(DEFAULT_PORT))
    }

    /// The broker of a tool: the named one, or the one that `rockets up` with the same settings starts; none where that one
    /// picks its port.
    pub fn broker_of_a_tool(&self) -> Option<ConnectionSettings> {
        let port = Some(self.broker.port).filter(|port| *port > 0);
        self.named_broker().or_else(|| Some(self.broker_here(port?)))
    }

    fn broker_here(&self, port: u16) -> ConnectionSettings {
        self.nats.at(vec![format!("nats://127.0.0.1:{port}")])
    }
}

/// Serving HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where HTTP is served; port 0 picks a free one.
    pub addr: Address,
    /// Where alone operators' requests are served, if that is said.
    pub admin_addr: Option<Address>,
    /// How long serving goes on after SIGTERM, while `/readyz` says that the process is not ready.
    pub drain_delay: Duration,
    /// Origins whose pages browsers may let call.
    pub cors_origins: Vec<String>,
    /// Names beside this machine's own under which it is asked there.
    pub hosts: Vec<String>,
    /// How many connections there may be.
    pub bounds: Bounds,
}

/// The broker that `rockets up` starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// Its store.
    pub data_dir: PathBuf,
    /// When it syncs to disk.
    pub sync: Sync,
    /// The program.
    pub server: PathBuf,
}

/// When the broker syncs to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before each acknowledgement.
    #[default]
    Always,
    /// Every so often: a power cut may take what was acknowledged in between.
    Every(Duration),
}

/// The tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track {
    /// How long a message may be held unacknowledged.
    pub ack_wait: Duration,
    /// Whether records that wait are written as one batch.
    pub group_commit: GroupCommit,
}

/// What becomes of messages in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// For how long the log keeps what was applied; none for ever.
    pub keep: Option<Duration>,
    /// For how long dead letters are kept; none for ever.
    pub dead_letters: Option<Duration>,
}

/// What becomes of gaps in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// When what has not arrived is skipped; none never.
    pub skip_after: Option<Duration>,
}

/// How much of messages a process keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In bytes.
    pub messages: usize,
}

/// The log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its format; none means text on a terminal, else JSON.
    pub format: Option<logging::Format>,
}

/// All that is wrong with the settings, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Wrong(pub Vec<String>);

/// The built-in defaults are the file as it was when the program was built, so that the two cannot differ.
const DEFAULTS: &str = include_str!("../config/rockets.toml");

/// Reads all layers. Flags are pairs of a setting and its value.
pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Config, Wrong> {
    let layers = Figment::from(Toml::string(DEFAULTS));
    let layers = match file {
        Some(path) if !path.is_file() => {
            return Err(Wrong(vec![format!("--config: there is no file {}", path.display())]));
        }
        Some(path) => layers.merge(Toml::file_exact(path)),
        // One that is asked for exactly must be there.
        None if !Path::new(DEFAULT_FILE).exists() => layers,
        None => layers.merge(Toml::file_exact(DEFAULT_FILE)),
    };
    let layers = layers.merge(variables_of_the_nats_tools()).merge(variables());
    let flag = |layers: Figment, (setting, value): &(&str, String)| layers.merge(Serialized::global(setting, value));
    let config = check(&flags.iter().fold(layers, flag));
    // Read by the log and by traces themselves, and so no layer; but as wrong as any other setting.
    let problems: Vec<_> = logging::wrong_filter().into_iter().chain(traces::wrong_variables()).collect();
    match problems.is_empty() {
        true => config,
        false => Err(Wrong(config.err().into_iter().flat_map(|wrong| wrong.0).chain(problems).collect())),
    }
}

/// Our own, but for the key that `rockets launch` sends.
fn variables() -> Env {
    Env::prefixed(VARIABLE_PREFIX).ignore(&["KEY"]).split("__")
}

/// Variables that the `nats` tools read too; ours come before them.
fn variables_of_the_nats_tools() -> Env {
    let read = ["NATS_URL", "NATS_CREDS", "NATS_NKEY", "NATS_USER", "NATS_CA", "NATS_CERT", "NATS_KEY"];
    Env::raw().only(&read).map(|name| name.as_str().replacen('_', ".", 1).into())
}

fn check(layers: &Figment) -> Result<Config, Wrong> {
    let unreadable = |error: figment::Error| error.into_iter().map(|error| error.to_string()).collect();
    let data: Dict = layers.extract().map_err(|error| Wrong(unreadable(error)))?;
    let mut read = Reader { layers, problems: unknown_settings(layers, &data) };
    let config = Config {
        http: Http {
            addr: read
                .parsed("http.addr", "an address such as localhost:8088 or 0.0.0.0:8088", text_to)
                .unwrap_or(Address::Localhost(0)),
            admin_addr: read
                .parsed("http.admin_addr", "an address such as 127.0.0.1:8089, or empty", optional)
                .unwrap_or_default(),
            drain_delay: read
                .parsed("http.drain_delay", "a time from 0s to 5m such as 5s", drain_delay)
                .unwrap_or_default(),
            cors_origins: read
                .parsed("http.cors_origins", "origins such as https://a.example, several with commas", origins)
                .unwrap_or_default(),
            hosts: read
                .parsed("http.hosts", "names of hosts such as a.example, several with commas", hosts)
                .unwrap_or_default(),
            bounds: Bounds::new(
                read.parsed("http.connections", CONNECTIONS, connections).unwrap_or_default(),
                read.parsed("http.connections_per_address", CONNECTIONS, connections).unwrap_or_default(),
            ),
        },
        tls: read.tls(),
        auth: access::auth(&mut read),
        ingest: access::ingest(&mut read),
        nats: Nats::read(&mut read),
        broker: Broker {
            port: read.parsed("broker.port", "a port from 0 to 65535", text_to).unwrap_or_default(),
            data_dir: read.parsed("broker.data_dir", "the path of a folder", path).unwrap_or_default(),
            sync: read.parsed("broker.sync", "always, or an interval such as 2m", sync).unwrap_or_default(),
            server: read.parsed("broker.server", "the name or path of nats-server", path).unwrap_or_default(),
        },
        stream: Stream::read(&mut read),
        track: Track {
            ack_wait: read.parsed("track.ack_wait", "a time from 1s to 10m such as 5s", ack_wait).unwrap_or_default(),
            group_commit: access::group_commit(&mut read, "track.group_commit"),
        },
        retention: Retention {
            keep: read.parsed("retention.keep", "forever, or a time such as 30d", forever).unwrap_or_default(),
            dead_letters: read.parsed("retention.dead_letters", "forever, or a time", forever).unwrap_or_default(),
        },
        gaps: Gaps {
            skip_after: read.parsed("gaps.skip_after", "never, or a time such as 1h", never).unwrap_or_default(),
        },
        memory: Memory {
            messages: read
                .parsed("memory.messages", "at least 16MiB, such as 64MiB or 1GiB", memory::parse)
                .unwrap_or_default(),
        },
        log: Log { format: read.parsed("log.format", "auto, text or json", log_format).unwrap_or_default() },
    };
    if read.problems.is_empty() { Ok(config) } else { Err(Wrong(read.problems)) }
}

/// Reads settings one by one and collects what is wrong, so that all of it can be told at once.
struct Reader<'a> {
    layers: &'a Figment,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// Both files, or neither.
    fn tls(&mut self) -> Option<TlsFiles> {
        let [cert, key] = ["tls.cert", "tls.key"]
            .map(|setting| self.parsed(setting, "the path of a file in PEM", optional_path).flatten());
        if cert.is_some() != key.is_some() {
            self.problems.push("tls.cert, tls.key: must be given both, or neither".to_owned());
        }
        let (cert, key) = cert.zip(key)?;
        Some(TlsFiles { cert, key })
    }

    fn parsed<T>(&mut self, setting: &str, may_be: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        // A variable is text; the layers take some texts for numbers, which would lose their form.
        let variable = variable_of(self.layers, setting).and_then(|name| std::env::var(name).ok());
        let text = variable.or_else(|| self.layers.find_value(setting).ok().and_then(|value| text_of(&value)));
        let parsed = text.as_deref().and_then(parse);
        if parsed.is_none() {
            let is = text.map_or_else(|| "no single value".to_owned(), |text| format!("{:?}", without_secrets(&text)));
            let source = source_of(self.layers, setting);
            self.problems.push(format!("{setting}: must be {may_be}; is {is}, from {source}"));
        }
        parsed
    }
}

impl Reader<'_> {
    /// Two settings of which one means nothing without the other.
    fn together(&mut self, one: (&str, bool), other: (&str, bool)) {
        let ((one, is_there), (other, is_other_there)) = (one, other);
        if is_there != is_other_there {
            self.problems.push(format!("{one} and {other}: must be set both, or neither"));
        }
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        // A file's integers are signed, a variable's may not be.
        Value::Num(_, number) => {
            let signed = number.to_i128().map(|number| number.to_string());
            signed.or_else(|| number.to_u128().map(|number| number.to_string()))
        }
        Value::Bool(_, is) => Some(is.to_string()),
        Value::Array(_, values) => Some(values.iter().map(text_of).collect::<Option<Vec<_>>>()?.join(",")),
        _ => None,
    }
}

/// The variable that a setting's value came from, if it came from one.
fn variable_of(layers: &Figment, setting: &str) -> Option<String> {
    let (name, setting) = (&layers.find_metadata(setting)?.name, setting.to_uppercase());
    if name.contains(VARIABLE_PREFIX) {
        return Some(format!("{VARIABLE_PREFIX}{}", setting.replace('.', "__")));
    }
    name.contains("environment").then(|| setting.replace('.', "_"))
}

/// Where a setting's value came from, in words.
fn source_of(layers: &Figment, setting: &str) -> String {
    if let Some(variable) = variable_of(layers, setting) {
        return format!("the variable {variable}");
    }
    match layers.find_metadata(setting).and_then(|metadata| metadata.source.as_ref()) {
        Some(figment::Source::File(path)) => format!("the file {}", path.display()),
        Some(figment::Source::Code(_)) => format!("the flag --{}", setting.replace(['.', '_'], "-")),
        _ => "the built-in defaults".into(),
    }
}

fn unknown_settings(layers: &Figment, data: &Dict) -> Vec<String> {
    let defaults: Dict = Figment::from(Toml::string(DEFAULTS)).extract().unwrap_or_default();
    let known = settings(&defaults);
    let unknown = settings(data).into_iter().filter(|setting| !known.contains(setting));
    unknown
        .map(|setting| {
            let source = source_of(layers, &setting);
            format!("{setting}: unknown setting, from {source}; there are {}", known.join(", "))
        })
        .collect()
}

/// The names of all settings, `section.name`.
fn settings(data: &Dict) -> Vec<String> {
    let of_section = |(section, value): (&String, &Value)| match value {
        Value::Dict(_, settings) => settings.keys().map(|name| format!("{section}.{name}")).collect(),
        _ => vec![section.clone()],
    };
    data.iter().flat_map(of_section).collect()
}

fn text_to<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Empty where there is none.
fn optional<T: FromStr>(text: &str) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { text_to(text).map(Some) }
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

fn optional_path(text: &str) -> Option<Option<PathBuf>> {
    Some(path(text))
}

/// Names or addresses, with a port or without.
fn hosts(text: &str) -> Option<Vec<String>> {
    let hosts: Vec<_> = text.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
    hosts.into_iter().map(|host| is_host(host).then(|| host.to_ascii_lowercase())).collect()
}

fn is_host(text: &str) -> bool {
    text.parse::<warp::http::uri::Authority>().is_ok() && !text.contains(['@', '*'])
}

/// Origins as browsers write them: a scheme, a host in lower case, a port that is not the scheme's own.
fn origins(text: &str) -> Option<Vec<String>> {
    let origins: Vec<_> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
    origins.into_iter().map(|origin| is_origin(origin).then(|| origin.to_owned())).collect()
}

fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<warp::http::Uri>() else { return false };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.authority()) else { return false };
    let is_own_port = matches!((scheme, host.port_u16()), ("http", Some(80)) | ("https", Some(443)));
    let is_written_so = text == format!("{scheme}://{host}") && !text.contains(['@', '*']);
    matches!(scheme, "http" | "https") && is_written_so && !is_own_port && text == text.to_ascii_lowercase()
}

fn sync(text: &str) -> Option<Sync> {
    match text {
        "always" => Some(Sync::Always),
        interval => humantime::parse_duration(interval).ok().filter(|time| !time.is_zero()).map(Sync::Every),
    }
}

fn connections(text: &str) -> Option<usize> {
    text_to(text).filter(|connections| (1..=1_000_000).contains(connections))
}

fn ack_wait(text: &str) -> Option<Duration> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(600);
    humantime::parse_duration(text).ok().filter(|time| bounds.contains(time))
}

fn drain_delay(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|time| *time <= DRAIN_DELAY_MAX)
}

fn forever(text: &str) -> Option<Option<Duration>> {
    time_or("forever", text)
}

fn never(text: &str) -> Option<Option<Duration>> {
    time_or("never", text)
}

fn time_or(none: &str, text: &str) -> Option<Option<Duration>> {
    if text == none {
        return Some(None);
    }
    humantime::parse_duration(text).ok().filter(|time| !time.is_zero()).map(Some)
}

fn log_format(text: &str) -> Option<Option<logging::Format>> {
    match text {
        "auto" => Some(None),
        "text" => Some(Some(logging::Format::Text)),
        "json" => Some(Some(logging::Format::Json)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::bounds::BoundsSettings;

    fn with(toml: &str) -> Result<Config, Wrong> {
        check(&Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(toml)))
    }

    fn problems(toml: &str) -> Vec<String> {
        with(toml).unwrap_err().0
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let config = with("").unwrap();
        assert_eq!((config.http.addr, config.tls), (Address::Localhost(8088), None));
        let bounds = Bounds::new(4_096, 3_072);
        assert_eq!((config.http.bounds, config.http.hosts), (bounds, vec![]));
        assert_eq!(config.http.drain_delay, Duration::ZERO);
        assert_eq!(config.http.cors_origins, [""; 0]);
        let bounds = BoundsSettings { channels_max: Some(1_000_000), pending_max: Some(1_000_000) };
        assert_eq!(config.ingest, IngestSettings { bounds, group_commit: GroupCommit::Auto });
        assert_eq!((config.auth, config.http.admin_addr), (AuthSettings::default(), None));
        let nats = Nats { urls: vec![], login: crate::broker::Login::default(), monitor_port: 8222 };
        assert_eq!(config.nats, nats);
        assert_eq!((config.broker.port, config.broker.sync), (4222, Sync::Always));
        assert_eq!(config.broker.data_dir, PathBuf::from("./data"));
        assert_eq!((config.stream.partitions, config.stream.replicas), (16, 1));
        assert_eq!((config.track.ack_wait, config.log.format), (Duration::from_secs(5), None));
        assert_eq!(config.track.group_commit, GroupCommit::Auto);
        assert_eq!((config.retention, config.gaps), (Retention::default(), Gaps::default()));
        assert_eq!(config.memory.messages, 64 * 1024 * 1024);
    }

    #[test]
    fn values_are_read() {
        let config = with("nats.url = 'nats://a:1, nats://b:2'\nbroker.sync = '2m'\nlog.format = 'json'").unwrap();
        assert_eq!(config.nats.urls, ["nats://a:1", "nats://b:2"]);
        assert_eq!(config.broker.sync, Sync::Every(Duration::from_secs(120)));
        assert_eq!(config.log.format, Some(logging::Format::Json));
        let config = with("http.hosts = ['A.example', 'b.example:80']\ntls.cert = 'c'\ntls.key = 'k'").unwrap();
        assert_eq!(config.http.hosts, ["a.example", "b.example:80"]);
        assert_eq!(config.tls, Some(TlsFiles { cert: "c".into(), key: "k".into() }));
        let config = with("retention.keep = '30d'\nretention.dead_letters = '90d'\ngaps.skip_after = '1h'").unwrap();
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 60 * 60));
        assert_eq!(config.retention, Retention { keep: days(30), dead_letters: days(90) });
        assert_eq!(config.gaps.skip_after, Some(Duration::from_secs(3_600)));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let problems = problems("http.addr = 'here'\nbroker.port = 65536\nstream.replicas = 2\nhttp.adr = 1\nx = 1");
        let starts =
            ["http.adr: unknown", "x: unknown", "http.addr: must", "broker.port: must", "stream.replicas: must"];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn each_setting_has_its_bounds() {
        for toml in [
            "stream.partitions = 0",
            "stream.partitions = 257",
            "track.ack_wait = '999ms'",
            "track.ack_wait = '11m'",
            "track.ack_wait = 5",
            "track.group_commit = true",
            "http.drain_delay = '301s'",
            "http.cors_origins = '*'",
            "http.cors_origins = 'a.example'",
            "http.cors_origins = ['https://a.example', 'https://b.example/']",
            "http.cors_origins = 'https://A.example'",
            "http.cors_origins = 'https://a.example:443'",
            "http.drain_delay = 5",
            "http.addr = 'localhost'",
            "http.hosts = '*'",
            "http.hosts = 'https://a.example'",
            "http.connections = 0",
            "http.connections_per_address = 'many'",
            "tls.cert = 'cert.pem'",
            "tls.key = 'key.pem'",
            "broker.sync = 'never'",
            "broker.sync = '0s'",
            "broker.data_dir = ''",
            "log.format = 'xml'",
            "http.admin_addr = 'here'",
            "auth.mode = 'optional'",
            "ingest.channels_max = 0",
            "ingest.pending_max = 'none'",
            "ingest.group_commit = 'always'",
            "auth.mode = 'required'",
            "retention.keep = 'never'",
            "retention.keep = '0s'",
            "gaps.skip_after = 'forever'",
            "memory.messages = '15MiB'",
            "memory.messages = 67108864",
            "nats.url = 'http://a b'",
            "nats.user = 'a b'",
            "nats.user = 'a'",
            "nats.password_file = 'a'",
            "nats.cert = 'a'",
            "nats.inbox_prefix = '_INBOX.>'",
            "nats.monitor_port = 65536",
            "stream.log_max_bytes = '4GB'",
            "stream.bucket_max_bytes = 'unbounded'",
            "http = 7",
        ] {
            assert!(with(toml).is_err(), "{toml}");
        }
    }
}
