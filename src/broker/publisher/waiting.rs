//! A message that is to be stored, and who waits to be told so.
//!
//! Whoever asked may have left meanwhile: it is stored and noted all the same.

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::{Outgoing, Receipt};
use crate::broker::BrokerError;
use crate::broker::storing::Storing;
use crate::traces::Span;

/// What became of a message.
pub type Stored = Result<Receipt, BrokerError>;

/// One message on its way.
pub struct Waiting {
    pub outgoing: Outgoing,
    /// What the broker recognises it by.
    pub id: String,
    /// When it is too late.
    pub deadline: Instant,
    pub span: Span,
    pub storing: Storing,
    /// Its share of what may be under way at once.
    pub slot: OwnedSemaphorePermit,
    pub asker: oneshot::Sender<Stored>,
}

impl Waiting {
    /// Tells what became of it.
    pub fn finish(mut self, stored: Stored) {
        self.storing.note(self.outgoing.payload.len(), &stored);
        self.span.note(&stored);
        if let Ok(receipt) = &stored {
            self.span.stored(receipt.sequence.0);
        }
        drop(self.slot);
        let _ = self.asker.send(stored);
    }
}
