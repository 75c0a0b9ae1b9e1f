//! HTTP by hand: the bytes of a request as they are on the wire, so that a test can say what no well-behaved client
//! would, and every answer held against the contract's envelope.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for an answer; nothing here should come near it.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A connection on which requests are written byte by byte.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Reply {
    pub version: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Connection {
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// Like [`Self::send`], where the other side may have hung up.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        timeout(ANSWER_MAX, self.stream.write_all(bytes.as_ref())).await.expect("the service takes what is sent")
    }

    /// Says that nothing more comes, and goes on listening.
    pub async fn close_own_side(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next answer on this connection.
    pub async fn reply(&mut self) -> Reply {
        self.try_reply(true).await.expect("an answer")
    }

    /// The next answer, to a HEAD.
    pub async fn reply_without_body(&mut self) -> Reply {
        self.try_reply(false).await.expect("an answer")
    }

    /// The next answer; none when the service hangs up without one.
    pub async fn try_reply(&mut self, has_body: bool) -> Option<Reply> {
        timeout(ANSWER_MAX, read_reply(&mut self.stream, has_body)).await.expect("an answer in time")
    }

    /// Reads until the service hangs up. Whether it says good-bye or cuts the connection is all the same.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        assert!(self.rest_within(Duration::from_secs(60), &mut rest).await, "a hang-up in time");
        rest
    }

    /// Whether it has ended, without reading what has come.
    pub async fn is_over(&self) -> bool {
        self.stream.get_ref().ready(Interest::READABLE).await.is_ok_and(|ready| ready.is_read_closed())
    }

    /// Reads on for so long, and tells whether the service has hung up.
    pub async fn rest_within(&mut self, limit: Duration, rest: &mut Vec<u8>) -> bool {
        let to_end = async { while !matches!(self.stream.read_buf(rest).await, Ok(0) | Err(_)) {} };
        timeout(limit, to_end).await.is_ok()
    }
}

async fn read_reply(stream: &mut BufReader<TcpStream>, has_body: bool) -> Option<Reply> {
    let status_line = read_line(stream).await?;
    let (version, rest) = status_line.split_once(' ').expect("a status line");
    let status = rest.get(..3).and_then(|status| status.parse().ok()).expect("a status");
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply { version: version.to_owned(), status, headers, body: Vec::new() };
    let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
    if has_body {
        reply.body = vec![0; length];
        stream.read_exact(&mut reply.body).await.ok()?;
    }
    Some(reply)
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    Some(line.trim_end().to_owned())
}

impl Reply {
    /// The one value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes once");
        value
    }

    /// The envelope, found to be one: JSON with the request's id, and either data or an error; both where a process
    /// says what keeps it from its work.
    pub fn envelope(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let envelope: Value = serde_json::from_slice(&self.body).expect("JSON");
        let id = envelope["request_id"].as_str().expect("a request id");
        assert_eq!(self.header("request-id"), Some(id));
        assert!(!id.is_empty());
        let has = |name: &str| envelope.get(name).is_some();
        assert_eq!(has("error"), !(200..300).contains(&self.status), "{envelope}");
        assert!(has("data") != has("error") || envelope["data"]["problems"].is_array(), "{envelope}");
        let known = ["request_id", "data", "error", "next_cursor", "revision"];
        assert!(envelope.as_object().unwrap().keys().all(|name| known.contains(&name.as_str())), "{envelope}");
        envelope
    }

    pub fn request_id(&self) -> String {
        self.envelope()["request_id"].as_str().unwrap().to_owned()
    }

    /// The data of a 200.
    pub fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.envelope());
        self.envelope()["data"].clone()
    }

    /// The words of an error of this status.
    pub fn error(&self, status: u16) -> String {
        let envelope = self.envelope();
        assert_eq!(self.status, status, "{envelope}");
        envelope["error"].as_str().expect("words").to_owned()
    }
}

/// One request on a connection of its own. Headers are lines, each with its line break.
pub async fn request(addr: SocketAddr, method: &str, target: &str, headers: &str, body: impl AsRef<[u8]>) -> Reply {
    let mut connection = Connection::open(addr).await;
    connection.send(request_bytes(method, target, headers, body)).await;
    connection.try_reply(method != "HEAD").await.unwrap_or_else(|| panic!("an answer to {method} {target}"))
}

/// The bytes of a request.
pub fn request_bytes(method: &str, target: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}{headers}\r\n");
    [head.as_bytes(), body].concat()
}

pub async fn get(addr: SocketAddr, target: &str) -> Reply {
    request(addr, "GET", target, "", "").await
}

pub async fn post(addr: SocketAddr, body: impl AsRef<[u8]>) -> Reply {
    request(addr, "POST", "/messages", "", body).await
}

/// Posts a message that has to be taken, and tells its event id.
pub async fn ingest(addr: SocketAddr, body: impl AsRef<[u8]>) -> u64 {
    let data = post(addr, body).await.data();
    assert_eq!(data["status"], "ingested", "{data}");
    data["event_id"].as_u64().expect("an event id")
}

/// A message. Its time is one minute a number after the first one, unless it is said otherwise.
pub fn message(channel: &str, number: u64, message_type: &str, payload: &Value) -> String {
    message_at(channel, number, &format!("2022-02-02T19:{:02}:05.86337+01:00", number % 60), message_type, payload)
}

pub fn message_at(channel: &str, number: u64, time: &str, message_type: &str, payload: &Value) -> String {
    let metadata = serde_json::json!({
        "channel": channel, "messageNumber": number, "messageTime": time, "messageType": message_type,
    });
    serde_json::json!({ "metadata": metadata, "message": payload }).to_string()
}

/// The launch that begins most channels.
pub fn launch(channel: &str) -> String {
    let payload = serde_json::json!({ "type": "Falcon-9", "launchSpeed": 500, "mission": "ARTEMIS" });
    message(channel, 1, "RocketLaunched", &payload)
}

/// A channel that no other test has.
pub fn new_channel() -> String {
    uuid::Uuid::new_v4().to_string()
}
