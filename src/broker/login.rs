//! How a broker lets us in: by a credentials file, an nkey, or user and password from a file; and how we know that it is
//! the right one, by TLS.
//!
//! Secrets are read when a connection is made, from files that others cannot read, and are in no setting, log or error.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use async_nats::ConnectOptions;

use super::address::{logging_in, user_of};

/// What replies come to where nothing else is said.
const INBOX_PREFIX: &str = "_INBOX";

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
    pub(super) async fn options(&self, options: ConnectOptions, urls: &[String]) -> anyhow::Result<ConnectOptions> {
        let options = logging_in(options, urls).custom_inbox_prefix(self.inbox_prefix(urls));
        let mut options = self.encrypted(options)?;
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            options = options.user_and_password(user.clone(), secret("nats.password_file", file)?);
        }
        if let Some(file) = &self.nkey {
            options = options.nkey(secret("nats.nkey", file)?);
        }
        let Some(creds) = &self.creds else { return Ok(options) };
        options.credentials_file(creds).await.with_context(|| format!("nats.creds: cannot read {}", creds.display()))
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
