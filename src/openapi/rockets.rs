//! What is asked about rockets: their states, their histories, what they wait for, and all of it as it changes.

use super::live;
use super::operation::{Beside, Operation, get};
use super::parameters::{filter, order, page, parameter, sorting, wait};
use super::schemas::{number, text, uuid};
use crate::auth::Scope;
use crate::query::PublicRocket;
use crate::query::gaps::PublicGap;
use crate::query::history::PublicRow;
use crate::query::stats::PublicStats;

/// The heading of these.
pub const TAG: &str = "rockets";

const NO_BROKER: &str = "The broker cannot be asked now.";
const HUNDRED: &str = "How many a page has at most; 100 unless asked otherwise.";

/// All of them.
pub fn operations() -> [Operation; 6] {
    [list(), rocket(), history(), live(), gaps(), stats()]
}

fn list() -> Operation {
    let about = "Without `limit` and `cursor` all of them. A page ends at a place, and the next one begins behind it, whatever \
                 has changed meanwhile.";
    get("/rockets", "rockets")
        .says(TAG, "The rockets", about)
        .needs(Scope::Read)
        .asks(sorting())
        .asks(filter())
        .asks(page("How many a page has at most; without, it has all."))
        .unless_had()
        .lists::<PublicRocket<'_>>(&[Beside::NextCursor, Beside::Revision], "The rockets.")
        .fails(400, "A parameter is wrong; the error names it and what it may be.")
        .fails(503, "The rockets are still being loaded, or too many read all of them.")
}

fn rocket() -> Operation {
    let about = "With `after` it is the rocket in a state that has that event in it (applied, refused, skipped or known to wait), \
                 at whatever process this is asked.";
    get("/rockets/{channel}", "rocket")
        .says(TAG, "One rocket", about)
        .needs(Scope::Read)
        .at("channel", uuid(), "Its id.")
        .asks([parameter("after", number(0), "The event to wait for."), wait()])
        .unless_had()
        .answers::<PublicRocket<'_>>("The rocket.")
        .fails(400, "The channel or a parameter is wrong.")
        .fails(404, "There is no such rocket, or no such event.")
        .fails(409, "The event is another channel's.")
        .fails(503, "The rockets are still being loaded, or the event did not come in time.")
}

fn history() -> Operation {
    let at = "The rocket as it was after this number, or at this message time; nothing else is asked for then.";
    get("/rockets/{channel}/history", "history")
        .says(TAG, "How a rocket came to be what it is", "A row a number, read from the log. With `at`, one rocket.")
        .needs(Scope::Read)
        .at("channel", uuid(), "Its id.")
        .asks(page(HUNDRED))
        .asks([order("The lowest number first, or the highest, as it is unless asked otherwise.")])
        .asks([parameter("at", text(), at)])
        .lists_or_answers::<PublicRow<'_>, PublicRocket<'_>>(
            &[Beside::NextCursor, Beside::TrimmedThrough],
            "The rows, or the rocket.",
        )
        .fails(400, "The channel or a parameter is wrong.")
        .fails(404, "There is no such rocket, or it was not launched yet.")
        .fails(410, "That was trimmed.")
        .fails(503, NO_BROKER)
}

fn live() -> Operation {
    let about = "Server-sent events without an end: the rockets as they are, then `synced`, then every change, and a `pulse` \
                 every five seconds. `since`, or the header, goes on from where a list or an earlier stream ended.";
    get("/rockets/live", "live")
        .says(TAG, "The rockets as they change", about)
        .needs(Scope::Read)
        .asks([parameter("channel", uuid(), "Only this rocket.")])
        .asks(filter())
        .asks([parameter("since", text(), "The `revision` of a list, or the id of an event of this stream.")])
        .header("Last-Event-ID", "The id of the last event that came; it counts for more than `since`.")
        .sends("text/event-stream", live::events, "The events.")
        .fails(400, "A parameter is wrong.")
        .fails(503, "The rockets are still being loaded, or too many follow them.")
}

fn gaps() -> Operation {
    get("/gaps", "gaps")
        .says(TAG, "Which channels wait", "The channels that wait for a number, the one that has waited longest first.")
        .needs(Scope::Read)
        .asks(page(HUNDRED))
        .lists::<PublicGap>(&[Beside::NextCursor], "The gaps.")
        .fails(400, "A parameter is wrong.")
        .fails(503, NO_BROKER)
}

fn stats() -> Operation {
    get("/stats", "stats")
        .says(TAG, "How many there are of each kind", "Counted at most once a second.")
        .needs(Scope::Read)
        .answers::<PublicStats>("The counts.")
        .fails(400, "There are no parameters.")
        .fails(503, NO_BROKER)
}
