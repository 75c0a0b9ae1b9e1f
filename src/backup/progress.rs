//! What the user sees while it runs: a bar for each stream, on a terminal only.

use indicatif::ProgressBar;

use crate::terminal::bar;

const COUNTING: &str = "{elapsed_precise} {msg} {wide_bar} {human_pos}/{human_len} messages, {per_sec}, left {eta}";

/// How many messages of a stream are done.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Of doing this with so many messages.
    pub fn of(what: String, messages: u64) -> Self {
        Self { bar: bar(messages, COUNTING).with_message(what) }
    }

    /// One more.
    pub fn count(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
