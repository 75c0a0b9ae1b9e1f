//! The keys as the file has them, looked up by id for each request, and read again when the file changes.
//!
//! A file that cannot be read any more changes nothing: the keys stay as they were, and the log says so.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Caller;
use super::file::{self, KeysError};
use super::key::{Key, Proof};
use super::signature::{Check, Claim};
use super::token::Token;
use super::turns::{Rate, Turns};

/// How long a change may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

type Holders = HashMap<String, Arc<Holder>>;

/// All keys.
pub struct Keyring {
    path: PathBuf,
    holders: RwLock<Arc<Holders>>,
}

/// A key, and what its holder has used of it.
#[derive(Debug)]
pub struct Holder {
    /// The key.
    pub key: Key,
    /// Turns of messages, where there is a rate of them.
    pub messages: Option<Arc<Turns>>,
    /// Turns of new channels.
    pub new_channels: Option<Arc<Turns>>,
}

impl Keyring {
    /// Reads the file.
    pub fn open(path: &Path) -> Result<Self, KeysError> {
        let holders = holders(file::read(path)?, &Holders::new());
        Ok(Self { path: path.to_owned(), holders: RwLock::new(Arc::new(holders)) })
    }

    /// Who sends this token, if it is one that counts.
    pub fn holder_of(&self, token: &str, now: OffsetDateTime) -> Option<Caller> {
        let token = Token::parse(token)?;
        let holder = self.holder(token.id, now);
        let digest = holder.as_deref().and_then(|holder| match &holder.key.proof {
            Proof::Token(digest) => Some(digest),
            Proof::Signature(_) => None,
        });
        let is_right = token.is_of(digest);
        holder.filter(|_| is_right).map(Caller::of)
    }

    /// Who claims to have signed, if the key counts, and what proves it once the body is there.
    pub fn signer_of(&self, id: &str, claim: &Claim<'_>, now: OffsetDateTime) -> Option<(Caller, Check)> {
        let holder = self.holder(id, now)?;
        let Proof::Signature(secret) = &holder.key.proof else { return None };
        let check = secret.begin(claim, now)?;
        Some((Caller::of(holder), check))
    }

    fn holder(&self, id: &str, now: OffsetDateTime) -> Option<Arc<Holder>> {
        self.holders().get(id).filter(|holder| holder.key.counts_at(now)).cloned()
    }

    fn holders(&self) -> Arc<Holders> {
        self.holders.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again whenever it has changed, until the shutdown.
    pub async fn follow(&self, shutdown: CancellationToken) {
        let (mut seen, mut problem) = (None, None);
        while shutdown.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            let version = file::version(&self.path).ok();
            // What could not be read is tried again, and said once.
            if version != seen || version.is_none() {
                let read = self.read_again();
                seen = version.filter(|_| read.is_ok());
                note(read, &mut problem);
            }
        }
    }

    /// Reads the file; returns how many keys there are, if they are others than before.
    fn read_again(&self) -> Result<Option<usize>, KeysError> {
        let before = self.holders();
        let after = holders(file::read(&self.path)?, &before);
        let is_same = after.len() == before.len()
            && after.iter().all(|(id, holder)| before.get(id).is_some_and(|before| before.key == holder.key));
        if is_same {
            return Ok(None);
        }
        let count = after.len();
        *self.holders.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        Ok(Some(count))
    }
}

fn note(read: Result<Option<usize>, KeysError>, problem: &mut Option<String>) {
    match read.map_err(|error| error.to_string()) {
        Ok(changed) => {
            *problem = None;
            if let Some(keys) = changed {
                tracing::info!(keys, "the keys were read again");
            }
        }
        Err(error) if problem.as_ref() != Some(&error) => {
            tracing::warn!(%error, "the keys cannot be read any more, they stay as they were");
            *problem = Some(error);
        }
        Err(_) => {}
    }
}

/// The holders of these keys. Whoever had one before goes on with what is left of their turns.
fn holders(keys: Vec<Key>, before: &Holders) -> Holders {
    let holder = |key: Key| {
        let before = before.get(&key.id);
        let messages = turns(key.rate, SECOND, before.and_then(|before| before.messages.as_ref()));
        let new_channels = turns(key.new_channels, MINUTE, before.and_then(|before| before.new_channels.as_ref()));
        (key.id.clone(), Arc::new(Holder { key, messages, new_channels }))
    };
    keys.into_iter().map(holder).collect()
}

fn turns(times: Option<NonZeroU32>, period: Duration, before: Option<&Arc<Turns>>) -> Option<Arc<Turns>> {
    let rate = Rate { times: times?, period };
    Some(before.filter(|before| before.rate == rate).cloned().unwrap_or_else(|| Arc::new(Turns::new(rate))))
}

/// How many there are, and nothing of them.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("path", &self.path).field("keys", &self.holders().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::Scope;
    use super::super::key::tests::key;
    use super::super::turns::Quota;
    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    #[test]
    fn a_key_that_counts_is_known_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let ((one, token), (two, revoked)) = (key("one", &[Scope::Read]), key("two", &[Scope::Read]));
        let two = Key { revoked: true, ..two };
        file::change(&path, |keys| keys.extend([one, two])).unwrap();
        let keyring = Keyring::open(&path).unwrap();
        let known = |token: &str| keyring.holder_of(token, now()).map(|caller| caller.key_id().map(str::to_owned));
        assert_eq!(known(&token), Some(Some("one".to_owned())));
        let (_, unknown) = key("three", &[Scope::Read]);
        for token in [&revoked, &unknown, &token.replace("one", "two"), &format!("{token}x"), "rkt_one_", ""] {
            assert_eq!(known(token), None, "{token}");
        }
    }

    #[test]
    fn a_change_counts_and_an_unreadable_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let (one, token) = key("one", &[Scope::Ingest]);
        let one = Key { rate: NonZeroU32::new(2), ..one };
        file::change(&path, |keys| keys.push(one)).unwrap();
        let keyring = Keyring::open(&path).unwrap();
        let caller = || keyring.holder_of(&token, now());
        let begin = Instant::now();
        assert_eq!(caller().unwrap().take_turn(begin), Quota::Taken { left: 1 });
        file::change(&path, |keys| keys[0].name = "renamed".into()).unwrap();
        assert_eq!(keyring.read_again().unwrap(), Some(1));
        assert_eq!(keyring.read_again().unwrap(), None, "nothing has changed");
        assert_eq!(caller().unwrap().take_turn(begin), Quota::Taken { left: 0 }, "what was used is used");
        std::fs::write(&path, "{").unwrap();
        assert!(keyring.read_again().is_err() && caller().is_some());
        std::fs::remove_file(&path).unwrap();
        assert!(keyring.read_again().is_err() && caller().is_some());
        file::change(&path, |_| ()).unwrap();
        assert_eq!(keyring.read_again().unwrap(), Some(0));
        assert!(caller().is_none());
    }
}
