//! Memory of each process once so many rockets have been launched through it, and as it was before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Connections};
use crate::messages::Fleet;
use crate::process::Process;
use crate::report::{Rows, thousands};
use crate::site::{Site, Sync};
use crate::{Scale, note};

const ROCKETS: u64 = 100_000;
const CONNECTIONS: u64 = 64;
/// How long a launched rocket may take until it can be read.
const VISIBLE_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// What was needed only on the way has been freed by then.
const REST: Duration = Duration::from_secs(2);

const ROLES: [&str; 3] = ["ingest", "track", "query"];

pub async fn measure(scale: Scale, rows: &mut Rows) -> anyhow::Result<()> {
    let rockets = scale.count(ROCKETS);
    note(&format!("memory with {rockets} rockets"));
    let site = Site::start(Sync::TwoMinutes).await?;
    let mut roles = BTreeMap::new();
    for role in ROLES {
        roles.insert(role, site.role(role).await?);
    }
    let before = resident(&site, &roles).await?;
    launch(rockets, roles["ingest"].addr(), roles["query"].addr()).await?;
    sleep(REST).await;
    for (name, bytes) in resident(&site, &roles).await? {
        rows.memory(&format!("memory of {name} with {} rockets", thousands(rockets)), bytes, before[name]);
    }
    Ok(())
}

async fn resident(site: &Site, roles: &BTreeMap<&'static str, Process>) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let mut bytes = BTreeMap::from([("nats-server", site.broker.resident_bytes().await?)]);
    for (name, role) in roles {
        bytes.insert(name, role.resident_bytes().await?);
    }
    Ok(bytes)
}

/// Launches rockets over many connections, and waits until they can be read.
async fn launch(rockets: u64, ingest: SocketAddr, query: SocketAddr) -> anyhow::Result<()> {
    let mut senders = JoinSet::new();
    for at in 0..CONNECTIONS {
        let share = rockets / CONNECTIONS + u64::from(at < rockets % CONNECTIONS);
        senders.spawn(launch_some(share, ingest, query));
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    Ok(())
}

async fn launch_some(rockets: u64, ingest: SocketAddr, query: SocketAddr) -> anyhow::Result<()> {
    let mut fleet = Fleet::new(rockets);
    let mut sender = Client::new(ingest, Connections::KeptAlive);
    for _ in 0..rockets {
        sender.post(&fleet.next().body()).await?;
    }
    let mut reader = Client::new(query, Connections::KeptAlive);
    for channel in fleet.some(rockets as usize) {
        let (deadline, path) = (Instant::now() + VISIBLE_MAX, format!("/rockets/{}", channel?));
        while reader.get(&path).await?.0 != 200 {
            anyhow::ensure!(Instant::now() < deadline, "{path} cannot be read");
            sleep(POLL).await;
        }
    }
    Ok(())
}
