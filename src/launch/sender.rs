//! The workers: each takes a message, sends it, and puts it aside when it did not get through.
//!
//! All workers share one queue, one pacer and one tally. Dropping the future of `send_all` ends them at once, wherever
//! they are. A message is given up only then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Client, Url};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::client;
use super::disorder::Outgoing;
use super::pacer::Pacer;
use super::progress::Progress;
use super::queue::{Next, Queue};
use super::tally::Tally;

/// Everything that the workers share.
pub(super) struct Sender {
    /// What connections are opened with.
    pub(super) client: Client,
    /// Where messages are posted.
    pub(super) url: Url,
    /// Where messages are taken from.
    pub(super) queue: Queue,
    /// Turns, when there is a `--rate`.
    pub(super) pacer: Option<Pacer>,
    /// The pause of a worker after each attempt.
    pub(super) message_delay: Duration,
    /// What has happened so far.
    pub(super) tally: Mutex<Tally>,
    /// How the user sees it happen.
    pub(super) progress: Progress,
}

/// Sends everything with so many workers, and returns when all of it is through.
pub(super) async fn send_all(sender: &Arc<Sender>, workers: u32) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let sender = Arc::clone(sender);
        tasks.spawn(async move { sender.work().await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a worker of the sender broke down")?;
    }
    Ok(())
}

impl Sender {
    /// The tally, for as long as the guard is held.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self) {
        loop {
            match self.queue.next(Instant::now()) {
                Next::Send(outgoing) => self.send(outgoing).await,
                Next::WaitUntil(due) => sleep_until(due).await,
                Next::Finished => return,
            }
        }
    }

    async fn send(&self, outgoing: Outgoing) {
        self.tally().count_taken(&outgoing);
        if let Some(pacer) = &self.pacer {
            sleep_until(pacer.turn(Instant::now())).await;
        }
        let attempt = client::post(&self.client, &self.url, outgoing.body.clone()).await;
        self.tally().count(&attempt);
        if attempt.outcome.is_through() {
            self.progress.count_through(outgoing.is_copy);
        } else {
            self.progress.say_not_through(attempt.outcome);
            self.queue.send_again(outgoing, Instant::now());
        }
        if !self.message_delay.is_zero() {
            sleep(self.message_delay).await;
        }
    }
}
