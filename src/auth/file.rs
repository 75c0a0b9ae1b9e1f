//! The file with the keys: JSON, for nobody's eyes but its owner's. It is read whole and written whole, in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::key::Key;

/// What a file must be that holds secrets: nobody but its owner may do anything with it.
const OTHERS: u32 = 0o077;
const OWNER_ONLY: u32 = 0o600;
/// Largest file, in bytes: some ten thousand keys.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// No file is named.
    #[error("auth.keys_file: must be the path of a file where auth.mode is required")]
    NotNamed,
    /// It cannot be read.
    #[error("auth.keys_file: cannot read {}: {error}", .path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Others may read it.
    #[error("auth.keys_file: others than its owner may open {} (mode {mode:03o}); chmod 600 it", .path.display())]
    Open {
        /// Which one.
        path: PathBuf,
        /// Who may.
        mode: u32,
    },
    /// It is no file of keys.
    #[error("auth.keys_file: {} is no file of keys: {problem}", .path.display())]
    Wrong {
        /// Which one.
        path: PathBuf,
        /// What is wrong, without what stands there.
        problem: String,
    },
    /// It cannot be written.
    #[error("auth.keys_file: cannot write {}: {error}", .path.display())]
    Unwritable {
        /// Which one.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// What stands in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    keys: Vec<Key>,
}

/// What tells a file from the same file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
    mode: u32,
}

/// Which file stands there now, without reading it.
pub fn version(path: &Path) -> io::Result<Version> {
    let of = fs::metadata(path)?;
    Ok(Version { modified: of.modified().ok(), bytes: of.len(), inode: of.ino(), mode: of.mode() })
}

/// Reads all keys.
pub fn read(path: &Path) -> Result<Vec<Key>, KeysError> {
    let unreadable = |error| KeysError::Unreadable { path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(KeysError::Open { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let wrong = |problem: String| KeysError::Wrong { path: path.to_owned(), problem };
    if bytes.len() as u64 > BYTES_MAX {
        return Err(wrong(format!("it is larger than {BYTES_MAX} bytes")));
    }
    keys(&bytes).map_err(wrong)
}

/// Reads all keys of a text. What is said of a wrong one does not say it again: it may be a secret.
fn keys(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let wrong = |error: serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    let Content { keys } = serde_json::from_slice(bytes).map_err(wrong)?;
    let mut ids: Vec<_> = keys.iter().map(|key| &key.id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(format!("two keys have the id {:?}", twice[0])),
        None => Ok(keys),
    }
}

/// Changes the keys; a file that is not there is made. Only one at a time does this, and whoever reads meanwhile reads the old
/// ones or the new ones.
pub fn change<T>(path: &Path, change: impl FnOnce(&mut Vec<Key>) -> T) -> Result<T, KeysError> {
    let unwritable = |error| KeysError::Unwritable { path: path.to_owned(), error };
    let _lock = lock(path).map_err(unwritable)?;
    let mut keys = if path.exists() { read(path)? } else { Vec::new() };
    let result = change(&mut keys);
    write(path, &Content { keys }).map_err(unwritable)?;
    Ok(result)
}

/// The folder of the file, locked: the file itself is another one after each change.
fn lock(path: &Path) -> io::Result<File> {
    let folder = File::open(folder_of(path))?;
    folder.lock()?;
    Ok(folder)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write(path: &Path, content: &Content) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(&new)?;
    let mut text = serde_json::to_vec_pretty(content)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::key::tests::key;
    use super::super::{Scope, key::Proof, signature::SigningSecret};
    use super::*;

    #[test]
    fn keys_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let (first, _) = key("a", &[Scope::Ingest, Scope::Operate]);
        let signing =
            Key { id: "b".into(), proof: Proof::Signature(SigningSecret::random().unwrap()), ..first.clone() };
        change(&path, |keys| keys.push(first.clone())).unwrap();
        let before = version(&path).unwrap();
        change(&path, |keys| keys.push(signing.clone())).unwrap();
        assert_eq!(read(&path).unwrap(), [first, signing]);
        assert_ne!(version(&path).unwrap(), before);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, OWNER_ONLY);
    }

    #[test]
    fn a_file_that_others_may_open_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        change(&path, |_| ()).unwrap();
        for (mode, expected) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o660, false), (0o602, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), expected, "{mode:o}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_what_stands_there() {
        let (one, _) = key("a", &[Scope::Read]);
        let text = |keys: &[&Key]| serde_json::json!({ "keys": keys }).to_string();
        assert_eq!(keys(text(&[&one, &one]).as_bytes()).unwrap_err(), r#"two keys have the id "a""#);
        let right = text(&[&one]);
        assert!(keys(right.as_bytes()).is_ok());
        for wrong in [
            "",
            "[]",
            &right.replace("sha256", "sha512"),
            &right.replace("\"sha256\":\"", "\"sha256\":\"x"),
            &right.replace("\"name\"", "\"nome\""),
            &right.replace("\"read\"", "\"write\""),
            r#"{"keys":[{"id":"a","name":"a","scopes":[],"channels":[],"proof":{"signing_secret":"whsec_"}}]}"#,
        ] {
            let problem = keys(wrong.as_bytes()).unwrap_err();
            assert!(problem.starts_with("line ") && problem.len() < 30, "{wrong}: {problem}");
        }
    }
}
