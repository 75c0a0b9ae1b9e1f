//! Whether more trackers would help: decided on two looks at the partitions and on what the trackers say.

use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;

use crate::broker::inspect::Backlog;
use crate::broker::membership::Heartbeat;

/// With no more than so many seconds of work before them the trackers keep up.
const SOON: f64 = 30.0;

/// What waits in each partition at one moment.
pub(super) struct Sample {
    pub(super) at: OffsetDateTime,
    pub(super) backlogs: Vec<Backlog>,
}

/// The answer, and the reason for it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Need {
    #[serde(rename = "more_trackers_needed")]
    more: bool,
    why: String,
}

impl Need {
    /// Decides by what the trackers say, and by what waited before and waits now.
    pub(super) fn of(words: &[Heartbeat], before: &Sample, now: &Sample) -> Self {
        let (partitions, behind) = (now.backlogs.len(), behind(before, now));
        let (left, fewer_a_second) = (now.messages(), now.fewer_a_second(before));
        let seconds_left = if fewer_a_second > 0.0 { left as f64 / fewer_a_second } else { f64::INFINITY };
        match words.len() {
            0 if now.deliveries() > before.deliveries() => {
                Self::no("messages are applied, by trackers that cannot be heard".into())
            }
            0 => Self::yes("no tracker is there; start one (`rockets track`)".into()),
            _ if behind.is_empty() => Self::no("everything is applied as it comes".into()),
            _ if seconds_left <= SOON => {
                Self::no(format!("what waits is applied in about {:.0} s", seconds_left.max(1.0)))
            }
            trackers if trackers >= partitions => {
                Self::no(format!("all {partitions} partitions have trackers of their own, and are behind all the same"))
            }
            _ if behind.iter().all(|partition| is_alone(words, *partition)) => {
                let names: Vec<_> = behind.iter().map(u16::to_string).collect();
                Self::no(format!("what is behind has trackers of its own: partition {}", names.join(", ")))
            }
            _ if seconds_left.is_finite() => {
                Self::yes(format!("what waits takes about {seconds_left:.0} s with these"))
            }
            _ => Self::yes(format!("{left} messages wait, {:.0} more each second", 0.0 - fewer_a_second)),
        }
    }

    fn yes(why: String) -> Self {
        Self { more: true, why }
    }

    fn no(why: String) -> Self {
        Self { more: false, why }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = if self.more { "yes" } else { "no" };
        write!(f, "more trackers needed? {answer}: {}", self.why)
    }
}

impl Sample {
    fn messages(&self) -> u64 {
        self.backlogs.iter().map(Backlog::messages).sum()
    }

    fn deliveries(&self) -> u64 {
        self.backlogs.iter().map(|backlog| backlog.deliveries).sum()
    }

    /// By how much what waits has become less since the other sample.
    fn fewer_a_second(&self, before: &Self) -> f64 {
        let seconds = (self.at - before.at).as_seconds_f64().max(0.001);
        (before.messages() as f64 - self.messages() as f64) / seconds
    }
}

/// Partitions with a message that was there at the first look already.
fn behind(before: &Sample, now: &Sample) -> Vec<u16> {
    let is_behind = |backlog: &Backlog| backlog.oldest.is_some_and(|oldest| oldest < before.at);
    (0..).zip(&now.backlogs).filter(|(_, backlog)| is_behind(backlog)).map(|(partition, _)| partition).collect()
}

/// Whether whoever works on a partition works on no other one.
fn is_alone(words: &[Heartbeat], partition: u16) -> bool {
    words.iter().any(|word| word.leads == [partition])
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    /// Two partitions with so many messages each at one second, the oldest as old as can be.
    fn sample(second: i64, lags: [u64; 2], deliveries: u64) -> Sample {
        let at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(second);
        let backlog = |lag| Backlog {
            lag,
            deliveries,
            oldest: (lag > 0).then_some(OffsetDateTime::UNIX_EPOCH),
            ..Backlog::default()
        };
        Sample { at, backlogs: lags.map(backlog).into() }
    }

    fn trackers(leads: &[&[u16]]) -> Vec<Heartbeat> {
        let word = |leads: &&[u16]| Heartbeat { name: "a".into(), leads: leads.to_vec(), leaves: false, misses: None };
        leads.iter().map(word).collect()
    }

    #[test]
    fn more_are_needed_where_they_would_help() {
        type Leads = &'static [&'static [u16]];
        let (nobody, both, one_each): (Leads, Leads, Leads) = (&[], &[&[0, 1]], &[&[0], &[1]]);
        let rows = [
            (nobody, [0, 0], [0, 0], 0, "yes: no tracker is there"),
            (nobody, [9, 9], [9, 5], 4, "no: messages are applied, by trackers that cannot be heard"),
            (both, [0, 0], [0, 0], 0, "no: everything is applied as it comes"),
            (both, [9, 9], [6, 6], 6, "no: what waits is applied in about 2 s"),
            (both, [9_000, 9_000], [8_900, 8_900], 200, "yes: what waits takes about 89 s"),
            (both, [0, 9], [0, 20], 4, "yes: 20 messages wait, 11 more each second"),
            (both, [9, 9], [9, 9], 0, "yes: 18 messages wait, 0 more each second"),
            (one_each, [0, 9], [9, 20], 4, "no: all 2 partitions have trackers of their own"),
            (&[&[0]], [9, 0], [20, 0], 4, "no: what is behind has trackers of its own: partition 0"),
        ];
        for (leads, before, now, taken, expected) in rows {
            let need = Need::of(&trackers(leads), &sample(1, before, 0), &sample(2, now, taken));
            assert!(need.to_string().contains(&format!("? {expected}")), "{need} is not {expected}");
        }
    }

    #[test]
    fn what_came_between_the_looks_is_not_behind() {
        let now = sample(2, [5, 5], 0);
        let mut before = sample(1, [5, 5], 0);
        before.at = OffsetDateTime::UNIX_EPOCH;
        assert!(!Need::of(&trackers(&[&[0, 1]]), &before, &now).more);
    }
}
