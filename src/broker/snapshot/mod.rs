//! A stream taken out whole and put back whole: every message with its place, its time, its subject and the very bytes of
//! its headers. For a backup; nothing else asks for it.
//!
//! [`take`] has the server send a stream, [`put`] sends one to the server, [`missed`] finds what the first did not;
//! [`archive`] is what a stream looks like on the way, and [`s2`] the frames around it. [`objects`] looks at streams as
//! wholes, and removes them. async-nats has no call for any of this, so the server's API is spoken here directly.
//!
//! Durables are neither taken nor put: `rockets init` makes them.

pub mod archive;
pub mod missed;
pub mod objects;
pub mod put;
mod s2;
pub mod take;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::connection::is_at_least;
use super::{Broker, BrokerError};

/// Oldest server that writes and reads streams message by message; older ones give out files of their store.
const SERVER_VERSION_FLOOR: Version = Version::new(2, 15, 0);

/// Bytes that are not what they should be, with what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub &'static str);

/// What a stream holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// How many messages.
    pub messages: u64,
    /// How much room they take in the store.
    pub bytes: u64,
    /// The place of the first.
    pub first_seq: u64,
    /// The last sequence that was given out, also when its message is gone.
    pub last_seq: u64,
}

/// Refuses a server that cannot do it.
pub fn refuse_older_servers(broker: &Broker) -> Result<(), BrokerError> {
    let version = broker.server_version();
    if is_at_least(&version, &SERVER_VERSION_FLOOR) {
        return Ok(());
    }
    Err(BrokerError::Misconfigured(format!(
        "this needs nats-server 2.15 or newer, and this one is {version}; upgrade it, or use `nats stream backup` and \
         `nats stream restore`"
    )))
}
