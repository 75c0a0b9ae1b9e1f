//! A backup is made, while everything runs: what tells of messages first and the messages last, so that none of it knows of
//! a message that was not saved. What is missing the other way round, trackers make up for when the messages come again.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::fs;

use super::manifest::{Content, Manifest, SavedStream, file_of};
use super::messages::Writer;
use super::progress::Progress;
use crate::broker::Broker;
use crate::broker::snapshot::archive::Entry;
use crate::broker::snapshot::missed::{last_of, subjects};
use crate::broker::snapshot::objects::look;
use crate::broker::snapshot::refuse_older_servers;
use crate::broker::snapshot::take::Snapshot;
use crate::broker::topology::STREAM;

/// Messages that are asked for one by one, at once.
const READS_AT_ONCE: usize = 64;
/// How much of what a snapshot has missed is kept until it is written.
const MISSED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Saves these streams, in this order, into a folder that is not there yet. Removes the folder when it cannot.
pub async fn save(broker: &Broker, streams: &[String], folder: &Path, say: impl FnMut(&str)) -> anyhow::Result<()> {
    refuse_older_servers(broker)?;
    for stream in streams {
        let found = look(broker, stream).await?;
        ensure!(
            found.is_some() || stream != STREAM,
            "there is no stream {stream} at the broker, and so nothing to save"
        );
        let is_whole = found.is_none_or(|found| found.restoring().is_none());
        ensure!(is_whole, "the stream {stream} is what a restore that was not finished left behind");
    }
    make(folder).await?;
    let saved = save_into(broker, streams, folder, say).await;
    if saved.is_err() {
        remove(folder).await;
    }
    saved
}

/// Removes a backup that was not finished.
pub async fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder).await {
        tracing::warn!(%error, folder = %folder.display(), "what there is of the backup cannot be removed");
    }
}

async fn make(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).await.with_context(|| format!("cannot make {}", parent.display()))?;
    }
    match fs::create_dir(folder).await {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            anyhow::bail!("{shown} is there already; name a folder that is not there yet")
        }
        made => made.with_context(|| format!("cannot make {shown}")),
    }
}

async fn save_into(
    broker: &Broker,
    streams: &[String],
    folder: &Path,
    mut say: impl FnMut(&str),
) -> anyhow::Result<()> {
    let made_at = OffsetDateTime::now_utc().format(&Rfc3339)?;
    let mut saved = Vec::new();
    for name in streams {
        let Some(stream) = save_stream(broker, name, folder).await.with_context(|| format!("stream {name}"))? else {
            say(&format!("left out  {name}: is not there"));
            continue;
        };
        let Content { messages, bytes, .. } = stream.content;
        say(&format!("saved     {name}: {messages} messages, {bytes} bytes"));
        saved.push(stream);
    }
    let made_by = format!("rockets {}", env!("CARGO_PKG_VERSION"));
    Manifest { made_by, made_at, server: broker.server_version(), streams: saved }.write(folder).await
}

async fn save_stream(broker: &Broker, name: &str, folder: &Path) -> anyhow::Result<Option<SavedStream>> {
    let path = folder.join(file_of(name));
    let Some(mut snapshot) = Snapshot::begin(broker, name).await? else { return Ok(None) };
    let (config, state) = (snapshot.config().clone(), snapshot.state());
    let (mut writer, progress) = (Writer::create(&path).await?, Progress::of(format!("saving {name}"), state.messages));
    let mut seen = Seen::of(&config);
    while let Some(message) = snapshot.next_message().await? {
        seen.add(&message);
        writer.append(&message).await?;
        progress.count();
    }
    for message in missed(broker, name, seen).await? {
        writer.append(&message).await?;
    }
    let content = writer.finish(state.last_seq).await?;
    Ok(Some(SavedStream { name: name.to_owned(), content, config }))
}

/// The subjects that were seen, of a stream that does not keep all messages of each.
struct Seen(Option<HashSet<Vec<u8>>>);

impl Seen {
    fn of(config: &Value) -> Self {
        let keeps_all = config["max_msgs_per_subject"].as_i64().is_none_or(|keeps| keeps < 1);
        Self((!keeps_all).then(HashSet::new))
    }

    fn add(&mut self, message: &Entry) {
        if let Some(subjects) = self.0.as_mut()
            && !subjects.contains(&message.name)
        {
            subjects.insert(message.name.clone());
        }
    }
}

/// The last messages of the subjects that a snapshot has missed, in the order of the stream.
async fn missed(broker: &Broker, stream: &str, seen: Seen) -> anyhow::Result<Vec<Entry>> {
    let (Some(seen), mut offset, mut bytes) = (seen.0, 0, 0) else { return Ok(Vec::new()) };
    let mut missed = BTreeMap::new();
    loop {
        let subjects = subjects(broker, stream, offset).await?;
        if subjects.is_empty() {
            return Ok(missed.into_values().collect());
        }
        offset += subjects.len();
        let unseen = subjects.iter().filter(|subject| !seen.contains(subject.as_bytes()));
        let reads = futures_util::stream::iter(unseen.map(|subject| last_of(broker, stream, subject)));
        let mut reads = reads.buffer_unordered(READS_AT_ONCE);
        while let Some(message) = reads.try_next().await? {
            let Some(message) = message else { continue };
            bytes += message.content.len();
            ensure!(bytes <= MISSED_BYTES_MAX, "too much of it changes while it is read; try again when less comes in");
            missed.insert(message.sequence, message);
        }
    }
}
