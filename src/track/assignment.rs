//! Where this tracker stands in the line of each partition, as other trackers come and go.
//!
//! `broker/membership ▸ ranking ▸ broker/consumer`: from the names that are heard to what the broker is asked with. Nothing
//! depends on its being right: trackers that see different lines share a partition, and compare-and-set decides.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ranking::Ranking;
use crate::broker::{Broker, BrokerError, Membership};

/// This tracker among the others.
pub struct Assignment {
    membership: Membership,
    partitions: u16,
    ranks: watch::Sender<Arc<[usize]>>,
    leads: watch::Sender<Arc<[u16]>>,
}

impl Assignment {
    /// Makes itself known, and takes its ranks; returns for which partitions it is first.
    pub async fn join(broker: &Broker, partitions: u16, leads: watch::Sender<Arc<[u16]>>) -> Result<Self, BrokerError> {
        let (membership, (ranks, _)) = (Membership::join(broker).await?, watch::channel(Arc::from([])));
        let mut assignment = Self { membership, partitions, ranks, leads };
        assignment.stand().await;
        Ok(assignment)
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
        let ranking = Ranking::new(&names, self.partitions);
        let ranks: Arc<[_]> = (0..self.partitions).map(|partition| ranking.rank(partition, name)).collect();
        let leads: Vec<_> =
            (0..).zip(&*ranks).filter(|(_, rank)| **rank == 0).map(|(partition, _)| partition).collect();
        tracing::info!(name, trackers = names.len(), ?leads, "partitions assigned");
        self.ranks.send_replace(ranks);
        self.leads.send_replace(leads.as_slice().into());
        self.membership.lead(leads).await;
    }
}
