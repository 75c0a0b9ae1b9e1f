//! Load over HTTP from this process: as fast as it is answered, or at a pace that does not wait for answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::{Client, Connections};
use crate::messages::Fleet;

/// Rockets of one connection.
const ROCKETS: u64 = 20;
/// Connections of what comes at a pace: more than are ever busy while the service keeps up.
const PACED_CONNECTIONS: usize = 256;

/// Senders, each with its own connection and its own rockets, one request at a time.
#[derive(Clone, Copy)]
pub struct Load {
    pub connections: usize,
    pub kind: Connections,
    /// Messages of a request; one is sent as it is, several as an array.
    pub batch: u64,
}

/// What was sent and answered.
#[derive(Default)]
pub struct Sent {
    pub messages: u64,
    pub within: Duration,
    /// Of each request.
    pub latencies: Vec<Duration>,
    /// One of the rockets, and the last number that was sent of it.
    pub witness: Option<(String, u64)>,
}

impl Load {
    /// Single messages over connections that are kept.
    pub const fn singly(connections: usize) -> Self {
        Self { connections, kind: Connections::KeptAlive, batch: 1 }
    }

    /// Batches over connections that are kept.
    pub const fn batches(connections: usize, batch: u64) -> Self {
        Self { connections, kind: Connections::KeptAlive, batch }
    }

    /// Sends for so long, as fast as it is answered.
    pub async fn send(self, addr: SocketAddr, lasting: Duration) -> anyhow::Result<Sent> {
        let clients = Client::connected(addr, self.kind, self.connections).await?;
        let (start, mut senders) = (Instant::now(), JoinSet::new());
        for client in clients {
            senders.spawn(self.send_over_one(client, start + lasting));
        }
        let mut all = Sent::default();
        while let Some(sender) = senders.join_next().await {
            let sent = sender??;
            all.messages += sent.messages;
            all.latencies.extend(sent.latencies);
            all.witness = all.witness.or(sent.witness);
        }
        Ok(Sent { within: start.elapsed(), ..all })
    }

    async fn send_over_one(self, mut client: Client, until: Instant) -> anyhow::Result<Sent> {
        let (mut fleet, mut sent) = (Fleet::new(ROCKETS.max(self.batch / ROCKETS)), Sent::default());
        while Instant::now() < until {
            let body = self.body(&mut fleet);
            let start = Instant::now();
            client.post(&body).await?;
            sent.latencies.push(start.elapsed());
            sent.messages += self.batch;
        }
        Ok(Sent { witness: Some(fleet.first()), ..sent })
    }

    fn body(self, fleet: &mut Fleet) -> String {
        match self.batch {
            1 => fleet.next().body(),
            many => {
                let bodies: Vec<_> = (0..many).map(|_| fleet.next().body()).collect();
                format!("[{}]", bodies.join(","))
            }
        }
    }
}

impl Sent {
    pub fn a_second(&self) -> f64 {
        self.messages as f64 / self.within.as_secs_f64()
    }

    /// The time in seconds within which this share of the requests was answered.
    pub fn quantile(&mut self, share: f64) -> f64 {
        quantile(&mut self.latencies, share).as_secs_f64()
    }
}

/// Sends single messages at a pace, whether those before are answered or not, and tells how long each took from when it was
/// due: what waits because others are slow counts. Only that a timer rings late where a connection is free does not: it is the
/// load generator's own doing.
pub async fn send_at_a_pace(addr: SocketAddr, a_second: f64, lasting: Duration) -> anyhow::Result<Sent> {
    let clients = Client::connected(addr, Connections::KeptAlive, PACED_CONNECTIONS).await?;
    let (start, next, mut senders) = (Instant::now(), Arc::new(AtomicU64::new(0)), JoinSet::new());
    for client in clients {
        let due = move |at: u64| start + Duration::from_secs_f64(at as f64 / a_second);
        senders.spawn(send_when_due(client, next.clone(), due, start + lasting));
    }
    let mut all = Sent::default();
    while let Some(sender) = senders.join_next().await {
        all.latencies.extend(sender??);
    }
    Ok(Sent { messages: all.latencies.len() as u64, within: start.elapsed(), ..all })
}

async fn send_when_due(
    mut client: Client,
    next: Arc<AtomicU64>,
    due: impl Fn(u64) -> Instant,
    until: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let (mut fleet, mut latencies) = (Fleet::new(ROCKETS), Vec::new());
    loop {
        let mut due = due(next.fetch_add(1, Ordering::Relaxed));
        if due >= until {
            return Ok(latencies);
        }
        let body = fleet.next().body();
        if Instant::now() < due {
            sleep_until(due).await;
            due = Instant::now();
        }
        client.post(&body).await?;
        latencies.push(due.elapsed());
    }
}

/// Asks for these paths in turn over so many connections, as fast as it is answered; answers a second.
pub async fn get_for(addr: SocketAddr, paths: &[String], connections: usize, lasting: Duration) -> anyhow::Result<f64> {
    let clients = Client::connected(addr, Connections::KeptAlive, connections).await?;
    let (start, mut readers) = (Instant::now(), JoinSet::new());
    for (at, client) in clients.into_iter().enumerate() {
        // Each begins elsewhere.
        let paths: Vec<_> =
            paths.iter().cycle().skip(at * paths.len() / connections).take(paths.len()).cloned().collect();
        readers.spawn(get_until(client, paths, start + lasting));
    }
    let mut answers = 0;
    while let Some(reader) = readers.join_next().await {
        answers += reader??;
    }
    Ok(answers as f64 / start.elapsed().as_secs_f64())
}

async fn get_until(mut client: Client, paths: Vec<String>, until: Instant) -> anyhow::Result<u64> {
    let mut answers = 0;
    for path in paths.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let (status, _) = client.get(path).await?;
        anyhow::ensure!(status == 200, "{path} was answered with {status}");
        answers += 1;
    }
    Ok(answers)
}

/// The value below which this share of them lies.
pub fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let at = (share * times.len() as f64) as usize;
    times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}
