//! What a folding anew lacks to take the place of the record, and what it can do without.

use std::collections::BTreeSet;

use super::Running;
use crate::broker::{BrokerError, TrackBroker};
use crate::domain::bounds::bounds;
use crate::domain::outcome::{LATE, Since};
use crate::domain::shortfall::Base;
use crate::domain::{Acts, Became, Checkpoint, Event, MessageNumber, Owed, Record, Shortfall, shortfall};

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
        let acts = self.reading.replay.acts();
        if !self.has_seen_late(written) {
            return Ok(Lacks::Reading);
        }
        if folded.acts < written.acts && !is_short {
            return Ok(Lacks::End);
        }
        let of = |is_whole| match self.reading.replay.is_resumed() {
            true => shortfall(written, folded, &acts, Base::Record),
            false => shortfall(written, folded, &acts, Base::Log { is_whole }),
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
    /// will keep and tell of those.
    fn has_seen_late(&self, written: &Record) -> bool {
        let (acts, late): (_, BTreeSet<_>) = (self.reading.replay.acts(), self.late.values().collect());
        let waiting = written.parked.ranges().iter().flat_map(|range| range.first.get()..=range.last.get());
        let mut skipped = waiting.filter_map(MessageNumber::new).filter(|number| acts.skipped_from(*number).is_some());
        let is_seen = |number: MessageNumber| late.contains(&number) || acts.first_unseen(number, number).is_some();
        skipped.all(is_seen)
    }

    /// The acts that change what lies before the record from which the fold has gone on: they cannot be followed.
    fn acts_before_the_record(&self) -> impl Iterator<Item = Event> {
        let (acts, passed) = (self.changes.acts(), self.only_from.map_or(0, |since| since.passed));
        self.reading.replay.acts().touching(acts, passed).collect::<Vec<_>>().into_iter()
    }

    /// All acts that cannot be followed: these, and those that change what was trimmed.
    pub(super) fn acts_out_of_reach(&self) -> BTreeSet<Event> {
        let (acts, trimmed) = (self.reading.replay.acts(), self.trimmed_through());
        self.acts_before_the_record().chain(acts.touching(self.changes.acts(), trimmed)).collect()
    }

    /// What the log lacks of what was trimmed, if it was.
    pub(super) fn trimmed(&self) -> Option<Shortfall> {
        MessageNumber::new(self.trimmed_through()).map(Shortfall::Trimmed)
    }

    /// Up to which number the log had been trimmed when the reading began.
    pub(super) fn trimmed_through(&self) -> u64 {
        self.reading.replay.base().filter(|base| base.is_trimmed).map_or(0, Checkpoint::through)
    }

    /// Whether there is nothing to write: all acts that are new cannot be followed, and nothing else has changed. An act
    /// that changes what was trimmed counts as followed: it fails from then on, whoever folds the channel.
    pub(super) fn changes_nothing(&self, folded: &Record, written: &Record) -> bool {
        let out_of_reach: BTreeSet<_> = self.acts_before_the_record().collect();
        let is_followed = |act: &Event| !out_of_reach.contains(act);
        let (acts, acts_at) = match self.reading.replay.acts().after(self.changes.acts()).any(|act| is_followed(&act)) {
            true => (folded.acts, folded.acts_at),
            false => (written.acts, written.acts_at),
        };
        Record { acts, acts_at, ..folded.clone() } == *written
    }

    /// What the new record owes. Where the fold went on from a record, what it placed is listed, if there is room: then it
    /// need not be found out again.
    pub(super) fn owed(&self, since: Since, mut owed: Owed) -> Owed {
        let placed = self.changes.placed();
        if self.reading.replay.is_resumed() && owed.placed.len() + placed.len() <= bounds().placed {
            owed.placed.extend(placed);
        }
        Owed { since: Some(since), ..owed }
    }

    /// What became of the acts themselves and of what they left without a place; of a correction that took its place,
    /// that is among the changes.
    pub(super) fn outcomes_of_acts(&self, acts: &Acts) -> Vec<(Event, Became)> {
        let since = self.changes.acts();
        let skips = acts.skips_after(since).map(|event| (event, Became::Processed));
        let overtaken = acts.overtaken_after(since).map(|event| (event, Became::Duplicate));
        let late = self.late.keys().map(|event| (*event, Became::Failed(LATE.into())));
        skips.chain(overtaken).chain(late).collect()
    }
}
