//! Which way pays: each message by itself, or groups of those that wait.
//!
//! A group costs the broker one sync, and some milliseconds of its own: it pays where syncing is the bound and many wait.
//! Neither is known beforehand, so what is stored in a moment is measured, and from time to time the other way is tried
//! for a moment. Mixing the two gains nothing: it is always one of them. Nothing here talks to the broker or looks at a
//! clock.

use std::time::Duration;

use tokio::time::Instant;

/// From so many writes under way on, groups are thought of.
const BUSY: usize = 24;
/// With fewer than so many each goes by itself again.
pub const CALM: usize = 12;
/// How long is measured: many groups.
const MOMENT: Duration = Duration::from_millis(100);
/// A pause after which what was measured before it says nothing any more.
const IDLE: Duration = Duration::from_millis(20);
/// How much more groups must store, since a write waits longer in one.
const WORTH: f64 = 1.2;
/// The first and the longest pause before the other way is tried again; each trial that gains nothing doubles it.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];

/// How writes are stored.
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
    moment: Option<Moment>,
    /// Most writes that were under way: since the moment began, and in the one before.
    most: [usize; 2],
    /// Since when none is under way.
    idle_since: Option<Instant>,
    /// What the other way stored, while this one is on trial: writes a second.
    trial_against: Option<f64>,
    next_trial: Instant,
    pause: Duration,
    /// Most writes that were under way when it was decided last.
    most_at_decision: usize,
}

