//! The lines put together for requests, within what the service takes in one.

use std::io::{self, BufRead};
use std::iter::Peekable;

use bytes::Bytes;

use super::lines::{Line, Lines, Place};

/// Most messages of a batch, as the service takes it.
pub(super) const MESSAGES_MAX: usize = 1_000;
/// Largest body of a batch, in bytes.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A message, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The number of its line.
    pub(super) line: u64,
    /// The line, as it stands there.
    pub(super) body: Bytes,
}

/// A line that cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Its number.
    pub(super) line: u64,
    /// Why.
    pub(super) reason: String,
}

/// Some lines that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Which batch of this run it is, from 0.
    pub(super) number: u64,
    /// What may be messages.
    pub(super) messages: Vec<Message>,
    /// What cannot be: this is not sent.
    pub(super) refused: Vec<Refused>,
    /// The place behind the last of them.
    pub(super) end: Place,
}

impl Batch {
    fn add(&mut self, line: Line) {
        let number = line.end.line;
        match line.content {
            Ok(body) => self.messages.push(Message { line: number, body }),
            Err(problem) => self.refused.push(Refused { line: number, reason: format!("the line {problem}") }),
        }
        self.end = line.end;
    }
}

/// The body of a request with these messages.
pub(super) fn body(messages: &[Message]) -> Bytes {
    let mut body = Vec::with_capacity(messages.iter().map(bytes).sum());
    for message in messages {
        body.extend_from_slice(&message.body);
        body.push(b'\n');
    }
    body.into()
}

/// What a message takes of a body: itself, and the end of its line.
fn bytes(message: &Message) -> usize {
    message.body.len() + 1
}

/// The batches of an input.
pub(super) struct Batches<R: BufRead> {
    lines: Peekable<Lines<R>>,
    lines_max: usize,
    next: u64,
}

impl<R: BufRead> Batches<R> {
    /// Of so many lines each, at most.
    pub(super) fn new(lines: Lines<R>, lines_max: usize) -> Self {
        Self { lines: lines.peekable(), lines_max, next: 0 }
    }
}

impl<R: BufRead> Iterator for Batches<R> {
    type Item = io::Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Batch { number: self.next, ..Batch::default() };
        let mut room = BATCH_BYTES_MAX;
        for _ in 0..self.lines_max {
            let size = |line: &Line| line.content.as_ref().map_or(0, |body| body.len() + 1);
            let fits = |line: &io::Result<Line>| line.as_ref().is_ok_and(|line| size(line) <= room);
            match self.lines.next_if(fits) {
                Some(Ok(line)) => {
                    room -= size(&line);
                    batch.add(line);
                }
                _ => break,
            }
        }
        self.next += 1;
        if batch.end != Place::default() {
            return Some(Ok(batch));
        }
        // Nothing could be added: the input has ended, or cannot be read.
        self.lines.next().and_then(Result::err).map(Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(text: &str, lines_max: usize) -> Vec<Batch> {
        let lines = Lines::new(text.as_bytes(), Place::default());
        Batches::new(lines, lines_max).map(Result::unwrap).collect()
    }

    #[test]
    fn lines_are_put_together_in_order() {
        let batches = batches("a\nb\n\nc\nd\n", 3);
        let shown = |batch: &Batch| {
            let lines: Vec<_> = batch.messages.iter().map(|message| message.line).collect();
            let refused: Vec<_> = batch.refused.iter().map(|refused| refused.line).collect();
            (batch.number, lines, refused, batch.end.line)
        };
        let expected = [(0, vec![1, 2], vec![3], 3), (1, vec![4, 5], vec![], 5)];
        assert_eq!(batches.iter().map(shown).collect::<Vec<_>>(), expected);
        assert_eq!(body(&batches[1].messages), "c\nd\n");
        assert_eq!(batches[0].refused[0].reason, "the line is empty");
    }

    #[test]
    fn a_batch_is_cut_where_its_body_would_be_too_large() {
        let message = "x".repeat(60_000);
        let batches = batches(&format!("{message}\n").repeat(150), MESSAGES_MAX);
        let lengths: Vec<_> = batches.iter().map(|batch| batch.messages.len()).collect();
        assert_eq!(lengths, [69, 69, 12]);
        assert!(batches.iter().all(|batch| body(&batch.messages).len() <= BATCH_BYTES_MAX));
    }

    #[test]
    fn what_was_read_before_an_error_is_a_batch_of_its_own() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let input = io::BufReader::new(io::Read::chain(&b"a\nb\n"[..], Broken));
        let mut batches = Batches::new(Lines::new(input, Place::default()), 5);
        assert_eq!(batches.next().unwrap().unwrap().end.line, 2);
        assert_eq!(batches.next().unwrap().unwrap_err().to_string(), "broken");
    }
}
