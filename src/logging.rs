//! The log: one line a thing that happened, as text for people or as JSON for programs, on standard error.
//!
//! What anybody can cause from outside (bad requests, bad messages) is logged through a [`Limit`], so that a flood of it
//! does not become a flood of lines.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::audit;
use crate::terminal::has_colours;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log of a service. `RUST_LOG` says what is in it; without it everything from `info` on, of the client library
/// from `warn` on.
pub fn start(format: Option<Format>) {
    start_with(format, "info,async_nats=warn");
}

/// Starts the log of a tool, whose output is what its user wants to see: without `RUST_LOG` only what is wrong is in it,
/// and what the tool has done about what is stored.
pub fn start_of_tool(format: Option<Format>) {
    start_with(format, audit::TOOL_FILTER);
}

fn start_with(format: Option<Format>, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let text = if std::io::stderr().is_terminal() { Format::Text } else { Format::Json };
    // Tests start it more than once in a process; the first one counts.
    let _ = match format.unwrap_or(text) {
        Format::Text => builder.with_ansi(has_colours(&std::io::stderr())).finish().try_init(),
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
    };
}

/// What is wrong with `RUST_LOG`, where something is.
pub fn wrong_filter() -> Option<String> {
    let text = std::env::var(EnvFilter::DEFAULT_ENV).ok()?;
    let error = EnvFilter::try_new(&text).err()?;
    Some(format!(
        "RUST_LOG: must be levels such as info,rockets=debug; is {text:?}, from the variable RUST_LOG ({error})"
    ))
}

/// Writes a line to the log, at most some a second of those that stand here; `unlogged` says how many were left out before.
macro_rules! limited {
    ($level:ident, $($fields_and_text:tt)+) => {{
        static LIMIT: $crate::logging::Limit = $crate::logging::Limit::new();
        if let Some(unlogged) = LIMIT.admits() {
            tracing::$level!(unlogged, $($fields_and_text)+);
        }
    }};
}
pub(crate) use limited;

/// At most so many things a second of one kind: lines of the log, or whatever else others can cause without end.
#[derive(Debug)]
pub struct Limit {
    a_second_max: u64,
    /// The second, and how many of this kind it has seen.
    second: AtomicU64,
    seen: AtomicU64,
}

/// Lines of one kind in one second; the rest is only counted.
const LINES_A_SECOND_MAX: u64 = 10;

impl Limit {
    /// A limit of its own, for one kind of line.
    pub const fn new() -> Self {
        Self::of(LINES_A_SECOND_MAX)
    }

    /// A limit of its own, of so many a second.
    pub const fn of(a_second_max: u64) -> Self {
        Self { a_second_max, second: AtomicU64::new(0), seen: AtomicU64::new(0) }
    }

    /// Whether there may be one more; with it, how many were left out in the second that was seen before.
    pub fn admits(&self) -> Option<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        self.admits_at(now)
    }

    fn admits_at(&self, now: u64) -> Option<u64> {
        if self.second.swap(now, Ordering::Relaxed) != now {
            let seen = self.seen.swap(1, Ordering::Relaxed);
            return Some(seen.saturating_sub(self.a_second_max));
        }
        (self.seen.fetch_add(1, Ordering::Relaxed) < self.a_second_max).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let limit = Limit::new();
        let written = (0..1_000).filter(|_| limit.admits_at(1).is_some()).count() as u64;
        assert_eq!(written, LINES_A_SECOND_MAX);
        assert_eq!(limit.admits_at(2), Some(1_000 - LINES_A_SECOND_MAX));
        assert_eq!(limit.admits_at(3), Some(0));
    }
}
