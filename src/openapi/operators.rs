//! What operators use: skips and dead letters.

use strum::VariantNames as _;
use utoipa::openapi::Required;

use super::bodies::{self, MessageBody, SkipBody};
use super::operation::{Beside, Operation, delete, get, post};
use super::parameters::{dry_run, page, parameter};
use super::schemas::{number, one_of, text, uuid};
use crate::admin::dead_letter::{DeadLetterDetail, DeadLetterRow};
use crate::admin::preview::{DropEffect, ReplayEffect};
use crate::admin::routes::Dropped;
use crate::admin::{Accepted, skip::SkipEffect};
use crate::auth::Scope;
use crate::broker::dead_letters::Reason;

/// The heading of these.
pub const TAG: &str = "operators";

const NO_BROKER: &str = "The broker cannot be asked now.";
const NONE: &str = "There is no such dead letter.";

/// All of them.
pub fn operations() -> [Operation; 5] {
    [skip(), dead_letters(), dead_letter(), replay(), drop_dead_letter()]
}

fn skip() -> Operation {
    let about = "Every number from the first missing one to `up_to` that has not arrived counts as skipped, and what waits behind \
                 is applied. A skip is stored in the log, as a message of its channel.";
    post("/rockets/{channel}/skip", "skip")
        .says(TAG, "Skip numbers that will not come", about)
        .needs(Scope::Operate)
        .at("channel", uuid(), "The rocket's id.")
        .asks([dry_run()])
        .takes::<SkipBody>(Required::True, "Up to which number, and why.", bodies::skip())
        .answers_or_tells::<Accepted, SkipEffect>("The skip is stored; or what it would do.")
        .fails(400, "The channel, the body or a parameter is wrong.")
        .fails(404, "The channel has nothing that waits, and no rocket.")
        .fails(408, "The body did not come to its end in time.")
        .fails(409, "`up_to` has been passed, or lies beyond the highest number that has arrived.")
        .fails(413, "The body is too long.")
        .fails(415, "The body is in a coding that is not read.")
        .fails(503, NO_BROKER)
}

fn dead_letters() -> Operation {
    get("/dead-letters", "deadLetters")
        .says(TAG, "Messages that could not be applied", "The newest first.")
        .needs(Scope::Read)
        .asks([
            parameter(
                "channel",
                text(),
                "Only those with this as the channel in their subject, whether it is one or not.",
            ),
            parameter("reason", one_of(Reason::VARIANTS), "Only those with this reason."),
        ])
        .asks(page("How many a page has at most; 100 unless asked otherwise."))
        .lists::<DeadLetterRow>(&[Beside::NextCursor], "The dead letters.")
        .fails(400, "A parameter is wrong.")
        .fails(503, NO_BROKER)
}

fn dead_letter() -> Operation {
    get("/dead-letters/{id}", "deadLetter")
        .says(TAG, "One dead letter", "With the bytes of its message, as they were stored.")
        .needs(Scope::Read)
        .at("id", number(0), "Its id.")
        .answers::<DeadLetterDetail>("The dead letter.")
        .fails(400, "The id is wrong.")
        .fails(404, NONE)
        .fails(503, NO_BROKER)
}

fn replay() -> Operation {
    let about = "Without a body as it is, else as the body says. A number that was not applied yet is a plain message; one that was \
                 passed is a correction: it takes that message's place, and the rocket is replayed from the log. The dead letter \
                 goes once this is stored.";
    post("/dead-letters/{id}/replay", "replay")
        .says(TAG, "Store a message again", about)
        .needs(Scope::Operate)
        .at("id", number(0), "The dead letter's id.")
        .asks([dry_run()])
        .takes::<MessageBody>(Required::False, "The message as it should have been.", bodies::message())
        .answers_or_tells::<Accepted, ReplayEffect>("The message is stored; or what that would do.")
        .fails(400, "The id, the body or a parameter is wrong.")
        .fails(404, NONE)
        .fails(408, "The body did not come to its end in time.")
        .fails(409, "It cannot be replayed as it is.")
        .fails(413, "The body is too long.")
        .fails(415, "The body is in a coding that is not read.")
        .fails(503, NO_BROKER)
}

fn drop_dead_letter() -> Operation {
    delete("/dead-letters/{id}", "drop")
        .says(TAG, "Drop a dead letter", "For good. No rocket changes.")
        .needs(Scope::Operate)
        .at("id", number(0), "Its id.")
        .asks([dry_run()])
        .answers_or_tells::<Dropped, DropEffect>("It is gone; or what would go.")
        .fails(400, "The id or a parameter is wrong.")
        .fails(404, NONE)
        .fails(503, NO_BROKER)
}
