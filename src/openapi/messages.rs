//! What senders use: `POST /messages`, and what became of a message.

use utoipa::openapi::Required;

use super::bodies::{self, MessageBody};
use super::operation::{Operation, get, post};
use super::parameters::wait;
use super::schemas::number;
use crate::auth::Scope;
use crate::ingest::{BODY_BYTES_MAX, Ingested};
use crate::query::events::PublicEvent;

/// The heading of these.
pub const TAG: &str = "messages";

/// All of them.
pub fn operations() -> [Operation; 2] {
    [ingest(), event()]
}

fn ingest() -> Operation {
    let about = format!(
        "Answers once the broker has stored the message. What it does to its rocket is decided when it is applied, in the order \
         of its channel's numbers, and told by `GET /events/{{event_id}}`. The body has at most {BODY_BYTES_MAX} bytes. Further \
         fields are allowed, and a `Content-Type` is not looked at."
    );
    post("/messages", "ingest")
        .says(TAG, "Send a message", &about)
        .needs(Scope::Ingest)
        .takes::<MessageBody>(Required::True, "One message.", bodies::message())
        .answers::<Ingested>("It is stored, or was before.")
        .fails(400, "It is no message; the error names the field.")
        .fails(408, "The body did not come to its end in time.")
        .fails(413, "The body is too long.")
        .fails(415, "The body is in a coding that is not read.")
        .fails(429, "The key is over a rate, or there is as much of the channel, or of channels, as there may be.")
        .fails(503, "The broker cannot store it now: send it again.")
}

fn event() -> Operation {
    get("/events/{event_id}", "event")
        .says(
            TAG,
            "What became of a message",
            "With `wait` the answer comes once the outcome is known, or the time is over.",
        )
        .needs(Scope::Read)
        .at("event_id", number(0), "The `event_id` that was answered when it was stored.")
        .asks([wait()])
        .answers::<PublicEvent>("The event.")
        .fails(400, "The id or a parameter is wrong.")
        .fails(404, "There is no such event.")
        .fails(410, "It was trimmed: its message was applied, and is not in the log any more.")
        .fails(503, "The broker cannot be asked now.")
}
