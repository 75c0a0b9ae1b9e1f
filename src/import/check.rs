//! `--dry-run`: reads everything and sends nothing.

use std::io::Write;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::json;

use super::batches::Refused;
use super::expected::{Expectations, Known};
use super::lines::{Lines, Place};
use super::options::Options;
use super::report::{self, Reporter};
use super::source::{Content, Source};
use crate::domain::{Message, wire};

/// Reads the file as the service would, says what is wrong, and prints what there is; true where nothing is wrong.
pub(super) fn run(options: &Options, output: &mut impl Write) -> anyhow::Result<bool> {
    let source = Source::of(&options.file)?;
    let reporter = Reporter::new(options, &source);
    let mut found = Found::default();
    let start = Instant::now();
    let lines = messages(source, |line, message| match message {
        Ok((message, bytes)) => {
            found.messages += 1;
            found.expectations.observe(message, bytes);
        }
        Err(reason) => {
            found.refused += 1;
            reporter.say_refused(&[Refused { line, reason }]);
        }
    })?;
    reporter.finish();
    let report = if options.json { found.json(lines) } else { found.table(lines, start) };
    writeln!(output, "{report}").context("the report cannot be written")?;
    Ok(found.refused == 0)
}

/// Reads every line of an input, and gives each with its number as a message and its size, or why it is none; gives how many
/// lines there are.
pub(super) fn messages(
    source: Source,
    mut take: impl FnMut(u64, Result<(Message, usize), String>),
) -> anyhow::Result<u64> {
    let name = source.name().to_owned();
    let mut lines: Lines<Content> = source.lines(Place::default())?;
    for line in lines.by_ref() {
        let line = line.with_context(|| format!("cannot read {name} on"))?;
        take(line.end.line, message(line.content));
    }
    Ok(lines.place().line)
}

fn message(content: Result<Bytes, &'static str>) -> Result<(Message, usize), String> {
    let body = content.map_err(|problem| format!("the line {problem}"))?;
    let message = wire::read(&body).map_err(|error| error.to_string())?;
    Ok((message, body.len()))
}

/// What there is in a file.
#[derive(Default)]
struct Found {
    messages: u64,
    refused: u64,
    expectations: Expectations,
}

impl Found {
    /// Channels of which the file does not have all numbers from 1 on.
    fn with_gaps(&self) -> usize {
        let is_missing = |known: &Known| matches!(known, Known::NumbersOnly { missing: Some(_) });
        self.expectations.all().filter(|expected| is_missing(&expected.known)).count()
    }

    fn json(&self, lines: u64) -> String {
        json!({
            "lines": lines,
            "messages": self.messages,
            "refused": self.refused,
            "channels": self.expectations.channels(),
            "channels_with_gaps": self.with_gaps(),
        })
        .to_string()
    }

    fn table(&self, lines: u64, start: Instant) -> String {
        report::of_rows(&[
            ("lines", lines.to_string()),
            ("messages", self.messages.to_string()),
            ("refused", self.refused.to_string()),
            ("channels", self.expectations.channels().to_string()),
            ("channels with gaps", self.with_gaps().to_string()),
            ("seconds", format!("{:.1}", start.elapsed().as_secs_f64())),
        ])
    }
}
