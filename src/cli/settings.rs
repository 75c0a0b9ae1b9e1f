//! Every setting as a flag of a command: one flag a setting, which says what it is for. What a setting may be is said where it is
//! checked, in [`crate::config`].

use std::path::PathBuf;

use clap::Args;

use crate::config::{self, Config};

/// Every setting as a flag, before the variables and the file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings (also in config/rockets.toml and in variables, ROCKETS_HTTP__ADDR and so on)")]
pub(super) struct Settings {
    /// Settings file instead of config/rockets.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where HTTP is served [default: localhost:8088]
    #[arg(long, value_name = "ADDR")]
    http_addr: Option<String>,
    /// How long serving goes on after SIGTERM, while /readyz says 503 [default: 0s]
    #[arg(long, value_name = "TIME")]
    http_drain_delay: Option<String>,
    /// Origins whose pages browsers may let call, several with commas [default: none]
    #[arg(long, value_name = "ORIGINS")]
    http_cors_origins: Option<String>,
    /// Names under which this machine is asked beside its own, several with commas [default: none]
    #[arg(long, value_name = "HOSTS")]
    http_hosts: Option<String>,
    /// Connections at once [default: 4096]
    #[arg(long, value_name = "N")]
    http_connections: Option<String>,
    /// Connections of one address at once [default: 3072]
    #[arg(long, value_name = "N")]
    http_connections_per_address: Option<String>,
    /// Certificate in PEM, for HTTPS
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Its key
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Where alone skips, replays, drops and /metrics are served [default: where HTTP is]
    #[arg(long, value_name = "ADDR")]
    http_admin_addr: Option<String>,
    /// Who may do what: off (everybody everything), or required (nobody anything without a key) [default: off]
    #[arg(long, value_name = "MODE")]
    auth_mode: Option<String>,
    /// The file with the keys
    #[arg(long, value_name = "FILE")]
    pub(super) auth_keys_file: Option<String>,
    /// How many channels there may be: a number, or unlimited [default: 1000000]
    #[arg(long, value_name = "N")]
    ingest_channels_max: Option<String>,
    /// How many messages of one channel may wait: a number, or unlimited [default: 1000000]
    #[arg(long, value_name = "N")]
    ingest_pending_max: Option<String>,
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
    /// All settings, from wherever they are.
    pub(super) fn load(self) -> Result<Config, config::Wrong> {
        let flags = [
            ("http.addr", self.http_addr),
            ("http.drain_delay", self.http_drain_delay),
            ("http.cors_origins", self.http_cors_origins),
            ("http.hosts", self.http_hosts),
            ("http.connections", self.http_connections),
            ("http.connections_per_address", self.http_connections_per_address),
            ("tls.cert", self.tls_cert),
            ("tls.key", self.tls_key),
            ("http.admin_addr", self.http_admin_addr),
            ("auth.mode", self.auth_mode),
            ("auth.keys_file", self.auth_keys_file),
            ("ingest.channels_max", self.ingest_channels_max),
            ("ingest.pending_max", self.ingest_pending_max),
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
