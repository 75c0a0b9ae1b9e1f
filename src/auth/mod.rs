//! Who may do what: keys, what each of them allows, and how it is proved that somebody has one.
//!
//! ```text
//! rockets key ▸ file ─▸ keyring ▸ Caller ▸ http/door (scope), ingest (channel, quotas), broker/publisher (who it was)
//! ```
//!
//! A [`key`] is a row of a [`mod@file`], which has no secret of it but a digest ([`token`]); of a key that signs
//! ([`signature`]) it has the secret, because both sides need that. A [`keyring`] is the file as it was read last. [`turns`]
//! is how often somebody may. What it does not do: know HTTP, or which route needs what.

pub mod file;
pub mod key;
pub mod keyring;
pub mod random;
pub mod signature;
pub mod token;
pub mod turns;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::domain::Channel;
pub use file::KeysError;
pub use key::{Key, Scope};
use keyring::{Holder, Keyring};
use turns::{Quota, Turns};

/// Whether keys are asked for, and where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// Whether each request needs one.
    pub mode: Mode,
    /// Where they are, if that is said.
    pub keys_file: Option<PathBuf>,
}

/// Whether keys are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everybody may do everything.
    #[default]
    Off,
    /// Nobody may do anything without one.
    Required,
}

/// What decides who may do what.
#[derive(Clone, Debug, Default)]
pub struct Auth(Option<Arc<Keyring>>);

/// Whoever is let in: the holder of a key, or anybody where none is asked for.
#[derive(Clone, Debug, Default)]
pub struct Caller(Option<Arc<Holder>>);

impl Auth {
    /// Reads the keys, where they are asked for.
    pub fn open(settings: &AuthSettings) -> Result<Self, KeysError> {
        match (settings.mode, &settings.keys_file) {
            (Mode::Required, Some(path)) => Ok(Self(Some(Arc::new(Keyring::open(path)?)))),
            // Settings without a file do not come as far as this.
            (Mode::Required, None) => Err(KeysError::NotNamed),
            (Mode::Off, _) => Ok(Self::default()),
        }
    }

    /// Whether everybody may do everything.
    pub fn is_off(&self) -> bool {
        self.0.is_none()
    }

    /// The keys as they are now, where they are asked for.
    pub fn keyring(&self) -> Option<&Keyring> {
        self.0.as_deref()
    }

    /// Follows the file until the shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        match self.0 {
            Some(keyring) => keyring.follow(shutdown).await,
            None => shutdown.cancelled().await,
        }
    }
}

impl Caller {
    /// The holder of this key.
    pub(crate) fn of(holder: Arc<Holder>) -> Self {
        Self(Some(holder))
    }

    /// The id of the key.
    pub fn key_id(&self) -> Option<&str> {
        self.key().map(|key| key.id.as_str())
    }

    /// Whether what the key is for includes this.
    pub fn may(&self, scope: Scope) -> bool {
        self.key().is_none_or(|key| key.scopes.iter().any(|own| own.includes(scope)))
    }

    /// Whether messages of this channel may come from here.
    pub fn may_write(&self, channel: &Channel) -> bool {
        self.key().is_none_or(|key| key.channels.contain(channel))
    }

    /// Takes the turn of one message, or tells how long to wait for it.
    pub fn take_turn(&self, now: Instant) -> Quota {
        self.turns(|holder| &holder.messages).map_or(Quota::Unlimited, |turns| turns.take(now))
    }

    /// Whether it matters which channels are new.
    pub fn has_rate_of_channels(&self) -> bool {
        self.turns(|holder| &holder.new_channels).is_some()
    }

    /// Takes the turn of one new channel, or tells how long to wait for it.
    pub fn take_channel(&self, now: Instant) -> Quota {
        self.turns(|holder| &holder.new_channels).map_or(Quota::Unlimited, |turns| turns.take(now))
    }

    fn key(&self) -> Option<&Key> {
        self.0.as_deref().map(|holder| &holder.key)
    }

    fn turns(&self, of: impl Fn(&Holder) -> &Option<Arc<Turns>>) -> Option<&Turns> {
        of(self.0.as_deref()?).as_deref()
    }
}
