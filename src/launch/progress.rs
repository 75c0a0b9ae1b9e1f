//! What the user sees while it runs: a bar on a terminal, and a word now and then when nothing gets through.

use std::io::{IsTerminal as _, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::warn;

use super::client::Outcome;

/// How often the log says that messages do not get through.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// How often the bar is drawn although nothing happens, so that its clock runs.
const TICK_INTERVAL: Duration = Duration::from_millis(200);
const SENDING: &str = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} messages, {per_sec}, left {eta} {msg}";
const VERIFYING: &str = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} messages applied {msg}";

/// The progress of one phase.
pub(super) struct Progress {
    bar: ProgressBar,
    warned_at: Mutex<Option<Instant>>,
}

impl Progress {
    /// The progress of sending so many messages.
    pub(super) fn of_sending(messages: u64) -> Progress {
        Progress::new(messages, SENDING)
    }

    /// The progress of the service, which has to apply so many messages.
    pub(super) fn of_verifying(messages: u64) -> Progress {
        Progress::new(messages, VERIFYING)
    }

    fn new(length: u64, template: &str) -> Progress {
        let target = match stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(length), target).with_style(style);
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK_INTERVAL);
        }
        Progress { bar, warned_at: Mutex::new(None) }
    }

    /// One more message is through. Copies do not count: how many there will be is not known beforehand.
    pub(super) fn count_through(&self, is_copy: bool) {
        if !is_copy {
            self.bar.inc(1);
        }
    }

    /// So many messages have been applied.
    pub(super) fn set_applied(&self, messages: u64) {
        self.bar.set_position(messages);
    }

    /// A message did not get through: said beside the bar, or in the log where there is none.
    pub(super) fn say_not_through(&self, outcome: Outcome) {
        self.say(&format!("not through: {outcome}"));
    }

    /// Says why it does not go on.
    pub(super) fn say(&self, trouble: &str) {
        if !self.bar.is_hidden() {
            self.bar.set_message(trouble.to_owned());
        } else if self.is_warning_due() {
            warn!(trouble, "not everything gets through at once; it is tried again");
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn is_warning_due(&self) -> bool {
        let mut warned_at = self.warned_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned_at.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL);
        if is_due {
            *warned_at = Some(Instant::now());
        }
        is_due
    }
}
