//! The broker as one worker of a schedule has it. Each call waits for its turn, so that the calls of several workers come
//! in between each other in any order, and a worker can die at each of them; then it is done, or not, and its answer may
//! wait again.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use time::OffsetDateTime;

use super::faults::Fault;
use super::world::{UnderWay, World};
use crate::broker::dead_letters::reader::LetterPage;
use crate::broker::log_reader::Page;
use crate::broker::store::Versioned;
use crate::broker::{AckHandle, BrokerError, DeadLetter, Delivery, LogReader, Stored, TrackBroker};
use crate::domain::{Aside, Channel, Checkpoint, Event, Outcome, Owed, Sequence, StoredAt};
use crate::retention::plan::Plan;
use crate::simulation::model::{Model, Sight};

/// The world, shared by the workers and by what drives them, one at a time.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The broker as one worker has it.
#[derive(Clone)]
pub struct Tap {
    shared: Shared,
    worker: usize,
}

/// A wait for one's turn; over when it is given up.
struct Turn<'a> {
    tap: &'a Tap,
    idle: bool,
    id: Option<u64>,
}

impl Future for Turn<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut world = self.tap.shared.world();
        let id = self.id;
        match id {
            None => {
                let id = world.wait(self.tap.worker, context.waker().clone(), self.idle);
                drop(world);
                self.id = Some(id);
                Poll::Pending
            }
            Some(_) if world.granted == id => {
                world.granted = None;
                world.acting = Some(self.tap.worker);
                drop(world);
                self.id = None;
                Poll::Ready(())
            }
            Some(_) => Poll::Pending,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.tap.shared.world().calls.retain(|call| call.id != id);
        }
    }
}

impl Tap {
    pub fn new(shared: Shared, worker: usize) -> Self {
        Self { shared, worker }
    }

    fn turn(&self) -> Turn<'_> {
        Turn { tap: self, idle: false, id: None }
    }

    /// The next batch; it may be empty.
    pub async fn next_batch(&self, idle: bool) -> Vec<Delivery> {
        Turn { tap: self, idle, id: None }.await;
        self.shared.world().batch()
    }

    /// Waits until the log may be trimmed, and tells before what time.
    pub async fn next_trim(&self) -> StoredAt {
        loop {
            Turn { tap: self, idle: true, id: None }.await;
            if let Some(cut) = self.shared.world().next_trim() {
                return cut;
            }
        }
    }

    /// Takes out of the log what may go.
    pub async fn trim(&self, plans: &HashMap<Channel, Plan>, cut: StoredAt) {
        self.turn().await;
        self.shared.world().trim(plans, cut);
    }

    /// Reads something.
    async fn read<T>(&self, read: impl FnOnce(&mut World) -> T) -> Result<T, BrokerError> {
        self.turn().await;
        let (answer, late) = {
            let mut world = self.shared.world();
            let answer = match world.fault() {
                Fault::None => Ok(read(&mut world)),
                Fault::Refused(error) => Err(error),
                Fault::AnswerLost | Fault::DoneLate => Err(BrokerError::Unavailable("answer lost".into())),
            };
            (answer, world.answers_late())
        };
        self.answer(late).await;
        answer
    }

    /// Changes something.
    async fn change<T>(
        &self,
        change: impl FnOnce(&mut World) -> Result<T, BrokerError>,
        later: impl FnOnce() -> UnderWay,
    ) -> Result<T, BrokerError> {
        self.turn().await;
        let (answer, late) = {
            let mut world = self.shared.world();
            let fault = world.fault();
            let lost = || BrokerError::Unavailable("answer lost".into());
            if fault != Fault::None {
                world.tell(|| format!("{fault:?}"));
            }
            let answer = match fault {
                Fault::None => change(&mut world),
                Fault::Refused(error) => Err(error),
                Fault::AnswerLost => change(&mut world).and_then(|_| Err(lost())),
                Fault::DoneLate => {
                    world.under_way.push(later());
                    Err(lost())
                }
            };
            (answer, world.answers_late())
        };
        self.answer(late).await;
        answer
    }

    async fn answer(&self, late: bool) {
        if late {
            self.turn().await;
        }
    }
}

impl LogReader for Tap {
    async fn read_some(&self, channel: &Channel, from: Sequence, messages_max: usize) -> Result<Page, BrokerError> {
        self.read(|world| {
            let sight = world.sight();
            let page = world.model.read_back(channel, from, sight.pages_of(messages_max));
            world.handed_out += page.messages.len() as u64;
            page
        })
        .await
    }

    async fn read_messages(&self, places: &[Sequence]) -> Result<Vec<Stored>, BrokerError> {
        self.read(|world| {
            world.handed_out += places.len() as u64;
            world.model.read_messages(places)
        })
        .await?
    }

