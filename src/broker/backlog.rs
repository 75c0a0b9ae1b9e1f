//! What of a partition is not taken up yet, for an operator.

use time::OffsetDateTime;

use super::direct::{Question, ask};
use super::progress::{info, missing};
use super::topology::{STREAM, stored_subjects};
use super::{Broker, BrokerError};

/// What of a partition is not taken up yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages that were not handed to any tracker yet.
    pub lag: u64,
    /// Messages that a tracker has and has not let go.
    pub in_hand: u64,
    /// Of those the ones that were handed out more than once.
    pub redelivered: u64,
    /// How many deliveries there have been, since the durable was made.
    pub deliveries: u64,
    /// When the oldest of all these messages was stored.
    pub oldest: Option<OffsetDateTime>,
}

impl Backlog {
    /// Messages whose effect may not be stored.
    pub fn messages(&self) -> u64 {
        self.lag + self.in_hand
    }
}

/// Asks the durable of a partition, and the stream for the oldest message.
pub async fn backlog(broker: &Broker, partition: u16) -> Result<Backlog, BrokerError> {
    let info = info(broker, partition).await?.ok_or_else(|| missing(partition))?;
    let backlog = Backlog {
        lag: info.num_pending,
        in_hand: info.num_ack_pending as u64,
        redelivered: info.num_redelivered as u64,
        deliveries: info.delivered.consumer_sequence,
        oldest: None,
    };
    if backlog.messages() == 0 {
        return Ok(backlog);
    }
    // Everything up to the floor is let go, and what comes next is not.
    let (subjects, from) = (&stored_subjects(partition), info.ack_floor.stream_sequence + 1);
    let page = ask(broker, Question { stream: STREAM, subjects, from, messages_max: 1 }).await?;
    Ok(Backlog { oldest: page.found.first().map(|found| found.time), ..backlog })
}
