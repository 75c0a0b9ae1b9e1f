//! `rockets init --make-logins DIR`: a password for each user of a broker, in a file of its own, and the file by which the
//! broker knows them.
//!
//! A folder for each, because each is for somebody else: whoever is given `DIR/track` learns nothing of `DIR/admin`. What
//! was made before stays, but for the broker's file: another version's processes may do other things. It does not tell a
//! broker that runs, which reads its file again on SIGHUP.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use strum::VariantArray as _;

use super::common::say;
use super::{Settings, failed, loaded};
use crate::auth::random;
use crate::broker::login::INBOX_PREFIX;
use crate::broker::permissions::{Authorization, User};

const PASSWORD_LEN: usize = 40;
/// For its owner, and for the group where one process makes what another one reads; for nobody else.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// Makes what is missing, says what, and returns how the process ends.
pub(super) fn run(folder: &Path, settings: Settings) -> ExitCode {
    let config = match loaded(settings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let inbox_prefix = config.nats.login.inbox_prefix.as_deref().unwrap_or(INBOX_PREFIX);
    match make(folder, inbox_prefix) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn make(folder: &Path, inbox_prefix: &str) -> anyhow::Result<()> {
    let mut users = String::from(
        "# The users of this broker, their passwords and what each may do, made by `rockets init --make-logins`. For the\n\
         # broker alone: who reads it may do everything.\n",
    );
    for user in User::VARIANTS {
        let password = password(&folder.join(user.name()).join("password"))?;
        users += &format!("{}: \"{password}\"\n", user.password_variable());
    }
    users += &Authorization { inbox_prefix }.to_string();
    let file = folder.join("broker").join("users.conf");
    write(&file, &users)?;
    say(&format!("wrote  {}", file.display()))
}

/// The password that stands in a file, which is made if it is not there.
fn password(file: &Path) -> anyhow::Result<String> {
    let (password, what) = match fs::read_to_string(file) {
        Ok(text) => (text.trim_end_matches(['\r', '\n']).to_owned(), "found"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let password = random::text(PASSWORD_LEN)?;
            write(file, &format!("{password}\n"))?;
            (password, "made ")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let is_plain = |char: char| !char.is_control() && !['"', '\\'].contains(&char);
    ensure!(
        !password.is_empty() && password.chars().all(is_plain),
        "{} must be one line without quotes and backslashes; remove it to have another one made",
        file.display()
    );
    say(&format!("{what}  {}", file.display()))?;
    Ok(password)
}

/// Writes a file in one step: who reads it meanwhile reads the old one or the new one.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    let written = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(file.parent().unwrap_or(file))?;
        let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&new)?;
        open.write_all(text.as_bytes())?;
        open.sync_all()?;
        fs::rename(&new, file)
    };
    written().with_context(|| format!("cannot write {}", file.display()))
}