    async fn is_whole(&self) -> Result<bool, BrokerError> {
        self.read(|world| match world.is_cut_off() {
            true => Err(BrokerError::Unavailable("nobody follows the leader".into())),
            false => Ok(world.model.is_whole()),
        })
        .await?
    }

    async fn last_of(&self, channel: &Channel) -> Result<Option<Sequence>, BrokerError> {
        self.read(|world| {
            let sight = world.sight_of_leader();
            world.model.last_shown_of(channel, sight)
        })
        .await
    }

    async fn checkpoints(&self, channel: &Channel) -> Result<Vec<Checkpoint>, BrokerError> {
        self.read(|world| world.model.checkpoints(channel)).await
    }

    /// Whoever reads again waits for its turn anyway.
    async fn wait_for_replica(&self) {}
}

impl TrackBroker for Tap {
    async fn load(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        self.read(|world| {
            let sight = world.sight();
            world.model.load(channel, sight)
        })
        .await
    }

    async fn load_latest(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        self.read(|world| world.model.load(channel, Sight::clear(1))).await
    }

    async fn write(&self, channel: &Channel, record: Vec<u8>, owed: &Owed, expected: u64) -> Result<u64, BrokerError> {
        let record = bytes::Bytes::from(record);
        let write = |world: &mut World| match world.conflicts() {
            true => Err(BrokerError::Conflict),
            false => world.write(channel, record.clone(), owed, expected),
        };
        let later = || UnderWay::Write { channel: *channel, record: record.clone(), owed: owed.clone(), expected };
        self.change(write, later).await
    }

    async fn set_aside(&self, channel: &Channel, as_read: &Versioned, aside: Aside) -> Result<u64, BrokerError> {
        self.read(|world| world.set_aside(channel, as_read, aside)).await?
    }

    async fn tell(&self, outcomes: Vec<Outcome>) -> Result<(), BrokerError> {
        let tell = |world: &mut World| {
            world.tell_outcomes(outcomes.clone());
            Ok(())
        };
        if outcomes.is_empty() {
            return Ok(());
        }
        self.change(tell, || UnderWay::Outcomes(outcomes.clone())).await
    }

    async fn outcomes_of(&self, events: &[Event]) -> Result<HashMap<Event, Outcome>, BrokerError> {
        self.read(|world| world.model.outcomes_of(events)).await
    }

    async fn bury(&self, letter: &DeadLetter<'_>) -> Result<(), BrokerError> {
        let bury = |world: &mut World| {
            world.bury(letter);
            Ok(())
        };
        let later = || UnderWay::Letter {
            stored: letter.stored.clone(),
            reason: letter.reason,
            error: letter.error.clone(),
            after_acts: letter.after_acts,
        };
        self.change(bury, later).await
    }

    async fn refused_letters(&self, channel: &Channel, from: u64) -> Result<LetterPage, BrokerError> {
        // A replica that does not show the newest letters leaves those of messages that apply now: a limit that is known.
        self.read(|world| world.model.refused_letters(channel, from, Sight::clear(world.weather.page))).await
    }

    async fn remove_letter(&self, id: u64) -> Result<(), BrokerError> {
        let remove = |world: &mut World| {
            world.remove_letter(id);
            Ok(())
        };
        self.change(remove, || UnderWay::Removal(id)).await
    }

    async fn store_checkpoint(&self, channel: &Channel, checkpoint: &Checkpoint) -> Result<u64, BrokerError> {
        let store = |world: &mut World| Ok(world.store_checkpoint(channel, checkpoint));
        self.change(store, || UnderWay::Checkpoint(*channel, Box::new(checkpoint.clone()))).await
    }

    async fn remove_checkpoint(&self, place: u64) -> Result<(), BrokerError> {
        let remove = |world: &mut World| {
            world.model.remove_checkpoint(place);
            Ok(())
        };
        self.change(remove, || UnderWay::CheckpointRemoval(place)).await
    }

    async fn acknowledge(&self, handles: &[AckHandle]) {
        if handles.is_empty() {
            return;
        }
        self.turn().await;
        let mut world = self.shared.world();
        for sequence in handles.iter().map(Model::sequence_of) {
            world.send_acknowledgement(sequence);
        }
    }

    async fn give_back(&self, handles: &[AckHandle], _: Duration) {
        let given: Vec<_> = handles.iter().map(Model::sequence_of).collect();
        self.shared.world().tell(|| format!("gives back {given:?}"));
    }

    async fn extend(&self, handles: &[AckHandle]) {
        self.turn().await;
        let held: Vec<_> = handles.iter().map(Model::sequence_of).collect();
        self.shared.world().tell(|| format!("still works on {held:?}"));
    }

    fn now(&self) -> OffsetDateTime {
        self.shared.world().now()
    }
}
