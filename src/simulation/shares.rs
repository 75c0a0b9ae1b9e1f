//! In what share of the schedules the tracker comes beyond each bound. A simulation that stays within them finds nothing of
//! what lies behind, so a share that falls below its floor fails the run.

use std::collections::{BTreeMap, BTreeSet};

/// Schedules from which on shares are judged: of fewer, chance decides.
const JUDGED_MIN: u64 = 1_000;

/// What is to happen, and in how many of a hundred schedules at least.
const FLOORS: [(&str, u64); 19] = [
    ("ranges are not listed", 55),
    ("a drain lists what waits", 28),
    ("skipped numbers are not listed", 10),
    ("as much is applied at once as may be", 50),
    ("a record would have more unreported than it may", 43),
    ("only the sequence of a message is kept", 85),
    ("a message is dropped from the reorder buffer", 75),
    ("the log is read again for what was dropped", 38),
    ("a fold begins at a checkpoint", 22),
    ("the id of a dead letter is forgotten", 18),
    ("the log is trimmed", 7),
    ("a record is damaged", 6),
    ("a message is lost from the log", 4),
    ("a message takes a newer program", 7),
    ("the log loses its end", 2),
    ("a leader that was cut off answers", 15),
    ("a group of writes is refused because of one of them", 40),
    ("a group of writes is lost before it is committed", 9),
    ("a group of writes is committed and its answer is lost", 5),
];

/// In how many schedules what happened.
#[derive(Debug, Default)]
pub struct Shares(BTreeMap<&'static str, u64>);

impl Shares {
    /// Counts one schedule.
    pub fn count(&mut self, beyond: BTreeSet<&'static str>) {
        beyond.into_iter().for_each(|what| *self.0.entry(what).or_default() += 1);
    }

    /// Prints the share of each.
    pub fn print(&self, schedules: u64) {
        for (what, floor) in FLOORS {
            println!("{:3} % of the schedules (at least {floor} %): {what}", self.percent(what, schedules));
        }
    }

    /// Fails where the simulation has become too kind.
    pub fn judge(&self, schedules: u64) -> Result<(), String> {
        let is_low = |(what, floor): &&(&str, u64)| self.percent(what, schedules) < *floor;
        match FLOORS.iter().find(is_low).filter(|_| schedules >= JUDGED_MIN) {
            None => Ok(()),
            Some((what, floor)) => Err(format!("too kind: in less than {floor} % of the schedules {what}")),
        }
    }

    fn percent(&self, what: &str, schedules: u64) -> u64 {
        self.0.get(what).copied().unwrap_or(0) * 100 / schedules.max(1)
    }
}

#[test]
fn a_share_below_its_floor_is_found_where_there_are_enough_schedules() {
    let mut shares = Shares::default();
    (0..JUDGED_MIN).for_each(|_| shares.count(FLOORS.iter().map(|(what, _)| *what).collect()));
    assert_eq!(shares.judge(JUDGED_MIN), Ok(()));
    let few = Shares::default();
    assert_eq!(few.judge(JUDGED_MIN - 1), Ok(()));
    assert!(few.judge(JUDGED_MIN).is_err_and(|why| why.contains(FLOORS[0].0)));
}
