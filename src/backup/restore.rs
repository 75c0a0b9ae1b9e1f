//! A backup comes back, at a broker that has none of its streams.
//!
//! Everything in the folder is checked before the broker is asked for anything. Then each stream is put there under a mark
//! and under a subject on which nobody publishes, read again, and compared with the manifest. Only when all are right do
//! they get their own subjects and lose the mark, the messages last. So what a restore leaves behind that was killed is
//! never taken for a stream: `init`, the roles and the tools refuse one with the mark, and the next restore removes it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::manifest::{Content, Manifest, SavedStream};
use super::messages::{FileReader, Tally, content_of};
use super::progress::Progress;
use crate::broker::snapshot::objects::{configure, look, remove, restoring};
use crate::broker::snapshot::put::Restore;
use crate::broker::snapshot::take::Snapshot;
use crate::broker::snapshot::{StreamState, refuse_older_servers};
use crate::broker::topology::STREAM;
use crate::broker::{Broker, BrokerError};

/// For how long a broker is asked again that does not answer: longer than an election lasts.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// How long replicas may take to copy a stream.
const COPIES_WITHIN: Duration = Duration::from_secs(120);

/// What there is at the broker of the streams of a service.
#[derive(Debug, PartialEq, Eq)]
pub enum Existing {
    /// None of them.
    Free,
    /// Only what a restore left behind that was not finished: these.
    LeftBehind(Vec<String>),
    /// These are there.
    Taken(Vec<String>),
}

/// Reads a backup and checks all of it. `streams` are those that this program knows.
pub async fn check(folder: &Path, streams: &[String]) -> anyhow::Result<Manifest> {
    let manifest = Manifest::read(folder).await?;
    let saved = |name: &str| manifest.streams.iter().filter(|stream| stream.name == name).count();
    for SavedStream { name, config, .. } in &manifest.streams {
        ensure!(
            streams.contains(name),
            "has a stream {name}, which this program does not know; use the one that made it"
        );
        ensure!(
            saved(name) == 1 && config["name"] == name.as_str(),
            "the manifest says two things of the stream {name}"
        );
    }
    ensure!(saved(STREAM) == 1, "has no stream {STREAM}: there is nothing to restore from");
    for stream in &manifest.streams {
        let path = folder.join(stream.file());
        check_file(&path, stream)
            .await
            .with_context(|| format!("{} is damaged; take another backup", path.display()))?;
    }
    Ok(manifest)
}

async fn check_file(path: &Path, stream: &SavedStream) -> anyhow::Result<()> {
    let should_be = &stream.content;
    let bytes = tokio::fs::metadata(path).await?.len();
    ensure!(bytes == should_be.bytes, "it has {bytes} bytes and should have {}", should_be.bytes);
    let progress = Progress::of(format!("checking {}", stream.name), should_be.messages);
    let is = content_of(path, should_be.last_sequence, || progress.count()).await?;
    same(&is, should_be)
}

/// Refuses where anything differs, and says what.
fn same(is: &Content, should_be: &Content) -> anyhow::Result<()> {
    let pairs = [
        ("messages", is.messages, should_be.messages),
        ("first sequence", is.first_sequence, should_be.first_sequence),
        ("last sequence", is.last_sequence, should_be.last_sequence),
    ];
    for (what, is, should_be) in pairs {
        ensure!(is == should_be, "{what}: {is}, and should be {should_be}");
    }
    ensure!(is.sha256 == should_be.sha256, "the messages are not the same: their checksum is another one");
    Ok(())
}

/// Looks at what there is of these streams.
pub async fn existing(broker: &Broker, streams: &[String]) -> anyhow::Result<Existing> {
    let (mut left_behind, mut taken) = (Vec::new(), Vec::new());
    for name in streams {
        match patiently(async || look(broker, name).await).await? {
            None => {}
            Some(stream) if stream.restoring().is_some() => left_behind.push(name.clone()),
            Some(_) => taken.push(name.clone()),
        }
    }
    Ok(match (taken.is_empty(), left_behind.is_empty()) {
        (true, true) => Existing::Free,
        (true, false) => Existing::LeftBehind(left_behind),
        (false, _) => Existing::Taken(taken),
    })
}

/// Removes what an earlier restore left behind.
pub async fn remove_left_behind(broker: &Broker, streams: &[String]) -> anyhow::Result<()> {
    for name in streams {
        if patiently(async || look(broker, name).await).await?.is_some_and(|stream| stream.restoring().is_some()) {
            patiently(async || remove(broker, name).await).await?;
        }
    }
    Ok(())
}

/// A restore that goes on.
pub struct Restoring<'a> {
    broker: &'a Broker,
    folder: &'a Path,
    manifest: &'a Manifest,
    /// Copies that each stream is to have.
    replicas: usize,
    /// Streams that may be there by our doing, and those that are.
    attempted: Vec<String>,
    made: Vec<String>,
    /// Those of them that have lost the mark.
    opened: Vec<String>,
}

