//! What has happened so far, and how it is shown: the bars, and the tables at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::disorder::Outgoing;
use super::send::{Attempt, Outcome};
use super::verify::Repairs;
use crate::terminal::{Progress, Table};

/// The table of a run that took so long.
pub(super) fn table(tally: &Tally, elapsed: Duration) -> Table {
    table_of(rows(tally, elapsed))
}

/// The table of what the operator did.
pub(super) fn repairs_table(repairs: &Repairs) -> Table {
    table_of(vec![
        row("skips", repairs.skips),
        row("numbers skipped", repairs.skipped_numbers),
        row("corrected", repairs.corrections),
    ])
}

fn table_of(rows: Vec<(String, String)>) -> Table {
    let mut table = Table::new(&["", ">"]);
    rows.iter().for_each(|(name, value)| table.add([name, value]));
    table
}

/// The same as the table, as a program reads it.
pub(super) fn json(tally: &Tally, elapsed: Duration) -> Value {
    let outcomes: BTreeMap<_, _> = tally.outcomes.iter().map(|(outcome, count)| (outcome.to_string(), count)).collect();
    let latencies: BTreeMap<_, _> = milliseconds(tally).into_iter().collect();
    json!({
        "generated": tally.generated + tally.lost,
        "lost": tally.lost,
        "sent_twice": tally.copies,
        "through": tally.through,
        "retried": tally.retried,
        "attempts": tally.attempts(),
        "outcomes": outcomes,
        "answered_duplicate": tally.answered_duplicate,
        "seconds": elapsed.as_secs_f64(),
        "latency_milliseconds": latencies,
    })
}

fn row(name: &str, value: u64) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn rows(tally: &Tally, elapsed: Duration) -> Vec<(String, String)> {
    let mut rows = vec![
        row("messages generated", tally.generated + tally.lost),
        row("lost on the radio", tally.lost),
        row("sent twice", tally.copies),
        row("sent, and through", tally.through),
        row("retried", tally.retried),
        row("attempts", tally.attempts()),
    ];
    rows.extend(tally.outcomes.iter().map(|(outcome, count)| row(&outcome.to_string(), *count)));
    rows.push(row("answered as duplicate", tally.answered_duplicate));
    rows.push(("seconds".to_owned(), format!("{:.1}", elapsed.as_secs_f64())));
    rows.push(("messages a second".to_owned(), per_second(tally.through, elapsed)));
    rows.extend(latency_rows(tally));
    rows
}

fn per_second(count: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { format!("{:.1}", count as f64 / seconds) } else { "-".to_owned() }
}

fn latency_rows(tally: &Tally) -> Vec<(String, String)> {
    let row = |(name, milliseconds)| (format!("latency {name}, ms"), format!("{milliseconds:.2}"));
    milliseconds(tally).into_iter().map(row).collect()
}

/// Percentiles of the latencies; without a single message through there are none.
fn milliseconds(tally: &Tally) -> Vec<(&'static str, f64)> {
    let latencies = &tally.latencies;
    if latencies.is_empty() {
        return Vec::new();
    }
    let percentiles = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];
    percentiles.map(|(name, quantile)| (name, latencies.value_at_quantile(quantile) as f64 / 1_000.0)).into()
}

/// The longest latency that the histogram holds; an attempt ends well before.
const LATENCY_MICROSECONDS_MAX: u64 = 60_000_000;
/// Percentiles are exact to three digits.
const LATENCY_DIGITS: u8 = 3;

/// The counts of one run.
#[derive(Debug)]
pub(super) struct Tally {
    /// Messages that were generated and taken by a worker, copies and losses aside.
    pub(super) generated: u64,
    /// Messages that were generated and lost on the radio: no worker ever saw them.
    pub(super) lost: u64,
    /// Second copies that were taken.
    pub(super) copies: u64,
    /// Messages and copies that are through.
    pub(super) through: u64,
    /// Attempts that came after a first one.
    pub(super) retried: u64,
    /// Messages that the service said it had already.
    pub(super) answered_duplicate: u64,
    /// How attempts ended, `duplicate` aside.
    pub(super) outcomes: BTreeMap<Outcome, u64>,
    /// The latencies of the attempts that got through, in microseconds.
    pub(super) latencies: Histogram<u64>,
}

