//! The audit log: one line `audit` for each thing that somebody has done about what is stored, with who it was and what was
//! before and after.
//!
//! It is a part of the log, under a name of its own: `RUST_LOG=warn,audit=info` has it and else only what is wrong.

use std::fmt::Display;

use crate::broker::Origin;
use crate::text::printable;

/// What a tool writes to its log unless told otherwise: what is wrong, and what it has done.
pub const TOOL_FILTER: &str = "warn,audit=info";

/// What stands for a key where there is none.
const NO_KEY: &str = "none";

/// What can be done about what is stored.
#[derive(Clone, Copy, Debug, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Deed {
    /// Numbers that have not arrived will not be waited for.
    Skip,
    /// A dead letter's message is stored again.
    Replay,
    /// A dead letter is removed.
    Drop,
    /// All that is stored of a rocket is removed.
    Forget,
    /// What is old is removed.
    Trim,
}

/// Notes what was done, to what, and what that has changed.
pub fn note(origin: &Origin, what: Deed, to: impl Display, before: impl Display, after: impl Display) {
    let (request_id, trace_id) = (origin.request_id.as_str(), origin.trace.id());
    let key = origin.key.as_deref().unwrap_or(NO_KEY);
    let [to, before, after] = [to.to_string(), before.to_string(), after.to_string()].map(|text| printable(&text));
    tracing::info!(target: "audit", key, request_id, trace_id, %what, to, before, after, "audit");
}