impl<'a> Restoring<'a> {
    /// A restore of a backup that was checked, at a broker that has none of the streams.
    pub fn new(broker: &'a Broker, folder: &'a Path, manifest: &'a Manifest, replicas: usize) -> anyhow::Result<Self> {
        refuse_older_servers(broker)?;
        Ok(Self { broker, folder, manifest, replicas, attempted: Vec::new(), made: Vec::new(), opened: Vec::new() })
    }

    /// Puts every stream there, and compares it with the manifest.
    pub async fn run(&mut self, mut say: impl FnMut(&str)) -> anyhow::Result<()> {
        for stream in &self.manifest.streams {
            let name = &stream.name;
            self.put(stream).await.with_context(|| format!("stream {name}"))?;
            self.verify(stream).await.with_context(|| format!("stream {name}, as the broker has it"))?;
            self.is_copied(name).await.with_context(|| format!("stream {name}"))?;
            say(&format!("restored  {name}: {} messages", stream.content.messages));
        }
        self.open_all().await
    }

    /// Removes whatever this restore has made.
    pub async fn undo(&self) -> anyhow::Result<()> {
        let mut left = Vec::new();
        for name in &self.attempted {
            if let Err(error) = self.undo_one(name).await {
                left.push(format!("{name} ({error})"));
            }
        }
        ensure!(
            left.is_empty(),
            "what there is of these streams cannot be removed: {}; the next `rockets restore` removes it, and nothing \
             works with it until then",
            left.join(", ")
        );
        Ok(())
    }

    async fn undo_one(&self, name: &String) -> Result<(), BrokerError> {
        let is_ours = match patiently(async || look(self.broker, name).await).await {
            Ok(None) => false,
            // Another restore may have been quicker.
            Ok(Some(stream)) => stream.restoring() == Some(self.broker.instance()) || self.opened.contains(name),
            // Its leader is gone with all of it, and says nothing any more; it can be removed all the same.
            Err(_) => self.made.contains(name),
        };
        if is_ours { patiently(async || remove(self.broker, name).await).await } else { Ok(()) }
    }

    async fn put(&mut self, stream: &SavedStream) -> anyhow::Result<()> {
        let content = &stream.content;
        let config = restoring(&self.config(stream), &stream.name, self.broker.instance());
        let state = StreamState {
            messages: content.messages,
            bytes: content.bytes,
            first_seq: content.first_sequence,
            last_seq: content.last_sequence,
        };
        let mut file = FileReader::open(&self.folder.join(stream.file())).await?;
        let progress = Progress::of(format!("restoring {}", stream.name), content.messages);
        self.attempted.push(stream.name.clone());
        let mut restore = Restore::begin(self.broker, &stream.name, &config, &state).await?;
        self.made.push(stream.name.clone());
        while let Some(message) = file.next_message().await? {
            restore.append(&message).await?;
            progress.count();
            crate::fail_point::reached("restore.message-put");
        }
        restore.finish().await?;
        Ok(())
    }

    /// The stream's own configuration, with as many copies as the settings say.
    fn config(&self, stream: &SavedStream) -> Value {
        let mut config = stream.config.clone();
        config["num_replicas"] = self.replicas.into();
        config
    }

    async fn verify(&self, stream: &SavedStream) -> anyhow::Result<()> {
        let begin = async || Snapshot::begin(self.broker, &stream.name).await;
        let mut snapshot = patiently(begin).await?.context("it is gone")?;
        let (state, mut tally) = (snapshot.state(), Tally::begin());
        let progress = Progress::of(format!("comparing {}", stream.name), stream.content.messages);
        while let Some(message) = snapshot.next_message().await? {
            tally.count(&message)?;
            progress.count();
        }
        same(&tally.finish(state.last_seq).0, &stream.content)
    }

    /// Waits until every replica has all of a stream: until then, its leader alone has it.
    async fn is_copied(&self, name: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + COPIES_WITHIN;
        loop {
            let stream = patiently(async || look(self.broker, name).await).await?.context("it is gone")?;
            if stream.has_all_copies() {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "not every replica has it after {COPIES_WITHIN:?}; are all nodes there?"
            );
            sleep(PAUSE).await;
        }
    }

    /// Gives the streams their subjects, the messages last: without them, nobody works with the others.
    async fn open_all(&mut self) -> anyhow::Result<()> {
        let (messages, others): (Vec<_>, Vec<_>) =
            self.manifest.streams.iter().partition(|stream| stream.name == STREAM);
        for stream in [others, messages].concat() {
            self.opened.push(stream.name.clone());
            self.open(stream).await.with_context(|| format!("stream {}", stream.name))?;
        }
        Ok(())
    }

    async fn open(&self, stream: &SavedStream) -> anyhow::Result<()> {
        let (name, config) = (&stream.name, self.config(stream));
        patiently(async || configure(self.broker, name, &config).await).await?;
        match patiently(async || look(self.broker, name).await).await? {
            Some(found) if found.restoring().is_none() => Ok(()),
            _ => bail!("somebody else has changed it meanwhile"),
        }
    }
}

/// Asks again for a while when the broker does not answer.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, BrokerError>) -> Result<T, BrokerError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(BrokerError::Unavailable(_)) if Instant::now() < deadline => sleep(PAUSE).await,
            answered => return answered,
        }
    }
}
