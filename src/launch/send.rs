//! The workers: each takes a message, sends it, and puts it aside when it did not get through.
//!
//! All workers share one queue, one pacer and one tally. Dropping the future of `send_all` ends them at once, wherever
//! they are. A message is given up only then.
//!
//! A message that did not get through waits aside, so that it holds up no worker. The pause is the same for all, hence
//! the one that has waited longest is always the next one due. At most `WAITING_MESSAGES_MAX` wait (and those under way
//! on top): at the bound no new message is taken until one of them is through.
//!
//! By default every message opens a connection of its own, as in the field. An attempt ends after 10 s. Whatever is not
//! a 2xx means that the message is not through.

use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::disorder::Outgoing;
use super::report::Tally;
use crate::client::{NoAnswer, read};
use crate::terminal::Progress;

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
    /// Messages in each request.
    pub(super) batch: usize,
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
            match self.next() {
                NextBatch::Send(batch) => self.send(batch).await,
                NextBatch::WaitUntil(due) => sleep_until(due).await,
                NextBatch::Finished => return,
            }
        }
    }

    /// The next messages for one request.
    fn next(&self) -> NextBatch {
        let mut batch = Vec::new();
        while batch.len() < self.batch {
            match self.queue.next(Instant::now()) {
                Next::Send(outgoing) => batch.push(outgoing),
                _ if !batch.is_empty() => break,
                Next::WaitUntil(due) => return NextBatch::WaitUntil(due),
                Next::Finished => return NextBatch::Finished,
            }
        }
        NextBatch::Send(batch)
    }

    async fn send(&self, batch: Vec<Outgoing>) {
        batch.iter().for_each(|outgoing| self.tally().count_taken(outgoing));
        if let Some(pacer) = &self.pacer {
            let turns = batch.iter().map(|_| pacer.turn(Instant::now()));
            sleep_until(turns.last().unwrap_or_else(Instant::now)).await;
        }
        let attempts = match self.batch {
            1 => post_each(&self.client, &self.url, &batch).await,
            _ => post_batch(&self.client, &self.url, &batch).await,
        };
        for (outgoing, attempt) in batch.into_iter().zip(attempts) {
            self.tally().count(&attempt);
            if attempt.outcome.is_through() {
                // How many copies there will be is not known beforehand.
                if !outgoing.is_copy {
                    self.progress.count();
                }
            } else {
                self.progress.say(&format!("not through: {}", attempt.outcome));
                self.queue.send_again(outgoing, Instant::now());
            }
        }
        if !self.message_delay.is_zero() {
            sleep(self.message_delay).await;
        }
    }
}

/// What a worker does next.
enum NextBatch {
    /// Send these messages.
    Send(Vec<Outgoing>),
    /// Ask again at this time.
    WaitUntil(Instant),
    /// End.
    Finished,
}

/// How many messages may wait to be sent again.
const WAITING_MESSAGES_MAX: usize = 10_000;

/// The messages that workers take from.
pub(super) struct Queue {
    retry_after: Duration,
    inner: Mutex<Inner>,
}

struct Inner {
    /// New messages. They are generated as they are taken.
    feed: Box<dyn Iterator<Item = Outgoing> + Send>,
    /// Messages to be sent again, with the times at which they are due, in that order.
    waiting: VecDeque<(Instant, Outgoing)>,
}

/// What a worker does next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Send this message.
    Send(Outgoing),
    /// Ask again at this time, when the next waiting message is due.
    WaitUntil(Instant),
    /// End: what is not through by now is in the hands of other workers, one message each.
    Finished,
}

impl Queue {
    /// A queue of new messages, each to be sent again after the given pause until it is through.
    pub(super) fn new(feed: impl Iterator<Item = Outgoing> + Send + 'static, retry_after: Duration) -> Queue {
        Queue { retry_after, inner: Mutex::new(Inner { feed: Box::new(feed), waiting: VecDeque::new() }) }
    }

    /// Decides for one worker.
    pub(super) fn next(&self, now: Instant) -> Next {
        let mut inner = self.lock();
        let due = inner.waiting.front().map(|(due, _)| *due);
        if due.is_some_and(|due| due <= now)
            && let Some((_, outgoing)) = inner.waiting.pop_front()
        {
            return Next::Send(outgoing);
        }
        if inner.waiting.len() < WAITING_MESSAGES_MAX
            && let Some(outgoing) = inner.feed.next()
        {
            return Next::Send(outgoing);
        }
        due.map_or(Next::Finished, Next::WaitUntil)
    }

