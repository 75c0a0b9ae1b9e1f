//! The tables at the end: what was sent, what was answered, how fast; and what had to be done before it was verified.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::tally::Tally;
use super::verify::Repairs;

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
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    for (name, value) in rows {
        table.add_row([name, value]);
    }
    if let Some(values) = table.column_mut(1) {
        values.set_cell_alignment(CellAlignment::Right);
    }
    table
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

/// Percentiles in milliseconds; without a single message through there are none.
fn latency_rows(tally: &Tally) -> Vec<(String, String)> {
    let latencies = &tally.latencies;
    if latencies.is_empty() {
        return Vec::new();
    }
    let percentiles = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];
    let row = |(name, quantile): (&str, f64)| {
        let milliseconds = latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        (format!("latency {name}, ms"), format!("{milliseconds:.2}"))
    };
    percentiles.map(row).into()
}

#[cfg(test)]
mod tests {
    use super::super::client::{Attempt, Outcome};
    use super::*;

    #[test]
    fn the_table_says_everything() {
        let mut tally = Tally::new().unwrap();
        (tally.generated, tally.lost) = (3, 2);
        let outcomes = [
            Outcome::Through { status: 200, duplicate: true },
            Outcome::Refused { status: 503 },
            Outcome::NotConnected,
        ];
        for outcome in outcomes {
            tally.count(&Attempt { outcome, latency: Duration::from_millis(4) });
        }
        let text = table(&tally, Duration::from_secs(2)).to_string();
        let said: Vec<String> = text.lines().map(|line| line.replace(['│', ' '], "")).collect();
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
        let text = repairs_table(&Repairs { skips: 2, skipped_numbers: 5, corrections: 1 }).to_string();
        let said: Vec<String> = text.lines().map(|line| line.replace(['│', ' '], "")).collect();
        assert_eq!(&said[1..4], ["skips2", "numbersskipped5", "corrected1"], "{text}");
    }

    #[test]
    fn a_run_without_any_answer_has_a_table_too() {
        let text = table(&Tally::new().unwrap(), Duration::ZERO).to_string();
        assert!(text.contains("messages a second") && !text.contains("latency"));
    }
}
