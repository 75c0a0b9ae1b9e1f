//! The network between one role and its broker: a TCP proxy that is cut, slowed or goes silent on command.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Bytes that are passed on at once.
const CHUNK: usize = 16 * 1024;

/// What the network does to a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It passes everything on.
    Open,
    /// Connections are ended, and new ones refused.
    Cut,
    /// Each piece, in either direction, is this late.
    Slow(Duration),
    /// Nothing comes through and nobody is told. A connection that was open meanwhile stays dead for good, as if the
    /// machine at its other end were gone; what a role then does is its own affair.
    Silent,
}

/// A proxy to one broker, which ends with its owner.
pub struct Proxy {
    port: u16,
    line: watch::Sender<Line>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// A proxy to this port of this machine.
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (line, watched) = watch::channel(Line::Open);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(connection(client, target, watched.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, line, _accepting: accepting }
    }

    /// Where a role finds its broker.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// From now on the network does this.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn connection(client: TcpStream, target: u16, line: watch::Receiver<Line>) {
    let mut cut = line.clone();
    let passing = async {
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = pass_on(from_client, to_server, line.clone()) => {}
            () = pass_on(from_server, to_client, line) => {}
        }
    };
    tokio::select! {
        _ = cut.wait_for(|line| *line == Line::Cut) => {}
        () = passing => {}
    }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let (mut buffer, mut dead) = (vec![0; CHUNK], false);
    loop {
        let now = *line.borrow_and_update();
        dead |= now == Line::Silent;
        let read = tokio::select! {
            changed = line.changed() => match changed { Ok(()) => continue, Err(_) => return },
            read = from.read(&mut buffer) => read,
        };
        let Ok(1..) = read else { return };
        let bytes = &buffer[..read.unwrap_or_default()];
        if let Line::Slow(late) = now {
            sleep(late).await;
        }
        if !dead && to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
