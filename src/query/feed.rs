//! Keeps the view what the bucket is: loads it, applies every change, and notices when it is not fresh any more.
//!
//! The view is ready once its first load is through, and is read from then on, whatever becomes of the broker. It is
//! stale from a break of the feed until it is known to have everything again. A bucket that was made again, or emptied
//! behind our back, is noticed by comparing what the broker has with what the view has, and loaded as a whole.
//!
//! A rocket never goes back because of whom the broker has answer: a node that was cut off from the others takes itself for
//! the leader for some time, and shows the bucket as it was. An older state of the same bucket is taken for what it is only
//! when it has been shown for long ([`OLDER_MAX`]): then the bucket has lost its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::View;
use crate::broker::watch::{BucketState, Change, Feed, bucket_state};
use crate::broker::{Broker, BrokerError};
use crate::domain::Record;
use crate::logging::limited;

/// How often the view is compared with the bucket. In a cluster the node that feeds it may die while the connection, to
/// another node, stands: that is noticed only here.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// Comparisons in a row in which the view has not moved and is not what the bucket is, before it is loaded as a whole.
const DIFFERENCES_MAX: u32 = 3;
/// How long the view may take to have what the bucket has, before it is behind.
const BEHIND_MAX: Duration = Duration::from_secs(5);
/// Pause before a feed that broke is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// How long a state of the bucket is shown that is older than the view, before it is believed. A leader that has lost the
/// others steps down after some 10 s.
const OLDER_MAX: Duration = Duration::from_secs(30);

/// How long a load waits for its next change before it is begun again.
const LOAD_STALL_MAX: Duration = Duration::from_secs(10);

/// How much the view is worth at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Freshness {
    /// Nothing has been loaded yet.
    Loading,
    /// Has everything that was known to be in the bucket.
    Fresh,
    /// Was fresh once.
    Stale,
    /// Takes changes in, and those that the bucket had long ago are not among them.
    Behind,
}

/// A view and how fresh it is.
#[derive(Debug, Default)]
pub struct LiveView {
    /// The rockets.
    pub view: View,
    freshness: AtomicU8,
    /// The view's last revision, for those who wait for one.
    revision: watch::Sender<u64>,
}

impl LiveView {
    /// Tells of changes: of each, of several at once, and of a view that took the place of another.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Waits until the view has what the bucket had at this revision.
    pub async fn reached(&self, revision: u64) {
        // Its sender is ours: it does not end.
        let _ = self.revision.subscribe().wait_for(|reached| *reached >= revision).await;
    }

    /// Tells those who wait or follow that the view has changed.
    pub(super) fn tell(&self) {
        self.revision.send_replace(self.view.last_revision());
    }

    /// How much the view is worth at this moment.
    pub fn freshness(&self) -> Freshness {
        match self.freshness.load(Ordering::Acquire) {
            0 => Freshness::Loading,
            1 => Freshness::Fresh,
            2 => Freshness::Stale,
            _ => Freshness::Behind,
        }
    }

    fn turned_fresh(&self) {
        if self.freshness.swap(1, Ordering::AcqRel) != 1 {
            tracing::info!(revision = self.view.last_revision(), "the view is fresh");
        }
    }

    fn turned_stale(&self, why: &BrokerError) {
        if self.leaves(1, 2) || self.leaves(3, 2) {
            tracing::warn!(%why, "the view is stale until the broker is back");
        }
    }

    fn fell_behind(&self) {
        if self.leaves(1, 3) {
            tracing::warn!(revision = self.view.last_revision(), "the view is behind the bucket");
        }
    }

