//! Where this tracker stands in the line of each partition, as other trackers come and go.
//!
//! `broker/membership ▸ line ▸ broker/consumer`: from the names that are heard to what the broker is asked with. Nothing
//! depends on its being right: trackers that see different lines share a partition, and compare-and-set decides.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::line::Lines;
use crate::broker::{Broker, BrokerError, Membership, Peers, Place};

/// This tracker among the others.
pub struct Standing {
    membership: Membership,
    partitions: u16,
    places: watch::Sender<Arc<[Place]>>,
    leads: watch::Sender<Arc<[u16]>>,
}

impl Standing {
    /// Makes itself known, and takes its places; tells for which partitions it is first.
    pub async fn join(
        broker: &Broker,
        partitions: u16,
        leads: watch::Sender<Arc<[u16]>>,
    ) -> Result<(Self, Peers), BrokerError> {
        let (membership, peers) = Membership::join(broker).await?;
        let (places, _) = watch::channel(Arc::from([]));
        let mut standing = Self { membership, partitions, places, leads };
        standing.stand().await;
        Ok((standing, peers))
    }

    /// The place in the line of each partition.
    pub fn places(&self) -> watch::Receiver<Arc<[Place]>> {
        self.places.subscribe()
    }

    /// Keeps the places right until the shutdown, and then says goodbye.
    pub async fn keep(mut self, shutdown: &CancellationToken) {
        while shutdown.run_until_cancelled(self.membership.changed()).await.is_some() {
            self.stand().await;
        }
        self.membership.leave().await;
    }

    async fn stand(&mut self) {
        let (name, names) = (self.membership.name(), self.membership.names());
        let lines = Lines::new(&names, self.partitions);
        let places = (0..self.partitions).map(|partition| Place {
            number: lines.place(partition, name),
            first: lines.first(partition).filter(|first| *first != name).map(Arc::from),
        });
        let places: Arc<[Place]> = places.collect();
        let leads: Vec<_> =
            (0..).zip(&*places).filter(|(_, place)| place.number == 0).map(|(partition, _)| partition).collect();
        tracing::info!(name, trackers = names.len(), ?leads, "first in line");
        self.places.send_replace(places);
        self.leads.send_replace(leads.as_slice().into());
        self.membership.lead(leads).await;
    }
}
