//! Where this tracker stands in the line of each partition, as other trackers come and go.
//!
//! `broker/membership ▸ line ▸ broker/consumer`: from the names that are heard to what the broker is asked with. Nothing
//! depends on its being right: trackers that see different lines share a partition, and compare-and-set decides.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::line::Lines;
use crate::broker::{Broker, BrokerError, Membership};

/// This tracker among the others.
pub struct Standing {
    membership: Membership,
    partitions: u16,
    ranks: watch::Sender<Arc<[usize]>>,
    leads: watch::Sender<Arc<[u16]>>,
}

impl Standing {
    /// Makes itself known, and takes its ranks; tells for which partitions it is first.
    pub async fn join(broker: &Broker, partitions: u16, leads: watch::Sender<Arc<[u16]>>) -> Result<Self, BrokerError> {
        let (membership, (ranks, _)) = (Membership::join(broker).await?, watch::channel(Arc::from([])));
        let mut standing = Self { membership, partitions, ranks, leads };
        standing.stand().await;
        Ok(standing)
    }

    /// The rank in each partition, 0 first.
    pub fn ranks(&self) -> watch::Receiver<Arc<[usize]>> {
        self.ranks.subscribe()
    }

    /// Keeps the ranks right until the shutdown, and then says goodbye.
    pub async fn keep(mut self, shutdown: &CancellationToken) {
        while shutdown.run_until_cancelled(self.membership.changed()).await.is_some() {
            self.stand().await;
        }
        self.membership.leave().await;
    }

    async fn stand(&mut self) {
        let (name, names) = (self.membership.name(), self.membership.names());
        let lines = Lines::new(&names, self.partitions);
        let ranks: Arc<[_]> = (0..self.partitions).map(|partition| lines.place(partition, name)).collect();
        let leads: Vec<_> =
            (0..).zip(&*ranks).filter(|(_, rank)| **rank == 0).map(|(partition, _)| partition).collect();
        tracing::info!(name, trackers = names.len(), ?leads, "first in line");
        self.ranks.send_replace(ranks);
        self.leads.send_replace(leads.as_slice().into());
        self.membership.lead(leads).await;
    }
}
