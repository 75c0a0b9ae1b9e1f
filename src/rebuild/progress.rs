//! What the user sees while it runs: a bar, on a terminal only.

use indicatif::ProgressBar;

use crate::terminal::bar;

const FOLDING: &str = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} messages, {per_sec}, left {eta}";

/// How many messages of the stream have been folded.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// The progress of folding so many messages.
    pub fn of(messages: u64) -> Self {
        let bar = if messages > 0 { bar(messages, FOLDING) } else { ProgressBar::hidden() };
        Self { bar }
    }

    /// So many more.
    pub fn count(&self, messages: usize) {
        self.bar.inc(messages as u64);
    }

    /// Takes the bar out of the way while something is printed.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
