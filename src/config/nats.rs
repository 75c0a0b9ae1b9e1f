//! Settings of how the broker is reached: where it is, how to be let in, and what to trust.
//!
//! Passwords and keys are named by the files that hold them, so that no setting is a secret; only an address may hold one,
//! as the `nats` tools take it, and is never shown with it.

use std::path::PathBuf;

use super::{Reader, path, text_to};
use crate::broker::{ConnectionSettings, Login};

/// Reaching a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nats {
    /// Addresses, if configured.
    pub urls: Vec<String>,
    /// How to be let in, and what to trust.
    pub login: Login,
    /// The port at which the broker serves its monitoring; 0 where it does not.
    pub monitor_port: u16,
}

impl Nats {
    pub(super) fn read(read: &mut Reader<'_>) -> Self {
        let mut file = |setting| read.parsed(setting, "the path of a file", file).unwrap_or_default();
        let login = Login {
            creds: file("nats.creds"),
            nkey: file("nats.nkey"),
            password_file: file("nats.password_file"),
            ca: file("nats.ca"),
            cert: file("nats.cert"),
            key: file("nats.key"),
            user: None,
            inbox_prefix: None,
        };
        let user = read.parsed("nats.user", "a user's name", word).unwrap_or_default();
        let inbox_prefix = read.parsed("nats.inbox_prefix", "a subject such as _INBOX_query", word).unwrap_or_default();
        read.together(("nats.user", user.is_some()), ("nats.password_file", login.password_file.is_some()));
        read.together(("nats.cert", login.cert.is_some()), ("nats.key", login.key.is_some()));
        Self {
            urls: read.parsed("nats.url", "nats://host:port, several with commas", urls).unwrap_or_default(),
            login: Login { user, inbox_prefix, ..login },
            monitor_port: read.parsed("nats.monitor_port", "a port from 0 to 65535", text_to).unwrap_or_default(),
        }
    }

    /// The broker at these addresses.
    pub(super) fn at(&self, urls: Vec<String>) -> ConnectionSettings {
        ConnectionSettings { urls, login: self.login.clone() }
    }
}

fn file(text: &str) -> Option<Option<PathBuf>> {
    Some(path(text))
}

/// One word, or none.
fn word(text: &str) -> Option<Option<String>> {
    let is_one = !text.contains([' ', '\t', '\r', '\n', '*', '>']);
    is_one.then(|| (!text.is_empty()).then(|| text.to_owned()))
}

fn urls(text: &str) -> Option<Vec<String>> {
    let urls: Vec<_> = text.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect();
    urls.iter().all(|url| crate::broker::address::is_address(url)).then_some(urls)
}
