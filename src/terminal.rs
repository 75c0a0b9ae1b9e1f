//! What somebody at a terminal sees, and a program that reads the output does not: colours, bars and a screen that is drawn
//! again and again. Tables, for both, are in [`mod@table`].
//!
//! Like [`crate::text`] it knows nothing of rockets, so that the load generator may share it.

use std::io::{IsTerminal as _, stderr, stdout};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use clap::builder::styling::Style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub mod progress;
pub mod screen;
pub mod table;

pub use progress::Progress;
pub use screen::Screen;
pub use table::Table;

/// Whether what is written there may have colours: on a terminal that can show them, unless `NO_COLOR` is set, and wherever
/// `CLICOLOR_FORCE` is.
pub fn has_colours(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Text that stands out on standard output, where that has colours.
pub fn emphasised(text: &str) -> String {
    let style = if has_colours(&stdout()) { Style::new().bold() } else { Style::new() };
    format!("{style}{text}{style:#}")
}

/// Whether what is written to standard output can be drawn over.
pub fn has_screen() -> bool {
    stdout().is_terminal() && is_clever()
}

/// Whether somebody sees both streams. A bar is drawn on one of them, and would be drawn over what a pager makes of the other.
fn is_watched() -> bool {
    stdout().is_terminal() && stderr().is_terminal() && is_clever()
}

fn is_clever() -> bool {
    std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// A bar that looks so, of so many things that are to be done; hidden where nobody watches.
pub fn bar(things: u64, template: &str) -> ProgressBar {
    let target = if is_watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(things), target).with_style(style)
}
