//! `--verify`: waits until the service has caught up, and compares each rocket with what it must be.
//!
//! Rockets are read one by one over HTTP, as anyone could read them. Those which are final are compared and forgotten;
//! the others are read again until the deadline, and then compared as they are. What cannot be read counts as not there
//! yet: the service may just be restarting.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use reqwest::{Client, StatusCode, Url};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

use super::differences::{Difference, Seen};
use super::expected::Expected;
use super::oracle::Oracle;
use super::progress::Progress;

/// The pause between two looks at the rockets that are not final.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How many rockets are read at the same time.
const READS_MAX: usize = 8;

/// What became of a verification.
#[derive(Debug)]
pub(super) struct Verdict {
    /// How many rockets were expected.
    pub(super) rockets: usize,
    /// How many channels were expected to be unknown, because no launch was sent on them.
    pub(super) unknown: usize,
    /// Everything that is not as it must be.
    pub(super) differences: Vec<Difference>,
}

/// A service, to be compared with what it must say.
pub(super) struct Verification {
    client: Client,
    rockets: String,
    deadline: Instant,
    progress: Progress,
}

/// One channel that is not known to be final.
struct Watched {
    channel: Uuid,
    expected: Expected,
    seen: Seen,
}

/// Compares the service at this URL with the oracle, and gives it until the deadline to catch up.
pub(super) async fn verify(client: Client, base: &Url, deadline: Instant, oracle: Oracle) -> Verdict {
    let (launched, unknown): (Vec<Watched>, Vec<Watched>) =
        oracle.into_channels().map(Watched::new).partition(|watched| watched.expected.is_launched());
    let messages = launched.iter().map(|watched| watched.expected.last_number).sum();
    let rockets = format!("{}/rockets", base.as_str().trim_end_matches('/'));
    let verification = Verification { client, rockets, deadline, progress: Progress::of_verifying(messages) };
    let (rocket_count, unknown_count) = (launched.len(), unknown.len());
    let mut differences = verification.watch(launched).await;
    // Only now: while the service was still behind, an unknown channel said nothing.
    differences.extend(verification.watch(unknown).await);
    verification.progress.finish();
    Verdict { rockets: rocket_count, unknown: unknown_count, differences }
}

impl Watched {
    fn new((channel, expected): (Uuid, Expected)) -> Watched {
        Watched { channel, expected, seen: Seen::Unreadable("not read before the deadline".to_owned()) }
    }

    /// Whether waiting cannot change anything: it is final, or it is a rocket which must not be there.
    fn is_settled(&self) -> bool {
        let is_excess = matches!(self.seen, Seen::Rocket(_)) && !self.expected.is_launched();
        is_excess || self.seen.is_final(&self.expected)
    }

    fn differences(&self) -> Vec<Difference> {
        self.seen.differences(self.channel, &self.expected)
    }
}

impl Verification {
    /// Looks at the channels until all are settled or the deadline has come, and gives what differs.
    async fn watch(&self, mut watched: Vec<Watched>) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut settled_messages = 0;
        loop {
            self.look(&mut watched).await;
            let settled = watched.extract_if(.., |watched| watched.is_settled());
            for watched in settled {
                settled_messages += watched.expected.last_number;
                differences.extend(watched.differences());
            }
            let messages: u64 = watched.iter().map(|watched| watched.seen.last_number()).sum();
            self.progress.set_applied(settled_messages + messages);
            if watched.is_empty() || Instant::now() >= self.deadline {
                break;
            }
            self.say_trouble(&watched);
            sleep_until(self.deadline.min(Instant::now() + POLL_INTERVAL)).await;
        }
        differences.extend(watched.iter().flat_map(Watched::differences));
        differences
    }

    /// Reads every channel once, or as many as the deadline allows.
    async fn look(&self, watched: &mut [Watched]) {
        let channels: Vec<Uuid> = watched.iter().map(|watched| watched.channel).collect();
        let read = |(index, channel)| async move { (index, self.read(channel).await) };
        let mut reads = stream::iter(channels.into_iter().enumerate()).map(read).buffer_unordered(READS_MAX);
        while let Ok(Some((index, seen))) = timeout_at(self.deadline, reads.next()).await {
            watched[index].seen = seen;
        }
    }

    async fn read(&self, channel: Uuid) -> Seen {
        self.try_read(channel).await.unwrap_or_else(|error| Seen::Unreadable(error.to_string()))
    }

    async fn try_read(&self, channel: Uuid) -> reqwest::Result<Seen> {
        let answer = self.client.get(format!("{}/{channel}", self.rockets)).send().await?;
        match answer.status() {
            StatusCode::OK => Ok(rocket(answer.json().await?)),
            StatusCode::NOT_FOUND => Ok(Seen::Unknown),
            status => Ok(Seen::Unreadable(format!("answer {}", status.as_u16()))),
        }
    }

    fn say_trouble(&self, watched: &[Watched]) {
        let reason = watched.iter().find_map(|watched| match &watched.seen {
            Seen::Unreadable(reason) => Some(reason),
            _ => None,
        });
        if let Some(reason) = reason {
            self.progress.say(reason);
        }
    }
}

/// The rocket in an envelope.
fn rocket(mut envelope: Map<String, Value>) -> Seen {
    match envelope.remove("data") {
        Some(Value::Object(fields)) => Seen::Rocket(fields),
        _ => Seen::Unreadable("an answer without a rocket in its data".to_owned()),
    }
}
