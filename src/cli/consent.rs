//! What is asked before something is done that cannot be undone, or that changes rockets: what it will do is told, and a
//! person says yes, on a terminal or before with `--yes`.

use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin};
use std::process::ExitCode;

use clap::Args;

use super::common::say;
use super::{tell, wrong_usage};
use crate::text::printable;

/// Says that the user was to be asked and cannot be.
const CANNOT_ASK: &str =
    "there is no terminal to ask whether it is meant so; pass --yes to do it, or --dry-run to see what it would do";

/// How it is given.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Consent {
    /// Tell what it would do, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// Refuses at once what will have to be asked where nobody can be asked.
    pub(super) fn can_be_given(self) -> Result<(), ExitCode> {
        if self.dry_run || self.yes || has_terminal() {
            return Ok(());
        }
        Err(wrong_usage(CANNOT_ASK))
    }

    /// The same as if it had been given.
    pub(super) fn given(self) -> Self {
        Self { yes: true, ..self }
    }

    /// The same as if it had been given, where nobody can be asked.
    pub(super) fn given_in_scripts(self) -> Self {
        Self { yes: self.yes || !has_terminal(), ..self }
    }

    /// Whether nothing is to be done.
    pub(super) fn is_dry_run(self) -> bool {
        self.dry_run
    }

    /// Tells what it would do, or does it, once that is wanted.
    pub(super) async fn then(
        self,
        effect: impl AsyncFnOnce() -> anyhow::Result<String>,
        work: impl AsyncFnOnce() -> anyhow::Result<ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        if self.dry_run {
            say(&printable(&effect().await?))?;
            return Ok(ExitCode::SUCCESS);
        }
        match self.yes || is_confirmed(&effect().await?)? {
            true => work().await,
            false => Ok(ExitCode::FAILURE),
        }
    }
}

/// Whether there is somebody to ask.
pub(super) fn has_terminal() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Asks on the terminal whether this is to be done; anything but a yes is a no.
pub(super) fn is_confirmed(effect: &str) -> anyhow::Result<bool> {
    write!(stderr(), "{} Go on? [y/N] ", printable(effect))?;
    stderr().flush()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    let confirmed = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if !confirmed {
        tell("nothing was done");
    }
    Ok(confirmed)
}