    /// Puts a message aside that did not get through.
    pub(super) fn send_again(&self, mut outgoing: Outgoing, now: Instant) {
        outgoing.is_retry = true;
        self.lock().waiting.push_back((now + self.retry_after, outgoing));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the turns may run behind and be caught up with: timers wake only every millisecond or so, and without this
/// allowance a high rate would never be reached.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Gives out turns to all workers.
pub(super) struct Pacer {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pacer {
    /// A pacer of so many turns a second (at least one).
    pub(super) fn new(turns_a_second: u32) -> Pacer {
        Pacer { interval: Duration::from_secs(1) / turns_a_second.max(1), next: Mutex::new(None) }
    }

    /// The time of the next turn, which then belongs to the caller.
    pub(super) fn turn(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let turn = next.map_or(now, |planned| planned.max(earliest));
        *next = Some(turn + self.interval);
        turn
    }
}

/// How much of an answer is read. What the service answers has some hundred bytes for each message.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How an attempt ended, and how long it took.
#[derive(Debug)]
pub(super) struct Attempt {
    /// How it ended.
    pub(super) outcome: Outcome,
    /// From the first byte to the last.
    pub(super) latency: Duration,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// A 2xx: the service has the message, and says whether it had it before.
    Through { status: u16, duplicate: bool },
    /// Any other answer.
    Refused { status: u16 },
    /// None.
    NoAnswer(NoAnswer),
}

impl Display for Outcome {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Through { status, .. } | Outcome::Refused { status } => write!(formatter, "answer {status}"),
            Outcome::NoAnswer(why) => why.fmt(formatter),
        }
    }
}

impl Outcome {
    /// Whether the service has the message.
    pub(super) fn is_through(self) -> bool {
        matches!(self, Outcome::Through { .. })
    }

    /// Whether the service may have done what it was asked for: anything but a clear no.
    pub(super) fn may_be_through(self) -> bool {
        match self {
            Outcome::Through { .. } | Outcome::NoAnswer(NoAnswer::TimedOut | NoAnswer::Lost) => true,
            Outcome::Refused { status } => status >= 500,
            Outcome::NoAnswer(NoAnswer::NotConnected) => false,
        }
    }
}

/// Posts messages one after the other.
async fn post_each(client: &Client, url: &Url, messages: &[Outgoing]) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for message in messages {
        attempts.push(post(client, url, message.body.clone()).await);
    }
    attempts
}

/// Posts messages in one request. Each has an outcome of its own, and all have the request's latency.
async fn post_batch(client: &Client, url: &Url, messages: &[Outgoing]) -> Vec<Attempt> {
    let bodies: Vec<_> = messages.iter().map(|message| &*message.body).collect();
    let body = [b"[", bodies.join(&b","[..]).as_slice(), b"]"].concat();
    let start = Instant::now();
    let outcomes = match exchange(client, url, body.into()).await {
        Ok((status, text)) => outcomes(status, &text, messages.len()),
        Err(error) => vec![Outcome::NoAnswer((&error).into()); messages.len()],
    };
    let latency = start.elapsed();
    outcomes.into_iter().map(|outcome| Attempt { outcome, latency }).collect()
}

/// Posts one body.
pub(super) async fn post(client: &Client, url: &Url, body: Bytes) -> Attempt {
    let start = Instant::now();
    let outcome = match exchange(client, url, body).await {
        Ok((status, text)) => outcome(status, &text),
        Err(error) => Outcome::NoAnswer((&error).into()),
    };
    Attempt { outcome, latency: start.elapsed() }
}

async fn exchange(client: &Client, url: &Url, body: Bytes) -> reqwest::Result<(StatusCode, Vec<u8>)> {
    let content_type = HeaderValue::from_static("application/json");
    let request = client.post(url.clone()).header(CONTENT_TYPE, content_type).body(body);
    let answer = request.send().await?;
    Ok((answer.status(), read(answer, ANSWER_BYTES_MAX).await?))
}

fn outcome(status: StatusCode, text: &[u8]) -> Outcome {
    if !status.is_success() {
        return Outcome::Refused { status: status.as_u16() };
    }
    let said = serde_json::from_slice::<Value>(text).unwrap_or_default();
    Outcome::Through { status: status.as_u16(), duplicate: said["data"]["status"] == "duplicate" }
}

