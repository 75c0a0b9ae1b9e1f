//! One picture on a terminal, drawn over the one before: as much of it as there is room for, and no line of it wrapped.
//!
//! It stays where the shell goes on, so that what was seen last can still be read; nothing has to be put right at the end.

use std::io::{self, Write as _, stdout};

use rustix::termios::tcgetwinsize;

/// From the top of an empty screen.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";
const TOP: &str = "\u{1b}[H";
const CLEAR_REST_OF_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";
const DO_NOT_WRAP: &str = "\u{1b}[?7l";
const WRAP: &str = "\u{1b}[?7h";

/// Lines where the terminal does not say how many it has.
const LINES_DEFAULT: usize = 24;

/// What pictures are drawn on.
#[derive(Debug, Default)]
pub struct Screen {
    is_used: bool,
}

impl Screen {
    /// Draws a picture over the one before, in one piece.
    pub fn draw(&mut self, text: &str) -> io::Result<()> {
        let lines = tcgetwinsize(stdout()).map(|size| usize::from(size.ws_row)).ok().filter(|lines| *lines > 0);
        let begin = if self.is_used { TOP } else { CLEAR };
        self.is_used = true;
        let mut output = stdout().lock();
        output.write_all(picture(begin, text, lines.unwrap_or(LINES_DEFAULT)).as_bytes())?;
        output.flush()
    }
}

/// The last line of the screen is the cursor's, and the one before tells how much did not fit.
fn picture(begin: &str, text: &str, lines_max: usize) -> String {
    let (count, room) = (text.lines().count(), lines_max.saturating_sub(1).max(1));
    let shown = if count > room { room - 1 } else { count };
    let mut picture = format!("{DO_NOT_WRAP}{begin}");
    let left_out = (count > room).then(|| format!("… {} more lines", count - shown));
    for line in text.lines().take(shown).chain(left_out.as_deref()) {
        picture.extend([line, CLEAR_REST_OF_LINE, "\n"]);
    }
    picture + CLEAR_BELOW + WRAP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let visible = |text: &str, lines| {
            let codes = [CLEAR, TOP, CLEAR_REST_OF_LINE, CLEAR_BELOW, DO_NOT_WRAP, WRAP];
            codes.iter().fold(picture(TOP, text, lines), |picture, code| picture.replace(code, ""))
        };
        assert_eq!(visible("a\nb\nc", 4), "a\nb\nc\n");
        assert_eq!(visible("a\nb\nc\nd", 4), "a\nb\n… 2 more lines\n");
        assert_eq!(visible("", 4), "");
        assert!(visible("a\nb", 0).starts_with("… 2 more"));
    }
}
