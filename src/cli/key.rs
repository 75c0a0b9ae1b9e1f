//! `rockets key`: makes keys, lists them, and takes them back, in the file that the service reads.
//!
//! A new key is shown once, as the only line on standard output: the file does not have it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Subcommand};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::common::{cell, channel, ended, say};
use super::listing::{Row, Shown};
use super::{Settings, wrong_usage};
use crate::auth::file;
use crate::auth::key::{Channels, Key, Proof};
use crate::auth::signature::SigningSecret;
use crate::auth::{KeysError, Scope, token};
use crate::domain::Channel;
use crate::text::printable;

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 100;
const LIFETIME_MAX: Duration = Duration::from_secs(100 * 31_557_600);

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key and print it, once
    New(New),
    /// List the keys, without their secrets
    List {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
    /// Take a key back: within 2 s nobody is let in with it any more
    Revoke {
        /// The id of the key
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the keys are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The file with the keys, instead of that of the settings
    #[arg(long, value_name = "FILE")]
    keys_file: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// What a new key is to be.
#[derive(Debug, Args)]
pub(super) struct New {
    /// Whose it is, for people: 1 to 100 characters
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// What it is for
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    scope: Vec<Scope>,
    /// A channel that it may write; may be said more than once. Without any it may write none
    #[arg(long = "channel", value_name = "ID", value_parser = channel, conflicts_with = "all_channels")]
    channels: Vec<Channel>,
    /// It may write every channel
    #[arg(long)]
    all_channels: bool,
    /// For how long it counts, such as 90d [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<Duration>,
    /// Messages a second that are taken from it [default: as many as come]
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// New channels a minute that are taken from it [default: as many as come]
    #[arg(long, value_name = "N")]
    new_channels: Option<NonZeroU32>,
    /// A key that signs messages and is never sent: prints its id and its secret
    #[arg(long)]
    sign: bool,
    #[command(flatten)]
    place: Place,
}

/// It was called wrongly, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

/// A key as lists have it.
#[derive(Debug, Serialize)]
struct Listed {
    id: String,
    name: String,
    kind: &'static str,
    scopes: BTreeSet<Scope>,
    channels: Channels,
    expires: Option<String>,
    revoked: bool,
    rate: Option<NonZeroU32>,
    new_channels: Option<NonZeroU32>,
}

/// Does what was said, and returns how the process ends.
pub(super) async fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::New(new) => new.make(),
        Command::List { shown, place } => match place.file() {
            Ok(file) => shown.show(async || listed(&file)).await,
            Err(error) => Err(error),
        },
        Command::Revoke { id, place } => place.file().and_then(|file| revoke(&file, &id)),
    };
    done.unwrap_or_else(|error| match error.is::<KeysError>() || error.is::<Wrong>() {
        true => wrong_usage(&error.to_string()),
        false => ended(&error),
    })
}

impl Place {
    /// The file that is named here, else that of the settings.
    fn file(self) -> anyhow::Result<PathBuf> {
        let Self { keys_file, mut settings } = self;
        settings.auth_keys_file = keys_file.or(settings.auth_keys_file);
        let named = settings.load().map_err(|wrong| Wrong(format!("wrong settings\n{wrong}")))?.auth.keys_file;
        named.ok_or_else(|| Wrong("auth.keys_file: is empty; name the file with --keys-file".into()).into())
    }
}

impl New {
    fn make(self) -> anyhow::Result<ExitCode> {
        let id = token::new_id()?;
        let (proof, said) = if self.sign { signing(&id)? } else { bearing(&id)? };
        let channels =
            if self.all_channels { Channels::All } else { Channels::These(self.channels.into_iter().collect()) };
        let key = Key {
            id,
            name: self.name,
            scopes: self.scope.into_iter().collect(),
            channels,
            expires: self.expires.map(|lifetime| OffsetDateTime::now_utc() + lifetime),
            revoked: false,
            rate: self.rate,
            new_channels: self.new_channels,
            proof,
        };
        file::change(&self.place.file()?, |keys| keys.push(key))?;
        say(&said)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The proof of a key that is sent, and what its holder is given.
fn bearing(id: &str) -> anyhow::Result<(Proof, String)> {
    let (token, digest) = token::new_token(id)?;
    Ok((Proof::Token(digest), token))
}

/// The proof of a key that signs, and what its holder is given.
fn signing(id: &str) -> anyhow::Result<(Proof, String)> {
    let secret = SigningSecret::random()?;
    let said = format!("{id} {}", String::from(secret.clone()));
    Ok((Proof::Signature(secret), said))
}

fn listed(file: &Path) -> anyhow::Result<Vec<Listed>> {
    Ok(file::read(file)?.into_iter().map(Listed::of).collect())
}

fn revoke(file: &Path, id: &str) -> anyhow::Result<ExitCode> {
    let is_there = file::change(file, |keys| {
        let key = keys.iter_mut().find(|key| key.id == id);
        key.map(|key| key.revoked = true).is_some()
    })?;
    ensure!(is_there, "no key has the id {id} (rockets key list)");
    say(&format!("revoked {id}"))?;
    Ok(ExitCode::SUCCESS)
}

fn name(text: &str) -> Result<String, &'static str> {
    let is_name = (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && printable(text) == text;
    if is_name { Ok(text.to_owned()) } else { Err("must be 1 to 100 characters that can be seen") }
}

fn lifetime(text: &str) -> Result<Duration, &'static str> {
    let lifetime = humantime::parse_duration(text).ok();
    lifetime.filter(|time| !time.is_zero() && *time <= LIFETIME_MAX).ok_or("must be a time up to 100y, such as 90d")
}

impl Listed {
    fn of(key: Key) -> Self {
        let Key { id, name, scopes, channels, expires, revoked, rate, new_channels, proof } = key;
        let kind = match proof {
            Proof::Token(_) => "bearer",
            Proof::Signature(_) => "signing",
        };
        let expires = expires.and_then(|expires| expires.format(&Rfc3339).ok());
        Self { id, name, kind, scopes, channels, expires, revoked, rate, new_channels }
    }
}

impl Row for Listed {
    const COLUMNS: &'static [&'static str] = &["id", "name", "kind", "scopes", "channels", "expires", "revoked"];
    const NONE: &'static str = "no keys";

    fn key(&self) -> String {
        self.id.clone()
    }

    fn cells(&self) -> Vec<String> {
        let scopes: Vec<_> = self.scopes.iter().map(ToString::to_string).collect();
        let channels = match &self.channels {
            Channels::All => "all".to_owned(),
            Channels::These(channels) if channels.is_empty() => "none".to_owned(),
            Channels::These(channels) => channels.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        };
        vec![
            self.id.clone(),
            self.name.clone(),
            self.kind.to_owned(),
            scopes.join(","),
            channels,
            cell(self.expires.as_ref()),
            if self.revoked { "yes" } else { "no" }.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_for_people() {
        for (text, expected) in [
            ("radar", true),
            ("Käptn 7", true),
            ("", false),
            ("a\nb", false),
            ("\u{1b}[2J", false),
            (&"a".repeat(101), false),
        ] {
            assert_eq!(name(text).is_ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_lifetime_ends() {
        for (text, expected) in
            [("90d", true), ("1s", true), ("100y", true), ("101y", false), ("0s", false), ("90", false)]
        {
            assert_eq!(lifetime(text).is_ok(), expected, "{text}");
        }
    }
}
