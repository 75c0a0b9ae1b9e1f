//! The workers: each takes a batch, and sends of it what is not through until nothing is left.
//!
//! A batch stays with its worker, so that no more batches are in memory than there are workers, and as many that were read
//! ahead. When it is to end, a worker finishes the attempt that is under way and begins no other.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER as RETRY_AFTER_HEADER};
use reqwest::{Client, Url};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::answer::{Became, Said, retry_after, said};
use super::batches::{Batch, Batches, Message, Refused, body};
use super::ledger::{Counts, Ledger, Through};
use super::lines::{Lines, Place};
use super::options::Options;
use super::report::Reporter;
use super::resume::ProgressFile;
use super::source::{Content, Source};
use crate::client::{NoAnswer, RETRY_AFTER, below, read};

/// How much of an answer is read: some hundred bytes for each message.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What became of an import.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Up to where everything is through, and what became of it, in earlier runs too.
    pub(super) through: Through,
    /// Where this run began.
    pub(super) begun_at: Place,
    /// How many messages were sent again, each time.
    pub(super) sent_again: u64,
    /// Whether the end was reached, as opposed to having been stopped.
    pub(super) is_complete: bool,
}

impl Sent {
    /// Whether everything is through.
    pub(super) fn is_well(&self) -> bool {
        self.is_complete && self.through.counts.refused == 0
    }
}

/// What is read ahead.
type Coming = AsyncMutex<mpsc::Receiver<io::Result<Batch>>>;

/// Everything that the workers share.
struct Sender<'a> {
    client: Client,
    url: Url,
    coming: Coming,
    ledger: Mutex<Ledger>,
    file: Option<&'a ProgressFile>,
    reporter: &'a Reporter,
    sent_again: AtomicU64,
    stop: CancellationToken,
}

/// Sends everything from a place on.
pub(super) async fn send(
    options: &Options,
    source: Source,
    before: Through,
    file: Option<&ProgressFile>,
    reporter: &Reporter,
    shutdown: &CancellationToken,
) -> anyhow::Result<Sent> {
    let name = source.name().to_owned();
    let lines = source.lines(before.place)?;
    let sender = Sender {
        client: options.access.client(true)?,
        url: below(&options.url, &["messages"]),
        coming: AsyncMutex::new(read_ahead(lines, options)?),
        ledger: Mutex::new(Ledger::new(before)),
        file,
        reporter,
        sent_again: AtomicU64::new(0),
        stop: shutdown.child_token(),
    };
    let workers = (0..options.connections).map(|_| sender.work(&name));
    let ended = futures_util::future::join_all(workers).await;
    let is_complete = ended.into_iter().collect::<anyhow::Result<Vec<_>>>()?.into_iter().all(|at_end| at_end);
    let through = sender.ledger.lock().unwrap_or_else(PoisonError::into_inner).through();
    let sent_again = sender.sent_again.load(Ordering::Relaxed);
    Ok(Sent { through, begun_at: before.place, sent_again, is_complete })
}

