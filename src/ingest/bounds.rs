//! What senders could otherwise make grow without end: how many channels there are, and how many messages of one wait.
//!
//! Far from a bound no message waits for a question to the broker: how many channels there are is asked beside them, at most once
//! a second while messages come. Near one a channel's record is looked at, at most once a second. So a bound may be passed
//! for a moment, by what comes in it; a bound that is exact would cost each message a question. Where the broker does not say, a
//! message is let in.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::auth::Caller;
use crate::auth::turns::Quota;
use crate::broker::Broker;
use crate::broker::store::Store;
use crate::broker::watch::bucket_state;
use crate::domain::{Channel, Message, MessageNumber, Record};
use crate::http::Answer;

/// Channels of which something is known here.
const SEEN_MAX: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();
/// How long what was looked at is believed.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long a message waits for a look.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// The bounds; none is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundsSettings {
    /// Channels in all.
    pub channels_max: Option<u64>,
    /// Messages of one channel that wait behind a gap.
    pub pending_max: Option<u64>,
}

/// What has come of the bounds so far. Clones share it.
#[derive(Clone)]
pub struct Bounds(Arc<Inner>);

struct Inner {
    broker: Broker,
    settings: BoundsSettings,
    seen: Mutex<LruCache<Channel, Seen>>,
    /// How many channels there were when they were counted last.
    channels: AtomicU64,
    /// Somebody wants to know how many there are by now.
    wanted: Notify,
}

/// What is known of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Whether it is no new one.
    is_known: bool,
    /// Messages that waited at the last look.
    pending: u64,
    /// The first of their numbers.
    lowest: Option<MessageNumber>,
    /// When that was.
    looked_at: Option<Instant>,
    /// Messages that were let in since.
    admitted: u64,
}

impl Bounds {
    /// These bounds, for an ingress on this connection.
    pub fn new(broker: Broker, settings: BoundsSettings) -> Self {
        let seen = Mutex::new(LruCache::new(SEEN_MAX));
        Self(Arc::new(Inner { broker, settings, seen, channels: AtomicU64::new(0), wanted: Notify::new() }))
    }

    /// Counts the channels for those who want to know, at most once a second, until the shutdown.
    pub async fn count(self, shutdown: CancellationToken) {
        let counting = async {
            loop {
                self.0.wanted.notified().await;
                if let Ok(Ok(state)) = timeout(LOOK_MAX, bucket_state(&self.0.broker)).await {
                    self.0.channels.store(state.keys, Ordering::Relaxed);
                }
                sleep(BELIEVED).await;
            }
        };
        shutdown.run_until_cancelled(counting).await;
    }

    /// Lets a message in, or answers which bound it would pass.
    pub async fn admit(&self, message: &Message, caller: &Caller) -> Result<(), Answer> {
        let channel = &message.channel;
        let is_to_be_known = caller.has_rate_of_channels() || self.is_full();
        if is_to_be_known && !self.is_known(channel).await {
            self.admit_channel(caller).await?;
            self.change(channel, |seen| seen.is_known = true);
        }
        match self.0.settings.pending_max {
            Some(max) => self.admit_pending(message, max).await,
            None => Ok(()),
        }
    }

    async fn admit_channel(&self, caller: &Caller) -> Result<(), Answer> {
        if self.is_full() {
            return Err(Answer::too_many("metadata.channel: there are as many channels as there may be", BELIEVED));
        }
        match caller.take_channel(Instant::now()) {
            Quota::Unlimited | Quota::Taken { .. } => Ok(()),
            Quota::Wait { rate, wait } => {
                let problem = "metadata.channel: this key is over its rate of new channels";
                Err(Answer::too_many(problem, wait).by_rate("new-channels", rate, wait))
            }
        }
    }

    /// What closes the gap is always let in, or nothing would ever be less.
    async fn admit_pending(&self, message: &Message, max: u64) -> Result<(), Answer> {
        let mut seen = self.change(&message.channel, |seen| seen.admitted += 1);
        if seen.is_near(max) && seen.is_old(Instant::now()) {
            // On the heap: it is rare, and large.
            seen = Box::pin(self.look(&message.channel)).await;
        }
        match seen.is_over(max, message.number) {
            false => Ok(()),
            true => {
                let problem =
                    format!("metadata.channel: {max} messages of it wait for an earlier one, and no more may");
                Err(Answer::too_many(problem, BELIEVED))
            }
        }
    }

