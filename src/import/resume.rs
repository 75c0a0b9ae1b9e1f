//! The progress file: up to where everything of a file is through, beside what tells that file from another one.
//!
//! It is written as another file and then renamed, so that a kill leaves the old one or the new one. It is not synced: after a
//! power cut it may be an older one, or one that cannot be read, which is said.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::ledger::Through;
use super::lines::Place;
use super::options::Options;
use super::source::Source;

/// How a progress file is called, behind the name of its input.
const SUFFIX: &str = ".rockets-import";

/// What is imported, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Import {
    /// Size of the file.
    bytes: u64,
    /// Digest of its beginning and its end.
    digest: String,
    /// Where the service is.
    url: String,
}

/// What stands in a progress file.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    import: Import,
    #[serde(flatten)]
    through: Through,
}

/// A progress file, whether it is there yet or not.
#[derive(Debug)]
pub(super) struct ProgressFile {
    path: PathBuf,
    /// What the file is called whose progress this is.
    name: String,
    import: Import,
}

impl ProgressFile {
    /// That of an import; none for an input that cannot be read twice.
    pub(super) fn of(options: &Options, source: &Source) -> anyhow::Result<Option<Self>> {
        let digest = source.digest().with_context(|| format!("cannot read {}", source.name()))?;
        let (Some(bytes), Some(digest)) = (source.size(), digest) else {
            if options.progress.is_some() {
                bail!("--progress: {} is no file that could be gone on with in the middle", source.name());
            }
            return Ok(None);
        };
        let path = options.progress.clone().unwrap_or_else(|| with_suffix(&options.file, SUFFIX));
        let import = Import { bytes, digest, url: options.url.to_string() };
        Ok(Some(Self { path, name: source.name().to_owned(), import }))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How far this import has come; none where it has not begun, or not come anywhere.
    pub(super) fn read(&self) -> anyhow::Result<Option<Through>> {
        let path = self.path.display();
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        };
        let begin = format!("to begin with the first line, remove {path}");
        let stored = serde_json::from_slice(&text)
            .with_context(|| format!("{path} does not say how far an import has come; {begin}"))?;
        let Stored { import, through } = stored;
        if through.place == Place::default() {
            return Ok(None);
        }
        match self.difference(&import) {
            Some(difference) => bail!("{difference}, since {path} was written; {begin}"),
            None => Ok(Some(through)),
        }
    }

    /// Why what was imported then is not what is imported now.
    fn difference(&self, then: &Import) -> Option<String> {
        let (name, now) = (&self.name, &self.import);
        if now.url != then.url {
            return Some(format!("{name} was being sent to {}, and now is to be sent to {}", then.url, now.url));
        }
        if now.bytes != then.bytes {
            return Some(format!("{name} has changed: it had {} bytes, and now has {}", then.bytes, now.bytes));
        }
        (now.digest != then.digest).then(|| format!("{name} has changed: its beginning or its end is another"))
    }

    /// Writes how far it has come.
    pub(super) fn write(&self, through: &Through) -> anyhow::Result<()> {
        let stored = Stored { import: self.import.clone(), through: *through };
        let new = with_suffix(&self.path, ".new");
        let write = || -> io::Result<()> {
            fs::write(&new, serde_json::to_vec(&stored)?)?;
            fs::rename(&new, &self.path)
        };
        write().with_context(|| format!("cannot write {} (another place: --progress)", self.path.display()))
    }

    /// Takes it away: the import has come to its end.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::ledger::Counts;
    use super::super::options::tests::parse;
    use super::*;

    struct Input {
        folder: TempDir,
    }

    impl Input {
        fn new(content: &str) -> Self {
            let input = Self { folder: TempDir::new().unwrap() };
            input.write(content);
            input
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("messages")
        }

        fn write(&self, content: &str) {
            fs::write(self.path(), content).unwrap();
        }

        fn progress(&self, flags: &[&str]) -> anyhow::Result<Option<ProgressFile>> {
            let path = self.path();
            let options = parse(&[&[path.to_str().unwrap()], flags].concat()).unwrap();
            ProgressFile::of(&options, &Source::of(&options.file).unwrap())
        }
    }

    fn through() -> Through {
        let counts = Counts { ingested: 1, duplicate: 2, refused: 3 };
        Through { place: Place { line: 6, byte: 77 }, counts }
    }

    #[test]
    fn what_was_written_is_read_until_it_is_removed() {
        let input = Input::new("a");
        let file = input.progress(&[]).unwrap().unwrap();
        assert_eq!(file.path(), with_suffix(&input.path(), ".rockets-import"));
        assert_eq!(file.read().unwrap(), None);
        file.write(&through()).unwrap();
        assert_eq!(file.read().unwrap(), Some(through()));
        file.remove().unwrap();
        assert_eq!(fs::read_dir(input.folder.path()).unwrap().count(), 1, "only the input is left");
    }

    #[test]
    fn another_file_or_service_is_refused() {
        let input = Input::new("abc");
        input.progress(&[]).unwrap().unwrap().write(&through()).unwrap();
        let refused = |content: &str, flags: &[&str]| {
            input.write(content);
            format!("{:#}", input.progress(flags).unwrap().unwrap().read().unwrap_err())
        };
        assert!(refused("abcd", &[]).contains("has changed: it had 3 bytes, and now has 4"));
        assert!(refused("abd", &[]).contains("its beginning or its end is another"));
        let other = refused("abc", &["--url", "http://other:1/"]);
        assert!(other.contains("to http://localhost:8088/, and now is to be sent to http://other:1/"), "{other}");
        assert!(other.contains("to begin with the first line, remove "), "{other}");
        input.progress(&["--url", "http://wrong/"]).unwrap().unwrap().write(&Through::default()).unwrap();
        assert_eq!(input.progress(&[]).unwrap().unwrap().read().unwrap(), None, "nothing came there");
        fs::write(with_suffix(&input.path(), SUFFIX), "").unwrap();
        assert!(refused("abc", &[]).contains("does not say how far an import has come"));
    }

    #[test]
    fn it_may_stand_elsewhere() {
        let input = Input::new("a");
        let elsewhere = input.folder.path().join("progress");
        let flags = ["--progress", elsewhere.to_str().unwrap()];
        input.progress(&flags).unwrap().unwrap().write(&through()).unwrap();
        assert!(elsewhere.exists());
        let nowhere = input.progress(&["--progress", "/not/there"]).unwrap().unwrap();
        assert!(format!("{:#}", nowhere.write(&through()).unwrap_err()).contains("cannot write /not/there"));
    }

    #[test]
    fn what_cannot_be_read_twice_has_none() {
        let of = |flags: &[&str]| {
            let options = parse(&[&["/dev/null"], flags].concat()).unwrap();
            ProgressFile::of(&options, &Source::of(&options.file).unwrap())
        };
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&["--progress", "p"]).unwrap_err().to_string().starts_with("--progress: /dev/null"));
    }
}
