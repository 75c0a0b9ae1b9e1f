//! What a request costs that does nothing: warp's own server reads the same body, parses it as a message, and answers 200; or
//! answers a GET with a rocket that is always the same.
//!
//! It is served by warp and not by `src/http/serve.rs`, so that the share shows all that the service adds to it:
//! deadlines, the envelope, request ids, and storing the message.

use std::net::SocketAddr;

use bytes::Bytes;
use rockets::internals::wire;
use warp::Filter as _;
use warp::http::StatusCode;

use crate::process::Process;

pub(super) const ARGUMENT: &str = "serve-noop";

/// As long as what the service answers, so that as much is written.
const ROCKET: &str = r#"{"request_id":"9c5a54f0-9b0e-4f0e-8f3c-1a3f2f0c7e11","data":{"id":"193270a9-c9cf-404a-8f83-838e71d9ae67","type":"Falcon-9","currentSpeed":500,"mission":"ARTEMIS","status":"active","launchTime":"2022-02-02T19:39:05.86337+01:00","lastUpdated":"2022-02-02T19:39:05.86337+01:00","lastMessageNumber":1,"lastMessageTime":"2022-02-02T19:39:05.86337+01:00","pendingMessages":0}}"#;

/// Starts it as a process of its own.
pub async fn start() -> anyhow::Result<Process> {
    super::start(ARGUMENT, &[]).await
}

/// Serves until it is killed.
pub(super) async fn serve(addr: SocketAddr) {
    let post =
        warp::path!("messages").and(warp::post()).and(warp::body::bytes()).map(|body: Bytes| match wire::read(&body) {
            Ok(_) => StatusCode::OK,
            Err(_) => StatusCode::BAD_REQUEST,
        });
    let get = warp::path!("rockets" / String)
        .and(warp::get())
        .map(|_| warp::reply::with_header(ROCKET, "content-type", "application/json"));
    warp::serve(post.or(get)).run(addr).await;
}
