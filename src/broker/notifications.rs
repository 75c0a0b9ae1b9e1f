//! Words that something may have become of an event, as they are published: what a request waits on that asks for an event.
//!
//! They are words and no facts. A publish is heard before it is stored, and may be refused; on the way from one server of
//! a cluster to another it may be missed. Whoever hears one looks at what is stored, and looks now and then unasked.

use async_nats::Subscriber;
use futures_util::stream::{SelectAll, select_all};
use futures_util::{FutureExt as _, StreamExt as _};

use super::connection::{PUBLISH_TIMEOUT, within};
use super::outcomes::mentions;
use super::topology::{outcome_subject, record_subject, wide_outcome_subject};
use super::{Broker, BrokerError};
use crate::domain::{Channel, Event};

/// What is published about one event and its channel's record, from the moment of the subscription on.
pub struct Signals {
    event: Event,
    outcomes: SelectAll<Subscriber>,
    records: Option<Subscriber>,
}

impl Signals {
    /// Subscribes. What is asked on the same connection from now on is answered after the subscription stands.
    pub async fn subscribe(broker: &Broker, event: Event, channel: Option<Channel>) -> Result<Self, BrokerError> {
        let subscribe = |subject| within(PUBLISH_TIMEOUT, "subscribing", broker.client().subscribe(subject));
        let (narrow, wide) = (outcome_subject(event.sequence.0), wide_outcome_subject(event.sequence.0));
        let outcomes = select_all([subscribe(narrow).await?, subscribe(wide).await?]);
        let records = match channel {
            Some(channel) => Some(subscribe(record_subject(&channel)).await?),
            None => None,
        };
        Ok(Self { event, outcomes, records })
    }

    /// Waits for the next word; all that have come by then are one. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) {
        loop {
            let records = async {
                match &mut self.records {
                    Some(records) => records.next().await,
                    None => std::future::pending().await,
                }
            };
            let is_about_it = tokio::select! {
                Some(reported) = self.outcomes.next() => mentions(&reported.payload, self.event),
                Some(_) = records => true,
                // Both have ended, with the connection.
                else => std::future::pending().await,
            };
            if is_about_it {
                return self.forget();
            }
        }
    }

    fn forget(&mut self) {
        while let Some(Some(_)) = self.outcomes.next().now_or_never() {}
        while let Some(Some(_)) = self.records.as_mut().and_then(|records| records.next().now_or_never()) {}
    }
}
