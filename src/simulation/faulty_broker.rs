//! The broker as one worker of a schedule has it. Each call waits for its turn, so that the calls of several workers come
//! in between each other in any order, and a worker can die at each of them; then it is done, or not, and its answer may
//! wait again.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use time::OffsetDateTime;

use super::environment::{Environment, UnderWay};
use super::faults::Fault;
use super::group::RecordWrite;
use crate::broker::dead_letters::reader::DeadLetterPage;
use crate::broker::log_reader::Page;
use crate::broker::store::Versioned;
use crate::broker::{AckHandle, BrokerError, DeadLetter, Delivery, LogReader, Stored, TrackBroker};
use crate::domain::{Aside, Channel, Checkpoint, Event, OutcomeRecord, Sequence, StoredAt, Unreported};
use crate::retention::plan::Plan;
use crate::simulation::model::{Model, Sight};

/// The environment, shared by the workers and by what drives them, one at a time.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Environment>>);

impl Shared {
    pub fn new(environment: Environment) -> Self {
        Self(Arc::new(Mutex::new(environment)))
    }

    pub fn environment(&self) -> MutexGuard<'_, Environment> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The broker as one worker has it.
#[derive(Clone)]
pub struct FaultyBroker {
    shared: Shared,
    worker: usize,
}

/// A wait for one's turn; over when it is given up. Gives the id of the call whose turn it is.
struct Turn<'a> {
    faulty_broker: &'a FaultyBroker,
    idle: bool,
    write: Option<RecordWrite>,
    id: Option<u64>,
}

impl Future for Turn<'_> {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        let mut environment = self.faulty_broker.shared.environment();
        let id = self.id;
        match id {
            None => {
                let (worker, waker) = (self.faulty_broker.worker, context.waker().clone());
                let id = environment.wait(worker, waker, self.idle, self.write.clone());
                drop(environment);
                self.id = Some(id);
                Poll::Pending
            }
            Some(granted) if environment.granted == id => {
                environment.granted = None;
                environment.acting = Some(self.faulty_broker.worker);
                drop(environment);
                self.id = None;
                Poll::Ready(granted)
            }
            Some(_) => Poll::Pending,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.faulty_broker.shared.environment().give_up(id);
        }
    }
}

impl FaultyBroker {
    pub fn new(shared: Shared, worker: usize) -> Self {
        Self { shared, worker }
    }