impl Tally {
    /// Nothing has happened yet.
    pub(super) fn new() -> anyhow::Result<Tally> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MICROSECONDS_MAX, LATENCY_DIGITS)
            .context("the latencies cannot be counted")?;
        let (generated, lost, copies, through, retried, answered_duplicate) = (0, 0, 0, 0, 0, 0);
        let outcomes = BTreeMap::new();
        Ok(Tally { generated, lost, copies, through, retried, answered_duplicate, outcomes, latencies })
    }

    /// Counts a message that is about to be sent.
    pub(super) fn count_taken(&mut self, outgoing: &Outgoing) {
        let counter = match outgoing {
            Outgoing { is_retry: true, .. } => &mut self.retried,
            Outgoing { is_copy: true, .. } => &mut self.copies,
            _ => &mut self.generated,
        };
        *counter += 1;
    }

    /// Counts how an attempt ended.
    pub(super) fn count(&mut self, attempt: &Attempt) {
        let mut outcome = attempt.outcome;
        if let Outcome::Through { duplicate, .. } = &mut outcome {
            self.through += 1;
            self.answered_duplicate += u64::from(*duplicate);
            *duplicate = false;
            self.latencies.saturating_record(microseconds(attempt.latency));
        }
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// All attempts that have ended.
    pub(super) fn attempts(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Whether everything that was taken is through.
    pub(super) fn is_all_through(&self) -> bool {
        self.through == self.generated + self.copies
    }
}

fn microseconds(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

const SENDING: &str = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} messages, {per_sec}, left {eta} {msg}";
const VERIFYING: &str = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} messages applied {msg}";

/// The progress of sending so many messages.
pub(super) fn sending(messages: u64) -> Progress {
    Progress::new(messages, SENDING)
}

/// The progress of the service, which has to apply so many messages.
pub(super) fn verifying(messages: u64) -> Progress {
    Progress::new(messages, VERIFYING)
}

#[cfg(test)]
mod tests {
    use super::super::send::{Attempt, Outcome};
    use super::*;
    use crate::client::NoAnswer;

    #[test]
    fn the_table_says_everything() {
        let mut tally = Tally::new().unwrap();
        (tally.generated, tally.lost) = (3, 2);
        let outcomes = [
            Outcome::Through { status: 200, duplicate: true },
            Outcome::Refused { status: 503 },
            Outcome::NoAnswer(NoAnswer::NotConnected),
        ];
        for outcome in outcomes {
            tally.count(&Attempt { outcome, latency: Duration::from_millis(4) });
        }
        let text = table(&tally, Duration::from_secs(2)).to_text();
        let said: Vec<String> = text.lines().map(|line| line.replace(' ', "")).collect();
        let expected = [
            "messagesgenerated5",
            "lostontheradio2",
            "sent,andthrough1",
            "attempts3",
            "answer2001",
            "answer5031",
            "noanswer:notconnected1",
            "answeredasduplicate1",
            "seconds2.0",
            "messagesasecond0.5",
            "latencyp50,ms4.00",
            "latencyp99,ms4.00",
        ];
        for row in expected {
            assert!(said.iter().any(|line| line == row), "no {row} in\n{text}");
        }
    }

    #[test]
    fn the_table_of_repairs_says_what_was_skipped_and_corrected() {
        let text = repairs_table(&Repairs { skips: 2, skipped_numbers: 5, corrections: 1 }).to_text();
        let said: Vec<String> = text.lines().map(|line| line.replace(' ', "")).collect();
        assert_eq!(said, ["skips2", "numbersskipped5", "corrected1"], "{text}");
    }

    #[test]
    fn a_run_without_any_answer_has_a_table_too() {
        let text = table(&Tally::new().unwrap(), Duration::ZERO).to_text();
        assert!(text.contains("messages a second") && !text.contains("latency"));
    }

    #[test]
    fn attempts_are_counted_by_how_they_ended() {
        let mut tally = Tally::new().unwrap();
        let duplicate = Outcome::Through { status: 200, duplicate: true };
        let ingested = Outcome::Through { status: 200, duplicate: false };
        for outcome in [ingested, duplicate, Outcome::Refused { status: 503 }, Outcome::NoAnswer(NoAnswer::TimedOut)] {
            tally.count_taken(&Outgoing { body: Default::default(), is_copy: false, is_retry: false });
            tally.count(&Attempt { outcome, latency: Duration::from_millis(5) });
        }
        assert_eq!((tally.attempts(), tally.through, tally.answered_duplicate), (4, 2, 1));
        assert_eq!(tally.outcomes[&ingested], 2);
        assert_eq!(tally.latencies.len(), 2, "only those that got through");
        assert!(!tally.is_all_through());
    }
}
