//! What goes wrong in a schedule: with one call, with a leader, with what is stored, and what operators do.

use std::collections::HashMap;

use bytes::Bytes;

use super::environment::Environment;
use super::messages::{channel_of, number_of};
use super::model::Sight;
use crate::broker::{BrokerError, Stored};
use crate::domain::bounds;
use crate::domain::{Channel, MessageNumber, Sequence, StoredAt, Unreported};
use crate::retention::plan::Plan;
use crate::retention::sweep::goes;

/// Calls for which a leader that was cut off goes on answering, at most.
const CUT_OFF_CALLS_MAX: u64 = 300;

/// A leader of the log that was cut off from the others, and does not know it yet.
pub struct CutOff {
    /// The call with which it finds out.
    until: u64,
    /// The last sequence that it has.
    end: u64,
}

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It is not done.
    Refused(BrokerError),
    /// It is done, and the answer gets lost.
    AnswerLost,
    /// It is given up, and done some time later.
    DoneLate,
}

impl Environment {
    /// Somebody writes something else in the place of a record.
    pub fn damage_a_record(&mut self) {
        let at = self.random.below(self.profile.channels) as usize;
        let (channel, now) = (channel_of(at), self.now());
        let revision = self.model.load(&channel, Sight::clear(1)).revision;
        if revision > 0 && self.invariants.channels[at].is_held() {
            bounds::reached("a record is damaged");
            let _ = self.model.write(&channel, Bytes::from_static(b"garbage"), &Unreported::default(), revision, now);
            self.invariants.channels[at].damaged();
            self.report(|| format!("the record of {at} is damaged"));
        }
    }

    /// The log loses its end, as after a power cut; what was sent comes once more.
    pub fn lose_end(&mut self) {
        while !self.under_way.is_empty() {
            self.come_one();
        }
        let last = self.random.below(self.model.stream.len() as u64 + 1);
        bounds::reached("the log loses its end");
        self.report(|| format!("the log loses everything behind {last}"));
        (self.has_lost_end, self.cut_off) = (true, None);
        self.delivered = self.delivered.min(last);
        self.model.lose_end(last);
        self.invariants.lost_end(last);
    }

    /// A message that was applied and acknowledged is lost from the log.
    pub fn lose_one(&mut self) {
        let all = self.model.stream.len();
        let lost = Sequence(1 + self.random.place(all.max(1)) as u64);
        if self.model.has(lost) && self.invariants.trimmed(lost).is_ok() {
            bounds::reached("a message is lost from the log");
            self.report(|| format!("{lost} is lost from the log"));
            self.invariants.lost(lost);
            self.model.remove(lost);
        }
    }

    /// Whether it is time to trim the log, and of what is older than when.
    pub fn next_trim(&mut self) -> Option<StoredAt> {
        let is_due = !self.calm && self.random.below(256) < self.profile.trims;
        is_due.then(|| StoredAt(self.random.within(1, self.model.stream.len() as u64 + 1) as i64))
    }

    /// Removes from the log what may go.
    pub fn trim(&mut self, plans: &HashMap<Channel, Plan>, cut: StoredAt) {
        let end = self.model.unacknowledged.first().map_or(u64::MAX, |first| first - 1).min(self.delivered);
        let goes = |stored: &Stored| goes(plans, cut, Sequence(end), stored);
        let gone: Vec<_> = self.model.log().filter(|stored| goes(stored)).map(|stored| stored.sequence).collect();
        for (channel, Plan { through, .. }) in plans {
            let trimmed = &mut self.invariants.channels[number_of(channel)].trimmed;
            *trimmed = (*trimmed).max(MessageNumber::count_through(*through));
        }
        if !gone.is_empty() {
            bounds::reached("the log is trimmed");
            self.report(|| format!("trimmed: {gone:?}"));
        }
        for sequence in gone {
            let lawful = self.invariants.trimmed(sequence);
            self.judge(lawful);
            self.model.remove(sequence);
        }
    }

    /// What goes wrong with the next call that changes something.
    pub fn fault(&mut self) -> Fault {
        if self.calm {
            return Fault::None;
        }
        let (random, profile) = (&mut self.random, &self.profile);
        if random.happens(profile.refused) {
            return Fault::Refused(refusal(random.below(8)));
        }
        match (random.happens(profile.answers_lost), random.happens(profile.done_late)) {
            (true, _) => Fault::AnswerLost,
            (_, true) => Fault::DoneLate,
            _ => Fault::None,
        }
    }

    /// How much the next answer shows that may come from a replica that lags behind.
    pub fn sight(&mut self) -> Sight {
        let clear = Sight::clear(self.profile.page);
        if self.calm || !self.random.happens(self.profile.stale) {
            return clear;
        }
        let (revisions_late, newest_missing) = (self.random.place(4), self.random.below(self.profile.lag));
        Sight { revisions_late, newest_missing, ..clear }
    }

    /// Whether the log's leader answers that was cut off from the others; it may be at this moment.
    pub fn is_cut_off(&mut self) -> bool {
        self.cut_off.take_if(|cut_off| self.calm || cut_off.until < self.calls_made);
        if self.cut_off.is_none() && !self.calm && self.random.below(4_096) < self.profile.cut_off {
            bounds::reached("a leader that was cut off answers");
            self.report(|| "the leader is cut off".into());
            let until = self.calls_made + self.random.below(CUT_OFF_CALLS_MAX);
            self.cut_off = Some(CutOff { until, end: self.model.stream.len() as u64 });
        }
        self.cut_off.is_some()
    }

    /// How much the next answer shows that comes from whoever takes itself for the log's leader.
    pub fn sight_of_leader(&mut self) -> Sight {
        self.is_cut_off();
        let end = self.model.stream.len() as u64;
        let newest_missing = self.cut_off.as_ref().map_or(0, |cut_off| end - cut_off.end);
        Sight { newest_missing, ..Sight::clear(self.profile.page) }
    }

    /// Whether a write is refused as if it came too late, though it does not.
    pub fn conflicts(&mut self) -> bool {
        !self.calm && self.random.happens(self.profile.conflicts)
    }

    /// Whether the next answer takes its time.
    pub fn answers_late(&mut self) -> bool {
        self.random.happens(self.profile.answered_late)
    }
}

/// An error of a call that is not done.
fn refusal(kind: u64) -> BrokerError {
    match kind {
        0 => BrokerError::Full("refused".into()),
        1 => BrokerError::InFlight,
        _ => BrokerError::Unavailable("refused".into()),
    }
}
