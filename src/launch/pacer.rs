//! `--rate`: turns, given out so that there are at most so many a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far the turns may run behind and be caught up with: timers wake only every millisecond or so, and without this
/// allowance a high rate would never be reached.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Gives out turns to all workers.
pub(super) struct Pacer {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pacer {
    /// A pacer of so many turns a second (at least one).
    pub(super) fn new(turns_a_second: u32) -> Pacer {
        Pacer { interval: Duration::from_secs(1) / turns_a_second.max(1), next: Mutex::new(None) }
    }

    /// The time of the next turn, which then belongs to the caller.
    pub(super) fn turn(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let turn = next.map_or(now, |planned| planned.max(earliest));
        *next = Some(turn + self.interval);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_evenly() {
        let (pacer, now) = (Pacer::new(10), Instant::now());
        let turns: Vec<Duration> = (0..4).map(|_| pacer.turn(now) - now).collect();
        assert_eq!(turns, [0, 100, 200, 300].map(Duration::from_millis));
    }

    #[test]
    fn turns_which_nobody_took_are_not_saved_up() {
        let (pacer, start) = (Pacer::new(10), Instant::now());
        pacer.turn(start);
        let later = start + Duration::from_secs(60);
        let burst = (0..1_000).take_while(|_| pacer.turn(later) <= later).count();
        assert_eq!(burst, 1);
    }
}
