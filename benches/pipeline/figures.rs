//! The figures of a run: what was measured of ours and of the partner, side by side, as often as there were repetitions.

use serde::{Deserialize, Serialize};

use crate::note;

/// What one line of the table is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The row that it belongs to.
    pub row: String,
    /// What was measured.
    pub what: String,
    /// What it was compared with.
    pub of: String,
    pub unit: Unit,
    pub goal: Option<Goal>,
    /// Where it stands on an axis of a plot.
    pub at: Option<Place>,
    /// The medians of ours, of the partner, and of their ratios, with the lowest and the highest ratio.
    pub ours: f64,
    pub partner: f64,
    pub ratio: f64,
    pub ratio_min: f64,
    pub ratio_max: f64,
    /// Ours and the partner, each time.
    pub pairs: Vec<[f64; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    PerSecond,
    Seconds,
    Bytes,
}

/// What would be good enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// A ratio, or more.
    RatioMin(f64),
    /// A ratio, or less.
    RatioMax(f64),
    /// Ours, or less, whatever the partner has.
    OursMax(f64),
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The plot, as in [`crate::plots`].
    pub plot: String,
    pub x: f64,
}

/// Everything that was measured, and what was not.
#[derive(Default, Serialize, Deserialize)]
pub struct Figures {
    pub lines: Vec<Line>,
    /// How each row ended that was asked for.
    pub rows: Vec<Ended>,
    /// The row that is being measured.
    #[serde(skip)]
    pub row: String,
}

/// How a row ended.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ended {
    pub row: String,
    pub seconds: f64,
    /// Why it was skipped, if so.
    pub skipped: Option<String>,
    /// Why it failed, if so.
    pub failed: Option<String>,
}

/// Why a row cannot be measured here. Any other error is a failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Skipped(pub String);

/// What is said of a line before its figures.
pub struct Measured {
    what: String,
    of: String,
    unit: Unit,
    goal: Option<Goal>,
    at: Option<Place>,
}

impl Measured {
    /// Something, compared with something else.
    pub fn new(what: impl Into<String>, of: impl Into<String>, unit: Unit) -> Self {
        Self { what: what.into(), of: of.into(), unit, goal: None, at: None }
    }

    pub fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// A point of a plot.
    pub fn at(self, plot: &str, x: impl Into<f64>) -> Self {
        Self { at: Some(Place { plot: plot.into(), x: x.into() }), ..self }
    }
}

impl Figures {
    /// Adds a line of the row that is being measured: ours and the partner, each time.
    pub fn add(&mut self, measured: Measured, pairs: Vec<[f64; 2]>) {
        let Measured { what, of, unit, goal, at } = measured;
        let ratios: Vec<_> = pairs.iter().map(|[ours, partner]| ours / partner).collect();
        let of_all = |pick: fn(f64, f64) -> f64| ratios.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        let line = Line {
            row: self.row.clone(),
            what,
            of,
            unit,
            goal,
            at,
            ours: median(pairs.iter().map(|[ours, _]| *ours).collect()),
            partner: median(pairs.iter().map(|[_, partner]| *partner).collect()),
            ratio: median(ratios.clone()),
            ratio_min: of_all(f64::min),
            ratio_max: of_all(f64::max),
            pairs,
        };
        note(&format!(
            "  {}: {}, {} of {} {}",
            line.what,
            unit.shown(line.ours),
            ratio(line.ratio),
            unit.shown(line.partner),
            line.of
        ));
        self.lines.push(line);
    }
}

impl Line {
    /// Whether it is good enough; nothing where no goal is set.
    pub fn is_met(&self) -> Option<bool> {
        self.goal.map(|goal| match goal {
            Goal::RatioMin(min) => self.ratio >= min,
            Goal::RatioMax(max) => self.ratio <= max,
            Goal::OursMax(max) => self.ours <= max,
        })
    }
}

impl Unit {
    /// A figure in this unit.
    pub fn shown(self, figure: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", thousands(figure.round() as u64)),
            Self::Seconds if figure < 0.01 => format!("{:.2} ms", 1_000.0 * figure),
            Self::Seconds if figure < 1.0 => format!("{:.1} ms", 1_000.0 * figure),
            Self::Seconds => format!("{figure:.2} s"),
            Self::Bytes if figure < 10_240.0 => format!("{figure:.0} B"),
            Self::Bytes => format!("{:.1} MiB", figure / (1024.0 * 1024.0)),
        }
    }

    pub fn goal(self, goal: Goal) -> String {
        match goal {
            Goal::RatioMin(min) => format!("≥ {min}"),
            Goal::RatioMax(max) => format!("≤ {max}"),
            Goal::OursMax(max) => format!("≤ {}", self.shown(max)),
        }
    }
}

/// A ratio with as many digits as say something.
pub fn ratio(ratio: f64) -> String {
    let digits = if ratio < 10.0 { 2 } else { 1 };
    format!("{ratio:.digits$}")
}

/// A number with commas between the thousands.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// The value in the middle; between the two in the middle of an even number.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
    let half = values.len() / 2;
    match values.len() % 2 {
        1 => middle(half),
        _ => (middle(half.saturating_sub(1)) + middle(half)) / 2.0,
    }
}
