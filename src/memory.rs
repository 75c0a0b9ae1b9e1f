//! How much of messages a process keeps in memory: one budget for all of it, a setting, shared out here.
//!
//! A quarter is for what was delivered and not applied yet, a quarter for what trackers remember of messages that are
//! pending, half for channels that are being read. What is kept beside messages (records, places, the view of rockets) is
//! bounded by its count where it is kept.

use std::sync::OnceLock;

/// The budget where nobody has set one, in bytes.
const DEFAULT: usize = 64 * MIB;
/// The least that a budget may be: below, a partition could not take a large message.
pub const MIN: usize = 16 * MIB;
/// The least that one pull of a partition asks for, whatever the budget: a message has up to 256 KiB.
const PULL_MIN: usize = 512 * 1024;
const MIB: usize = 1024 * 1024;

static BUDGET: OnceLock<Budget> = OnceLock::new();

/// A budget, and among how many partitions it is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget {
    bytes: usize,
    partitions: usize,
}

/// Sets the budget of this process, in bytes, before anything is kept.
pub fn set(bytes: usize, partitions: u16) {
    // A second set of roles in one process is of tests alone; the first one counts.
    let _ = BUDGET.set(Budget { bytes, partitions: usize::from(partitions.max(1)) });
}

/// What one pull of a partition asks for at most; two of them may be under way.
pub fn of_a_pull() -> usize {
    budget().of_a_pull()
}

/// What a tracker remembers of the pending messages of one partition.
pub fn of_a_partition() -> usize {
    budget().of_a_partition()
}

/// What one of so many channels that are read at once may keep.
pub fn of_a_reading(at_once: usize) -> usize {
    budget().of_a_reading(at_once)
}

fn budget() -> Budget {
    BUDGET.get().copied().unwrap_or(Budget { bytes: DEFAULT, partitions: 16 })
}

impl Budget {
    fn of_a_pull(self) -> usize {
        (self.bytes / 4 / 2 / self.partitions).max(PULL_MIN)
    }

    fn of_a_partition(self) -> usize {
        self.bytes / 4 / self.partitions
    }

    fn of_a_reading(self, at_once: usize) -> usize {
        self.bytes / 2 / at_once
    }
}

/// Reads a budget: a number of MiB or GiB, such as `64MiB`.
pub fn parse(text: &str) -> Option<usize> {
    let unit =
        |suffix: &str, bytes: usize| text.strip_suffix(suffix)?.trim_end().parse::<usize>().ok()?.checked_mul(bytes);
    unit("MiB", MIB).or_else(|| unit("GiB", 1024 * MIB)).filter(|bytes| *bytes >= MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_no_more_than_the_budget() {
        for (bytes, partitions) in [(DEFAULT, 16), (DEFAULT, 1), (MIN, 4), (1024 * MIB, 256)] {
            let budget = Budget { bytes, partitions };
            let kept = partitions * (2 * budget.of_a_pull() + budget.of_a_partition()) + 8 * budget.of_a_reading(8);
            assert!(kept <= bytes, "{budget:?}: {kept}");
        }
    }

    #[test]
    fn a_budget_is_a_number_with_a_unit() {
        let read = ["64MiB", "16 MiB", "2GiB", "15MiB", "64", "64MB", "-1MiB", "99999999999GiB", ""].map(parse);
        let bytes = [Some(64 * MIB), Some(16 * MIB), Some(2048 * MIB), None, None, None, None, None, None];
        assert_eq!(read, bytes);
    }
}