/// What became of each of so many messages of a batch; without a word on each, that of all of them.
fn outcomes(status: StatusCode, text: &[u8], messages: usize) -> Vec<Outcome> {
    let said = serde_json::from_slice::<Value>(text).unwrap_or_default();
    let of_message = |result: &Value| match result["status"].as_str() {
        Some("ingested") => Some(Outcome::Through { status: 200, duplicate: false }),
        Some("duplicate") => Some(Outcome::Through { status: 200, duplicate: true }),
        Some("rejected") => Some(Outcome::Refused { status: 400 }),
        Some("unavailable") => Some(Outcome::Refused { status: 503 }),
        _ => None,
    };
    let results = said["data"]["results"].as_array().filter(|results| results.len() == messages);
    let outcomes = results.and_then(|results| results.iter().map(of_message).collect());
    outcomes.unwrap_or_else(|| vec![outcome(status, text); messages])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const RETRY_AFTER: Duration = Duration::from_millis(500);

    fn message(name: &str) -> Outgoing {
        Outgoing { body: Bytes::copy_from_slice(name.as_bytes()), is_copy: false, is_retry: false }
    }

    fn retry(name: &str) -> Outgoing {
        Outgoing { is_retry: true, ..message(name) }
    }

    fn queue(names: &'static [&'static str]) -> Queue {
        Queue::new(names.iter().map(|name| message(name)), RETRY_AFTER)
    }

    #[test]
    fn a_message_waits_aside_and_holds_up_no_other() {
        let (queue, now) = (queue(&["a", "b"]), Instant::now());
        assert_eq!(queue.next(now), Next::Send(message("a")));
        queue.send_again(message("a"), now);
        assert_eq!(queue.next(now), Next::Send(message("b")));
        assert_eq!(queue.next(now), Next::WaitUntil(now + RETRY_AFTER));
        assert_eq!(queue.next(now + RETRY_AFTER), Next::Send(retry("a")));
        assert_eq!(queue.next(now + RETRY_AFTER), Next::Finished);
    }

    #[test]
    fn what_is_due_goes_before_what_is_new() {
        let (queue, now) = (queue(&["new"]), Instant::now());
        queue.send_again(message("old"), now);
        assert_eq!(queue.next(now + RETRY_AFTER), Next::Send(retry("old")));
    }

    #[test]
    fn at_the_bound_nothing_new_is_taken() {
        let now = Instant::now();
        let queue = Queue::new(std::iter::repeat_with(|| message("new")), RETRY_AFTER);
        (0..WAITING_MESSAGES_MAX).for_each(|_| queue.send_again(message("old"), now));
        assert_eq!(queue.next(now), Next::WaitUntil(now + RETRY_AFTER));
        assert_eq!(queue.next(now + RETRY_AFTER), Next::Send(retry("old")));
        assert_eq!(queue.next(now), Next::Send(message("new")));
    }

    #[test]
    fn turns_are_spread_evenly() {
        let (pacer, now) = (Pacer::new(10), Instant::now());
        let turns: Vec<Duration> = (0..4).map(|_| pacer.turn(now) - now).collect();
        assert_eq!(turns, [0, 100, 200, 300].map(Duration::from_millis));
    }

    #[test]
    fn turns_which_nobody_took_are_not_saved_up() {
        let (pacer, start) = (Pacer::new(10), Instant::now());
        pacer.turn(start);
        let later = start + Duration::from_secs(60);
        let burst = (0..1_000).take_while(|_| pacer.turn(later) <= later).count();
        assert_eq!(burst, 1);
    }

    #[test]
    fn only_a_clear_no_means_that_nothing_was_done() {
        let rows = [
            (Outcome::Through { status: 200, duplicate: true }, true),
            (Outcome::Refused { status: 503 }, true),
            (Outcome::Refused { status: 409 }, false),
            (Outcome::Refused { status: 302 }, false),
            (Outcome::NoAnswer(NoAnswer::TimedOut), true),
            (Outcome::NoAnswer(NoAnswer::Lost), true),
            (Outcome::NoAnswer(NoAnswer::NotConnected), false),
        ];
        for (outcome, expected) in rows {
            assert_eq!(outcome.may_be_through(), expected, "{outcome}");
        }
    }

    #[test]
    fn each_message_of_a_batch_has_an_outcome() {
        let text = r#"{"data":{"results":[{"status":"ingested"},{"status":"duplicate"},{"status":"rejected"},{"status":"unavailable"}]}}"#;
        let expected = [
            Outcome::Through { status: 200, duplicate: false },
            Outcome::Through { status: 200, duplicate: true },
            Outcome::Refused { status: 400 },
            Outcome::Refused { status: 503 },
        ];
        assert_eq!(outcomes(StatusCode::MULTI_STATUS, text.as_bytes(), 4), expected);
        let all = outcomes(StatusCode::SERVICE_UNAVAILABLE, text.as_bytes(), 3);
        assert_eq!(all, [Outcome::Refused { status: 503 }; 3]);
    }

    #[test]
    fn only_a_2xx_is_through_and_a_duplicate_is_recognised() {
        let rows: [(u16, &str, Outcome); 5] = [
            (200, r#"{"data":{"status":"ingested"}}"#, Outcome::Through { status: 200, duplicate: false }),
            (200, r#"{"data":{"status":"duplicate"}}"#, Outcome::Through { status: 200, duplicate: true }),
            (204, "", Outcome::Through { status: 204, duplicate: false }),
            (302, "", Outcome::Refused { status: 302 }),
            (400, r#"{"data":{"status":"duplicate"}}"#, Outcome::Refused { status: 400 }),
        ];
        for (status, text, expected) in rows {
            assert_eq!(outcome(StatusCode::from_u16(status).unwrap(), text.as_bytes()), expected);
        }
    }
}