    fn leaves(&self, from: u8, to: u8) -> bool {
        self.freshness.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Feeds the view until the shutdown.
pub async fn run(broker: Broker, live: Arc<LiveView>, shutdown: CancellationToken) {
    let mut bucket = Bucket::default();
    let feed_for_ever = async {
        loop {
            let Err(why) = feed(&broker, &live, &mut bucket).await;
            live.turned_stale(&why);
            tracing::debug!(%why, "the feed broke, opening another");
            sleep(REOPEN_PAUSE).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = feed_for_ever => {}
    }
}

/// The bucket from which the view was loaded.
#[derive(Default)]
struct Bucket {
    /// When it was made.
    created: Option<OffsetDateTime>,
    /// Whether the view is known to lack something of it.
    lacks_something: bool,
    /// Since when a state is shown that is older than the view.
    older_since: Option<Instant>,
}

impl Bucket {
    /// Refuses a state of the same bucket that is older than the view, as long as it may be that of a node that was cut off.
    fn refuse_older(
        &mut self,
        created: OffsetDateTime,
        shown: u64,
        view: u64,
        now: Instant,
    ) -> Result<(), BrokerError> {
        if self.created != Some(created) || shown >= view {
            self.older_since = None;
            return Ok(());
        }
        match now - *self.older_since.get_or_insert(now) {
            since if since < OLDER_MAX => {
                Err(BrokerError::Unavailable("the broker shows an older state than it has shown before".into()))
            }
            _ => Ok(()),
        }
    }
}

/// Loads what is missing and applies what comes, until something breaks.
async fn feed(broker: &Broker, live: &LiveView, bucket: &mut Bucket) -> Result<std::convert::Infallible, BrokerError> {
    let (state, revision) = (bucket_state(broker).await?, live.view.last_revision());
    bucket.refuse_older(state.created, state.last_revision, revision, Instant::now())?;
    let goes_on = bucket.created == Some(state.created) && !bucket.lacks_something && revision <= state.last_revision;
    let mut feed = match goes_on {
        true => Feed::open(broker, Some(revision)).await?,
        false => load(broker, live, bucket, state.created).await?,
    };
    (bucket.created, bucket.lacks_something) = (Some(state.created), false);
    if live.view.last_revision() >= state.last_revision {
        live.turned_fresh();
    }
    let mut ticks = interval(COMPARE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut comparison = Comparison::default();
    loop {
        tokio::select! {
            change = feed.next() => apply(live, change?),
            _ = ticks.tick() => {
                let difference = comparison.with(&bucket_state(broker).await?, live, state.created);
                difference.inspect_err(|_| bucket.lacks_something = true)?;
            }
        }
    }
}

/// Loads the whole bucket into a new view, which then takes the place of the old one.
async fn load(
    broker: &Broker,
    live: &LiveView,
    bucket: &mut Bucket,
    created: OffsetDateTime,
) -> Result<Feed, BrokerError> {
    let (view, feed) = load_new(broker).await?;
    bucket.refuse_older(created, view.last_revision(), live.view.last_revision(), Instant::now())?;
    // What was loaded is all of this one bucket: its revisions are told together with when it was made.
    if bucket_state(broker).await?.created != created {
        return Err(BrokerError::Unavailable("the bucket was made again while it was loaded".into()));
    }
    live.view.replace_with(view, created);
    live.tell();
    live.turned_fresh();
    Ok(feed)
}

/// Loads the whole bucket once; the feed goes on from there.
pub async fn load_new(broker: &Broker) -> Result<(View, Feed), BrokerError> {
    let mut feed = Feed::open(broker, None).await?;
    let view = View::default();
    let mut pending = feed.pending;
    while pending > 0 {
        let change = timeout(LOAD_STALL_MAX, feed.next()).await;
        let change = change.unwrap_or_else(|_| Err(BrokerError::timed_out("loading the rockets")))?;
        pending = change.pending;
        apply_to(&view, change);
    }
    Ok((view, feed))
}

fn apply(live: &LiveView, change: Change) {
    let pending = change.pending;
    apply_to(&live.view, change);
    live.tell();
    if pending == 0 && matches!(live.freshness(), Freshness::Stale | Freshness::Behind) {
        live.turned_fresh();
    }
}

fn apply_to(view: &View, change: Change) {
    let record = match change.record.as_deref().map(Record::from_bytes) {
        None => None,
        Some(Ok(record)) => Some(record),
        Some(Err(error)) => {
            let key = change.channel.map(|channel| channel.to_string());
            limited!(error, key, %error, "a record in the bucket cannot be read, its rocket is hidden");
            None
        }
    };
    view.apply(change.channel, record, change.revision);
}

/// Compares the bucket with the view, again and again.
#[derive(Default)]
struct Comparison {
    last: Option<(u64, u32)>,
    /// A revision that the bucket had and the view had not, and since when that is known.
    awaited: Option<(u64, Instant)>,
}

impl Comparison {
    fn with(&mut self, bucket: &BucketState, live: &LiveView, created: OffsetDateTime) -> Result<(), BrokerError> {
        let revision = live.view.last_revision();
        if bucket.created != created || bucket.last_revision < revision {
            return Err(BrokerError::Unavailable("the bucket was made again".into()));
        }
        if bucket.last_revision == revision && live.view.keys().contains(&bucket.keys) {
            (self.last, self.awaited) = (None, None);
            live.turned_fresh();
            return Ok(());
        }
        if self.is_behind(bucket.last_revision, revision, Instant::now()) {
            live.fell_behind();
        } else if live.leaves(3, 1) {
            tracing::info!(revision, "the view has caught up");
        }
        // Changes may be on their way; only a view that does not move has missed something.
        let before = self.last.filter(|(at, _)| *at == revision).map_or(0, |(_, times)| times);
        self.last = Some((revision, before + 1));
        if before + 1 < DIFFERENCES_MAX {
            return Ok(());
        }
        Err(BrokerError::Unavailable("the view has missed changes".into()))
    }

    /// Whether what the bucket had [`BEHIND_MAX`] ago is still not in the view.
    fn is_behind(&mut self, bucket: u64, view: u64, now: Instant) -> bool {
        if self.awaited.is_none_or(|(awaited, _)| awaited <= view) {
            self.awaited = Some((bucket, now));
        }
        self.awaited.is_some_and(|(_, since)| now - since >= BEHIND_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_state_of_the_same_bucket_is_not_believed_before_it_has_lasted() {
        let (made, other) = (OffsetDateTime::UNIX_EPOCH, OffsetDateTime::now_utc());
        let mut bucket = Bucket { created: Some(made), ..Bucket::default() };
        let start = Instant::now();
        let mut is_refused = |created, shown, seconds| {
            bucket.refuse_older(created, shown, 100, start + Duration::from_secs(seconds)).is_err()
        };
        assert_eq!([100, 101].map(|shown| is_refused(made, shown, 0)), [false, false]);
        assert_eq!([0, 10, 29].map(|second| is_refused(made, 99, second)), [true, true, true]);
        assert!(!is_refused(made, 99, 30), "the bucket has lost its end");
        assert!(!is_refused(made, 100, 31) && is_refused(made, 99, 40), "it is a new one that has to last");
        assert!(!is_refused(other, 1, 41), "another bucket");
    }

    #[test]
    fn a_view_that_follows_is_not_behind_however_far_the_bucket_is_ahead() {
        let (mut comparison, start) = (Comparison::default(), Instant::now());
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            assert!(!comparison.is_behind(1_000 + 100 * second, 700 + 100 * second, now), "{second}");
        }
    }

    #[test]
    fn a_view_that_has_not_what_was_there_long_ago_is_behind() {
        let (mut comparison, start) = (Comparison::default(), Instant::now());
        let behind: Vec<_> = (0..20)
            .filter(|second| {
                comparison.is_behind(1_000 + second, 700 + 20 * second, start + Duration::from_secs(*second))
            })
            .collect();
        assert_eq!(behind, Vec::from_iter(5..15));
    }
}
