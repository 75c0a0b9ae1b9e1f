//! How often somebody may: so many times in a period, which may come all at once after a pause.
//!
//! The generic cell rate algorithm in one number, the time at which all that was taken is paid back. A crate would bring its
//! own clock, map and waiting; the number is all that is needed.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many times in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many times.
    pub times: NonZeroU32,
    /// In how long.
    pub period: Duration,
}

/// The turns of one who has a rate.
#[derive(Debug)]
pub struct Turns {
    /// What they are counted by.
    pub rate: Rate,
    /// When all that was taken is paid back; none where nothing was taken yet.
    paid_back: Mutex<Option<Instant>>,
}

/// What came of asking for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// There is no rate.
    Unlimited,
    /// It was taken, and so many are left.
    Taken { left: u32 },
    /// There is none for so long.
    Wait { rate: Rate, wait: Duration },
}

impl Turns {
    /// Turns of which none was taken.
    pub fn new(rate: Rate) -> Self {
        Self { rate, paid_back: Mutex::default() }
    }

    /// Takes one, if there is one.
    pub fn take(&self, now: Instant) -> Quota {
        let Rate { times, period } = self.rate;
        let mut paid_back = self.paid_back.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = paid_back.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)) + period / times.get();
        if taken > period {
            return Quota::Wait { rate: self.rate, wait: taken - period };
        }
        *paid_back = Some(now + taken);
        let left = (period - taken).as_nanos() * u128::from(times.get()) / period.as_nanos().max(1);
        Quota::Taken { left: u32::try_from(left).unwrap_or(u32::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn turns(times: u32) -> Turns {
        Turns::new(Rate { times: NonZeroU32::new(times).unwrap(), period: SECOND })
    }

    #[test]
    fn a_period_s_turns_may_come_at_once_and_no_more() {
        let (turns, now) = (turns(4), Instant::now());
        let taken: Vec<_> = (0..5).map(|_| turns.take(now)).collect();
        let left = [3, 2, 1, 0].map(|left| Quota::Taken { left });
        assert_eq!(taken[..4], left);
        assert_eq!(taken[4], Quota::Wait { rate: turns.rate, wait: SECOND / 4 });
        assert_eq!(turns.take(now + SECOND / 4), Quota::Taken { left: 0 });
        assert!(matches!(turns.take(now + SECOND / 4), Quota::Wait { .. }));
    }

    #[test]
    fn a_rate_is_kept_over_time_and_nothing_is_saved_up() {
        let (turns, start) = (turns(100), Instant::now());
        let step = SECOND / 1_000;
        let admitted = (0..10_000).filter(|at| matches!(turns.take(start + step * *at), Quota::Taken { .. })).count();
        assert!((1_099..=1_101).contains(&admitted), "{admitted}");
        let later = start + 3_600 * SECOND;
        let burst = (0..1_000).filter(|_| matches!(turns.take(later), Quota::Taken { .. })).count();
        assert_eq!(burst, 100);
    }
}
