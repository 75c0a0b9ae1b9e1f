//! What a drill says: each fault as it happens, and in the end a table of the times to recover.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use crate::plan::Step;
use crate::probe::Recovery;

/// Says a line to whoever runs the drill, also where the output of tests is kept back.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The times to recover, by kind of fault.
#[derive(Default)]
pub struct Report {
    kinds: BTreeMap<String, Times>,
    /// What did not recover in its time.
    pub late: Vec<String>,
}

#[derive(Default)]
struct Times {
    within: Duration,
    took: Vec<Duration>,
}

impl Report {
    /// Notes how long a step took to recover from; none if it never did.
    pub fn recovered(&mut self, number: usize, step: &Step, took: Option<Recovery>) {
        let names: Vec<_> = step.faults.iter().map(|fault| format!("{} [{}]", fault.kind, fault.at)).collect();
        let (names, within) = (names.join(" + "), step.recovers_within());
        let answered = took.map_or("NEVER".to_owned(), |took| seconds(took.answered));
        let took = took.map(|took| took.shown);
        let told = took.map_or("NEVER".to_owned(), seconds);
        let lasting = step.lasting.as_millis();
        say(&format!("{number:4}  {names}, {lasting} ms: answered in {answered}, shown in {told}"));
        if took.is_none_or(|took| took > within) {
            self.late.push(format!("fault {number}, {names}: {told} instead of {}", seconds(within)));
        }
        let kind = match step.faults.as_slice() {
            [fault] => fault.kind.to_string(),
            _ => "two at once".to_owned(),
        };
        let times = self.kinds.entry(kind).or_default();
        times.within = times.within.max(within);
        times.took.extend(took);
    }

    /// The table, in Markdown.
    pub fn table(&mut self) -> String {
        let mut table = "| fault | count | p50 | max | must within |\n| --- | ---: | ---: | ---: | ---: |\n".to_owned();
        for (kind, Times { within, took }) in &mut self.kinds {
            took.sort_unstable();
            let (Some(median), Some(max)) = (took.get(took.len() / 2), took.last()) else { continue };
            let [median, max, within] = [median, max, within].map(|time| seconds(*time));
            table += &format!("| {kind} | {} | {median} | {max} | {within} |\n", took.len());
        }
        table
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
