//! An HTTP client that costs next to nothing, so that it is the server which is measured: one request at a time on a
//! bare connection, which is kept or made again for each.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// Not all of it could be stored at the moment.
const COME_AGAIN: [u16; 2] = [207, 503];
const PAUSE: Duration = Duration::from_millis(50);
/// How long storing a request may take before something is wrong.
const STORED_MAX: Duration = Duration::from_secs(60);
/// What is shown of an answer that was not expected.
const ANSWER_CHARS_MAX: usize = 300;

/// Whether a connection is used again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    KeptAlive,
    New,
}

pub struct Client {
    addr: SocketAddr,
    connections: Connections,
    stream: Option<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// An answer; the rest of it is in the client.
struct Head {
    status: u16,
    /// Where the body begins and ends.
    body: std::ops::Range<usize>,
}

impl Client {
    pub fn new(addr: SocketAddr, connections: Connections) -> Self {
        Self { addr, connections, stream: None, request: Vec::new(), answer: Vec::new() }
    }

    /// So many that are connected already, where connections are kept.
    pub async fn connected(addr: SocketAddr, connections: Connections, count: usize) -> anyhow::Result<Vec<Self>> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let mut client = Self::new(addr, connections);
            if connections == Connections::KeptAlive {
                client.stream = Some(connect(addr).await?);
            }
            clients.push(client);
        }
        Ok(clients)
    }

    /// Posts a message, or several as an array, again until all of it is stored, as a sender does that is told to come again.
    pub async fn post(&mut self, body: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + STORED_MAX;
        loop {
            let (status, answer) = self.send("POST", "/messages", body).await?;
            if status == 200 {
                return Ok(());
            }
            let answer: String = String::from_utf8_lossy(answer).chars().take(ANSWER_CHARS_MAX).collect();
            let is_later = COME_AGAIN.contains(&status) && Instant::now() < deadline;
            anyhow::ensure!(is_later, "POST was answered with {status}: {answer}");
            sleep(PAUSE).await;
        }
    }

    /// The status and the body.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<(u16, &[u8])> {
        self.send("GET", path, "").await
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, &[u8])> {
        self.write_request(method, path, body)?;
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.addr).await?,
        };
        stream.write_all(&self.request).await?;
        let head = self.read_answer(&mut stream).await.with_context(|| format!("{method} {path}"))?;
        match self.connections {
            Connections::KeptAlive => self.stream = Some(stream),
            // The server closes first, so that no port of ours is left waiting.
            Connections::New => while stream.read(&mut [0; 64]).await? > 0 {},
        }
        Ok((head.status, &self.answer[head.body]))
    }

    fn write_request(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<()> {
        use std::io::Write as _;
        let close = if self.connections == Connections::New { "connection: close\r\n" } else { "" };
        self.request.clear();
        write!(
            self.request,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{close}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    async fn read_answer(&mut self, stream: &mut TcpStream) -> anyhow::Result<Head> {
        self.answer.clear();
        loop {
            anyhow::ensure!(stream.read_buf(&mut self.answer).await? > 0, "the connection was closed");
            if let Some(head) = Head::read(&self.answer)?
                && head.body.end <= self.answer.len()
            {
                return Ok(head);
            }
        }
    }
}

impl Head {
    /// None while it is not complete.
    fn read(answer: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&answer[..end])?;
        let status = head.get(9..12).context("no status")?.parse().context("no status")?;
        let length = head.lines().find_map(content_length).context("no length")?;
        Ok(Some(Self { status, body: end + 4..end + 4 + length }))
    }
}

fn content_length(line: &str) -> Option<usize> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
}

async fn connect(addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await.with_context(|| format!("cannot connect to {addr}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
