//! What is in a backup: the file `manifest.json`, written last. A folder without it is no backup.
//!
//! It carries a checksum of itself, and for each stream the counts and the checksum of its file. That checksum is one of
//! the messages too (their places, times, subjects, headers and payloads), so that it can be compared with what a broker
//! has made of them.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio::fs;

/// Its name in the folder.
pub const FILE: &str = "manifest.json";
/// Version of the folder and its files.
const FORMAT: u32 = 1;

/// What is in a backup.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// What wrote it.
    pub made_by: String,
    /// When it was begun, RFC 3339.
    pub made_at: String,
    /// The server's version.
    pub server: String,
    /// The streams, in the order in which they were saved.
    pub streams: Vec<SavedStream>,
}

/// A stream in a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedStream {
    /// Its name, from which that of its file follows.
    pub name: String,
    /// What was saved of it.
    #[serde(flatten)]
    pub content: Content,
    /// Its configuration, as the server says it.
    pub config: Value,
}

/// The messages of a stream: the same ones have the same counts and the same checksum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// How many.
    pub messages: u64,
    /// The place of the first; without any, the place that the next one will have.
    pub first_sequence: u64,
    /// The last sequence that was given out, also when its message is gone.
    pub last_sequence: u64,
    /// How many bytes its file has.
    pub bytes: u64,
    /// SHA-256 of its file, in hexadecimal digits.
    pub sha256: String,
}

/// The file as a whole.
#[derive(Serialize, Deserialize)]
struct Sealed {
    format: u32,
    /// SHA-256 of the text of `backup`.
    sha256: String,
    backup: Box<RawValue>,
}

impl SavedStream {
    /// The name of its file in the folder.
    pub fn file(&self) -> String {
        file_of(&self.name)
    }
}

/// The name of a stream's file in the folder.
pub fn file_of(stream: &str) -> String {
    format!("{stream}.messages")
}

impl Manifest {
    /// Writes it into the folder, whole or not at all.
    pub async fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let backup = RawValue::from_string(serde_json::to_string_pretty(self)?)?;
        let sealed = Sealed { format: FORMAT, sha256: sha256(backup.get().as_bytes()), backup };
        let (coming, file) = (folder.join("manifest.json.part"), folder.join(FILE));
        fs::write(&coming, serde_json::to_string_pretty(&sealed)? + "\n").await?;
        fs::File::open(&coming).await?.sync_all().await?;
        fs::rename(&coming, &file).await?;
        Ok(fs::File::open(folder).await?.sync_all().await?)
    }

    /// Reads it, if it is there and whole.
    pub async fn read(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        ensure!(fs::metadata(folder).await.is_ok_and(|found| found.is_dir()), "there is no folder {shown}");
        let text = match fs::read(folder.join(FILE)).await {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("{shown} has no {FILE}: it is no backup, or one that was never finished")
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {shown}/{FILE}")),
        };
        Self::parse(&text).with_context(|| format!("{shown}/{FILE}"))
    }

    fn parse(text: &[u8]) -> anyhow::Result<Self> {
        const DAMAGED: &str = "is damaged; take another backup";
        let sealed: Sealed = serde_json::from_slice(text).context(DAMAGED)?;
        ensure!(
            sealed.format == FORMAT,
            "has format {}, which this program does not know; use the one that made it",
            sealed.format
        );
        ensure!(sealed.sha256 == sha256(sealed.backup.get().as_bytes()), DAMAGED);
        serde_json::from_str(sealed.backup.get()).context(DAMAGED)
    }
}

fn sha256(bytes: &[u8]) -> String {
    in_digits(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal digits.
pub fn in_digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let content = Content { messages: 3, first_sequence: 2, last_sequence: 9, bytes: 100, sha256: "ab".into() };
        let stream = SavedStream { name: "S".into(), content, config: serde_json::json!({ "name": "S" }) };
        Manifest { made_by: "rockets".into(), made_at: "then".into(), server: "2.15.1".into(), streams: vec![stream] }
    }

    async fn written() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        manifest().write(folder.path()).await.unwrap();
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        (folder, text)
    }

    #[tokio::test]
    async fn it_is_read_as_it_was_written() {
        let (folder, _) = written().await;
        let read = Manifest::read(folder.path()).await.unwrap();
        assert_eq!(read.streams[0].content, manifest().streams[0].content);
        assert_eq!(read.streams[0].file(), "S.messages");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn one_that_was_changed_is_not_believed() {
        let (_folder, text) = written().await;
        let problem = |text: &str| format!("{:#}", Manifest::parse(text.as_bytes()).unwrap_err());
        for changed in [text.replace("\"messages\": 3", "\"messages\": 2"), text.replace('}', ""), String::new()] {
            assert!(problem(&changed).contains("damaged"), "{changed}");
        }
        assert!(problem(&text.replace("\"format\": 1", "\"format\": 2")).contains("format 2"));
    }
}