/// Reads batches, as many ahead as there are workers. The thread ends with the process, wherever it is: standard input may
/// never say anything again.
fn read_ahead(lines: Lines<Content>, options: &Options) -> anyhow::Result<mpsc::Receiver<io::Result<Batch>>> {
    let (to_workers, coming) = mpsc::channel(options.connections as usize);
    let batches = Batches::new(lines, options.batch as usize);
    let read = move || {
        for batch in batches {
            let is_last = batch.is_err();
            if to_workers.blocking_send(batch).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new().name("reader".to_owned()).spawn(read).context("no thread to read with")?;
    Ok(coming)
}

impl Sender<'_> {
    /// Sends batches until there are no more, which is true, or it is stopped. What cannot go on stops the others too.
    async fn work(&self, name: &str) -> anyhow::Result<bool> {
        let ended = self.work_on(name).await;
        if ended.is_err() {
            self.stop.cancel();
        }
        ended
    }

    async fn work_on(&self, name: &str) -> anyhow::Result<bool> {
        loop {
            let Some(next) = self.stop.run_until_cancelled(self.next()).await else { return Ok(false) };
            let Some(batch) = next else { return Ok(true) };
            let batch = batch.with_context(|| format!("cannot read {name} on"))?;
            let (number, end) = (batch.number, batch.end);
            let Some(counts) = self.send(batch).await? else { return Ok(false) };
            self.note(number, end, counts)?;
        }
    }

    async fn next(&self) -> Option<io::Result<Batch>> {
        self.coming.lock().await.recv().await
    }

    /// Sends a batch until nothing of it is left; gives what became of it, or nothing where it was stopped before.
    async fn send(&self, batch: Batch) -> anyhow::Result<Option<Counts>> {
        let mut counts = Counts::default();
        self.refuse(&mut counts, batch.refused);
        let mut left = VecDeque::from([batch.messages]);
        while let Some(messages) = left.pop_front() {
            if messages.is_empty() {
                continue;
            }
            let (said, pause) = self.post(&messages).await;
            let again = match said {
                Said::Each(became) => self.sort(&mut counts, messages, became),
                Said::NotNow(why) => self.not_now(messages, &why),
                Said::Divide(why) if messages.len() == 1 => {
                    self.refuse(&mut counts, vec![Refused { line: messages[0].line, reason: why }]);
                    Vec::new()
                }
                Said::Divide(_) => {
                    let (first, second) = messages.split_at(messages.len() / 2);
                    left.extend([first.to_vec(), second.to_vec()]);
                    Vec::new()
                }
                Said::Never(why) => anyhow::bail!("{} cannot be posted to: {why}", self.url),
            };
            if !again.is_empty() {
                left.push_front(again);
                let pause = tokio::time::sleep(pause.unwrap_or(RETRY_AFTER));
                if self.stop.run_until_cancelled(pause).await.is_none() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(counts))
    }

    /// Posts messages once; also gives the pause that is asked for before the next time.
    async fn post(&self, messages: &[Message]) -> (Said, Option<Duration>) {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-ndjson");
        match self.exchange(request.body(body(messages)), messages.len()).await {
            Ok(answered) => answered,
            Err(error) => (Said::NotNow(NoAnswer::from(&error).to_string()), None),
        }
    }

    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        messages: usize,
    ) -> reqwest::Result<(Said, Option<Duration>)> {
        let answer = request.send().await?;
        let status = answer.status();
        let seconds = answer.headers().get(RETRY_AFTER_HEADER).and_then(|value| value.to_str().ok());
        let pause = retry_after(seconds);
        Ok((said(status, &read(answer, ANSWER_BYTES_MAX).await?, messages), pause))
    }

    /// Counts what became of each message, and gives those that are to be sent again.
    fn sort(&self, counts: &mut Counts, messages: Vec<Message>, became: Vec<Became>) -> Vec<Message> {
        let (mut refused, mut again, mut why) = (Vec::new(), Vec::new(), String::new());
        for (message, became) in messages.into_iter().zip(became) {
            match became {
                Became::Ingested => counts.ingested += 1,
                Became::Duplicate => counts.duplicate += 1,
                Became::Refused(reason) => refused.push(Refused { line: message.line, reason }),
                Became::NotNow(reason) => {
                    why = reason;
                    again.push(message);
                }
            }
        }
        self.refuse(counts, refused);
        if again.is_empty() { again } else { self.not_now(again, &why) }
    }

    fn not_now(&self, messages: Vec<Message>, why: &str) -> Vec<Message> {
        self.sent_again.fetch_add(messages.len() as u64, Ordering::Relaxed);
        self.reporter.say_not_through(why);
        messages
    }

    fn refuse(&self, counts: &mut Counts, refused: Vec<Refused>) {
        counts.refused += refused.len() as u64;
        self.reporter.say_refused(&refused);
    }

    /// Notes that a batch has ended, for a later run too.
    fn note(&self, batch: u64, end: Place, counts: Counts) -> anyhow::Result<()> {
        // Held until it is written, so that what is written last is the furthest.
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(through) = ledger.end(batch, end, counts) {
            self.reporter.show(&through);
            self.file.map_or(Ok(()), |file| file.write(&through))?;
        }
        Ok(())
    }
}
