//! A message that is to be stored, and who waits to be told so.
//!
//! Whoever asked may have left meanwhile: it is stored and noted all the same.

use std::sync::Arc;

use async_nats::jetstream::message::PublishMessage;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::{Outgoing, Receipt, Shared};
use crate::broker::BrokerError;
use crate::broker::group_commit::Write;
use crate::broker::topology::subject;
use crate::domain::Sequence;
use crate::traces::Span;

/// What became of a message.
pub type Stored = Result<Receipt, BrokerError>;

/// One message on its way.
pub struct Waiting {
    pub outgoing: Outgoing,
    /// What the broker recognises it by.
    pub id: String,
    pub deadline: Instant,
    pub span: Span,
    /// Its share of what may be under way at once.
    pub slot: OwnedSemaphorePermit,
    pub asker: oneshot::Sender<Stored>,
    pub shared: Arc<Shared>,
}

impl Write for Waiting {
    fn key(&self) -> &str {
        &self.id
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn bytes(&self) -> usize {
        self.outgoing.payload.len()
    }

    /// The broker refuses a batch with a repeat.
    fn goes_alone(&self) -> bool {
        self.shared.recent.has(&self.id)
    }

    fn message(&self) -> (String, PublishMessage) {
        (subject(&self.outgoing.channel), self.outgoing.message(&self.id))
    }

    fn stored_at(self, sequence: u64) {
        self.finish(Ok(Receipt { sequence: Sequence(sequence), duplicate: false }));
    }

    async fn store(self, was_tried: bool) -> bool {
        let stored = self.shared.singly.store(&self.outgoing, &self.id, self.deadline, was_tried).await;
        let is_stored = stored.is_ok();
        self.finish(stored);
        is_stored
    }
}

impl Waiting {
    /// Tells what became of it.
    fn finish(mut self, stored: Stored) {
        self.shared.storing.note(self.outgoing.payload.len(), &stored);
        self.span.note(&stored);
        if let Ok(receipt) = &stored {
            self.span.stored(receipt.sequence.0);
            self.shared.recent.note(&self.id, Instant::now());
        }
        drop(self.slot);
        let _ = self.asker.send(stored);
    }
}
