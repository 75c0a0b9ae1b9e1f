//! How a broker lets us in: by a credentials file, an nkey, or user and password from a file; and how we know that it is
//! the right one, by TLS.
//!
//! Secrets are read from files that others cannot read whenever a connection is made, also again: one that was changed there
//! counts from then on, without a restart. They are in no setting, log or error.

use std::future::ready;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

use super::address::{login_in, user_of};

/// What the subjects of replies begin with where nothing else is said.
pub const INBOX_PREFIX: &str = "_INBOX";

/// Characters of the seed of an nkey: 36 bytes in base 32.
const SEED_CHARS: usize = 58;

/// How to be let in, and what to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// A credentials file, as the `nats` tools take it.
    pub creds: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey: Option<PathBuf>,
    /// A user's name.
    pub user: Option<String>,
    /// A file with the user's password.
    pub password_file: Option<PathBuf>,
    /// Certificates that are trusted, PEM.
    pub ca: Option<PathBuf>,
    /// Our own certificate, PEM.
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// What the subjects begin with on which replies come.
    pub inbox_prefix: Option<String>,
}

impl Login {
    /// What the subjects begin with on which replies come: no user may read those of another.
    fn inbox_prefix(&self, urls: &[String]) -> String {
        let of_user = |user: String| format!("{INBOX_PREFIX}_{user}");
        let by_user = || self.user.clone().or_else(|| user_of(urls)).map(of_user);
        self.inbox_prefix.clone().or_else(by_user).unwrap_or_else(|| INBOX_PREFIX.to_owned())
    }

    /// Options with all of this.
    pub(super) fn options(&self, urls: &[String]) -> anyhow::Result<ConnectOptions> {
        // What is wrong is said now, and not by the library whenever it tries.
        self.proof(urls, &[])?;
        let (login, of_urls) = (self.clone(), urls.to_vec());
        let options = ConnectOptions::with_auth_callback(move |nonce| {
            ready(login.proof(&of_urls, &nonce).map_err(|error| AuthError::new(format!("{error:#}"))))
        });
        self.encrypted(options.custom_inbox_prefix(self.inbox_prefix(urls)))
    }

    /// What lets us in, as its file has it now, with what the broker wants to have signed.
    fn proof(&self, urls: &[String], nonce: &[u8]) -> anyhow::Result<Auth> {
        let mut auth = login_in(urls);
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            auth.username = Some(user.clone());
            auth.password = Some(secret("nats.password_file", file)?);
        }
        if let Some(file) = &self.nkey {
            let seed = secret("nats.nkey", file)?;
            let no_seed = || format!("nats.nkey: {} holds no seed of a user (SU…)", file.display());
            let pair = Some(&*seed).filter(|seed| is_seed(seed)).and_then(pair_of).with_context(no_seed)?;
            auth.nkey = Some(pair.public_key());
            auth.signature = Some(pair.sign(nonce)?);
        }
        if let Some(file) = &self.creds {
            let text = secret("nats.creds", file)?;
            let no_creds = || format!("nats.creds: {} is no credentials file", file.display());
            let (jwt, pair) = in_creds(&text).with_context(no_creds)?;
            auth.jwt = Some(jwt.to_owned());
            auth.signature = Some(pair.sign(nonce)?);
        }
        Ok(auth)
    }

    /// Who names certificates never speaks without them: an attacker in between would say that the broker has none.
    fn encrypted(&self, mut options: ConnectOptions) -> anyhow::Result<ConnectOptions> {
        for (setting, file) in [("nats.ca", &self.ca), ("nats.cert", &self.cert), ("nats.key", &self.key)] {
            if let Some(file) = file {
                std::fs::metadata(file).with_context(|| format!("{setting}: cannot read {}", file.display()))?;
            }
        }
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
        }
        Ok(options)
    }
}

/// The token and the key of a credentials file.
fn in_creds(text: &str) -> Option<(&str, KeyPair)> {
    Some((below(text, "-BEGIN NATS USER JWT-")?, pair_of(below(text, "-BEGIN USER NKEY SEED-")?)?))
}

/// The line below the one that has this.
fn below<'a>(text: &'a str, head: &str) -> Option<&'a str> {
    text.lines().skip_while(|line| !line.contains(head)).nth(1).map(str::trim)
}

fn pair_of(seed: &str) -> Option<KeyPair> {
    KeyPair::from_seed(seed).ok()
}

/// Whether a text has the form of the seed of a user.
fn is_seed(text: &str) -> bool {
    let is_digit = |char: char| char.is_ascii_uppercase() || ('2'..='7').contains(&char);
    text.starts_with("SU") && text.len() == SEED_CHARS && text.chars().all(is_digit)
}

/// What stands in a file that others cannot read.
fn secret(setting: &str, file: &Path) -> anyhow::Result<String> {
    let cannot = || format!("{setting}: cannot read {}", file.display());
    let mode = std::fs::metadata(file).with_context(cannot)?.permissions().mode();
    anyhow::ensure!(
        mode & 0o007 == 0,
        "{setting}: everybody on this machine can read {}; take that right away (chmod o-rwx)",
        file.display()
    );
    let text = std::fs::read_to_string(file).with_context(cannot)?;
    anyhow::ensure!(!text.trim().is_empty(), "{setting}: {} is empty", file.display());
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_to_subjects_of_the_user() {
        let prefix = |user: Option<&str>, prefix: Option<&str>, url: &str| {
            let (user, inbox_prefix) = (user.map(str::to_owned), prefix.map(str::to_owned));
            Login { user, inbox_prefix, ..Login::default() }.inbox_prefix(&[url.to_owned()])
        };
        assert_eq!(prefix(None, None, "nats://a"), "_INBOX");
        assert_eq!(prefix(None, None, "nats://token@a"), "_INBOX");
        assert_eq!(prefix(Some("query"), None, "nats://a"), "_INBOX_query");
        assert_eq!(prefix(None, None, "nats://track:secret@a"), "_INBOX_track");
        assert_eq!(prefix(Some("query"), Some("_INBOX_x"), "nats://a"), "_INBOX_x");
    }

    #[test]
    fn a_credentials_file_has_a_token_and_a_key() {
        let pair = KeyPair::new_user();
        let seed = pair.seed().unwrap();
        let text = |jwt: &str, seed: &str| {
            format!(
                "-----BEGIN NATS USER JWT-----\r\n{jwt}\r\n------END NATS USER JWT------\n\n*** IMPORTANT ***\nNKEY Seed printed below\n\n\
                 -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
            )
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text("e30.e30.x-y", &seed)).unwrap();
        let proof = Login { creds: Some(file.path().to_owned()), ..Login::default() }.proof(&[], b"nonce").unwrap();
        assert_eq!(proof.jwt.as_deref(), Some("e30.e30.x-y"));
        assert!(pair.verify(b"nonce", &proof.signature.unwrap()).is_ok());
        for wrong in [text("x", ""), text("x", "SUx"), seed, String::new()] {
            assert!(in_creds(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "p4ss\n").unwrap();
        let with_mode = |mode| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            secret("nats.nkey", file.path())
        };
        assert_eq!([with_mode(0o600).unwrap(), with_mode(0o440).unwrap()], ["p4ss", "p4ss"]);
        let error = with_mode(0o644).unwrap_err().to_string();
        assert!(error.starts_with("nats.nkey: everybody") && !error.contains("p4ss"), "{error}");
        assert!(secret("nats.nkey", Path::new("/no/such/file")).is_err());
    }
}
