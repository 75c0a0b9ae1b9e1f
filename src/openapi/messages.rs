//! What senders use: `POST /messages`, and what became of a message.

use super::bodies::{self, MessageBody};
use super::operation::{Operation, get, post};
use super::parameters::wait;
use super::schemas::number;
use crate::auth::Scope;
use crate::ingest::batch::{BATCH_BYTES_MAX, Batch, MESSAGES_MAX};
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
         of its channel's numbers, and told by `GET /events/{{event_id}}`. A message has at most {BODY_BYTES_MAX} bytes. Further \
         fields are allowed, and a `Content-Type` is not looked at.\n\nA JSON array, or with `Content-Type: application/x-ndjson` \
         a message on each line, is a batch: 1 to {MESSAGES_MAX} messages in at most {BATCH_BYTES_MAX} bytes, each checked, stored \
         and answered for itself, in their order. It may be sent again as it is."
    );
    post("/messages", "ingest")
        .says(TAG, "Send a message", &about)
        .needs(Scope::Ingest)
        .takes_some::<MessageBody>(MESSAGES_MAX, "One message, or many.", bodies::message())
        .answers_either::<Ingested, Batch>("It is stored, or was before; of a batch, all of it.")
        .answers_in_part::<Batch>("A part of the batch is stored.")
        .may_fail_with::<Batch>(400, "It is no message; the error names the field. Of a batch, none is one.")
        .fails(408, "The body did not come to its end in time.")
        .fails(413, "The body is too long.")
        .fails(415, "The body is in a coding that is not read.")
        .may_fail_with::<Batch>(
            429,
            "The key is over a rate, or there is as much of the channel, or of channels, as there may be.",
        )
        .may_fail_with::<Batch>(503, "The broker cannot store it now: send it again.")
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
