//! `GET /stats`: how many rockets there are of each kind, and how far the whole has come.
//!
//! The sums are kept with the view. The names of types and missions are counted in a walk over all rockets, at most once a
//! second however many ask, away from the connections' threads. What only the broker knows is asked with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use super::feed::{Freshness, LiveView};
use super::params::Params;
use super::routes::loading;
use super::view::totals::Totals;
use super::view::{Order, View};
use crate::broker::dead_letters::list::count_by_reason;
use crate::broker::trim::extent;
use crate::broker::{Broker, BrokerError};
use crate::http::{Answer, Request};
use crate::logging::limited;

/// How long an answer is good.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// How long all of it may take.
const DEADLINE: Duration = Duration::from_secs(4);
/// Names of types, and of missions, that are told: the most frequent ones.
const NAMES_MAX: usize = 100;

/// Counts everything, for all who ask.
#[derive(Clone)]
pub struct Stats {
    live: Arc<LiveView>,
    broker: Broker,
    last: Arc<Mutex<Option<Counted>>>,
}

/// When something was counted, and what was.
type Counted = (Instant, Box<RawValue>);

/// How many there are of each kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stats)]
pub struct PublicStats {
    /// All rockets.
    rockets: u64,
    /// Rockets by their status.
    by_status: BTreeMap<&'static str, u64>,
    /// Rockets by their type, the 100 most frequent ones.
    by_type: BTreeMap<String, u64>,
    /// Rockets by their mission, the 100 most frequent ones.
    by_mission: BTreeMap<String, u64>,
    /// Messages that wait behind gaps.
    pending_messages: u64,
    /// Channels that wait for a number.
    gaps: u64,
    /// Dead letters by their reason.
    dead_letters: BTreeMap<&'static str, u64>,
    /// Messages that are in the log.
    messages_stored: u64,
    /// Numbers that have been applied, refused or skipped.
    messages_applied: u64,
}

impl Stats {
    /// Counts what is in this view and at this broker.
    pub fn new(live: &Arc<LiveView>, broker: &Broker) -> Self {
        Self { live: live.clone(), broker: broker.clone(), last: Arc::default() }
    }

    /// Answers `GET /stats`.
    pub(super) async fn answer(self, request: Request) -> Result<Answer, Answer> {
        Params::parse(request.query(), &[])?;
        if self.live.freshness() == Freshness::Loading {
            return Err(loading());
        }
        let counted = timeout(DEADLINE, self.counted()).await;
        let counted = counted.unwrap_or_else(|_| Err(BrokerError::timed_out("counting")));
        counted.map(|stats| Answer::ok(&stats)).map_err(|error| {
            limited!(warn, request_id = %request.head.id, %error, "messages and dead letters could not be counted");
            Answer::unavailable("messages and dead letters cannot be counted now, ask again")
        })
    }

    /// The counts of this moment, or of the one who asked just before.
    async fn counted(&self) -> Result<Box<RawValue>, BrokerError> {
        let mut last = self.last.lock().await;
        if let Some((_, stats)) = last.as_ref().filter(|(at, _)| at.elapsed() < GOOD_FOR) {
            return Ok(stats.clone());
        }
        let stats = to_raw_value(&self.count().await?).map_err(BrokerError::unavailable)?;
        *last = Some((Instant::now(), stats.clone()));
        Ok(stats)
    }

    async fn count(&self) -> Result<PublicStats, BrokerError> {
        if !self.broker.is_connected() {
            return Err(BrokerError::Unavailable("not connected".into()));
        }
        let live = self.live.clone();
        let names = tokio::task::spawn_blocking(move || Names::of(&live.view));
        let (extent, dead_letters) = tokio::try_join!(extent(&self.broker), count_by_reason(&self.broker))?;
        let Names { types, missions } = names.await.map_err(BrokerError::unavailable)?;
        let Totals { active, exploded, applied, gaps, pending } = self.live.view.totals().1;
        Ok(PublicStats {
            rockets: active + exploded,
            by_status: BTreeMap::from([("active", active), ("exploded", exploded)]),
            by_type: types,
            by_mission: missions,
            pending_messages: pending,
            gaps,
            dead_letters,
            messages_stored: extent.last.0,
            messages_applied: applied,
        })
    }
}

/// How many rockets have each name, of the most frequent names.
struct Names {
    types: BTreeMap<String, u64>,
    missions: BTreeMap<String, u64>,
}

impl Names {
    fn of(view: &View) -> Self {
        let (mut types, mut missions) = (HashMap::new(), HashMap::new());
        for entry in view.scan(Order::Asc, None) {
            count(&mut types, &entry.rocket.rocket_type);
            count(&mut missions, &entry.rocket.mission);
        }
        Self { types: most_frequent(types), missions: most_frequent(missions) }
    }
}

fn count(counts: &mut HashMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => drop(counts.insert(name.to_owned(), 1)),
    }
}

/// Equally frequent names by their order, so that the same rockets give the same names.
fn most_frequent(counts: HashMap<String, u64>) -> BTreeMap<String, u64> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by(|(a, often), (b, seldom)| seldom.cmp(often).then_with(|| a.cmp(b)));
    counts.truncate(NAMES_MAX);
    counts.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_names_are_told() {
        let counts = (0..150).map(|name| (format!("{name:03}"), if name < 60 { 1 } else { 2 })).collect();
        let told = most_frequent(counts);
        assert_eq!((told.len(), told.values().sum::<u64>()), (100, 2 * 90 + 10));
        assert!(told.contains_key("009") && !told.contains_key("010") && told.contains_key("149"));
    }
}
