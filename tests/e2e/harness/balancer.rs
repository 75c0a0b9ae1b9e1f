//! A load balancer: connections in turn to those of several processes that say that they are ready.

use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Client;

/// How often a process is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// A balancer, which ends with its owner.
pub struct Balancer {
    addr: String,
    _tasks: JoinSet<()>,
}

/// A process behind it.
#[derive(Clone)]
struct Behind {
    addr: String,
    is_ready: tokio::sync::watch::Receiver<bool>,
}

impl Balancer {
    /// One in front of these addresses.
    pub async fn of(addrs: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let mut tasks = JoinSet::new();
        let mut behind = Vec::new();
        for addr in addrs {
            let (ready, is_ready) = tokio::sync::watch::channel(true);
            behind.push(Behind { addr: addr.clone(), is_ready });
            let client = Client::new(&format!("http://{addr}"));
            tasks.spawn(async move {
                loop {
                    let answer = client.try_get("/readyz").await;
                    ready.send_replace(answer.is_some_and(|answer| answer.status == 200));
                    sleep(ASK_EVERY).await;
                }
            });
        }
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for turn in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(pass_on(client, behind.clone(), turn));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { addr, _tasks: tasks }
    }

    /// Where it is asked.
    pub fn addr(&self) -> &str {
        &self.addr
    }
}

async fn pass_on(mut client: TcpStream, behind: Vec<Behind>, turn: usize) {
    let ready: Vec<_> = behind.iter().filter(|behind| *behind.is_ready.borrow()).collect();
    let Some(chosen) = ready.get(turn % ready.len().max(1)) else { return };
    if let Ok(mut service) = TcpStream::connect(&chosen.addr).await {
        let _ = copy_bidirectional(&mut client, &mut service).await;
    }
}
