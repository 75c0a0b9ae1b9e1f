//! Any bytes at the port: what is answered is HTTP, no mistake of ours, and comes to an end.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::http::browsers::Guard;
use crate::http::params::Params;
use crate::http::route::{Request, Routes, any, get, route};
use crate::http::serve::{Bounds, Entrance, Ports, Site};
use crate::http::{Access, Answer, Cors, Door, serve_all};
use crate::metrics::HttpMetrics;
use crate::traces::Traces;

/// How long an answer may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);
const BODY_BYTES_MAX: usize = 4_096;

/// Bytes that a client sends before it closes its side.
pub fn connection(bytes: &[u8]) -> bool {
    static SERVER: OnceLock<SocketAddr> = OnceLock::new();
    let mut stream = TcpStream::connect(*SERVER.get_or_init(start)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    // It may have answered and closed before all of it was sent.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("no end: {error}"),
        _ => {}
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.is_empty() || text.starts_with("HTTP/1."), "{text:?}");
    assert!(!text.starts_with("HTTP/1.1 500") && !text.starts_with("HTTP/1.0 500"), "{text:?}");
    text.starts_with("HTTP/1.1 200")
}

fn start() -> SocketAddr {
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("somebody who waits for it");
            let (guard, end) = (Guard::new(Cors::default(), false, &[]), CancellationToken::new());
            let (metrics, door) = (HttpMetrics::default(), Door::default());
            let site = Site::new(routes(), metrics, guard, door, Traces::default(), Bounds::new(64, 64), end.clone());
            let public = Ports { listeners: vec![listener], tls: None };
            serve_all(Entrance { public, operators: None, auth: Auth::default() }, site, end).await;
        });
    });
    address.recv().expect("a server")
}

/// Routes that read all that ours read of a request.
fn routes() -> Routes {
    any([route("POST", "messages", Access::Messages, &(), body), get("rockets/:", Access::Knowledge, &(), parameters)])
}

async fn body((): (), mut request: Request) -> Result<Answer, Answer> {
    let body = request.body(BODY_BYTES_MAX).await?;
    Ok(Answer::ok(&body.len()))
}

async fn parameters((): (), request: Request) -> Result<Answer, Answer> {
    let params = Params::parse(request.query(), &["limit", "cursor", "dry_run"])?;
    Ok(Answer::ok(&(params.limit()?, params.flag("dry_run")?, request.parameter)))
}
