//! The script of a hostile channel: valid messages that make no sense where they stand.
//!
//! Every refusal of the contract happens: a second launch, anything before a launch, changes and second explosions
//! after an explosion, speeds beyond 63 bits; and the one clamp, a speed below zero. Speeds and states are not tracked
//! here: what comes of it all is for the oracle to say.

use rand::{Rng, RngExt as _};

use super::message::Event;
use super::names::Words;

/// Rockets take turns, by index, in how they begin; so each beginning happens as soon as there are this many rockets.
const OPENINGS: u32 = 8;

/// A rocket that does not behave.
#[derive(Debug)]
pub(super) struct HostileScript {
    /// The number of the first launch; without one the rocket never comes to be.
    launches_at: Option<u64>,
    /// The number of the first explosion; messages go on after it.
    explodes_at: Option<u64>,
    /// The speed of the first launch.
    launch_speed: i64,
}

impl HostileScript {
    /// The script for a channel of so many messages.
    pub(super) fn new(index: u32, length: u64, random: &mut impl Rng) -> HostileScript {
        let launches_at = match index % OPENINGS {
            1 => Some(random.random_range(2..=6)),
            5 => None,
            _ => Some(1),
        };
        let launch_speed = if index % OPENINGS == 3 { i64::MAX } else { random.random_range(1..=5_000) };
        let explodes = random.random_ratio(1, 2);
        let explodes_at = random.random_range(length / 2..=length).max(1);
        HostileScript { launches_at, explodes_at: explodes.then_some(explodes_at), launch_speed }
    }

    /// The event of message `number`.
    pub(super) fn event(&self, number: u64, random: &mut impl Rng) -> Event {
        if self.launches_at == Some(number) {
            return launch(self.launch_speed, random);
        }
        if self.explodes_at == Some(number) {
            return explosion(random);
        }
        match random.random_range(0..100_u32) {
            0..5 if is_past(self.launches_at, number) => launch(random.random_range(1..=i64::MAX), random),
            0..10 if is_past(self.explodes_at, number) => explosion(random),
            0..20 => Event::MissionChanged { mission: Words::Hostile.mission(random) },
            20..60 => Event::SpeedIncreased { by: step(random) },
            _ => Event::SpeedDecreased { by: step(random) },
        }
    }
}

/// Only what has happened once may happen again at random: a first launch or explosion has a place of its own.
fn is_past(first: Option<u64>, number: u64) -> bool {
    first.is_some_and(|first| number > first)
}

fn launch(speed: i64, random: &mut impl Rng) -> Event {
    Event::Launched { rocket_type: Words::Hostile.rocket_type(random), speed, mission: Words::Hostile.mission(random) }
}

fn explosion(random: &mut impl Rng) -> Event {
    Event::Exploded { reason: Words::Hostile.reason(random) }
}

/// Mostly an ordinary step, at times nothing, at times all that 63 bits hold or nearly so.
fn step(random: &mut impl Rng) -> i64 {
    match random.random_range(0..20_u32) {
        0 => 0,
        1 => i64::MAX,
        2 => random.random_range(i64::MAX / 2..=i64::MAX),
        _ => random.random_range(1..=3_000),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::generator::{Generator, Recipe};
    use super::*;

    /// What is wrong with an event in the state of its rocket; told here from speed and explosion alone.
    fn mischief(speed: &mut Option<i64>, exploded: &mut bool, event: &Event) -> &'static str {
        let is_launch = matches!(event, Event::Launched { .. });
        match (*speed, event) {
            (None, Event::Launched { speed: first, .. }) => *speed = Some(*first),
            (None, _) => return "before a launch",
            (Some(_), Event::Exploded { .. }) if *exploded => return "second explosion",
            (Some(_), _) if is_launch => return "second launch",
            (Some(_), _) if *exploded => return "change after an explosion",
            (Some(_), Event::Exploded { .. }) => *exploded = true,
            (Some(now), Event::SpeedDecreased { by }) if *by > now => {
                *speed = Some(0);
                return "below zero";
            }
            (Some(now), Event::SpeedDecreased { by }) => *speed = Some(now - by),
            (Some(now), Event::SpeedIncreased { by }) => match now.checked_add(*by) {
                Some(sum) => *speed = Some(sum),
                None => return "overflow",
            },
            _ => {}
        }
        "none"
    }

    #[test]
    fn every_mischief_happens() {
        let recipe = Recipe { seed: 444, rockets: 16, max_messages: 2_000, hostile: true, lost: 0.0 };
        let mut states = BTreeMap::new();
        let mut found = BTreeSet::new();
        for message in Generator::new(&recipe) {
            let (speed, exploded) = states.entry(message.channel).or_insert((None, false));
            found.insert(mischief(speed, exploded, &message.event));
        }
        let all = [
            "before a launch",
            "below zero",
            "change after an explosion",
            "none",
            "overflow",
            "second explosion",
            "second launch",
        ];
        assert!(found.iter().eq(&all), "{found:?}");
        assert!(states.values().any(|(speed, _)| speed.is_none()), "a rocket that is never launched");
    }
}
