//! What the user sees: a bar on a terminal, else a line now and then; the lines that were refused; and the table at the end.

use std::io::{Write as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::batches::Refused;
use super::ledger::Through;
use super::options::Options;
use super::send::Sent;
use super::source::Source;
use crate::terminal::{Progress, Table};
use crate::text::{bytes, printable};

/// How many refused lines are said one by one.
const SAID_REFUSED_MAX: u64 = 100;

const OF_A_FILE: &str = "{elapsed_precise} {wide_bar} {bytes}/{total_bytes}, {prefix} messages, left {eta} {msg}";
const OF_A_STREAM: &str = "{elapsed_precise} {spinner} {bytes}, {prefix} messages {msg}";

/// Says how it goes, on standard error.
pub(super) struct Reporter {
    name: String,
    progress: Progress,
    read: Arc<AtomicU64>,
    size: Option<u64>,
    refused: AtomicU64,
}

impl Reporter {
    /// Of an import of this input.
    pub(super) fn new(options: &Options, source: &Source) -> Self {
        let size = source.size();
        let template = if size.is_some() { OF_A_FILE } else { OF_A_STREAM };
        let progress = Progress::new(size.unwrap_or(0), template);
        Self { name: options.name(), progress, read: source.read(), size, refused: AtomicU64::new(0) }
    }

    /// All before this place is through.
    pub(super) fn show(&self, through: &Through) {
        let read = self.read.load(Ordering::Relaxed);
        self.progress.set(read);
        self.progress.goes_on();
        let messages = through.counts.ingested + through.counts.duplicate;
        self.progress.note(&messages.to_string(), || {
            let of = self.size.map(|size| format!(" of {}", bytes(size))).unwrap_or_default();
            self.say(&format!("{messages} messages are through, {}{of} are read", bytes(read)));
        });
    }

    /// Why it does not go on.
    pub(super) fn say_not_through(&self, why: &str) {
        self.progress.say(&printable(&format!("not through: {why}")));
    }

    /// Lines that were refused. Beyond a bound they are only counted.
    pub(super) fn say_refused(&self, lines: &[Refused]) {
        for Refused { line, reason } in lines {
            let before = self.refused.fetch_add(1, Ordering::Relaxed);
            if before < SAID_REFUSED_MAX {
                self.print(&format!("{}:{line}: {reason}", self.name));
            } else if before == SAID_REFUSED_MAX {
                self.say("more lines are refused, which are only counted from here on");
            }
        }
    }

    /// Says something about the whole input.
    pub(super) fn say(&self, text: &str) {
        self.print(&format!("{}: {text}", self.name));
    }

    /// Where nobody listens any more nothing can be done about it.
    fn print(&self, text: &str) {
        self.progress.aside(|| {
            let _ = writeln!(stderr(), "{}", printable(text));
        });
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.progress.finish();
    }
}

/// What became of an import, as a program reads it.
pub(super) fn json(sent: &Sent, elapsed: Duration) -> String {
    let Through { place, counts } = sent.through;
    let report: Value = json!({
        "lines": place.line,
        "ingested": counts.ingested,
        "duplicate": counts.duplicate,
        "refused": counts.refused,
        "sent_again": sent.sent_again,
        "complete": sent.is_complete,
        "seconds": elapsed.as_secs_f64(),
    });
    report.to_string()
}

/// The same for people.
pub(super) fn table(sent: &Sent, elapsed: Duration) -> String {
    let Through { place, counts } = sent.through;
    let seconds = elapsed.as_secs_f64();
    let messages = (place.line - sent.begun_at.line) as f64;
    let rate = if seconds > 0.0 { format!("{:.1}", messages / seconds) } else { "-".to_owned() };
    of_rows(&[
        ("lines", place.line.to_string()),
        ("ingested", counts.ingested.to_string()),
        ("answered as duplicate", counts.duplicate.to_string()),
        ("refused", counts.refused.to_string()),
        ("sent again", sent.sent_again.to_string()),
        ("seconds", format!("{seconds:.1}")),
        ("lines a second", rate),
    ])
}

/// A table of names and values.
pub(super) fn of_rows(rows: &[(&str, String)]) -> String {
    let mut table = Table::new(&["", ">"]);
    rows.iter().for_each(|(name, value)| table.add([*name, value]));
    table.to_text()
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Counts;
    use super::super::lines::Place;
    use super::*;

    #[test]
    fn the_rate_is_that_of_this_run() {
        let counts = Counts { ingested: 600, duplicate: 300, refused: 100 };
        let through = Through { place: Place { line: 1_000, byte: 9_999 }, counts };
        let sent = Sent { through, begun_at: Place { line: 400, byte: 99 }, sent_again: 5, is_complete: true };
        let text = table(&sent, Duration::from_secs(2));
        let said: Vec<String> = text.lines().map(|line| line.replace(' ', "")).collect();
        let expected = ["lines1000", "ingested600", "answeredasduplicate300", "refused100", "sentagain5"];
        assert_eq!(said[..5], expected, "{text}");
        assert_eq!(said[6], "linesasecond300.0", "{text}");
        let json: Value = serde_json::from_str(&json(&sent, Duration::from_secs(2))).unwrap();
        assert_eq!((&json["lines"], &json["refused"], &json["complete"]), (&1_000.into(), &100.into(), &true.into()));
    }
}