    /// Whether there are as many channels as there may be, as far as is known; asking has them counted again.
    fn is_full(&self) -> bool {
        let Some(max) = self.0.settings.channels_max else { return false };
        self.0.wanted.notify_one();
        self.0.channels.load(Ordering::Relaxed) >= max
    }

    async fn is_known(&self, channel: &Channel) -> bool {
        let seen = self.seen(channel);
        match seen.is_known || !seen.is_old(Instant::now()) {
            true => seen.is_known,
            false => Box::pin(self.look(channel)).await.is_known,
        }
    }

    /// Looks at the channel's record.
    async fn look(&self, channel: &Channel) -> Seen {
        let looked = timeout(LOOK_MAX, record(&self.0.broker, channel)).await;
        // Nobody is refused for what is not known.
        let seen = looked
            .ok()
            .flatten()
            .map_or(Seen { is_known: true, ..Seen::default() }, |record| Seen::of(record.as_ref()));
        self.change(channel, |known| *known = Seen { looked_at: Some(Instant::now()), ..seen })
    }

    fn seen(&self, channel: &Channel) -> Seen {
        self.all_seen().get(channel).copied().unwrap_or_default()
    }

    fn change(&self, channel: &Channel, change: impl FnOnce(&mut Seen)) -> Seen {
        let mut all = self.all_seen();
        let seen = all.get_or_insert_mut(*channel, Seen::default);
        change(seen);
        *seen
    }

    fn all_seen(&self) -> MutexGuard<'_, LruCache<Channel, Seen>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn of(record: Option<&Record>) -> Self {
        let Some(Record { pending, .. }) = record else { return Self::default() };
        let lowest = pending.ranges().first().map(|range| range.first);
        Self { is_known: true, pending: pending.count(), lowest, ..Self::default() }
    }

    /// Whether so many may wait by now.
    fn is_near(&self, max: u64) -> bool {
        self.pending.saturating_add(self.admitted) > max
    }

    fn is_old(&self, now: Instant) -> bool {
        self.looked_at.is_none_or(|at| now.saturating_duration_since(at) >= BELIEVED)
    }

    /// Whether a message of this number would be one too many that waits.
    fn is_over(&self, max: u64, number: MessageNumber) -> bool {
        self.pending >= max && self.lowest.is_some_and(|lowest| number >= lowest)
    }
}

/// The channel's record, if it has one; nothing where that cannot be told.
async fn record(broker: &Broker, channel: &Channel) -> Option<Option<Record>> {
    let stored = Store::new(broker).await.ok()?.load(channel).await.ok()?;
    stored.record.map(|bytes| Record::from_bytes(&bytes)).transpose().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Sequence;

    fn number(number: u64) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    #[test]
    fn what_waits_is_bounded_and_what_closes_the_gap_comes_in() {
        let mut record = Record::default();
        (5..=7).for_each(|at| record.pending.insert(number(at), Sequence(at)));
        let seen = Seen::of(Some(&record));
        assert_eq!((seen.is_known, seen.pending, seen.lowest), (true, 3, Some(number(5))));
        assert!(!Seen::of(None).is_known);
        for (max, at, expected) in
            [(3, 8, true), (3, 5, true), (3, 4, false), (3, 1, false), (4, 8, false), (2, 8, true)]
        {
            assert_eq!(seen.is_over(max, number(at)), expected, "{max} {at}");
        }
        assert!(!Seen::of(Some(&Record::default())).is_over(1, number(9)), "nothing waits");
    }

    #[test]
    fn a_look_is_taken_near_the_bound_and_once_a_second() {
        let (seen, now) = (Seen { pending: 7, admitted: 3, ..Seen::default() }, Instant::now());
        assert!(seen.is_near(9) && !seen.is_near(10));
        assert!(seen.is_old(now));
        let looked = Seen { looked_at: Some(now), ..seen };
        assert!(!looked.is_old(now + BELIEVED / 2) && looked.is_old(now + BELIEVED));
    }
}
