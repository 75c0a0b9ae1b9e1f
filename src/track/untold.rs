//! What is stored and not told yet: what became of the messages of one batch, told in one go while the next batch is
//! settled, and the deliveries that wait for it.
//!
//! Nothing is lost if it cannot be told: the deliveries come again, and the records go on owing it.

use crate::broker::{AckHandle, BrokerError, TrackBroker};
use crate::domain::{Channel, Outcome, Sequence};

/// A batch whose effect is stored.
#[derive(Default)]
pub struct Untold {
    /// Its channels.
    pub claims: Vec<Claim>,
    /// What was no message, and is a dead letter by now.
    pub buried: Vec<(Outcome, AckHandle)>,
}

/// The messages of one channel whose effect is stored.
pub struct Claim {
    /// The channel.
    pub channel: Channel,
    /// What became of them, and of others that took their place with them.
    pub outcomes: Vec<Outcome>,
    /// Their places in the stream, and what they are acknowledged by.
    pub deliveries: Vec<(Sequence, AckHandle)>,
    /// What is to be held of them, if the record could move when it was stored.
    pub held: Option<Held>,
}

/// Which messages of a channel are held, and not let go.
#[derive(Clone, Copy)]
pub struct Held {
    /// One of which nothing had been stored before, so that nobody else can let go of it: to hold it is enough. Without
    /// one all are held: each may have been let go by somebody else, whose acknowledgement is on its way.
    pub enough: Option<Sequence>,
    /// Whether the channel has to be folded anew.
    pub folds_anew: bool,
}

impl Untold {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.buried.is_empty()
    }

    /// What the deliveries that wait are acknowledged by.
    pub fn handles(&self) -> impl Iterator<Item = &AckHandle> {
        let buried = self.buried.iter().map(|(_, handle)| handle);
        self.claims.iter().flat_map(|claim| &claim.deliveries).map(|(_, handle)| handle).chain(buried)
    }

    /// Tells all of it; it is stored when this returns.
    pub async fn tell(&self, broker: &impl TrackBroker) -> Result<(), BrokerError> {
        let of_channels = self.claims.iter().flat_map(|claim| &claim.outcomes);
        let outcomes = of_channels.chain(self.buried.iter().map(|(outcome, _)| outcome));
        broker.tell(outcomes.cloned().collect()).await
    }
}
