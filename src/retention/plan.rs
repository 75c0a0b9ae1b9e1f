//! Up to which number a channel can be trimmed, and the checkpoint that makes it possible.
//!
//! The checkpoint stands at the age that is kept, not at the last number: what is younger can still be looked at and
//! corrected. It is made like any other, by a reading of the log that has everything of which the record knows.

use crate::broker::{BrokerError, LogReader, TrackBroker};
use crate::domain::checkpoint::trimmed_through;
use crate::domain::{
    Advance, Channel, Checkpoint, Entry, Goal, MessageNumber, Overrides, Record, Replay, Sequence, StoredAt, Taken,
};
use crate::replay::ChannelReplay;

/// What may go of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Messages up to this number.
    pub through: Option<MessageNumber>,
    /// Overrides up to this sequence of such numbers: they are folded in.
    pub overrides: Option<Sequence>,
}

/// The record after the last number that was applied before a time.
struct AtCut {
    cut: StoredAt,
    /// It does not go beyond this.
    last: MessageNumber,
    record: Record,
    is_over: bool,
}

/// Stores the checkpoint that is needed, unless nothing is to be changed; none where nothing may go.
pub async fn plan(
    broker: &impl TrackBroker,
    channel: &Channel,
    cut: StoredAt,
    dry_run: bool,
) -> Result<Option<Plan>, BrokerError> {
    let held = broker.load_latest(channel).await?;
    let written = held.record.and_then(|bytes| Record::from_bytes(&bytes).ok());
    // What overrides have changed must be reported first: it is found out by reading.
    let Some(written) = written.filter(|_| held.unreported.since.is_none()) else { return Ok(None) };
    let Some(last) = written.last.as_ref().map(|last| last.number) else { return Ok(None) };
    let mut bases = broker.checkpoints(channel).await?;
    let before = bases.first().filter(|base| base.is_trimmed).map(of_checkpoint);
    // A checkpoint may be ahead of the record: what lies between is not applied, and nothing is reported of it.
    let is_applied = |base: &Checkpoint| base.through() <= Some(last);
    bases.retain(|base| base.is_trimmed || (base.seen.stored_at < cut && is_applied(base)));
    let mut reading = ChannelReplay::of_what_they_say(*channel, Goal::State, bases.clone());
    let mut at_cut = AtCut::begin(&reading.replay, cut, last);
    while let Some(read) = reading.step(broker).await? {
        match read.taken {
            Taken::StartOver => at_cut = AtCut::begin(&reading.replay, cut, last),
            Taken::Advance(placed) => at_cut.take(placed.into_iter().flatten(), &reading.replay.overrides()),
        }
    }
    let Some(made) = reading.complete_checkpoint(broker, &written).await? else { return Ok(before) };
    let Some(through) = at_cut.record.applied_through().filter(|through| Some(*through) > trimmed_through(&bases))
    else {
        return Ok(before);
    };
    let record = Record {
        last_override: made.record.last_override,
        last_override_at: made.record.last_override_at,
        ..at_cut.record
    };
    let from = match Some(through) == made.through() {
        true => made.from,
        false => match first_behind(broker, channel, through, &made, reading.replay.first_place()).await? {
            Some(first) => first,
            None => return Ok(before),
        },
    };
    let checkpoint = Checkpoint { record, from, seen: made.seen, is_trimmed: true, place: None };
    if !dry_run {
        let place = broker.store_checkpoint(channel, &checkpoint).await?;
        // Of a channel that was forgotten meanwhile it says nothing.
        let now = broker.load_latest(channel).await?;
        if now.record.is_none() || now.unreported.forgotten != held.unreported.forgotten {
            broker.remove_checkpoint(place).await?;
            return Ok(None);
        }
    }
    Ok(Some(of_checkpoint(&checkpoint)))
}

fn of_checkpoint(checkpoint: &Checkpoint) -> Plan {
    Plan { through: checkpoint.through(), overrides: checkpoint.record.last_override }
}

