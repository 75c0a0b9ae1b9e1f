//! The figures, and the one table that they make.

use std::collections::HashMap;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::note;
use crate::site::Sync;

/// All figures of a run.
#[derive(Default)]
pub struct Report {
    columns: Vec<(Sync, Rows)>,
}

/// The figures under one setting of the broker.
#[derive(Default)]
pub struct Rows {
    names: Vec<String>,
    cells: HashMap<String, [String; 2]>,
}

impl Report {
    pub fn under(&mut self, sync: Sync) -> &mut Rows {
        let at = self.columns.iter().position(|(of, _)| *of == sync).unwrap_or(self.columns.len());
        if at == self.columns.len() {
            self.columns.push((sync, Rows::default()));
        }
        &mut self.columns[at].1
    }

    /// As Markdown has it.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let headers = self.columns.iter().flat_map(|(sync, _)| [format!("sync {}", sync.name()), "share".into()]);
        table.set_header(std::iter::once("what".to_owned()).chain(headers));
        for name in self.names() {
            let none = || [String::new(), String::new()];
            let cells = self.columns.iter().flat_map(|(_, rows)| rows.cells.get(name).cloned().unwrap_or_else(none));
            table.add_row(std::iter::once(name.to_owned()).chain(cells));
        }
        table.column_iter_mut().skip(1).for_each(|column| {
            column.set_cell_alignment(CellAlignment::Right);
        });
        table
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.columns.iter().flat_map(|(_, rows)| &rows.names) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }
}

impl Rows {
    /// Something a second, and its share of the bare one.
    pub fn rate(&mut self, name: &str, own: f64, bare: f64) {
        self.add(name, format!("{}/s", rounded(own)), share(own, bare));
    }

    /// The same of something that was perhaps not done to its end.
    pub fn rate_of_part(&mut self, name: &str, own: f64, bare: f64, done: f64) {
        let part = if done < 1.0 { format!(" (first {:.0} %)", 100.0 * done) } else { String::new() };
        self.add(name, format!("{}/s{part}", rounded(own)), share(own, bare));
    }

    /// A time, and how many times as long as another one it is.
    pub fn time(&mut self, name: &str, own: Duration, bare: Duration) {
        let times = own.as_secs_f64() / bare.as_secs_f64();
        let value = format!("{:.2} ms", 1_000.0 * own.as_secs_f64());
        self.add(name, value, format!("{times:.1} × a GET of {} µs", bare.as_micros()));
    }

    /// Seconds, and how many times as many as others they are.
    pub fn seconds(&mut self, name: &str, own: f64, bare: f64, whose: &str) {
        self.add(name, format!("{own:.3} s"), format!("{:.2} × the {bare:.3} s {whose}", own / bare));
    }

    /// Memory in use, and what it was at first.
    pub fn memory(&mut self, name: &str, bytes: u64, before: u64) {
        let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
        let times = bytes as f64 / before as f64;
        self.add(name, megabytes(bytes), format!("{times:.1} × the {} at first", megabytes(before)));
    }

    fn add(&mut self, name: &str, value: String, compared: String) {
        note(&format!("  {name}: {value}, {compared}"));
        self.names.push(name.to_owned());
        self.cells.insert(name.to_owned(), [value, compared]);
    }
}

fn share(own: f64, bare: f64) -> String {
    let percent = 100.0 * own / bare;
    let digits = if percent < 10.0 { 1 } else { 0 };
    format!("{percent:.digits$} % of {}/s", rounded(bare))
}

/// A rate in whole numbers.
fn rounded(rate: f64) -> String {
    thousands(rate.round() as u64)
}

/// A number with commas between the thousands.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The value below which this share of them lies.
pub fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let at = (share * times.len() as f64) as usize;
    times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}
