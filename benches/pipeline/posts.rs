//! POSTs a second, as a share of those that do nothing; of the ingress alone with its broker, and with all roles at work
//! on the same machine.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Client, Connections};
use crate::messages::Fleet;
use crate::report::{Rows, median};
use crate::site::{Site, Sync};
use crate::{Scale, noop, note};

/// How long each kind of load lasts in one round.
const ROUND: Duration = Duration::from_millis(1_500);
/// Rounds, of which the median counts; the two that are compared take turns.
const ROUNDS: usize = 3;
/// Rockets of one connection.
const ROCKETS: u64 = 100;

#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    connections: usize,
    kind: Connections,
}

const LOADS: [Load; 3] = [
    Load { name: "3 kept-alive connections", connections: 3, kind: Connections::KeptAlive },
    Load { name: "64 kept-alive connections", connections: 64, kind: Connections::KeptAlive },
    Load { name: "a new connection each, 3 at a time", connections: 3, kind: Connections::New },
];

pub async fn measure(scale: Scale, sync: Sync, rows: &mut Rows) -> anyhow::Result<()> {
    measure_beside(&[], "POST", scale, sync, rows).await?;
    measure_beside(&["track", "query"], "POST beside track and query", scale, sync, rows).await
}

/// Measures the ingress beside these other roles.
async fn measure_beside(others: &[&str], name: &str, scale: Scale, sync: Sync, rows: &mut Rows) -> anyhow::Result<()> {
    note(&format!("{name}, sync {}", sync.name()));
    let (bare, site) = (noop::start().await?, Site::start(sync).await?);
    let ingest = site.role("ingest").await?;
    let mut beside = Vec::new();
    for role in others {
        beside.push(site.role(role).await?);
    }
    for load in LOADS {
        let (mut own, mut noop) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            noop.push(load.posts_a_second(bare.addr(), scale.time(ROUND)).await?);
            own.push(load.posts_a_second(ingest.addr(), scale.time(ROUND)).await?);
        }
        rows.rate(&format!("{name}, {}", load.name), median(own), median(noop));
    }
    Ok(())
}

impl Load {
    async fn posts_a_second(self, addr: SocketAddr, lasting: Duration) -> anyhow::Result<f64> {
        let start = Instant::now();
        let mut senders = JoinSet::new();
        for _ in 0..self.connections {
            senders.spawn(send(Client::new(addr, self.kind), start + lasting));
        }
        let mut sent = 0;
        while let Some(sender) = senders.join_next().await {
            sent += sender??;
        }
        Ok(sent as f64 / start.elapsed().as_secs_f64())
    }
}

/// Sends until then, one message at a time, and tells how many.
async fn send(mut client: Client, until: Instant) -> anyhow::Result<u64> {
    let (mut fleet, mut sent) = (Fleet::new(ROCKETS), 0);
    while Instant::now() < until {
        client.post(&fleet.next().body()).await?;
        sent += 1;
    }
    Ok(sent)
}
