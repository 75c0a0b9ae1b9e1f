//! What somebody would write first: POST, publish, answer when the broker has it. It trusts its senders and bounds nothing.

use std::net::SocketAddr;

use async_nats::jetstream::{self, message::PublishMessage};
use bytes::Bytes;
use rockets::internals::topology::subject;
use rockets::internals::wire;
use warp::Filter as _;
use warp::http::StatusCode;
use warp::reply::{Reply as _, Response};

use crate::process::Process;

pub(super) const ARGUMENT: &str = "serve-naive";

/// Starts it as a process of its own.
pub async fn start(broker: &str) -> anyhow::Result<Process> {
    super::start(ARGUMENT, &[broker.to_owned()]).await
}

/// Serves until it is killed.
pub(super) async fn serve(addr: SocketAddr, broker: &str) -> anyhow::Result<()> {
    let context = jetstream::new(async_nats::connect(broker).await?);
    let context = warp::any().map(move || context.clone());
    let post = warp::path!("messages").and(warp::post()).and(context).and(warp::body::bytes()).then(publish);
    warp::serve(post).run(addr).await;
    Ok(())
}

async fn publish(context: jetstream::Context, body: Bytes) -> Response {
    let Ok(message) = wire::read(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    let id = format!("{}-{}", message.number, message.channel);
    let publish = PublishMessage::build().payload(body).message_id(id);
    let stored = async { context.send_publish(subject(&message.channel), publish).await?.await };
    match stored.await {
        Ok(ack) => {
            let answer = serde_json::json!({ "data": { "status": "ingested", "event_id": ack.sequence } });
            warp::reply::json(&answer).into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