    fn turn(&self) -> Turn<'_> {
        self.turn_with(false, None)
    }

    /// The turn of one who has nothing else to do, or writes this record.
    fn turn_with(&self, idle: bool, write: Option<RecordWrite>) -> Turn<'_> {
        Turn { faulty_broker: self, idle, write, id: None }
    }

    /// The next batch; it may be empty.
    pub async fn next_batch(&self, idle: bool) -> Vec<Delivery> {
        self.turn_with(idle, None).await;
        self.shared.environment().batch()
    }

    /// Waits until the log may be trimmed, and returns before what time.
    pub async fn next_trim(&self) -> StoredAt {
        loop {
            self.turn_with(true, None).await;
            if let Some(cut) = self.shared.environment().next_trim() {
                return cut;
            }
        }
    }

    /// Takes out of the log what may go.
    pub async fn trim(&self, plans: &HashMap<Channel, Plan>, cut: StoredAt) {
        self.turn().await;
        self.shared.environment().trim(plans, cut);
    }

    /// Reads something.
    async fn read<T>(&self, read: impl FnOnce(&mut Environment) -> T) -> Result<T, BrokerError> {
        self.turn().await;
        let (answer, late) = {
            let mut environment = self.shared.environment();
            let answer = match environment.fault() {
                Fault::None => Ok(read(&mut environment)),
                Fault::Refused(error) => Err(error),
                Fault::AnswerLost | Fault::DoneLate => Err(BrokerError::Unavailable("answer lost".into())),
            };
            (answer, environment.answers_late())
        };
        self.answer(late).await;
        answer
    }

    /// Changes something.
    async fn change<T>(
        &self,
        change: impl FnOnce(&mut Environment) -> Result<T, BrokerError>,
        later: impl FnOnce() -> UnderWay,
    ) -> Result<T, BrokerError> {
        self.turn().await;
        self.change_now(change, later).await
    }

    /// The same of whoever has its turn.
    async fn change_now<T>(
        &self,
        change: impl FnOnce(&mut Environment) -> Result<T, BrokerError>,
        later: impl FnOnce() -> UnderWay,
    ) -> Result<T, BrokerError> {
        let (answer, late) = {
            let mut environment = self.shared.environment();
            let fault = environment.fault();
            let lost = || BrokerError::Unavailable("answer lost".into());
            if fault != Fault::None {
                environment.report(|| format!("{fault:?}"));
            }
            let answer = match fault {
                Fault::None => change(&mut environment),
                Fault::Refused(error) => Err(error),
                Fault::AnswerLost => change(&mut environment).and_then(|_| Err(lost())),
                Fault::DoneLate => {
                    environment.under_way.push(later());
                    Err(lost())
                }
            };
            (answer, environment.answers_late())
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

impl LogReader for FaultyBroker {
    async fn read_some(&self, channel: &Channel, from: Sequence, messages_max: usize) -> Result<Page, BrokerError> {
        self.read(|environment| {
            let sight = environment.sight();
            let page = environment.model.read_page(channel, from, sight.pages_of(messages_max));
            environment.handed_out += page.messages.len() as u64;
            page
        })
        .await
    }

    async fn read_messages(&self, places: &[Sequence]) -> Result<Vec<Stored>, BrokerError> {
        self.read(|environment| {
            environment.handed_out += places.len() as u64;
            environment.model.read_messages(places)
        })
        .await?
    }

    async fn is_whole(&self) -> Result<bool, BrokerError> {
        self.read(|environment| match environment.is_cut_off() {
            true => Err(BrokerError::Unavailable("nobody follows the leader".into())),
            false => Ok(environment.model.is_whole()),
        })
        .await?
    }

    async fn last_of(&self, channel: &Channel) -> Result<Option<Sequence>, BrokerError> {
        self.read(|environment| {
            let sight = environment.sight_of_leader();
            environment.model.last_shown_of(channel, sight)
        })
        .await
    }

    async fn checkpoints(&self, channel: &Channel) -> Result<Vec<Checkpoint>, BrokerError> {
        self.read(|environment| environment.model.checkpoints(channel)).await
    }

    /// Whoever reads again waits for its turn anyway.
    async fn wait_for_replica(&self) {}
}

impl TrackBroker for FaultyBroker {
    async fn load(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        self.read(|environment| {
            let sight = environment.sight();
            environment.model.load(channel, sight)
        })
        .await
    }

    async fn load_latest(&self, channel: &Channel) -> Result<Versioned, BrokerError> {
        self.read(|environment| environment.model.load(channel, Sight::clear(1))).await
    }

    async fn write(
        &self,
        channel: &Channel,
        record: Vec<u8>,
        unreported: &Unreported,
        expected: u64,
    ) -> Result<u64, BrokerError> {
        let write = RecordWrite { channel: *channel, record: record.into(), unreported: unreported.clone(), expected };
        let call = self.turn_with(false, Some(write.clone())).await;
        let (in_a_group, late) = {
            let mut environment = self.shared.environment();
            (environment.write_in_a_group(call, self.worker, &write), environment.answers_late())
        };
        if let Some(written) = in_a_group {
            self.answer(late).await;
            return written;
        }
        let change = |environment: &mut Environment| match environment.conflicts() {
            true => Err(BrokerError::Conflict),
            false => environment.write(&write),
        };
        self.change_now(change, || UnderWay::Writes(vec![write.clone()])).await
    }

    async fn set_aside(&self, channel: &Channel, as_read: &Versioned, aside: Aside) -> Result<u64, BrokerError> {
        self.read(|environment| environment.set_aside(channel, as_read, aside)).await?
    }

    async fn report(&self, outcomes: Vec<OutcomeRecord>) -> Result<(), BrokerError> {
        let report = |environment: &mut Environment| {
            environment.report_outcomes(outcomes.clone());
            Ok(())
        };
        if outcomes.is_empty() {
            return Ok(());
        }
        self.change(report, || UnderWay::Outcomes(outcomes.clone())).await
    }

    async fn outcomes_of(&self, events: &[Event]) -> Result<HashMap<Event, OutcomeRecord>, BrokerError> {
        self.read(|environment| environment.model.outcomes_of(events)).await
    }

    async fn store_dead_letter(&self, dead_letter: &DeadLetter<'_>) -> Result<(), BrokerError> {
        let store_dead_letter = |environment: &mut Environment| {
            environment.store_dead_letter(dead_letter);
            Ok(())
        };
        let later = || UnderWay::StoredDeadLetter {
            stored: dead_letter.stored.clone(),
            reason: dead_letter.reason,
            error: dead_letter.error.clone(),
            after_overrides: dead_letter.after_overrides,
        };
        self.change(store_dead_letter, later).await
    }

    async fn refused_dead_letters(&self, channel: &Channel, from: u64) -> Result<DeadLetterPage, BrokerError> {
        // A replica that does not show the newest dead letters leaves those of messages that apply now: a limit that is
        // known.
        self.read(|environment| {
            environment.model.refused_dead_letters(channel, from, Sight::clear(environment.profile.page))
        })
        .await
    }

    async fn remove_dead_letter(&self, id: u64) -> Result<(), BrokerError> {
        let remove = |environment: &mut Environment| {
            environment.remove_dead_letter(id);
            Ok(())
        };
        self.change(remove, || UnderWay::Removal(id)).await
    }

    async fn store_checkpoint(&self, channel: &Channel, checkpoint: &Checkpoint) -> Result<u64, BrokerError> {
        let store = |environment: &mut Environment| Ok(environment.store_checkpoint(channel, checkpoint));
        self.change(store, || UnderWay::Checkpoint(*channel, Box::new(checkpoint.clone()))).await
    }

    async fn remove_checkpoint(&self, place: u64) -> Result<(), BrokerError> {
        let remove = |environment: &mut Environment| {
            environment.model.remove_checkpoint(place);
            Ok(())
        };
        self.change(remove, || UnderWay::CheckpointRemoval(place)).await
    }

    async fn acknowledge(&self, handles: &[AckHandle]) {
        if handles.is_empty() {
            return;
        }
        self.turn().await;
        let mut environment = self.shared.environment();
        for sequence in handles.iter().map(Model::sequence_of) {
            environment.send_acknowledgement(sequence);
        }
    }

    async fn give_back(&self, handles: &[AckHandle], _: Duration) {
        let given: Vec<_> = handles.iter().map(Model::sequence_of).collect();
        self.shared.environment().report(|| format!("gives back {given:?}"));
    }

    async fn extend(&self, handles: &[AckHandle]) {
        self.turn().await;
        let held: Vec<_> = handles.iter().map(Model::sequence_of).collect();
        self.shared.environment().report(|| format!("still works on {held:?}"));
    }

    fn now(&self) -> OffsetDateTime {
        self.shared.environment().now()
    }
}
