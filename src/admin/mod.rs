//! What an operator does about what went wrong: looks at dead letters, replays or drops them, and skips numbers that will
//! not come.
//!
//! ```text
//! HTTP ▸ routes ─┐             ┌▸ list, dead_letter ▸ broker/dead_letters/list
//!                ├▸ Operations ┼▸ replay ▸ broker/publisher ▸ [stream], then broker/dead_letters
//! cli ───────────┘             └▸ skip ▸ broker/publisher ▸ [stream]
//! ```
//!
//! Each of these is one function of [`Operations`], which HTTP and the command line share; [`AdminError`] is why one
//! cannot be done, and [`preview`] tells what it would do. What it does not do: change any rocket. What an operator
//! says is stored like a rocket's message, and the tracker acts on it.

pub mod dead_letter;
pub mod list;
pub mod preview;
pub mod replay;
pub mod routes;
pub mod skip;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use crate::audit::{self, Deed};
use crate::broker::dead_letters::reader::{read_dead_letter, remove_dead_letter};
use crate::broker::dead_letters::replays::ReplayNotes;
use crate::broker::store::Store;
use crate::broker::{Broker, BrokerError, GroupCommit, Origin, Publisher};
use dead_letter::DeadLetterDetail;

/// How long anything here may take, in all.
const DEADLINE: Duration = Duration::from_millis(4_500);
/// Channels that are looked at at once before their numbers are skipped: of a long one that may take some seconds.
const LOOKS_AT_ONCE: usize = 4;

/// What an operator can do, on one connection to the broker.
#[derive(Clone)]
pub struct Operations {
    broker: Broker,
    partitions: u16,
    publisher: Publisher,
    store: Store,
    notes: ReplayNotes,
    tasks: TaskTracker,
    /// Turns in which a channel is looked at before its numbers are skipped.
    looks: Arc<Semaphore>,
}

/// Why something cannot be done, by what is to be done about that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// What was asked is wrong in itself; it says where.
    #[error("{0}")]
    BadRequest(String),
    /// What it is about is not there.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// Things are not as what was asked takes them to be.
    #[error("{0}")]
    Conflict(String),
    /// The broker has a problem.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// What was said has been stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Accepted {
    /// `ingested`, or `duplicate` if it had been said before.
    #[schema(pattern = "^(ingested|duplicate)$")]
    pub status: &'static str,
    /// Where it lies in the stream; of a repeat, where the first one does.
    pub event_id: u64,
    /// What else is to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub warning: Option<&'static str>,
}

impl Accepted {
    fn new(event_id: u64, duplicate: bool) -> Self {
        Self { status: if duplicate { "duplicate" } else { "ingested" }, event_id, warning: None }
    }
}

impl Operations {
    /// Operations on this connection, on a stream of so many partitions.
    pub async fn new(broker: Broker, partitions: u16) -> Result<Self, BrokerError> {
        let (publisher, store) = (Publisher::new(broker.clone(), GroupCommit::Off), Store::new(&broker).await?);
        let (notes, tasks) = (ReplayNotes::new(&broker), TaskTracker::new());
        let looks = Arc::new(Semaphore::new(LOOKS_AT_ONCE));
        Ok(Self { broker, partitions, publisher, store, notes, tasks, looks })
    }

    /// Waits for what was begun.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.publisher.drain().await;
    }

    /// One dead letter, with its bytes.
    pub async fn show(&self, id: u64) -> Result<DeadLetterDetail, AdminError> {
        let dead_letter = self.in_time(async { Ok(read_dead_letter(&self.broker, id).await?) }).await?;
        dead_letter.map(DeadLetterDetail::of).ok_or(NO_DEAD_LETTER)
    }

    /// Removes a dead letter for good. What was begun to be removed is removed and noted although nobody waits for it any more.
    pub async fn drop_dead_letter(&self, id: u64, origin: Origin) -> Result<(), AdminError> {
        let (dead_letter, broker) = (self.show(id).await?, self.broker.clone());
        let remove = async move {
            if !remove_dead_letter(&broker, id).await? {
                return Err(NO_DEAD_LETTER);
            }
            audit::note(&origin, Deed::Drop, format!("dead letter {id}"), dead_letter.row, "gone");
            Ok(())
        };
        self.to_the_end(remove).await
    }

    /// Bounds what would otherwise wait for as long as the broker is away, and does not begin it then.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, AdminError>>) -> Result<T, AdminError> {
        if !self.broker.is_connected() {
            return Err(BrokerError::Unavailable("not connected".into()).into());
        }
        timeout(DEADLINE, work).await.unwrap_or_else(|_| Err(BrokerError::timed_out("all of it").into()))
    }

    /// The same for what changes something, and must come to its end although nobody waits for it any more. Each question to the
    /// broker has a deadline of its own, so the end is some seconds away.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, AdminError>> + Send + 'static,
    ) -> Result<T, AdminError> {
        let work =
            async { self.tasks.spawn(work).await.unwrap_or_else(|error| Err(BrokerError::unavailable(error).into())) };
        self.in_time(work).await
    }
}

const NO_DEAD_LETTER: AdminError = AdminError::NotFound("dead letter");
