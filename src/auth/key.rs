//! A key: what it is called, what it is for, which channels it may write, how often, and until when.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use time::OffsetDateTime;

use super::signature::SigningSecret;
use super::token::Digest;
use crate::domain::Channel;

/// What the list of channels of a key has where it may write all.
const ALL: &str = "*";

/// A key, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What it is known by, also in the log and in what is stored: no secret.
    pub id: String,
    /// Whose it is, for people.
    pub name: String,
    /// What it is for.
    pub scopes: BTreeSet<Scope>,
    /// The channels that it may write.
    pub channels: Channels,
    /// From when on it counts no more; none never.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub expires: Option<OffsetDateTime>,
    /// Whether it was taken back.
    #[serde(default)]
    pub revoked: bool,
    /// Messages a second; none as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<NonZeroU32>,
    /// New channels a minute; none as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_channels: Option<NonZeroU32>,
    /// What proves that somebody has it.
    pub proof: Proof,
}

/// What a key may be used for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum, IntoStaticStr, strum::Display,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Scope {
    /// Send messages.
    Ingest,
    /// Look at rockets and at everything else that is known.
    Read,
    /// Skip, replay and drop; and look.
    Operate,
}

/// The channels that a key may write. None that is named is none at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Channels {
    /// Every one.
    All,
    /// These.
    These(BTreeSet<Channel>),
}

/// What proves that somebody has a key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Proof {
    /// They know the secret of which this is the digest.
    #[serde(rename = "sha256")]
    Token(Digest),
    /// They sign with this.
    #[serde(rename = "signing_secret")]
    Signature(SigningSecret),
}

impl Key {
    /// Whether it counts at this time.
    pub fn counts_at(&self, now: OffsetDateTime) -> bool {
        !self.revoked && self.expires.is_none_or(|expires| now < expires)
    }
}

impl Scope {
    /// Whether who may do this may do that.
    pub fn includes(self, other: Self) -> bool {
        self == other || (self == Self::Operate && other == Self::Read)
    }
}

impl Channels {
    /// Whether this one is among them.
    pub fn contain(&self, channel: &Channel) -> bool {
        match self {
            Self::All => true,
            Self::These(channels) => channels.contains(channel),
        }
    }
}

impl TryFrom<Vec<String>> for Channels {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        if texts == [ALL] {
            return Ok(Self::All);
        }
        let channel = |text: String| Channel::parse(&text).ok_or_else(|| format!("{text:?}: {}", Channel::MUST_BE));
        texts.into_iter().map(channel).collect::<Result<_, _>>().map(Self::These)
    }
}

impl From<Channels> for Vec<String> {
    fn from(channels: Channels) -> Self {
        match channels {
            Channels::All => vec![ALL.to_owned()],
            Channels::These(channels) => channels.iter().map(ToString::to_string).collect(),
        }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(…)",
            Self::Signature(_) => "Signature(…)",
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::auth::token::new_token;

    /// A key of these scopes that may write all channels, and its token.
    pub fn key(id: &str, scopes: &[Scope]) -> (Key, String) {
        let (token, digest) = new_token(id).unwrap();
        let key = Key {
            id: id.into(),
            name: "a sender".into(),
            scopes: scopes.iter().copied().collect(),
            channels: Channels::All,
            expires: None,
            revoked: false,
            rate: None,
            new_channels: None,
            proof: Proof::Token(digest),
        };
        (key, token)
    }

    #[test]
    fn who_operates_may_look_and_nothing_else_includes_another() {
        use Scope::{Ingest, Operate, Read};
        let all = [Ingest, Read, Operate];
        let includes = all.map(|own| all.map(|other| own.includes(other)));
        assert_eq!(includes, [[true, false, false], [false, true, false], [false, true, true]]);
    }

    #[test]
    fn no_channel_named_is_none_at_all() {
        let channel = Channel::parse("193270a9-c9cf-404a-8f83-838e71d9ae67").unwrap();
        let contain = |texts: &[&str]| {
            Channels::try_from(texts.iter().map(ToString::to_string).collect::<Vec<_>>())
                .map(|channels| channels.contain(&channel))
        };
        assert_eq!(contain(&[]), Ok(false));
        assert_eq!(contain(&["*"]), Ok(true));
        assert_eq!(contain(&["193270A9-C9CF-404A-8F83-838E71D9AE67"]), Ok(true));
        assert_eq!(contain(&["00000000-0000-4000-8000-000000000000"]), Ok(false));
        assert!(contain(&["*", "*"]).is_err() && contain(&[""]).is_err());
    }

    #[test]
    fn a_key_counts_until_it_expires_or_is_revoked() {
        let (key, _) = key("a", &[Scope::Read]);
        let now = OffsetDateTime::now_utc();
        let second = time::Duration::SECOND;
        assert!(key.counts_at(now));
        assert!(Key { expires: Some(now + second), ..key.clone() }.counts_at(now));
        assert!(!Key { expires: Some(now), ..key.clone() }.counts_at(now));
        assert!(!Key { revoked: true, ..key }.counts_at(now));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let (key, token) = key("a", &[Scope::Read]);
        let Proof::Token(digest) = key.proof else { unreachable!() };
        let (shown, kept) = (format!("{key:?}"), String::from(digest));
        assert!(!shown.contains(&kept) && !shown.contains(token.rsplit('_').next().unwrap()), "{shown}");
    }
}
