//! What the user sees while it runs: a bar for each stream, on a terminal only.

use std::io::{IsTerminal as _, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const COUNTING: &str = "{elapsed_precise} {msg} {wide_bar} {human_pos}/{human_len} messages, {per_sec}, left {eta}";

/// How many messages of a stream are done.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Of doing this with so many messages.
    pub fn of(what: String, messages: u64) -> Self {
        let target = match stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template(COUNTING).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: ProgressBar::with_draw_target(Some(messages), target).with_style(style).with_message(what) }
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