/// What is measured at present: it begins when something has been stored this way.
#[derive(Clone, Copy, Debug)]
struct Moment {
    began: Instant,
    stored: usize,
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
            moment: None,
            most: [0; 2],
            idle_since: Some(now),
            trial_against: None,
            next_trial: now,
            pause: PAUSES[0],
            most_at_decision: 0,
        }
    }

    /// How a write goes with which so many are under way.
    pub fn way(&mut self, under_way: usize, now: Instant) -> Way {
        if self.idle_since.take().is_some_and(|since| now - since >= IDLE) {
            self.give_up_trial();
            (self.moment, self.most) = (None, [0; 2]);
        }
        self.most[0] = self.most[0].max(under_way);
        // Just after a group nothing is under way, however much will be in a moment.
        match self.most[0].max(self.most[1]) {
            BUSY.. => self.is_busy = true,
            ..CALM => self.is_busy = false,
            _ => {}
        }
        if self.is_busy { self.way } else { Way::Singly }
    }

    /// Notes how many were stored at once, which way, and how many are still under way.
    pub fn stored(&mut self, way: Way, writes: usize, under_way: usize, now: Instant) {
        self.idle_since = (under_way == 0).then_some(now);
        // What is still on the way that is not gone any more says nothing of the other one.
        let counts = way == self.way || !self.is_busy;
        match &mut self.moment {
            None if counts => self.moment = Some(Moment { began: now, stored: 0 }),
            None => {}
            Some(moment) => {
                moment.stored += if counts { writes } else { 0 };
                let (took, stored) = (now - moment.began, moment.stored);
                if took >= MOMENT {
                    self.end_moment(stored as f64 / took.as_secs_f64(), now);
                }
            }
        }
    }

    fn end_moment(&mut self, rate: f64, now: Instant) {
        let most = self.most[0].max(self.most[1]);
        (self.moment, self.most) = (Some(Moment { began: now, stored: 0 }), [0, self.most[0]]);
        match self.is_busy {
            true => self.decide(rate, most, now),
            false => self.give_up_trial(),
        }
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
                (self.next_trial, self.most_at_decision) = (now + self.pause, most);
                if !is_worth {
                    self.change_way();
                }
            }
            None if now >= self.next_trial || is_other_load => {
                self.trial_against = Some(rate);
                self.change_way();
            }
            None => {}
        }
    }

    /// What was not measured to its end decides nothing.
    fn give_up_trial(&mut self) {
        if self.trial_against.take().is_some() {
            self.change_way();
        }
    }

    fn change_way(&mut self) {
        (self.way, self.moment) = (self.way.other(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets it run at a load where the two ways store so much a moment; how long each was gone, in tenths of moments.
    fn run(pace: &mut Pace, now: &mut Instant, under_way: usize, rates: [usize; 2], tenths: u32) -> [u32; 2] {
        let mut gone = [0, 0];
        for _ in 0..tenths {
            *now += MOMENT / 10;
            let way = pace.way(under_way, *now);
            gone[way as usize] += 1;
            // All of it is answered with each group, and most of it with none.
            pace.stored(way, rates[way as usize], if way == Way::Grouped { 0 } else { under_way }, *now);
        }
        gone
    }

    fn pace() -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::new(now), now)
    }

    #[test]
    fn the_way_that_stores_more_is_gone() {
        for (rates, expected) in
            [([400, 900], 1), ([4_000, 1_000], 0), ([1_000, 1_100], 0), ([1_000, 1_000], 0), ([400, 0], 0)]
        {
            let (mut pace, mut now) = pace();
            let gone = run(&mut pace, &mut now, 64, rates, 6_000);
            assert!(gone[1 - expected] <= 6_000 / 20, "{rates:?} {gone:?}");
        }
    }

    #[test]
    fn few_writes_go_singly() {
        let (mut pace, mut now) = pace();
        assert_eq!(run(&mut pace, &mut now, BUSY - 1, [1, 1_000], 1_000), [1_000, 0]);
        let [_, grouped] = run(&mut pace, &mut now, BUSY, [1, 1_000], 1_000);
        assert!(grouped > 900, "{grouped}");
        // Fewer are enough to go on with.
        let [_, grouped] = run(&mut pace, &mut now, CALM, [1, 1_000], 1_000);
        assert!(grouped > 900, "{grouped}");
        let [singly, _] = run(&mut pace, &mut now, CALM - 1, [1, 1_000], 1_000);
        assert!(singly >= 970, "{singly}");
    }

    #[test]
    fn trials_that_gain_nothing_become_rare_and_another_load_is_tried_at_once() {
        let (mut pace, mut now) = pace();
        let gone = run(&mut pace, &mut now, 64, [4_000, 1_000], 30_000);
        assert!(gone[1] <= 120, "{gone:?}");
        let gone = run(&mut pace, &mut now, 300, [400, 2_000], 200);
        assert!(gone[1] >= 150, "{gone:?}");
    }

    #[test]
    fn what_is_asked_for_rarely_is_measured_all_the_same() {
        let (mut pace, mut now) = pace();
        // Some thousand writes come at once, every other second.
        for _ in 0..20 {
            pace.way(4_000, now);
            for left in (0..20).rev() {
                now += MOMENT;
                let way = pace.way(left * 200, now);
                pace.stored(way, if way == Way::Grouped { 1_000 } else { 200 }, left * 200, now);
            }
        }
        assert_eq!(pace.way(4_000, now), Way::Grouped);
    }

    #[test]
    fn a_load_that_falls_without_a_pause_is_noticed() {
        let (mut pace, mut now) = pace();
        run(&mut pace, &mut now, 64, [100, 1_000], 500);
        let [singly, _] = run(&mut pace, &mut now, 3, [100, 1_000], 100);
        assert!(singly >= 75, "{singly}");
        // So it is where what is stored came the other way.
        run(&mut pace, &mut now, 64, [100, 1_000], 500);
        for _ in 0..100 {
            now += MOMENT / 10;
            pace.way(3, now);
            pace.stored(Way::Singly, 1, 0, now);
        }
        assert_eq!(pace.way(3, now), Way::Singly);
    }

    #[test]
    fn after_a_pause_it_is_not_busy() {
        let (mut pace, mut now) = pace();
        run(&mut pace, &mut now, 64, [100, 1_000], 50);
        pace.stored(Way::Grouped, 64, 0, now);
        assert_eq!(pace.way(1, now + IDLE), Way::Singly);
    }
}
