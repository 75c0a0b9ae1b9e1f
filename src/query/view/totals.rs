//! How many rockets there are of each kind and how far they have come in all, kept with every change, so that nobody has
//! to count a million of them.

use super::changes::Position;
use super::{Entry, View};
use crate::domain::Status;

/// Sums over all rockets of the view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rockets that fly.
    pub active: u64,
    /// Rockets that are gone.
    pub exploded: u64,
    /// The last numbers that were applied, of all rockets together. It wraps: only the difference of two means something.
    pub applied: u64,
    /// Channels that wait for a number, launched or not.
    pub gaps: u64,
    /// Numbers that wait behind them.
    pub pending: u64,
}

impl Totals {
    pub(super) fn put(&mut self, entry: Option<&Entry>, outdated: Option<&Entry>) {
        if let Some(outdated) = outdated {
            self.count(outdated, u64::wrapping_sub);
        }
        if let Some(entry) = entry {
            self.count(entry, u64::wrapping_add);
        }
    }

    fn count(&mut self, entry: &Entry, change: fn(u64, u64) -> u64) {
        let of_its_kind = match entry.rocket.status {
            Status::Active => &mut self.active,
            Status::Exploded { .. } => &mut self.exploded,
        };
        *of_its_kind = change(*of_its_kind, 1);
        self.applied = change(self.applied, entry.last.number.get());
    }
}

impl View {
    /// The sums, and where the view stood with them.
    pub fn totals(&self) -> (Position, Totals) {
        let state = self.read();
        let (gaps, pending) = state.gaps.counts();
        (state.position(), Totals { gaps, pending, ..state.totals })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{Sample, channel};
    use super::*;
    use crate::domain::{MessageNumber, Sequence};

    #[test]
    fn sums_follow_every_change() {
        let view = View::default();
        let sums = |view: &View| {
            let Totals { active, exploded, applied, gaps, pending } = view.totals().1;
            [active, exploded, applied, gaps, pending]
        };
        let at = |number| MessageNumber::new(number).unwrap();
        let record = |id, exploded, number, waits: &[u64]| {
            let mut record = Sample { exploded, ..Sample::new(id) }.record();
            record.last.as_mut().unwrap().number = at(number);
            waits.iter().for_each(|number| record.pending.insert(at(*number), Sequence(*number)));
            Some(record)
        };
        for (id, record, expected) in [
            (1, record(1, false, 1, &[]), [1, 0, 1, 0, 0]),
            (2, record(2, false, 5, &[8, 9]), [2, 0, 6, 1, 2]),
            (1, record(1, false, 7, &[11]), [2, 0, 12, 2, 3]),
            (2, record(2, true, 9, &[]), [1, 1, 16, 1, 1]),
            (1, None, [0, 1, 9, 0, 0]),
        ] {
            view.apply(Some(channel(id)), record, view.last_revision() + 1);
            assert_eq!(sums(&view), expected, "{id}");
        }
        view.apply(Some(channel(2)), None, 2);
        assert_eq!(sums(&view), [0, 1, 9, 0, 0], "what is older is not taken");
    }
}
