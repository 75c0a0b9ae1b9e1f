//! What is in memory of one channel: its record as it was when we last saw it, what was decided with it and not reported yet,
//! and pending messages. All of it is a hint; the record in the bucket is the truth.

use std::collections::HashSet;

use time::OffsetDateTime;

use crate::broker::store::Versioned;
use crate::broker::{BrokerError, Stored, TrackBroker};
use crate::domain::bounds::{self, bounds};
use crate::domain::carried::Carried;
use crate::domain::outcome::Since;
use crate::domain::record::Unreadable;
use crate::domain::{
    Aside, Buffer, Channel, Event, Forgotten, MessageNumber, Outcome, OutcomeRecord, Record, Refusal, Sequence,
    Unreported,
};
use crate::fail_point;

/// What is in memory of one channel.
#[derive(Debug)]
pub struct ChannelState {
    /// The channel.
    pub channel: Channel,
    /// Its record as it was when we last saw it, if we did.
    pub known: Option<Known>,
    /// Pending messages that are still in memory.
    pub buffer: Buffer<Stored>,
    /// How many whole stretches between checkpoints it had applied when it was last considered for one.
    pub stretches_checked: u64,
    /// How many jobs in a row ended because the leader has less than the record.
    pub short_logs: u32,
    /// Where the record was when a delivery was kept unacknowledged because of a dead letter that cannot be stored.
    pub blocked: Option<Blocked>,
}

/// How far a channel has come, in which of its lives: two are equal if the record has not advanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    next: Option<MessageNumber>,
    /// What had been forgotten of the channel: it may have begun again since.
    forgotten: Option<Sequence>,
}

/// A record, its revision, and what it has unreported.
#[derive(Clone, Debug)]
pub struct Known {
    /// The record.
    pub record: Record,
    /// What a write must expect.
    pub revision: u64,
    /// What was decided with it and is not known to have been reported.
    pub unreported: Unreported,
    /// When it was written.
    pub at: OffsetDateTime,
    /// Fields of it that a newer program wrote.
    pub carried: Option<Box<Carried>>,
}

