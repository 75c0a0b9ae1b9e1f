//! What a POST costs that does nothing: warp's own server reads the same body, parses it as a message, and answers 200.
//!
//! It is served by warp and not by `src/http/serve.rs`, so that the share shows all that the service adds to it:
//! deadlines, the envelope, request ids, and storing the message.

use std::net::Ipv4Addr;

use bytes::Bytes;
use rockets::internals::wire;
use warp::Filter as _;
use warp::http::StatusCode;

use crate::process::{self, Process};

/// Makes this program that server; a port follows.
pub const ARGUMENT: &str = "serve-noop";

/// Starts it as a process of its own.
pub async fn start() -> anyhow::Result<Process> {
    let port = process::free_port()?;
    let program = std::env::current_exe()?;
    Process::start(&program, &[ARGUMENT.to_owned(), port.to_string()], port).await
}

/// Serves until it is killed.
pub async fn serve(port: u16) -> anyhow::Result<()> {
    let route =
        warp::path!("messages").and(warp::post()).and(warp::body::bytes()).map(|body: Bytes| match wire::read(&body) {
            Ok(_) => StatusCode::OK,
            Err(_) => StatusCode::BAD_REQUEST,
        });
    warp::serve(route).run((Ipv4Addr::LOCALHOST, port)).await;
    Ok(())
}