/// Where the first message lies whose number is higher, or what a reading begins with that needs none of them; none where a
/// replica that lags behind did not show all that was read for the checkpoint.
async fn first_behind(
    log: &impl LogReader,
    channel: &Channel,
    through: MessageNumber,
    made: &Checkpoint,
    begin: Sequence,
) -> Result<Option<Sequence>, BrokerError> {
    let (mut next, mut seen) = (Some(begin), Sequence(begin.0 - 1));
    while let Some(from) = next {
        let page = log.read_page(channel, from).await?;
        seen = page.messages.last().map_or(seen, |last| last.sequence);
        let entries = page.messages.iter().filter_map(|stored| stored.read_light());
        let is_behind = |entry: &Entry<usize>| entry.message().is_some_and(|it| it.message.number > through);
        if let Some(first) = entries.into_iter().find(is_behind) {
            return Ok(Some(first.sequence()));
        }
        next = page.next;
    }
    Ok((seen >= made.seen.sequence).then_some(made.from))
}

impl AtCut {
    fn begin(replay: &Replay<usize>, cut: StoredAt, last: MessageNumber) -> Self {
        let record = replay.base().map_or_else(Record::default, |base| base.record.clone());
        Self { cut, last, record, is_over: false }
    }

    fn take(&mut self, placed: impl Iterator<Item = Advance<usize>>, overrides: &Overrides) {
        for placed in placed {
            let (last, stored_at) = match &placed {
                Advance::Message(arrival, _) => (arrival.message.number, Some(arrival.stored_at)),
                Advance::Skipped { last, by, .. } => (*last, overrides.event_of_skip(*by).map(|event| event.stored_at)),
            };
            self.is_over |= last > self.last || stored_at.is_none_or(|stored_at| stored_at >= self.cut);
            if self.is_over {
                return;
            }
            match placed {
                Advance::Message(arrival, _) => drop(self.record.place(&arrival.message).is_ok()),
                Advance::Skipped { last, by, .. } => {
                    if let Some(skip) = overrides.skip_at(by) {
                        self.record.skip(last, &skip.time);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::channel;
    use crate::domain::{Unreported, wire};
    use crate::simulation::testing::{ModelBroker, payload};

    #[tokio::test]
    async fn what_a_lagging_replica_hides_is_not_taken_for_absent() {
        let broker = ModelBroker::default();
        for number in 1..=5 {
            broker.publish(channel(), number);
        }
        let seen = broker.state().model.deliver(5).stored.event();
        let made = Checkpoint { record: Record::default(), from: Sequence(6), seen, is_trimmed: false, place: None };
        let first_behind = async || {
            first_behind(&broker, &channel(), MessageNumber::new(2).unwrap(), &made, Sequence(1)).await.unwrap()
        };
        broker.state().sight.newest_missing = 3;
        assert_eq!(first_behind().await, None);
        broker.state().sight.newest_missing = 0;
        assert_eq!(first_behind().await, Some(Sequence(3)));
    }

    #[tokio::test]
    async fn what_is_not_applied_is_not_planned_though_there_is_a_checkpoint_behind_it() {
        let broker = ModelBroker::default();
        for number in 1..=4 {
            broker.publish(channel(), number);
        }
        let fold = |numbers| {
            let mut record = Record::default();
            (1..=numbers).for_each(|number| {
                let _ = record.place(&wire::read(payload(channel(), number).as_bytes()).unwrap());
            });
            record
        };
        let seen = broker.state().model.deliver(4).stored.event();
        let ahead = Checkpoint { record: fold(4), from: Sequence(5), seen, is_trimmed: false, place: None };
        broker.state().model.store_checkpoint(&channel(), &ahead);
        broker.write(&channel(), fold(2).to_bytes(), &Unreported::default(), 0).await.unwrap();
        let plan = plan(&broker, &channel(), StoredAt(100), false).await.unwrap();
        assert_eq!(plan.map(|plan| plan.through), Some(MessageNumber::new(2)));
    }
}
