//! How everything that is listed is shown: as a table for people, as JSON lines for programs, and, where it is watched,
//! again and again.
//!
//! Standard output has the rows and nothing else. What is said about them, also that there are none, goes to standard error.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use super::common::{say, say_json};
use super::{shutdown_signal, stopped, tell};
use crate::terminal::{Screen, Table, has_screen};
use crate::text::printable;

/// Shortest pause between two looks: each asks the broker.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// How rows are shown.
#[derive(Debug, Args)]
pub(super) struct Shown {
    /// JSON lines instead of a table: an object a row, with the names that HTTP has
    #[arg(long)]
    json: bool,
    /// Look again and again: redrawn on a terminal, elsewhere JSON lines of what is new, has
    /// changed, or is not listed any more
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
          value_parser = pause)]
    watch: Option<Duration>,
}

/// Reads a pause between two looks.
pub(super) fn pause(text: &str) -> Result<Duration, &'static str> {
    let pause = humantime::parse_duration(text).ok().filter(|pause| *pause >= PAUSE_MIN);
    pause.ok_or("must be a time of 100ms or more, such as 2s")
}

/// What is listed.
pub(super) trait Row: Serialize {
    /// The columns of a table, those with numbers behind a `>`.
    const COLUMNS: &'static [&'static str];
    /// What is said where there are no rows.
    const NONE: &'static str;

    /// What tells it from other rows.
    fn key(&self) -> String;

    /// As a row of the table.
    fn cells(&self) -> Vec<String>;
}

impl Shown {
    /// Shows what a look finds, once, or again and again until it is told to end.
    pub(super) async fn show<R: Row>(
        &self,
        mut look: impl AsyncFnMut() -> anyhow::Result<Vec<R>>,
    ) -> anyhow::Result<ExitCode> {
        let rows = look().await?;
        let Some(pause) = self.watch else {
            once(&rows, self.json)?;
            return Ok(ExitCode::SUCCESS);
        };
        let (mut output, mut lines) = (Output::new(self.json, true), Lines::default());
        let mut show = |rows: &[R]| output.show(|| text(rows), || lines.of(rows));
        show(&rows)?;
        until_stopped(again(pause, look, async |rows| show(&rows))).await
    }
}

/// Where it goes what is shown again and again.
pub(super) enum Output {
    /// To a program.
    Json,
    /// To whoever reads it once.
    Text,
    /// To somebody at a terminal.
    Screen(Screen),
}

impl Output {
    /// JSON where it is wanted, and where something is watched that cannot be drawn over.
    pub(super) fn new(json: bool, is_watched: bool) -> Self {
        match is_watched {
            _ if json => Self::Json,
            false => Self::Text,
            true if has_screen() => Self::Screen(Screen::default()),
            true => Self::Json,
        }
    }

    /// Shows one of the two.
    pub(super) fn show(
        &mut self,
        text: impl FnOnce() -> String,
        lines: impl FnOnce() -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Json => lines()?.iter().try_for_each(|line| say(line)),
            Self::Text => say(&text()),
            Self::Screen(screen) => Ok(screen.draw(&text())?),
        }
    }
}

/// Ends well when it is told to end.
pub(super) async fn until_stopped(shown: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let shutdown = shutdown_signal()?;
    shutdown.run_until_cancelled(shown).await.unwrap_or_else(|| Ok(stopped()))
}

/// Looks again after each pause. A broker that is away is waited for.
pub(super) async fn again<T>(
    pause: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
    mut show: impl AsyncFnMut(T) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    loop {
        sleep(pause).await;
        match look().await {
            Ok(found) => show(found).await?,
            Err(error) => tell(&printable(&format!("{error:#}; looking again"))),
        }
    }
}

fn once<R: Row>(rows: &[R], json: bool) -> anyhow::Result<()> {
    match json {
        true => rows.iter().try_for_each(say_json),
        false if rows.is_empty() => {
            tell(R::NONE);
            Ok(())
        }
        false => say(&table(rows)),
    }
}

/// As it is drawn.
fn text<R: Row>(rows: &[R]) -> String {
    if rows.is_empty() { R::NONE.to_owned() } else { table(rows) }
}

/// The rows as a table.
pub(super) fn table<R: Row>(rows: &[R]) -> String {
    let mut table = Table::new(R::COLUMNS);
    rows.iter().for_each(|row| table.add(row.cells()));
    table.to_text()
}

/// The lines of the rows that were shown last, by what the rows are known by.
#[derive(Default)]
struct Lines(HashMap<String, String>);

/// A row that is not listed any more.
#[derive(Serialize)]
struct Gone<'a> {
    gone: &'a str,
}

impl Lines {
    /// A line for each row that is not as it was shown last, and for each that is gone.
    fn of<R: Row>(&mut self, rows: &[R]) -> anyhow::Result<Vec<String>> {
        let (mut lines, mut shown) = (Vec::new(), HashMap::with_capacity(rows.len()));
        for row in rows {
            let (key, line) = (row.key(), serde_json::to_string(row)?);
            if self.0.remove(&key).is_none_or(|before| before != line) {
                lines.push(line.clone());
            }
            shown.insert(key, line);
        }
        for gone in self.0.keys() {
            lines.push(serde_json::to_string(&Gone { gone })?);
        }
        self.0 = shown;
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Number(&'static str, u64);

    impl Row for Number {
        const COLUMNS: &'static [&'static str] = &["name", ">number"];
        const NONE: &'static str = "no numbers";

        fn key(&self) -> String {
            self.0.to_owned()
        }

        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), self.1.to_string()]
        }
    }

    #[test]
    fn only_what_has_changed_is_a_line() {
        let mut lines = Lines::default();
        let mut of = |rows: &[Number]| lines.of(rows).unwrap();
        assert_eq!(of(&[Number("a", 1), Number("b", 1)]), [r#"["a",1]"#, r#"["b",1]"#]);
        assert_eq!(of(&[Number("a", 1), Number("b", 2), Number("c", 1)]), [r#"["b",2]"#, r#"["c",1]"#]);
        assert_eq!(of(&[Number("b", 2), Number("c", 1)]), [r#"{"gone":"a"}"#]);
        assert!(of(&[Number("c", 1), Number("b", 2)]).is_empty(), "the order is no change");
    }

    #[test]
    fn a_pause_is_long_enough_to_be_one() {
        for (text, expected) in
            [("2s", true), ("100ms", true), ("99ms", false), ("0s", false), ("2", false), ("", false)]
        {
            assert_eq!(pause(text).is_ok(), expected, "{text}");
        }
    }
}
