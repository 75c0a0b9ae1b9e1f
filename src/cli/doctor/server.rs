//! The broker's processes: their version, when they sync, who is let in, and the room that they give.
//!
//! A broker tells its clients little of itself. The one that `rockets up` started is known by the file with which it was
//! started; any other is asked at its monitoring port (`nats.monitor_port`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;

use super::Finding;
use crate::broker::address::host;
use crate::broker::connection::{SERVER_VERSION_FLOOR, is_supported};
use crate::broker::usage::Usage;
use crate::broker::{Broker, ConnectionSettings};
use crate::config::Config;
use crate::text::bytes;
use crate::up::server::config_file;

/// How long a monitoring port may take to answer.
const MONITOR_MAX: Duration = Duration::from_secs(2);

/// What is known of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    name: String,
    /// How long what it acknowledged may not be on disk; none where it syncs first.
    unsynced: Option<Duration>,
    /// Bytes that its streams may take.
    file_store_max: Option<u64>,
    /// Where they are, if that is on this machine.
    folder: Option<PathBuf>,
}

/// What `/varz` tells of a server.
#[derive(Deserialize)]
struct Varz {
    server_name: String,
    #[serde(default)]
    jetstream: VarzJetStream,
}

#[derive(Default, Deserialize)]
struct VarzJetStream {
    config: Option<VarzConfig>,
}

#[derive(Deserialize)]
struct VarzConfig {
    #[serde(default)]
    max_storage: u64,
    #[serde(default)]
    store_dir: PathBuf,
    /// In nanoseconds.
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

/// All findings about the servers.
pub(super) async fn examine(
    broker: &Broker,
    config: &Config,
    connection: &ConnectionSettings,
    usages: &[Usage],
) -> Vec<Finding> {
    let facts = match own(broker, &config.broker.data_dir) {
        Some(own) => vec![Ok(own)],
        None => monitored(connection, config.nats.monitor_port).await,
    };
    let mut findings = vec![
        Finding::ok("broker", format!("{} answers at {}", broker.server_name(), connection.shown())),
        version(&broker.server_version()),
        login(&broker.listens_on(), broker.needs_login()),
    ];
    findings.extend(facts.iter().map(|facts| sync(facts.as_ref())));
    findings.extend(facts.iter().flatten().filter_map(|facts| room(facts, usages)));
    findings.extend(facts.iter().flatten().filter_map(|facts| disk(facts, usages)));
    findings
}

/// What the file says with which `rockets up` has started this very broker.
fn own(broker: &Broker, data_dir: &Path) -> Option<Facts> {
    let text = std::fs::read(config_file(data_dir)).ok()?;
    let config: Value = serde_json::from_slice(&text).ok()?;
    let (name, jetstream) = (config["server_name"].as_str()?, &config["jetstream"]);
    (name == broker.server_name()).then(|| Facts {
        name: name.to_owned(),
        unsynced: jetstream["sync_interval"].as_str().and_then(|interval| humantime::parse_duration(interval).ok()),
        file_store_max: jetstream["max_file_store"].as_u64(),
        folder: jetstream["store_dir"].as_str().map(PathBuf::from),
    })
}

/// What each server tells at its monitoring port, or where nothing answers.
async fn monitored(connection: &ConnectionSettings, port: u16) -> Vec<Result<Facts, String>> {
    let asked = connection.urls.iter().filter_map(|url| host(url)).map(|host| async move {
        let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        if port == 0 {
            return Err(shown);
        }
        varz(&shown).await.map(|varz| varz.facts(is_here(&host))).map_err(|_| shown)
    });
    let mut facts = futures_util::future::join_all(asked).await;
    // Several addresses may be of one server.
    facts.sort_by_key(|facts| facts.as_ref().map_or_else(Clone::clone, |facts| facts.name.clone()));
    facts.dedup();
    facts
}

async fn varz(host: &str) -> reqwest::Result<Varz> {
    let client = Client::builder().timeout(MONITOR_MAX).no_proxy().build()?;
    client.get(format!("http://{host}/varz")).send().await?.error_for_status()?.json().await
}

/// Whether a host is this machine: then its folders are seen from here.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|addr| addr.is_loopback())
}

impl Varz {
    fn facts(self, is_here: bool) -> Facts {
        let Some(config) = self.jetstream.config else { return Facts { name: self.server_name, ..Facts::default() } };
        // A container behind a port of this machine has another folder of this name, or none.
        let folder = Some(config.store_dir).filter(|folder| is_here && folder.is_dir());
        Facts {
            name: self.server_name,
            unsynced: (!config.sync_always).then(|| Duration::from_nanos(config.sync_interval)),
            file_store_max: Some(config.max_storage).filter(|bytes| *bytes > 0),
            folder,
        }
    }
}

fn version(version: &str) -> Finding {
    if is_supported(version) {
        return Finding::ok("version", format!("nats-server {version}"));
    }
    Finding::bad(
        "version",
        format!("nats-server {version} is older than {SERVER_VERSION_FLOOR}, and may lose what it acknowledged"),
        format!("update it to {SERVER_VERSION_FLOOR} or a newer one"),
    )
}

