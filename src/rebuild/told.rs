//! The events of which it is known what became of them, as ranges: nearly all events, and so nearly one range.

use crate::broker::outcomes::told_events;
use crate::broker::{Broker, BrokerError};
use crate::domain::Sequence;

/// Ranges that are gathered before they are put together.
const LOOSE_RANGES_MAX: usize = 1_000_000;

/// Events that are told to be processed or failed.
#[derive(Debug, Default)]
pub struct Told {
    /// First and last event of each range; rising and apart once all are read.
    ranges: Vec<(u64, u64)>,
}

impl Told {
    /// Reads all outcomes that there are now.
    pub async fn read(broker: &Broker) -> Result<Self, BrokerError> {
        let (mut told, mut next) = (Self::default(), Some(1));
        while let Some(from) = next {
            let (ranges, after) = told_events(broker, from).await?;
            told.ranges.extend(ranges);
            if told.ranges.len() > LOOSE_RANGES_MAX {
                told.join();
            }
            next = after;
        }
        told.join();
        Ok(told)
    }

    /// Whether it is known what became of an event.
    pub fn contains(&self, event: Sequence) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < event.0);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= event.0)
    }

    #[cfg(test)]
    pub fn of(ranges: Vec<(u64, u64)>) -> Self {
        let mut told = Self { ranges };
        told.join();
        told
    }

    fn join(&mut self) {
        self.ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (first, last) in self.ranges.drain(..) {
            match joined.last_mut() {
                Some(range) if first <= range.1.saturating_add(1) => range.1 = range.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        self.ranges = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_any_order_become_few() {
        let told = Told::of(vec![(5, 6), (1, 2), (3, 3), (9, 9), (6, 7), (5, 5)]);
        assert_eq!(told.ranges, [(1, 3), (5, 7), (9, 9)]);
        let known: Vec<_> = (0..=10).filter(|event| told.contains(Sequence(*event))).collect();
        assert_eq!(known, [1, 2, 3, 5, 6, 7, 9]);
    }
}
