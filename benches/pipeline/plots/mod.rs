//! What was measured last, drawn: `docs/benchmarks/*.svg` from `target/bench/report.json`. A chart whose points were not measured
//! stays as it was.
//!
//! Drawn by [`svg`], in a hundred lines of ours: a crate that draws would bring a dozen others for six line charts.

mod svg;

use std::io::Write as _;
use std::path::Path;

use crate::figures::{Line, Unit, thousands};
use crate::report::Report;
use svg::{Chart, Curve};

/// What is drawn together.
struct Plot {
    file: &'static str,
    title: &'static str,
    x: &'static str,
    y: &'static str,
    curves: &'static [Drawn],
}

/// The lines of one plot, as a curve with a name.
struct Drawn {
    plot: &'static str,
    name: &'static str,
    figure: Figure,
}

#[derive(Clone, Copy)]
enum Figure {
    Ours,
    Partner,
    Ratio,
}

const fn drawn(plot: &'static str, name: &'static str, figure: Figure) -> Drawn {
    Drawn { plot, name, figure }
}

const PLOTS: [Plot; 6] = [
    Plot {
        file: "connections.svg",
        title: "Single messages, unsynced",
        x: "connections",
        y: "answered a second",
        curves: &[
            drawn("posts", "a POST that does nothing", Figure::Partner),
            drawn("posts", "ingest alone", Figure::Ours),
            drawn("posts-whole", "rockets up", Figure::Ours),
        ],
    },
    Plot {
        file: "group-commit.svg",
        title: "Single messages, synced",
        x: "connections",
        y: "answered a second",
        curves: &[
            drawn("group", "ingest", Figure::Ours),
            drawn("group", "a POST that publishes and answers", Figure::Partner),
        ],
    },
    Plot {
        file: "latency.svg",
        title: "Single messages, synced, as fast as they are answered",
        x: "connections",
        y: "until the answer",
        curves: &[
            drawn("group-p50", "ingest, p50", Figure::Ours),
            drawn("group-p99", "ingest, p99", Figure::Ours),
            drawn("group-p50", "a POST that publishes and answers, p50", Figure::Partner),
            drawn("group-p99", "the same, p99", Figure::Partner),
        ],
    },
    Plot {
        file: "batches.svg",
        title: "Batches over 8 connections",
        x: "messages of a batch",
        y: "messages a second",
        curves: &[
            drawn("batches-unsynced", "bare publishes, unsynced", Figure::Partner),
            drawn("batches-unsynced", "ingest, unsynced", Figure::Ours),
            drawn("batches-synced", "bare atomic batches, synced", Figure::Partner),
            drawn("batches-synced", "ingest, synced", Figure::Ours),
        ],
    },
    Plot {
        file: "rockets.svg",
        title: "Messages that waited, to state",
        x: "rockets",
        y: "messages a second",
        curves: &[
            drawn("drain-unsynced", "consume and acknowledge, unsynced", Figure::Partner),
            drawn("drain-unsynced", "track, unsynced", Figure::Ours),
            drawn("drain-synced", "track, synced", Figure::Ours),
        ],
    },
    Plot {
        file: "trackers.svg",
        title: "Processor time of several trackers, of that of one",
        x: "trackers",
        y: "times that of one",
        curves: &[
            drawn("trackers-waited", "messages that waited", Figure::Ratio),
            drawn("trackers-come", "messages as they come", Figure::Ratio),
        ],
    },
];

/// Draws all that there are points for, and says what.
pub fn draw(report: &Report) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks");
    std::fs::create_dir_all(&folder)?;
    for plot in &PLOTS {
        let said = match plot.chart(&report.figures.lines) {
            Some(chart) => {
                std::fs::write(folder.join(plot.file), chart.svg())?;
                "drawn"
            }
            None => "not drawn: not all of it was measured",
        };
        writeln!(std::io::stdout(), "docs/benchmarks/{} {said}", plot.file)?;
    }
    Ok(())
}

impl Plot {
    /// None where a curve has fewer than two points.
    fn chart(&self, lines: &[Line]) -> Option<Chart> {
        let curves: Vec<_> = self.curves.iter().map(|curve| curve.of(lines)).collect();
        let are_measured = curves.iter().all(|curve| curve.points.len() > 1);
        let unit = self.curves.first().and_then(|curve| curve.lines(lines).next()).map(|line| line.unit);
        let is_ratio = self.curves.iter().any(|curve| matches!(curve.figure, Figure::Ratio));
        let label = match unit {
            Some(Unit::Seconds) if !is_ratio => |y: f64| format!("{:.0} ms", 1_000.0 * y),
            Some(Unit::Seconds) => |y: f64| format!("{y:.1}"),
            _ => |y: f64| thousands(y as u64),
        };
        let Self { title, x, y, .. } = self;
        are_measured.then_some(Chart { title, x, y, label, curves })
    }
}

impl Drawn {
    fn lines<'a>(&'a self, lines: &'a [Line]) -> impl Iterator<Item = &'a Line> {
        lines.iter().filter(|line| line.at.as_ref().is_some_and(|place| place.plot == self.plot))
    }

    fn of(&self, lines: &[Line]) -> Curve {
        let figure = |line: &Line| match self.figure {
            Figure::Ours => line.ours,
            Figure::Partner => line.partner,
            Figure::Ratio => line.ratio,
        };
        let points = self.lines(lines).filter_map(|line| Some((line.at.as_ref()?.x, figure(line)))).collect();
        Curve { name: self.name, points }
    }
}
