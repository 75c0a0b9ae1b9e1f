//! Which way pays: each message by itself, or groups of those that wait.
//!
//! A group costs the broker one sync, and some milliseconds of its own: it pays where syncing is the bound and many wait.
//! Neither is known beforehand, so what is stored in a moment is measured, and from time to time the other way is tried
//! for a moment. Mixing the two gains nothing: it is always one of them. Nothing here talks to the broker or looks at a
//! clock.

use std::time::Duration;

use tokio::time::Instant;

/// From so many messages under way on, groups are thought of.
const BUSY: usize = 24;
/// With fewer than so many each goes by itself again.
pub const CALM: usize = 12;
/// How long is measured: many groups.
const MOMENT: Duration = Duration::from_millis(100);
/// How much more groups must store, since a message waits longer in one.
const WORTH: f64 = 1.2;
/// The first and the longest pause before the other way is tried again; each trial in vain doubles it.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];

/// How messages are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each by itself.
    Singly,
    /// What waits, in one batch.
    Grouped,
}

/// What has been measured of both.
#[derive(Debug)]
pub struct Pace {
    way: Way,
    is_busy: bool,
    moment: Moment,
    /// Most messages that were under way in the moment before.
    most_before: usize,
    /// What the other way stored, while this one is on trial: messages a second.
    trial_against: Option<f64>,
    next_trial: Instant,
    pause: Duration,
    /// Most messages that were under way when it was decided last.
    most_at_decision: usize,
}

/// What is measured at present.
#[derive(Clone, Copy, Debug)]
struct Moment {
    began: Instant,
    stored: usize,
    /// Most messages under way.
    most: usize,
}

impl Moment {
    fn new(began: Instant) -> Self {
        Self { began, stored: 0, most: 0 }
    }
}

impl Way {
    fn other(self) -> Self {
        match self {
            Self::Singly => Self::Grouped,
            Self::Grouped => Self::Singly,
        }
    }
}

impl Pace {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Self {
        Self {
            way: Way::Singly,
            is_busy: false,
            moment: Moment::new(now),
            most_before: 0,
            trial_against: None,
            next_trial: now,
            pause: PAUSES[0],
            most_at_decision: 0,
        }
    }

    /// How a message goes that comes while so many are under way.
    pub fn way(&mut self, under_way: usize, now: Instant) -> Way {
        if now - self.moment.began >= MOMENT {
            self.end_moment(now);
        }
        self.moment.most = self.moment.most.max(under_way);
        // Just after a group nobody is under way, however many will be in a moment.
        match self.moment.most.max(self.most_before) {
            BUSY.. => self.is_busy = true,
            ..CALM => self.is_busy = false,
            _ => {}
        }
        if self.is_busy { self.way } else { Way::Singly }
    }

    /// Notes how many were stored at once.
    pub fn stored(&mut self, messages: usize) {
        self.moment.stored += messages;
    }

    fn end_moment(&mut self, now: Instant) {
        let Moment { began, stored, most } = std::mem::replace(&mut self.moment, Moment::new(now));
        let took = now - began;
        let is_long_ago = took >= 2 * MOMENT;
        if is_long_ago || most.max(self.most_before) < CALM {
            // Nothing can be told from a moment in which little was to be done.
            self.way = if self.trial_against.take().is_some() { self.way.other() } else { self.way };
        } else if self.is_busy {
            self.decide(stored as f64 / took.as_secs_f64(), most, now);
        }
        self.most_before = if is_long_ago { 0 } else { most };
    }

    /// Decides how it goes on after a moment in which so much was stored a second.
    fn decide(&mut self, rate: f64, most: usize, now: Instant) {
        let is_other_load = most > 2 * self.most_at_decision || 2 * most < self.most_at_decision;
        match self.trial_against.take() {
            Some(before) => {
                let is_worth = match self.way {
                    Way::Grouped => rate >= before * WORTH,
                    Way::Singly => rate * WORTH > before,
                };
                self.pause = if is_worth { PAUSES[0] } else { PAUSES[1].min(self.pause * 2) };
                self.way = if is_worth { self.way } else { self.way.other() };
                (self.next_trial, self.most_at_decision) = (now + self.pause, most);
            }
            None if now >= self.next_trial || is_other_load => {
                self.trial_against = Some(rate);
                self.way = self.way.other();
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets it run at a load where the two ways store so much a moment; how long each was gone, in moments.
    fn run(
        pace: &mut Pace,
        now: &mut Instant,
        under_way: usize,
        [singly, grouped]: [usize; 2],
        moments: u32,
    ) -> [u32; 2] {
        let mut gone = [0, 0];
        for _ in 0..moments {
            *now += MOMENT;
            match pace.way(under_way, *now) {
                Way::Singly => (gone[0] += 1, pace.stored(singly)),
                Way::Grouped => (gone[1] += 1, pace.stored(grouped)),
            };
        }
        gone
    }

    fn pace() -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::new(now), now)
    }

    #[test]
    fn the_way_that_stores_more_is_gone() {
        for (rates, expected) in [([400, 900], 1), ([4_000, 1_000], 0), ([1_000, 1_100], 0), ([1_000, 1_000], 0)] {
            let (mut pace, mut now) = pace();
            let gone = run(&mut pace, &mut now, 64, rates, 600);
            assert!(gone[1 - expected] <= 600 / 20, "{rates:?} {gone:?}");
        }
    }

    #[test]
    fn few_messages_go_singly() {
        let (mut pace, mut now) = pace();
        assert_eq!(run(&mut pace, &mut now, BUSY - 1, [1, 1_000], 100), [100, 0]);
        let [_, grouped] = run(&mut pace, &mut now, BUSY, [1, 1_000], 100);
        assert!(grouped > 90, "{grouped}");
        // Fewer are enough to go on with.
        let [_, grouped] = run(&mut pace, &mut now, CALM, [1, 1_000], 100);
        assert!(grouped > 90, "{grouped}");
        let [singly, _] = run(&mut pace, &mut now, CALM - 1, [1, 1_000], 100);
        assert!(singly >= 98, "{singly}");
    }

    #[test]
    fn trials_in_vain_become_rare_and_another_load_is_tried_at_once() {
        let (mut pace, mut now) = pace();
        let gone = run(&mut pace, &mut now, 64, [4_000, 1_000], 3_000);
        assert!(gone[1] <= 10, "{gone:?}");
        let gone = run(&mut pace, &mut now, 300, [400, 2_000], 20);
        assert!(gone[1] >= 17, "{gone:?}");
    }

    #[test]
    fn after_a_pause_it_is_not_busy() {
        let (mut pace, mut now) = pace();
        run(&mut pace, &mut now, 64, [100, 1_000], 50);
        now += 10 * MOMENT;
        assert_eq!(pace.way(1, now), Way::Singly);
    }
}
