//! The file of a stream in a backup: its messages as [`archive`](crate::broker::snapshot::archive) has them, written and
//! read a piece at a time, counted and digested on the way.

use std::path::Path;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::manifest::{Content, in_digits};
use crate::broker::snapshot::archive::{Entry, MAGIC, Reader};

/// Bytes that are written or read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Counts and digests messages: those of a file, or those that a broker has.
pub struct Tally {
    content: Content,
    digest: Sha256,
    bytes: Vec<u8>,
}

impl Tally {
    /// Before the first message.
    pub fn begin() -> Self {
        let mut tally = Self { content: Content::default(), digest: Sha256::new(), bytes: Vec::new() };
        tally.add(MAGIC.to_vec());
        tally
    }

    /// Counts a message, and gives its bytes. Its place has to be behind that of the last.
    pub fn count(&mut self, message: &Entry) -> anyhow::Result<&[u8]> {
        let (content, sequence) = (&mut self.content, message.sequence);
        ensure!(sequence > content.last_sequence, "message {sequence} comes after message {}", content.last_sequence);
        if content.messages == 0 {
            content.first_sequence = sequence;
        }
        content.messages += 1;
        content.last_sequence = sequence;
        Ok(self.add_entry(message))
    }

    /// What was counted, of a stream that has given out places up to this one.
    pub fn finish(mut self, last_sequence: u64) -> (Content, Vec<u8>) {
        let end = self.add_entry(&Entry::end()).to_vec();
        let mut content = self.content;
        content.last_sequence = content.last_sequence.max(last_sequence);
        if content.messages == 0 {
            content.first_sequence = content.last_sequence + 1;
        }
        content.sha256 = in_digits(&self.digest.finalize());
        (content, end)
    }

    fn add_entry(&mut self, entry: &Entry) -> &[u8] {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        entry.append_to(&mut bytes);
        self.add(bytes)
    }

    fn add(&mut self, bytes: Vec<u8>) -> &[u8] {
        self.digest.update(&bytes);
        self.content.bytes += bytes.len() as u64;
        self.bytes = bytes;
        &self.bytes
    }
}

/// Writes a file.
pub struct Writer {
    file: File,
    unwritten: Vec<u8>,
    tally: Tally,
}

impl Writer {
    /// Of a file that is not there yet.
    pub async fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create_new(path).await.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { file, unwritten: MAGIC.to_vec(), tally: Tally::begin() })
    }

    /// Appends a message.
    pub async fn append(&mut self, message: &Entry) -> anyhow::Result<()> {
        self.unwritten.extend_from_slice(self.tally.count(message)?);
        if self.unwritten.len() >= PIECE_BYTES {
            self.write().await?;
        }
        Ok(())
    }

    /// Writes the rest and syncs the file; says what is in it, of a stream that has given out places up to this one.
    pub async fn finish(mut self, last_sequence: u64) -> anyhow::Result<Content> {
        self.write().await?;
        let (content, end) = self.tally.finish(last_sequence);
        self.file.write_all(&end).await?;
        self.file.flush().await?;
        self.file.sync_all().await?;
        Ok(content)
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        self.file.write_all(&self.unwritten).await.context("cannot write the backup")?;
        self.unwritten.clear();
        Ok(())
    }
}

/// Reads a file.
pub struct FileReader {
    file: File,
    piece: Vec<u8>,
    reader: Reader,
    ended: bool,
}

impl FileReader {
    /// Of a file that is there.
    pub async fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).await.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { file, piece: vec![0; PIECE_BYTES], reader: Reader::default(), ended: false })
    }

    /// The next message; none after the last.
    pub async fn next_message(&mut self) -> anyhow::Result<Option<Entry>> {
        loop {
            match self.reader.next_entry()? {
                Some(_) if self.ended => anyhow::bail!("it goes on after its end"),
                Some(entry) if entry.is_end() => self.ended = true,
                Some(message) => return Ok(Some(message)),
                None => {
                    let read = self.file.read(&mut self.piece).await?;
                    if read == 0 {
                        ensure!(self.ended && self.reader.is_at_an_end(), "it ends early");
                        return Ok(None);
                    }
                    self.reader.coming().extend_from_slice(&self.piece[..read]);
                }
            }
        }
    }
}

/// Reads a whole file and says what is in it, of a stream that has given out places up to this one.
pub async fn content_of(path: &Path, last_sequence: u64, mut counted: impl FnMut()) -> anyhow::Result<Content> {
    let (mut file, mut tally) = (FileReader::open(path).await?, Tally::begin());
    while let Some(message) = file.next_message().await? {
        tally.count(&message)?;
        counted();
    }
    Ok(tally.finish(last_sequence).0)
}
