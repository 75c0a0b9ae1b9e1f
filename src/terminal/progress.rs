//! How far something has come that takes long: a bar where somebody watches, and a word in the log now and then, where nobody
//! does, about what does not go on.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tracing::warn;

use super::bar;

/// How often the same kind of thing is said where there is no bar.
const SAID_EVERY: Duration = Duration::from_secs(10);
/// How often the bar is drawn although nothing happens, so that its clock runs.
const TICK_INTERVAL: Duration = Duration::from_millis(200);

/// The progress of one phase.
pub struct Progress {
    bar: ProgressBar,
    warning: Now,
    note: Now,
}

impl Progress {
    /// Of so many things, as a bar that looks so.
    pub fn new(length: u64, template: &str) -> Self {
        let bar = bar(length, template);
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK_INTERVAL);
        }
        Self { bar, warning: Now::default(), note: Now(Mutex::new(Some(Instant::now()))) }
    }

    /// One more is done.
    pub fn count(&self) {
        self.bar.inc(1);
    }

    /// So many are done.
    pub fn set(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// What stands at the bar's `{prefix}`; where there is no bar, the note is given to whoever prints it now and then.
    pub fn note(&self, prefix: &str, print: impl FnOnce()) {
        if !self.bar.is_hidden() {
            self.bar.set_prefix(prefix.to_owned());
        } else if self.note.is_due() {
            print();
        }
    }

    /// Says why it does not go on: beside the bar, or in the log where there is none.
    pub fn say(&self, trouble: &str) {
        if !self.bar.is_hidden() {
            self.bar.set_message(trouble.to_owned());
        } else if self.warning.is_due() {
            warn!(trouble, "not everything gets through at once; it is tried again");
        }
    }

    /// It goes on again.
    pub fn goes_on(&self) {
        if !self.bar.is_hidden() && !self.bar.message().is_empty() {
            self.bar.set_message("");
        }
    }

    /// Does something that prints, with the bar out of its way.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// When something was said last.
#[derive(Default)]
struct Now(Mutex<Option<Instant>>);

impl Now {
    fn is_due(&self) -> bool {
        let mut said_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said_at.is_none_or(|at| at.elapsed() >= SAID_EVERY);
        if is_due {
            *said_at = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_said_is_not_said_again() {
        let now = Now::default();
        assert_eq!([now.is_due(), now.is_due()], [true, false]);
        *now.0.lock().unwrap() = Instant::now().checked_sub(SAID_EVERY);
        assert!(now.is_due());
    }
}
