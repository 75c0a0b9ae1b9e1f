//! What the benchmark is told on its command line.

use anyhow::Context as _;

use crate::rows::{ROWS, Row};

/// What it says of itself.
pub const USAGE: &str = "cargo bench --bench pipeline -- [--quick] [--only P1,P2b] | --list | --plots";

/// What is to be done.
pub enum Task {
    /// Measure these rows.
    Measure { rows: Vec<&'static Row>, is_quick: bool },
    /// Say which rows there are.
    List,
    /// Draw what was measured last.
    Plot,
}

impl Task {
    /// Reads the command line, without the program's name.
    pub fn read(arguments: &[&str]) -> anyhow::Result<Self> {
        let (mut only, mut is_quick, mut arguments) = (None, false, arguments.iter());
        while let Some(argument) = arguments.next() {
            match *argument {
                "--list" => return Ok(Self::List),
                "--plots" => return Ok(Self::Plot),
                "--quick" => is_quick = true,
                "--only" => only = Some(*arguments.next().context("--only takes the names of rows")?),
                other => anyhow::bail!("{other} is not understood. {USAGE}"),
            }
        }
        let rows = match only {
            Some(names) => named(names)?,
            None => ROWS.iter().filter(|row| !row.is_on_request).collect(),
        };
        Ok(Self::Measure { rows, is_quick })
    }
}

/// The rows with these names, in the table's order.
fn named(names: &str) -> anyhow::Result<Vec<&'static Row>> {
    let names: Vec<_> = names.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    let is_known = |name: &&&str| ROWS.iter().any(|row| row.name.eq_ignore_ascii_case(name));
    let unknown: Vec<_> = names.iter().filter(|name| !is_known(name)).copied().collect();
    let known: Vec<_> = ROWS.iter().map(|row| row.name).collect();
    anyhow::ensure!(unknown.is_empty(), "there is no row {}; there are {}", unknown.join(", "), known.join(", "));
    anyhow::ensure!(!names.is_empty(), "no row is named; there are {}", known.join(", "));
    let is_named = |row: &&Row| names.iter().any(|name| row.name.eq_ignore_ascii_case(name));
    Ok(ROWS.iter().filter(is_named).collect())
}
