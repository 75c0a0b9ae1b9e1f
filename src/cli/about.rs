//! What the program says of itself for a shell and for `man`, both made from the command line as it is, and for a broker's
//! configuration.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::{Cli, Settings, failed, loaded};
use crate::broker::login::INBOX_PREFIX;
use crate::broker::permissions::Authorization;

/// Prints the script that completes `rockets` in a shell.
pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "rockets", &mut script);
    print(|| Ok(script))
}

/// Prints the man page: the whole program, and each subcommand behind it.
pub(super) fn man() -> ExitCode {
    print(|| {
        let mut command = Cli::command();
        command.build();
        let mut page = Vec::new();
        Man::new(command.clone()).render(&mut page)?;
        subcommands(&command, &mut page)?;
        Ok(page)
    })
}

/// Prints what users the broker should have, and what each may do there.
pub(super) fn permissions(settings: Settings) -> ExitCode {
    let config = match loaded(settings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let inbox_prefix = config.nats.login.inbox_prefix.as_deref().unwrap_or(INBOX_PREFIX);
    print(|| Ok(Authorization { inbox_prefix }.to_string().into_bytes()))
}

/// Each subcommand that can be run, with what it does and its options.
fn subcommands(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|it| it.get_name() != "help") {
        if subcommand.has_subcommands() {
            subcommands(subcommand, page)?;
            continue;
        }
        let man = Man::new(subcommand.clone());
        writeln!(page, ".SH \"{}\"", subcommand.get_bin_name().unwrap_or_default().to_uppercase())?;
        writeln!(page, "{}", subcommand.get_about().map(ToString::to_string).unwrap_or_default())?;
        man.render_options_section(page)?;
    }
    Ok(())
}

fn print(text: impl FnOnce() -> io::Result<Vec<u8>>) -> ExitCode {
    match text().and_then(|text| io::stdout().write_all(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads may have had enough: `rockets man | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&error.into()),
    }
}
