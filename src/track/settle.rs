//! Takes up messages of one channel until their effect is stored: fold, write by compare-and-set, and again from a newer
//! record whenever somebody else was faster.
//!
//! Dead letters are stored before the record that passes them. If we are gone in between, the messages come again, are
//! refused again for the same reason, and the dead letters are recognised by their ids; the other way round they would
//! be found to be duplicates, and their dead letters would never be written.

use std::sync::Arc;

use super::Counters;
use crate::broker::store::Versioned;
use crate::broker::{BrokerError, DeadLetter, Reason, Stored, TrackBroker};
use crate::domain::record::Unreadable;
use crate::domain::{Arrival, Channel, Hand, Record, Refusal, Verdict, offer, take_up};
use crate::fail_point;
use crate::logging::Limit;

/// How many times in a row somebody else may be faster before the messages are given back for a while.
const CONFLICTS_IN_A_ROW_MAX: usize = 16;

/// What is in memory of one channel.
#[derive(Debug)]
pub struct Desk {
    /// The channel.
    pub channel: Channel,
    /// Its record as it was when we last saw it, if we did.
    pub known: Option<Known>,
    /// Messages that wait and are still in memory.
    pub hand: Hand<Stored>,
}

/// A record and its revision.
#[derive(Clone, Debug)]
pub struct Known {
    /// The record.
    pub record: Record,
    /// What a write must expect.
    pub revision: u64,
}

impl Desk {
    /// A channel of which nothing is remembered.
    pub fn new(channel: Channel) -> Self {
        Self { channel, known: None, hand: Hand::new() }
    }

    /// The record, from memory or from the bucket.
    pub async fn known(&mut self, broker: &impl TrackBroker) -> Result<&Known, BrokerError> {
        let known = match self.known.take() {
            Some(known) => known,
            None => known_from(&self.channel, broker.load(&self.channel).await?)?,
        };
        Ok(self.known.insert(known))
    }

    /// Reads the record again, through the leader.
    pub async fn reload(&mut self, broker: &impl TrackBroker) -> Result<(), BrokerError> {
        self.known = None;
        let read = broker.load_latest(&self.channel).await?;
        self.known = Some(known_from(&self.channel, read)?);
        Ok(())
    }

    /// Writes a record in the place of the known one.
    pub async fn write(&mut self, broker: &impl TrackBroker, record: Record) -> Result<(), BrokerError> {
        // Forgotten until the answer is there: without one, it may have been written or not.
        let expected = self.known.take().map_or(0, |known| known.revision);
        let revision = broker.write(&self.channel, record.to_bytes(), expected).await?;
        self.known = Some(Known { record, revision });
        fail_point::reached("track.record-written");
        Ok(())
    }
}

/// Reads what lies in the bucket. What nobody wrote is replaced: the stream has everything.
fn known_from(channel: &Channel, read: Versioned) -> Result<Known, BrokerError> {
    let record = match read.record.as_deref().map(Record::from_bytes) {
        None => Record::default(),
        Some(Ok(record)) => record,
        Some(Err(Unreadable::Damaged(why))) => {
            tracing::error!(%channel, why, "the record cannot be read, folding the channel anew from the stream");
            Record::to_be_read_back()
        }
        Some(Err(newer @ Unreadable::Newer(_))) => {
            return Err(BrokerError::Misconfigured(format!("record of {channel}: {newer}; update this program")));
        }
    };
    Ok(Known { record, revision: read.revision })
}

/// Takes up messages of the desk's channel; when it returns, their effect is stored. The desk then knows the record,
/// and whether it could still move.
///
/// After an error nothing may be acknowledged, and the desk may know less than before.
pub async fn settle(
    broker: &impl TrackBroker,
    desk: &mut Desk,
    arrivals: &[Arc<Arrival<Stored>>],
    counters: &Counters,
) -> Result<(), BrokerError> {
    let mut reloaded = false;
    for _ in 0..CONFLICTS_IN_A_ROW_MAX {
        let before = desk.known(broker).await?.record.clone();
        let mut record = before.clone();
        let verdicts = take_up(&mut record, &mut desk.hand, arrivals);
        bury_refused(broker, &verdicts).await?;
        // What is remembered may be old. A write would find out; where nothing is to be written, only a look does. One
        // of these messages may be the one that somebody held for a record that could move.
        let changed = record != before;
        let written = match changed {
            true => desk.write(broker, record).await,
            false if reloaded => Ok(()),
            false => Err(BrokerError::Conflict),
        };
        match written {
            Ok(()) => {
                verdicts.iter().for_each(|(arrival, verdict)| tell(arrival, *verdict, counters));
                return Ok(());
            }
            Err(BrokerError::Conflict) => {
                if changed {
                    Counters::count(&counters.conflicts);
                }
                verdicts.iter().for_each(|(arrival, _)| offer(&mut desk.hand, arrival));
                desk.reload(broker).await?;
                reloaded = true;
            }
            Err(error) => return Err(error),
        }
    }
    Err(BrokerError::Conflict)
}

async fn bury_refused(
    broker: &impl TrackBroker,
    verdicts: &[(Arc<Arrival<Stored>>, Verdict)],
) -> Result<(), BrokerError> {
    let letters = verdicts.iter().filter_map(|(arrival, verdict)| match verdict {
        Verdict::Refused(refusal) => Some((&arrival.stored, refusal)),
        Verdict::Applied | Verdict::Duplicate | Verdict::Parked => None,
    });
    let bury = |(stored, refusal): (_, &Refusal)| {
        let letter = DeadLetter { stored, reason: Reason::Refused, error: refusal.to_string() };
        async move { broker.bury(&letter).await }
    };
    futures_util::future::try_join_all(letters.map(bury)).await?;
    fail_point::reached("track.dead-letters-stored");
    Ok(())
}

/// Logs and counts what became of a message, once it is stored.
fn tell(arrival: &Arrival<Stored>, verdict: Verdict, counters: &Counters) {
    static REFUSED: Limit = Limit::new();
    let (message, request_id) = (&arrival.message, arrival.stored.request_id.as_deref());
    let (channel, number, event_id) = (message.channel, message.number.get(), arrival.sequence.0);
    let counter = match verdict {
        Verdict::Applied => &counters.applied,
        Verdict::Refused(_) => &counters.refused,
        Verdict::Duplicate => &counters.duplicate,
        Verdict::Parked => &counters.parked,
    };
    Counters::count(counter);
    match verdict {
        Verdict::Refused(refusal) => {
            if let Some(unlogged) = REFUSED.admits() {
                tracing::warn!(request_id, %channel, number, event_id, %refusal, unlogged, "message refused");
            }
        }
        Verdict::Applied => tracing::debug!(request_id, %channel, number, event_id, "message applied"),
        Verdict::Duplicate => tracing::debug!(request_id, %channel, number, event_id, "number taken already"),
        Verdict::Parked => tracing::debug!(request_id, %channel, number, event_id, "message waits behind a gap"),
    }
}
