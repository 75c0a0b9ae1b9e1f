//! A tiny HTTP service for this module's tests: it answers as a function says, and counts connections and requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request: the method and path, and the body.
pub(super) struct Request {
    pub(super) line: String,
    pub(super) body: Vec<u8>,
}

type Answer = dyn Fn(usize, &Request) -> (u16, String) + Send + Sync;

/// The service. It ends when it is dropped.
pub(super) struct TestService {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl TestService {
    /// Starts a service that answers request n (from 0) with a status and a body; status 0 drops the connection.
    pub(super) async fn start(
        answer: impl Fn(usize, &Request) -> (u16, String) + Send + Sync + 'static,
    ) -> TestService {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&connections), Arc::new(answer)));
        TestService { address, connections, _tasks: tasks }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, connections: Arc<AtomicUsize>, answer: Arc<Answer>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.fetch_add(1, Ordering::SeqCst);
        let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
        tasks.spawn(async move {
            let mut stream = BufStream::new(stream);
            while let Some(request) = read(&mut stream).await {
                let (status, body) = answer(requests.fetch_add(1, Ordering::SeqCst), &request);
                if status == 0 {
                    return;
                }
                let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes()).await;
                let _ = stream.flush().await;
            }
        });
    }
}

async fn read(stream: &mut BufStream<TcpStream>) -> Option<Request> {
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok().filter(|read| *read > 0)?;
        if header == "\r\n" {
            break;
        }
        if let Some((_, value)) = header.to_lowercase().split_once("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let line = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    Some(Request { line, body })
}
