//! The gaps that losses leave, closed as an operator would: look at the list of gaps, and skip what is missing.
//!
//! Skips are asked for only when the service itself shows a channel's gap, and only on channels of this run. Whatever
//! answer is missing or not well, it is asked for again until the deadline, unless the service has meanwhile passed the
//! number: then a skip whose answer was lost did its work, or an earlier run with the same flags has done it.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use tokio::time::timeout_at;
use uuid::Uuid;

use super::differences::{Difference, Seen};
use super::operator::{Operator, REQUESTS_MAX};
use super::oracle::{Gap, Oracle};

/// What became of the gaps.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// How many skips were made, some perhaps by an earlier run with the same flags.
    pub(super) skips: u64,
    /// How many numbers they covered.
    pub(super) numbers: u64,
    /// The gaps that could not be closed.
    pub(super) differences: Vec<Difference>,
}

/// The skips of one channel, from the lowest.
#[derive(Debug)]
struct Plan {
    channel: Uuid,
    skips: Vec<Skip>,
    /// How many of them are done.
    done: usize,
    /// Why the next one is not.
    trouble: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Skip {
    /// The lowest number that it covers.
    first: u64,
    /// The highest, as the service is told.
    up_to: u64,
    /// How many of those between were lost.
    numbers: u64,
}

/// Closes every gap that the oracle knows of, or as many as can be closed before the operator's deadline.
pub(super) async fn close_gaps(operator: &Operator, oracle: &Oracle) -> Skipped {
    let mut plans: Vec<Plan> = oracle.gaps().map(|(channel, gaps)| Plan::new(channel, gaps)).collect();
    // What is left when time is up is in the plans.
    let _ = timeout_at(operator.deadline, close_all(operator, &mut plans)).await;
    let mut skipped = Skipped::default();
    for plan in &plans {
        skipped.skips += plan.done as u64;
        skipped.numbers += plan.skips[..plan.done].iter().map(|skip| skip.numbers).sum::<u64>();
        skipped.differences.extend(plan.difference());
    }
    skipped
}

async fn close_all(operator: &Operator, plans: &mut [Plan]) {
    while plans.iter().any(|plan| plan.next().is_some()) {
        match operator.gaps().await {
            Ok(gaps) => {
                let open = stream::iter(plans.iter_mut().filter(|plan| plan.next().is_some()));
                open.for_each_concurrent(REQUESTS_MAX, |plan| plan.go_on(operator, &gaps)).await;
            }
            Err(trouble) => plans.iter_mut().for_each(|plan| plan.trouble.clone_from(&trouble)),
        }
        if let Some(plan) = plans.iter().find(|plan| plan.next().is_some()) {
            operator.progress.say(&plan.trouble);
            operator.pause(operator.deadline).await;
        }
    }
}

impl Plan {
    /// One skip a gap, or one for all: both must come to the same. The channel decides, so that it is always the same.
    fn new(channel: Uuid, gaps: &[Gap]) -> Plan {
        let numbers = |gaps: &[Gap]| gaps.iter().map(|gap| gap.last - gap.first + 1).sum();
        let skip = |gaps: &[Gap]| {
            let (first, up_to) = (gaps.first()?.first, gaps.last()?.last);
            Some(Skip { first, up_to, numbers: numbers(gaps) })
        };
        let at_once = if channel.as_u128().is_multiple_of(2) { gaps.len().max(1) } else { 1 };
        let trouble = "the list of gaps was not read before the deadline".to_owned();
        Plan { channel, skips: gaps.chunks(at_once).filter_map(skip).collect(), done: 0, trouble }
    }

    fn next(&self) -> Option<Skip> {
        self.skips.get(self.done).copied()
    }

    /// Does what can be done while these gaps are shown.
    async fn go_on(&mut self, operator: &Operator, gaps: &BTreeMap<Uuid, u64>) {
        let waiting_for = gaps.get(&self.channel).copied();
        let passed = match waiting_for {
            Some(number) => number.saturating_sub(1),
            None => passed(operator, self.channel).await,
        };
        while self.next().is_some_and(|skip| skip.up_to <= passed) {
            self.done += 1;
        }
        let Some(skip) = self.next() else { return };
        if waiting_for.is_some_and(|number| number >= skip.first) {
            self.skip(operator).await;
        } else {
            self.trouble = format!("the service does not show that number {} is missing", skip.first);
        }
    }

    /// Makes one skip after the other, for as long as it goes well. Everything was sent long ago, so that those behind
    /// the first need not wait until the service shows their gaps.
    async fn skip(&mut self, operator: &Operator) {
        while let Some(skip) = self.next() {
            let outcome = operator.skip(self.channel, skip.up_to).await;
            if !outcome.is_through() {
                self.trouble = format!("a skip: {outcome}");
                return;
            }
            self.done += 1;
        }
    }

    fn difference(&self) -> Option<Difference> {
        let Skip { first, up_to, .. } = self.next()?;
        let trouble = &self.trouble;
        Some(Difference::new(self.channel, format!("the gap from {first} was not closed up to {up_to}: {trouble}")))
    }
}

/// The number that the service has passed on a channel that it shows without a gap. Without a rocket everything that
/// was passed has been refused, and so it is among the dead letters.
async fn passed(operator: &Operator, channel: Uuid) -> u64 {
    let seen = operator.rocket(channel).await;
    if seen != Seen::Unknown {
        return seen.last_number();
    }
    let refused = operator.refused(channel).await.unwrap_or_default();
    refused.iter().map(|dead_letter| dead_letter.number).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skips(channel: u128, gaps: &[Gap]) -> Vec<(u64, u64, u64)> {
        let plan = Plan::new(Uuid::from_u128(channel), gaps);
        plan.skips.iter().map(|skip| (skip.first, skip.up_to, skip.numbers)).collect()
    }

    #[test]
    fn one_channel_is_skipped_gap_by_gap_and_another_at_once() {
        let gaps = [Gap { first: 1, last: 1 }, Gap { first: 4, last: 6 }, Gap { first: 9, last: 9 }];
        assert_eq!(skips(3, &gaps), [(1, 1, 1), (4, 6, 3), (9, 9, 1)]);
        assert_eq!(skips(4, &gaps), [(1, 9, 5)]);
        assert_eq!(skips(4, &gaps[1..2]), [(4, 6, 3)]);
    }
}
