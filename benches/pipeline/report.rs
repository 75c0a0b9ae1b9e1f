//! What is left of a run: one table, ready for docs/benchmarks.md, and `target/bench/report.json` with every single figure.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use crate::figures::{Figures, Line, ratio};
use crate::machine::Machine;

/// A run.
#[derive(Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    /// Whether it was only a try.
    pub is_quick: bool,
    pub repetitions: usize,
    pub figures: Figures,
}

impl Report {
    /// Where it is written to.
    pub fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/report.json")
    }

    /// Writes it; what was there before goes.
    pub fn write(&self) -> anyhow::Result<()> {
        let path = Self::path();
        std::fs::create_dir_all(path.parent().context("it has a folder")?)?;
        std::fs::write(&path, serde_json::to_vec_pretty(self)?).with_context(|| path.display().to_string())
    }

    /// Reads the last one.
    pub fn read() -> anyhow::Result<Self> {
        let path = Self::path();
        let bytes = std::fs::read(&path).with_context(|| format!("{}: run `make bench` first", path.display()))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// On what it was measured, the table as Markdown has it, and what was not measured, with the reason.
    pub fn shown(&self) -> String {
        let Self { machine, figures, repetitions, is_quick } = self;
        let quick = if *is_quick { " Only a try: its figures say little." } else { "" };
        let head = format!("{machine} {repetitions} repetitions.{quick}");
        let unmeasured = figures.rows.iter().filter_map(|row| {
            let (how, why) = match (&row.skipped, &row.failed) {
                (Some(why), _) => ("skipped", why),
                (None, Some(why)) => ("failed", why),
                (None, None) => return None,
            };
            Some(format!("\n{} {how}: {why}", row.row))
        });
        format!("{head}\n\n{}\n{}", table(&figures.lines), unmeasured.collect::<String>())
    }
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["row", "what", "ours", "partner", "ratio", "goal", "min", "max"]);
    for line in lines {
        table.add_row(cells(line));
    }
    table.column_iter_mut().skip(2).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table
}

fn cells(line: &Line) -> [String; 8] {
    let missed = if line.is_met() == Some(false) { ", missed" } else { "" };
    let goal = line.goal.map(|goal| line.unit.goal(goal)).unwrap_or_default();
    [
        line.row.clone(),
        line.what.clone(),
        line.unit.shown(line.ours),
        format!("{}, {}", line.unit.shown(line.partner), line.of),
        ratio(line.ratio),
        format!("{goal}{missed}"),
        ratio(line.ratio_min),
        ratio(line.ratio_max),
    ]
}
