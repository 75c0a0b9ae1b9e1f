//! What a replay lacks to take the place of the record, and what it can do without.

use std::collections::BTreeSet;

use super::Running;
use crate::broker::{BrokerError, TrackBroker};
use crate::domain::bounds::bounds;
use crate::domain::outcome::{SKIPPED_LATE, Since};
use crate::domain::shortfall::Base;
use crate::domain::{Checkpoint, Event, MessageNumber, Outcome, Overrides, Record, Shortfall, Unreported, shortfall};

/// What a fold lacks to take the place of the record.
pub(super) enum Lacks {
    Nothing,
    /// Not everything was shown that there is: a replica or a leader was late.
    Reading,
    /// The record knows of more than the leader has: that was cut off, or the log lost its end.
    End,
    /// It is not in the log any more.
    Log(Shortfall),
}

impl Running {
    /// What the fold lacks, once it has seen all that the leader has. A log of which nothing was ever removed has everything,
    /// unless it is known to have lost its end.
    pub(super) async fn lacks(
        &self,
        broker: &impl TrackBroker,
        written: &Record,
        folded: &Record,
        is_short: bool,
    ) -> Result<Lacks, BrokerError> {
        let overrides = self.reading.replay.overrides();
        if !self.has_seen_late(written) {
            return Ok(Lacks::Reading);
        }
        if folded.last_override < written.last_override && !is_short {
            return Ok(Lacks::End);
        }
        let of = |is_whole| match self.reading.replay.goes_on_from_record() {
            true => shortfall(written, folded, &overrides, Base::Record),
            false => shortfall(written, folded, &overrides, Base::Log { is_whole }),
        };
        let Some(lacks) = of(false) else { return Ok(Lacks::Nothing) };
        if is_short {
            return Ok(Lacks::Log(lacks));
        }
        match broker.is_whole().await? {
            true => Ok(of(true).map_or(Lacks::Nothing, |_| Lacks::End)),
            // It is a leader that the others follow who has said so; the one that was asked before for the end need not be.
            false if self.reading.has_seen_all(broker).await? => Ok(Lacks::Log(lacks)),
            false => Ok(Lacks::Reading),
        }
    }

    /// Whether all messages were shown that the record says to wait and that turn out to have come too late: nobody else
    /// will keep and report those.
    fn has_seen_late(&self, written: &Record) -> bool {
        let (overrides, late): (_, BTreeSet<_>) = (self.reading.replay.overrides(), self.late.values().collect());
        let waiting = written.pending.ranges().iter().flat_map(|range| range.first.get()..=range.last.get());
        let mut skipped =
            waiting.filter_map(MessageNumber::new).filter(|number| overrides.skipped_from(*number).is_some());
        let is_seen =
            |number: MessageNumber| late.contains(&number) || overrides.first_unseen(number, number).is_some();
        skipped.all(is_seen)
    }

    /// The overrides that change what lies before the record from which the fold has gone on: they cannot be followed.
    fn overrides_before_the_record(&self) -> impl Iterator<Item = Event> {
        let (last_override, applied_through) =
            (self.changes.last_override_before(), self.only_from.and_then(|since| since.applied_through));
        self.reading.replay.overrides().touching(last_override, applied_through).collect::<Vec<_>>().into_iter()
    }

    /// All overrides that cannot be followed: these, and those that change what was trimmed.
    pub(super) fn overrides_out_of_reach(&self) -> BTreeSet<Event> {
        let (overrides, trimmed) = (self.reading.replay.overrides(), self.trimmed_through());
        self.overrides_before_the_record()
            .chain(overrides.touching(self.changes.last_override_before(), trimmed))
            .collect()
    }

    /// What the log lacks of what was trimmed, if it was.
    pub(super) fn trimmed(&self) -> Option<Shortfall> {
        self.trimmed_through().map(Shortfall::Trimmed)
    }

    /// Up to which number the log had been trimmed when the reading began.
    pub(super) fn trimmed_through(&self) -> Option<MessageNumber> {
        self.reading.replay.base().filter(|base| base.is_trimmed).and_then(Checkpoint::through)
    }

    /// Whether there is nothing to write: all overrides that are new cannot be followed, and nothing else has changed. An
    /// override that changes what was trimmed counts as followed: it fails from then on, whoever folds the channel.
    pub(super) fn changes_nothing(&self, folded: &Record, written: &Record) -> bool {
        let out_of_reach: BTreeSet<_> = self.overrides_before_the_record().collect();
        let is_followed = |overriding: &Event| !out_of_reach.contains(overriding);
        let (last_override, last_override_at) = match self
            .reading
            .replay
            .overrides()
            .after(self.changes.last_override_before())
            .any(|overriding| is_followed(&overriding))
        {
            true => (folded.last_override, folded.last_override_at),
            false => (written.last_override, written.last_override_at),
        };
        Record { last_override, last_override_at, ..folded.clone() } == *written
    }

    /// What the new record has unreported. Where the fold went on from a record, what it applied is listed, if there is
    /// room: then it need not be found out again.
    pub(super) fn unreported(&self, since: Since, mut unreported: Unreported) -> Unreported {
        let applied = self.changes.applied();
        if self.reading.replay.goes_on_from_record()
            && unreported.messages.len() + applied.len() <= bounds().applied_at_once
        {
            unreported.messages.extend(applied);
        }
        Unreported { since: Some(since), ..unreported }
    }

    /// What became of the overrides themselves and of what they left without effect; of a correction that was applied,
    /// that is among the changes.
    pub(super) fn outcomes_of_overrides(&self, overrides: &Overrides) -> Vec<(Event, Outcome)> {
        let since = self.changes.last_override_before();
        let skips = overrides.skips_after(since).map(|event| (event, Outcome::Processed));
        let overtaken = overrides.overtaken_after(since).map(|event| (event, Outcome::Duplicate));
        let late = self.late.keys().map(|event| (*event, Outcome::Failed(SKIPPED_LATE.into())));
        skips.chain(overtaken).chain(late).collect()
    }
}
