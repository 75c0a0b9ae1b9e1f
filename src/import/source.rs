//! Where lines come from: a file, or a stream such as standard input; plain, or packed with gzip, which its first bytes tell.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek as _, SeekFrom, stdin};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::lines::{Lines, Place};

/// How every gzip file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How much is read at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// How much of a file's beginning, and of its end, tells it from another one.
const TELLING_BYTES: u64 = 64 * 1024;

/// An input, not read yet.
pub(super) struct Source {
    name: String,
    input: Input,
    /// How much of it has been read, as it is stored.
    read: Arc<AtomicU64>,
}

enum Input {
    File(File, u64),
    Stream(Box<dyn Read + Send>),
}

/// What is read.
pub(super) type Content = Box<dyn BufRead + Send>;

impl Source {
    /// The file of this name, or standard input for `-`.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        let read = Arc::default();
        if path == Path::new("-") {
            return Ok(Self { name: "standard input".to_owned(), input: Input::Stream(Box::new(stdin())), read });
        }
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.with_context(|| format!("cannot read {name}"))?;
        if metadata.is_dir() {
            bail!("cannot read {name}: it is a folder");
        }
        let input = match size(&metadata) {
            Some(size) => Input::File(file, size),
            None => Input::Stream(Box::new(file)),
        };
        Ok(Self { name, input, read })
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its size as it is stored, where it has one: then it can be read again.
    pub(super) fn size(&self) -> Option<u64> {
        match self.input {
            Input::File(_, size) => Some(size),
            Input::Stream(_) => None,
        }
    }

    /// How much of it has been read, as it is stored: counted while its lines are.
    pub(super) fn read(&self) -> Arc<AtomicU64> {
        self.read.clone()
    }

    /// What tells a file from another one, or from itself changed: a digest of its beginning and its end.
    pub(super) fn digest(&self) -> io::Result<Option<String>> {
        let Input::File(file, size) = &self.input else { return Ok(None) };
        let mut digest = Sha256::new();
        for begin in [0, size.saturating_sub(TELLING_BYTES)] {
            let (mut file, mut bytes) = (file, Vec::new());
            file.seek(SeekFrom::Start(begin))?;
            file.take(TELLING_BYTES).read_to_end(&mut bytes)?;
            digest.update(&bytes);
        }
        Ok(Some(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Its lines from this place on. A packed file is unpacked up to there once more.
    pub(super) fn lines(self, from: Place) -> anyhow::Result<Lines<Content>> {
        let name = self.name.clone();
        let content = self.content(from.byte).with_context(|| format!("cannot read {name}"))?;
        Ok(Lines::new(content, from))
    }

    fn content(self, from: u64) -> io::Result<Content> {
        let (input, is_packed): (Content, bool) = match self.input {
            Input::File(mut file, _) => {
                file.seek(SeekFrom::Start(0))?;
                let is_packed = beginning(&mut file)? == GZIP;
                file.seek(SeekFrom::Start(if is_packed { 0 } else { from }))?;
                self.read.store(if is_packed { 0 } else { from }, Ordering::Relaxed);
                (Box::new(counted(file, self.read)), is_packed)
            }
            Input::Stream(mut stream) => {
                let beginning = beginning(&mut stream)?;
                let is_packed = beginning == GZIP;
                (Box::new(Cursor::new(beginning).chain(counted(stream, self.read))), is_packed)
            }
        };
        if !is_packed {
            return Ok(input);
        }
        let mut unpacked = BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(input));
        io::copy(&mut unpacked.by_ref().take(from), &mut io::sink())?;
        Ok(Box::new(unpacked))
    }
}

/// The size of what can be read again from any place.
fn size(metadata: &Metadata) -> Option<u64> {
    metadata.is_file().then_some(metadata.len())
}

/// The first bytes, as many as tell what it is.
fn beginning(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(GZIP.len() as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn counted<R: Read>(input: R, read: Arc<AtomicU64>) -> BufReader<Counted<R>> {
    BufReader::with_capacity(BUFFER_BYTES, Counted { input, read })
}

/// Something that is read, and how much of it was.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.read(buffer)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::NamedTempFile;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn file(bytes: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn ends(file: &NamedTempFile, from: Place) -> Vec<Place> {
        let lines = Source::of(file.path()).unwrap().lines(from).unwrap();
        lines.map(|line| line.unwrap().end).collect()
    }

    #[test]
    fn plain_and_packed_files_have_the_same_lines_from_every_place() {
        let text: String = (0..2_000).map(|number| format!("{{\"line\":{number}}}\n")).collect();
        let (plain, whole) = (file(text.as_bytes()), file(&packed(&text)));
        let half = text.len() / 2;
        let parts = file(&[packed(&text[..half]), packed(&text[half..])].concat());
        let all = ends(&plain, Place::default());
        assert_eq!(all.len(), 2_000);
        for from in [0_usize, 1, 999, 1_000, 1_999, 2_000] {
            let place = from.checked_sub(1).map_or(Place::default(), |at| all[at]);
            for file in [&plain, &whole, &parts] {
                assert_eq!(ends(file, place), all[from..], "{from}");
            }
        }
    }

    #[test]
    fn what_was_cut_off_is_no_end() {
        let text = "{}\n".repeat(100_000);
        let mut bytes = packed(&text);
        bytes.truncate(bytes.len() / 2);
        let mut lines = Source::of(file(&bytes).path()).unwrap().lines(Place::default()).unwrap();
        assert!(lines.any(|line| line.is_err()));
    }

    #[test]
    fn a_file_that_was_changed_is_another() {
        let digest = |bytes: &[u8]| Source::of(file(bytes).path()).unwrap().digest().unwrap().unwrap();
        let bytes = vec![b'x'; 300_000];
        let with = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] = b'y';
            digest(&bytes)
        };
        assert_eq!(digest(&bytes), digest(&bytes));
        assert!([with(0), with(299_999)].iter().all(|changed| *changed != digest(&bytes)));
        assert_eq!(Source::of(Path::new("/dev/null")).unwrap().digest().unwrap(), None);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = |path: &str| format!("{:#}", Source::of(Path::new(path)).err().unwrap());
        assert!(error("/not/there").starts_with("cannot read /not/there: No such file"));
        assert_eq!(error("/"), "cannot read /: it is a folder");
    }
}
