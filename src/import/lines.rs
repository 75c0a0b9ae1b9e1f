//! The lines of the input: each with its number, and with where it ends, so that reading can go on behind it. What is too long
//! to be a message is passed over and not kept.

use std::io::{self, BufRead, Read as _};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Largest message, in bytes, as the service takes it.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// How much of a line is read at most: a message of the largest size, and some space around it.
const LINE_BYTES_MAX: u64 = MESSAGE_BYTES_MAX as u64 + 1_024;

/// A place between two lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// How many lines stand before it.
    pub(super) line: u64,
    /// How many bytes, as they are when unpacked.
    pub(super) byte: u64,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// What may be a message, or why it cannot be one.
    pub(super) content: Result<Bytes, &'static str>,
    /// The place behind it. Its number is the line there.
    pub(super) end: Place,
}

/// The lines from a place on.
pub(super) struct Lines<R> {
    input: R,
    place: Place,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Of an input that stands at this place.
    pub(super) fn new(input: R, place: Place) -> Self {
        Self { input, place, buffer: Vec::new() }
    }

    /// The place behind the last line that was read.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        self.buffer.clear();
        let mut bytes = self.input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.buffer)? as u64;
        if bytes == 0 {
            return Ok(None);
        }
        let is_whole = bytes < LINE_BYTES_MAX || self.buffer.ends_with(b"\n");
        if !is_whole {
            bytes += self.input.skip_until(b'\n')? as u64;
        }
        self.place = Place { line: self.place.line + 1, byte: self.place.byte + bytes };
        let content = match self.buffer.trim_ascii() {
            text if !is_whole || text.len() > MESSAGE_BYTES_MAX => Err("is larger than 65536 bytes"),
            [] => Err("is empty"),
            text => Ok(Bytes::copy_from_slice(text)),
        };
        Ok(Some(Line { content, end: self.place }))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The lines of a text, each as its number and what stands there.
    fn lines(text: &str) -> Vec<(u64, String)> {
        let shown = |line: Line| match line.content {
            Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Err(problem) => format!("({problem})"),
        };
        let lines = Lines::new(text.as_bytes(), Place::default()).map(Result::unwrap);
        lines.map(|line| (line.end.line, shown(line))).collect()
    }

    fn numbered(lines: &[&str]) -> Vec<(u64, String)> {
        (1..).zip(lines.iter().map(|&line| line.to_owned())).collect()
    }

    #[test]
    fn lines_are_numbered_and_trimmed() {
        assert_eq!(lines("{}\n [1] \r\nx"), numbered(&["{}", "[1]", "x"]));
        assert_eq!(lines("{}\n"), numbered(&["{}"]));
        assert_eq!(lines(""), numbered(&[]));
        assert_eq!(lines("a\n\n \r\nb\n"), numbered(&["a", "(is empty)", "(is empty)", "b"]));
    }

    #[test]
    fn what_is_too_large_is_passed_over() {
        let (largest, larger, huge) = ("x".repeat(65_536), "x".repeat(65_537), "x".repeat(1_000_000));
        let (large, behind) = ("(is larger than 65536 bytes)", "behind");
        let text = format!("{largest}\r\n{larger}\n{huge}\n{behind}\n{huge}");
        assert_eq!(lines(&text), numbered(&[&largest, large, large, behind, large]));
    }

    #[test]
    fn reading_goes_on_behind_each_line() {
        let text = format!("a\n\n{}\r\n  b \nc", "x".repeat(70_000));
        let all: Vec<_> = Lines::new(text.as_bytes(), Place::default()).map(Result::unwrap).collect();
        for (at, line) in all.iter().enumerate() {
            let rest = &text.as_bytes()[line.end.byte as usize..];
            let rest: Vec<_> = Lines::new(rest, line.end).map(Result::unwrap).collect();
            assert_eq!(rest, all[at + 1..]);
        }
        assert_eq!(all.last().unwrap().end.byte, text.len() as u64);
    }
}
