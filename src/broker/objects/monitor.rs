//! Inspects the broker's objects all the time, so that a process knows what is wrong before anybody asks.
//!
//! One task a process, on a connection of its own. Its findings are read by the roles' checks, and by `rockets up`,
//! which makes what is missing. It changes nothing itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::broker::lost_end::EndWatch;
use crate::broker::objects::{Findings, Object, Problem, Wrong, inspect};
use crate::broker::partition::TrackStores;
use crate::broker::publisher::Publisher;
use crate::broker::storing::{Proof, Room, Storing};
use crate::broker::topology::Topology;

/// Time between two inspections while something is wrong: nothing is sent to a process that is not ready, so that it
/// has to find out itself when that is over.
const TICK: Duration = Duration::from_secs(1);
/// While all is well there is one in so many. It takes 2 s at most, and what was deleted must be known within 5 s.
const TICKS_AN_INSPECTION: u32 = 2;

/// What is wrong with the broker's objects, as it was seen last. Clones see the same.
#[derive(Clone, Debug)]
pub struct Objects {
    problems: watch::Receiver<Arc<[Problem]>>,
}

/// Inspects the objects, and tells those who have [`Objects`].
pub struct Monitor {
    topology: Topology,
    problems: watch::Sender<Arc<[Problem]>>,
    stores: Vec<(Object, Storing)>,
    publisher: Option<Publisher>,
    found: BTreeMap<Object, Vec<Problem>>,
    end: EndWatch,
}

impl Objects {
    /// What is wrong.
    pub fn problems(&self) -> Arc<[Problem]> {
        self.problems.borrow().clone()
    }

    /// Waits until something else is wrong than before. Nothing changes any more where nobody inspects any more.
    pub async fn changed(&mut self) {
        if self.problems.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Monitor {
    /// A monitor that has inspected nothing yet; nothing is wrong, for all it knows.
    pub fn new(topology: Topology) -> (Self, Objects) {
        let (sender, problems) = watch::channel(Arc::from([]));
        let (stores, found, end) = (Vec::new(), BTreeMap::new(), EndWatch::default());
        let monitor = Self { topology, problems: sender, stores, publisher: None, found, end };
        (monitor, Objects { problems })
    }

    fn watch(&mut self, object: Object, storing: Storing) {
        self.stores.push((object, storing));
    }

    /// Finds out when a failure of this publisher is over, too; whether it can reach the stream, the publisher tells.
    pub fn watch_publisher(&mut self, publisher: &Publisher) {
        self.watch(Object::Log, publisher.storing().clone());
        self.publisher = Some(publisher.clone());
    }

    /// The same of what trackers store.
    pub fn watch_track_stores(&mut self, stores: &TrackStores) {
        self.watch(Object::Bucket, stores.records.clone());
        self.watch(Object::Outcomes, stores.outcomes.clone());
        self.watch(Object::DeadLetters, stores.dead_letters.clone());
    }

    /// Inspects until the shutdown.
    pub async fn run(mut self, broker: Broker, shutdown: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waited = TICKS_AN_INSPECTION;
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            waited += 1;
            if waited < TICKS_AN_INSPECTION && self.is_well() {
                continue;
            }
            waited = 0;
            let _ = shutdown.run_until_cancelled(self.inspect(&broker)).await;
        }
    }

    fn is_well(&self) -> bool {
        self.problems.borrow().is_empty() && self.stores.iter().all(|(_, storing)| storing.fails().is_none())
    }

    async fn inspect(&mut self, broker: &Broker) {
        if !broker.is_connected() {
            return;
        }
        self.end.before(broker).await;
        let Findings { mut streams, durables } = inspect(broker, &self.topology).await;
        let lost = self.end.after(broker, &streams).await;
        let lost = lost.map(|lost| Problem::new(Object::Log, Wrong::LostEnd(lost)));
        { streams.iter_mut() }
            .filter(|finding| finding.object == Object::Log)
            .for_each(|finding| finding.problems.extend(lost.clone()));
        let rooms: Vec<_> = streams.iter().map(|finding| (finding.object, finding.room)).collect();
        self.found.extend(streams.into_iter().map(|finding| (finding.object, finding.problems)));
        if let Some(durables) = durables {
            self.found.retain(|object, _| !matches!(object, Object::Durable(_)));
            self.found.extend(durables.into_iter().map(|problem| (problem.object, vec![problem])));
        }
        self.tell();
        for (object, room) in rooms {
            self.tell_stores(object, room).await;
        }
    }

    /// Tells those whose last attempt has failed what was found, so that they need not wait for another one.
    async fn tell_stores(&self, object: Object, room: Option<Room>) {
        let failing = self.stores.iter().filter(|(of, storing)| *of == object && storing.fails().is_some());
        for (_, storing) in failing {
            match (room, &self.publisher) {
                (None, _) => storing.found_missing(),
                (Some(room), Some(publisher)) if object == Object::Log => {
                    storing.found(room, publisher.probe().await);
                }
                (Some(room), _) => storing.found(room, Proof::None),
            }
        }
    }

    /// Publishes what was found, and logs what of it is new.
    fn tell(&self) {
        let problems: Arc<[Problem]> = self.found.values().flatten().cloned().collect();
        let before = self.problems.send_replace(problems.clone());
        let is_known = |new: &Problem| before.iter().any(|old| old.is_like(new));
        let new: Vec<_> = problems.iter().filter(|problem| !is_known(problem)).map(Problem::to_string).collect();
        if !new.is_empty() {
            tracing::warn!(problems = new.join("; "), "the broker's objects are not as they should be");
        } else if problems.is_empty() && !before.is_empty() {
            tracing::info!("the broker's objects are as they should be again");
        }
    }
}