fn login(listens_on: &str, needs_login: bool) -> Finding {
    match (needs_login, is_here(listens_on)) {
        (true, _) => Finding::ok("login", "the broker lets in only who has a login"),
        (false, true) => Finding::ok("login", format!("the broker has no users, and listens on {listens_on} alone")),
        (false, false) => Finding::warn(
            "login",
            format!(
                "the broker listens on {listens_on} and has no users: who reaches it may read, forge and delete all"
            ),
            "give each role a user (docs/operations.md, \"Users of the broker\"), or keep the port to a network of its own",
        ),
    }
}

fn sync(facts: Result<&Facts, &String>) -> Finding {
    match facts {
        Ok(Facts { name, unsynced: None, .. }) => {
            Finding::ok("sync", format!("{name} syncs to disk before it acknowledges"))
        }
        Ok(Facts { name, unsynced: Some(interval), .. }) => Finding::warn(
            "sync",
            format!(
                "{name} syncs to disk every {}: a power cut takes what was acknowledged since",
                humantime::format_duration(*interval)
            ),
            "set `sync_interval: always` in the broker's configuration (broker.sync = \"always\")",
        ),
        Err(address) => Finding::warn(
            "sync",
            format!("it is not known whether the broker syncs to disk: its monitoring does not answer at {address}"),
            "have the broker serve it (`http: 8222`), or say where it does (nats.monitor_port)",
        ),
    }
}

/// Whether a server gives the room that the streams may take. It has one copy of each at most.
fn room(facts: &Facts, usages: &[Usage]) -> Option<Finding> {
    let (may_take, gives) = (usages.iter().filter_map(|usage| usage.bytes_max).sum::<u64>(), facts.file_store_max?);
    let (name, shown) = (&facts.name, format!("{} of {}", bytes(may_take), bytes(gives)));
    Some(match may_take <= gives {
        true => Finding::ok("room", format!("all streams together may take {shown} that {name} gives them")),
        false => Finding::warn(
            "room",
            format!("all streams together may take {shown} that {name} gives them: it is full before they are"),
            "give it more (`max_file_store`), or the streams less (stream.log_max_bytes and so on, `rockets init`)",
        ),
    })
}

/// Whether the disk has what the streams may still take.
fn disk(facts: &Facts, usages: &[Usage]) -> Option<Finding> {
    let free = free_bytes(facts.folder.as_ref()?)?;
    let left = |usage: &Usage| usage.bytes_max.map_or(0, |bytes_max| bytes_max.saturating_sub(usage.bytes));
    let may_take = usages.iter().map(left).sum::<u64>();
    let shown = format!("streams may still take {}, the disk has {} left", bytes(may_take), bytes(free));
    Some(match may_take <= free {
        true => Finding::ok("disk", shown),
        false => {
            Finding::warn("disk", shown, "make room on the disk, or give the streams less (stream.log_max_bytes …)")
        }
    })
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::broker::objects::Object;

    fn usage(bytes: u64, bytes_max: Option<u64>) -> Usage {
        Usage { object: Object::Log, bytes, bytes_max, bytes_a_day: None, replicas: 1, replicas_behind: 0 }
    }

    #[test]
    fn only_a_broker_that_anybody_reaches_needs_users() {
        let rows = [
            ("127.0.0.1", false, Level::Ok),
            ("::1", false, Level::Ok),
            ("0.0.0.0", false, Level::Warn),
            ("0.0.0.0", true, Level::Ok),
        ];
        for (listens_on, needs_login, expected) in rows {
            assert_eq!(login(listens_on, needs_login).level, expected, "{listens_on}");
        }
    }

    #[test]
    fn what_a_monitoring_port_tells_is_read() {
        let varz = |config| -> Facts {
            let varz = serde_json::json!({ "server_name": "n1", "jetstream": { "config": config } });
            serde_json::from_value::<Varz>(varz).unwrap().facts(false)
        };
        let facts =
            varz(serde_json::json!({ "max_storage": 7, "sync_always": true, "sync_interval": 120_000_000_000_u64 }));
        assert_eq!((facts.unsynced, facts.file_store_max, facts.folder.clone()), (None, Some(7), None));
        assert_eq!(sync(Ok(&facts)).level, Level::Ok);
        let facts = varz(serde_json::json!({ "sync_interval": 120_000_000_000_u64 }));
        assert_eq!(sync(Ok(&facts)).detail, "n1 syncs to disk every 2m: a power cut takes what was acknowledged since");
        assert_eq!(sync(Err(&"a:8222".into())).level, Level::Warn);
    }

    #[test]
    fn streams_may_not_take_more_than_is_given() {
        let facts = |gives| Facts { file_store_max: gives, ..Facts::default() };
        let level = |gives| room(&facts(gives), &[usage(5, Some(10)), usage(5, None)]).map(|finding| finding.level);
        assert_eq!([level(None), level(Some(10)), level(Some(9))], [None, Some(Level::Ok), Some(Level::Warn)]);
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(version("2.14.6").level, Level::Ok);
        assert_eq!(version("2.14.5").level, Level::Bad);
    }
}
