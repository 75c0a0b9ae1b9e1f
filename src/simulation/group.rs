//! Records that a worker writes at the same time, as group commit stores them: all or none, with one answer. Where the broker
//! refuses them together, each goes by itself; where the answer is lost, nobody writes them again.
//!
//! That is what [`crate::broker::group_commit`] makes of a batch, written down a second time. How it gets there, and what a
//! broker says of a batch, is for the end-to-end tests.

use bytes::Bytes;

use super::environment::{Environment, UnderWay};
use super::faults::Fault;
use super::model::Sight;
use crate::broker::BrokerError;
use crate::domain::bounds;
use crate::domain::{Channel, Unreported};

/// A record that is to be written.
#[derive(Clone, Debug)]
pub struct RecordWrite {
    pub channel: Channel,
    pub record: Bytes,
    pub unreported: Unreported,
    pub expected: u64,
}

/// What became of a write in a group; none where it goes by itself.
pub type Fate = Option<Result<u64, BrokerError>>;

impl Environment {
    /// Writes a record whose call has its turn in a group with what its worker writes at the same time, or tells what a group
    /// has come to that it was in already.
    pub fn write_in_a_group(&mut self, call: u64, worker: usize, write: &RecordWrite) -> Fate {
        if let Some(fate) = self.fates.remove(&call) {
            return fate;
        }
        if !self.random.happens(self.profile.groups) {
            return None;
        }
        let waiting = self.calls.iter().filter(|other| other.worker == worker && !self.fates.contains_key(&other.id));
        let others = waiting.filter_map(|other| Some((other.id, other.write.clone()?)));
        let (mut calls, mut writes): (Vec<_>, Vec<_>) = others.unzip();
        if calls.is_empty() {
            return None;
        }
        calls.push(call);
        writes.push(write.clone());
        self.report(|| format!("a group of {} writes", writes.len()));
        let fates = self.commit(writes);
        self.fates.extend(calls.into_iter().zip(fates));
        self.fates.remove(&call).flatten()
    }

    /// What becomes of each write of a group.
    fn commit(&mut self, writes: Vec<RecordWrite>) -> Vec<Fate> {
        let alone = vec![None; writes.len()];
        let unclear =
            vec![Some(Err(BrokerError::Unavailable("it may have been written with a group".into()))); writes.len()];
        let fault = self.fault();
        self.report(|| format!("{fault:?}"));
        match fault {
            Fault::None if self.conflicts() => alone,
            Fault::None => match self.write_all(&writes) {
                Ok(revisions) => revisions.into_iter().map(|revision| Some(Ok(revision))).collect(),
                Err(_) => {
                    bounds::reached("a group of writes is refused because of one of them");
                    alone
                }
            },
            Fault::Refused(BrokerError::Unavailable(_)) => {
                bounds::reached("a group of writes is lost before it is committed");
                unclear
            }
            Fault::Refused(_) => alone,
            Fault::AnswerLost => {
                if self.write_all(&writes).is_ok() {
                    bounds::reached("a group of writes is committed and its answer is lost");
                }
                unclear
            }
            Fault::DoneLate => {
                self.under_way.push(UnderWay::Writes(writes));
                unclear
            }
        }
    }

    /// Writes all of these records, or none where one comes too late.
    pub fn write_all(&mut self, writes: &[RecordWrite]) -> Result<Vec<u64>, BrokerError> {
        let is_late = |write: &RecordWrite| self.model.load(&write.channel, Sight::clear(1)).revision != write.expected;
        match writes.iter().any(is_late) {
            true => Err(BrokerError::Conflict),
            false => writes.iter().map(|write| self.write(write)).collect(),
        }
    }
}