impl ChannelState {
    /// A channel of which nothing is remembered.
    pub fn new(channel: Channel) -> Self {
        Self { channel, known: None, buffer: Buffer::new(), stretches_checked: 0, short_logs: 0, blocked: None }
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
    pub async fn reload(&mut self, broker: &impl TrackBroker) -> Result<&Known, BrokerError> {
        self.known = None;
        let read = broker.load_latest(&self.channel).await?;
        Ok(self.known.insert(known_from(&self.channel, read)?))
    }

    /// Writes a record in the place of the known one. What that one has unreported goes over to it, with what is decided
    /// now; where that is too much, it is reported first.
    pub async fn write(
        &mut self,
        broker: &impl TrackBroker,
        record: Record,
        messages: Vec<(Event, Option<Refusal>)>,
    ) -> Result<(), BrokerError> {
        if self
            .unreported()
            .is_some_and(|unreported| unreported.messages.len() + messages.len() > bounds().applied_at_once)
        {
            bounds::reached("a record would have more unreported than it may");
            self.report(broker).await?;
        }
        let mut unreported = self.unreported().cloned().unwrap_or_default();
        unreported.messages.extend(messages);
        self.write_with(broker, record, unreported).await
    }

    /// Writes a record that has this unreported and nothing else.
    pub async fn write_with(
        &mut self,
        broker: &impl TrackBroker,
        record: Record,
        unreported: Unreported,
    ) -> Result<(), BrokerError> {
        // Dropped from memory until the answer is there: without one, the record may have been written or not.
        let (expected, carried) = self.known.take().map_or((0, None), |known| (known.revision, known.carried));
        let bytes = match &carried {
            Some(carried) => carried.put_into(&record.to_bytes()),
            None => record.to_bytes(),
        };
        let revision = broker.write(&self.channel, bytes, &unreported, expected).await?;
        self.known = Some(Known { record, revision, unreported, at: broker.now(), carried });
        fail_point::reached("track.record-written");
        Ok(())
    }

    /// What became of the messages that are listed as unreported.
    pub fn outcomes(&self) -> Vec<OutcomeRecord> {
        let Some(known) = &self.known else { return Vec::new() };
        // While changes of overrides are unreported, a listed message may be among what they have changed. So it is reported
        // as decided before them, and what the replay reports counts over it.
        let after_overrides = known.unreported.since.map_or(known.record.last_override, |since| since.last_override);
        let outcome_record = |(event, refusal): &(Event, Option<Refusal>)| OutcomeRecord {
            event: *event,
            outcome: Outcome::of_applied(*refusal),
            at: known.at,
            after_overrides,
        };
        known.unreported.messages.iter().map(outcome_record).collect()
    }

    /// Notes that these were reported.
    pub fn note_reported(&mut self, outcomes: &[OutcomeRecord]) {
        let reported: HashSet<_> = outcomes.iter().map(|outcome_record| outcome_record.event).collect();
        if let Some(known) = &mut self.known {
            known.unreported.messages.retain(|(event, _)| !reported.contains(event));
        }
    }

    /// The state before overrides whose changes have not been reported.
    pub fn since(&self) -> Option<Since> {
        self.unreported()?.since
    }

    /// How far the channel has come, if that is known.
    pub fn position(&self) -> Option<Blocked> {
        let known = self.known.as_ref()?;
        Some(Blocked { next: known.record.next_number(), forgotten: known.forgotten_place() })
    }

    /// Drops from memory the messages that an operator had forgotten (`rockets forget`).
    pub fn drop_forgotten(&mut self) {
        if let Some(known) = self.known.as_ref().filter(|known| known.unreported.forgotten.is_some()) {
            self.buffer.retain(|_, arrival| !known.has_forgotten(arrival.event()));
        }
    }

    /// Whether a message was applied, and that is not reported yet.
    pub fn has_unreported(&self, event: Event) -> bool {
        self.unreported().is_some_and(|unreported| unreported.messages.iter().any(|(message, _)| *message == event))
    }

    fn unreported(&self) -> Option<&Unreported> {
        self.known.as_ref().map(|known| &known.unreported)
    }

    /// Reports everything that is listed as unreported.
    pub async fn report(&mut self, broker: &impl TrackBroker) -> Result<(), BrokerError> {
        let outcomes = self.outcomes();
        broker.report(outcomes.clone()).await?;
        self.note_reported(&outcomes);
        Ok(())
    }
}

impl Known {
    /// Whether a message is one of what was forgotten of the channel.
    pub fn has_forgotten(&self, event: Event) -> bool {
        self.unreported.forgotten.is_some_and(|forgotten| forgotten.has(event))
    }

    /// The last sequence of what was forgotten of the channel.
    pub fn forgotten_place(&self) -> Option<Sequence> {
        match self.unreported.forgotten {
            Some(Forgotten::Through(last)) => Some(last.sequence),
            Some(Forgotten::UnderWay) | None => None,
        }
    }
}

/// Reads what lies in the bucket. While a channel is being forgotten, this is a conflict, so that its messages come again. A
/// record that cannot be read is replayed from the log.
fn known_from(channel: &Channel, read: Versioned) -> Result<Known, BrokerError> {
    if let Some(aside) = read.aside.filter(Aside::is_newer) {
        return Err(BrokerError::Newer(aside.format));
    }
    let (mut record, carried) = match read.record.as_deref().map(Record::read) {
        None => (Record::default(), None),
        Some(Ok(read)) => read,
        Some(Err(Unreadable::Damaged(why))) => {
            tracing::error!(%channel, why, "the record cannot be read, replaying the channel from the log");
            (Record::to_be_replayed(), None)
        }
        Some(Err(Unreadable::Newer(format))) => return Err(BrokerError::Newer(format)),
    };
    if read.unreported.forgotten == Some(Forgotten::UnderWay) {
        tracing::debug!(%channel, "it is being forgotten: its messages wait");
        return Err(BrokerError::Conflict);
    }
    if let Some(aside) = read.aside {
        record.wait_for_more(aside.first, aside.last);
    }
    Ok(Known {
        record,
        revision: read.revision,
        unreported: read.unreported,
        at: read.at,
        carried: carried.map(Box::new),
    })
}
