//! What a channel must be: the contract's table, written down a second time and as plainly as can be. Shares no code with
//! what it judges.

use super::messages::{NUMBER_MAX, Says, Sent, skip_time};
use super::workload::Content;

pub const NOT_LAUNCHED: &str = "the rocket has not been launched";
pub const LAUNCHED_BEFORE: &str = "the rocket was launched before";
pub const EXPLODED: &str = "the rocket has exploded";
pub const TOO_FAST: &str = "the speed would be above 9223372036854775807";
pub const SKIPPED_LATE: &str = "its number was skipped before it arrived";

/// One number of a channel: what has its place, what that did, and the rocket after it.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    pub place: Place,
    /// Why it changed nothing, if it did not.
    pub refused: Option<&'static str>,
    pub rocket: Option<Rocket>,
}

/// What has the place of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The plain message, whichever copy of it.
    Plain(Sent),
    /// The correction that lies here.
    Correction(Sent, u64),
    /// The skip that lies here, up to this number.
    Skip(u64, u64),
}

/// A rocket, by the messages that made it what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rocket {
    launch: Sent,
    mission: Sent,
    speed: i64,
    end: Option<Sent>,
    updated: Sent,
}

/// What all numbers of a channel are with the overrides up to one place, as if all of them arrived.
#[derive(Clone, Debug)]
pub struct Truth {
    /// The last override that counts.
    pub overrides: u64,
    numbers: Vec<Numbered>,
}

impl Truth {
    /// Folds the overrides up to this sequence over what the numbers say.
    pub fn of(overrides: u64, arrivals: &[(u64, Content)], plain: &[Sent]) -> Self {
        let (corrections, skips) = overrides_of(overrides, arrivals);
        let (mut rocket, mut numbers) = (None, Vec::with_capacity(NUMBER_MAX as usize));
        for number in 1..=NUMBER_MAX as usize {
            let place = match (corrections[number], skips[number]) {
                (Some((sent, at)), _) => Place::Correction(sent, at),
                (None, Some((at, up_to))) => Place::Skip(at, up_to),
                (None, None) => Place::Plain(plain[number]),
            };
            let mut refused = None;
            if let Place::Plain(sent) | Place::Correction(sent, _) = place {
                match after(rocket, sent) {
                    Ok(changed) => rocket = Some(changed),
                    Err(why) => refused = Some(why),
                }
            }
            numbers.push(Numbered { place, refused, rocket });
        }
        Self { overrides, numbers }
    }

    /// One number, from 1.
    pub fn at(&self, number: u64) -> &Numbered {
        &self.numbers[number as usize - 1]
    }

    /// The skip that covers a number, if nothing else has its place.
    pub fn skipped_by(&self, number: u64) -> Option<u64> {
        match self.at(number).place {
            Place::Skip(at, _) => Some(at),
            _ => None,
        }
    }

    /// The ranges of skipped numbers up to this one.
    pub fn skipped_through(&self, last: u64) -> Vec<[u64; 2]> {
        let mut ranges: Vec<[u64; 2]> = Vec::new();
        for number in (1..=last).filter(|number| self.skipped_by(*number).is_some()) {
            match ranges.last_mut() {
                Some([_, end]) if *end + 1 == number => *end = number,
                _ => ranges.push([number, number]),
            }
        }
        ranges
    }

    /// The beginning of the record's text after this number, up to what is pending.
    pub fn text_through(&self, last: u64) -> String {
        let Some(at) = last.checked_sub(1).map(|at| &self.numbers[at as usize]) else {
            return r#"{"format":1,"rocket":null,"lastMessageNumber":0,"lastMessageTime":null,"parked":"#.into();
        };
        let time = match at.place {
            Place::Plain(sent) | Place::Correction(sent, _) => sent.time(),
            Place::Skip(_, up_to) => skip_time(up_to),
        };
        let rocket = at.rocket.map_or("null".into(), Rocket::text);
        format!(r#"{{"format":1,"rocket":{rocket},"lastMessageNumber":{last},"lastMessageTime":"{time}","parked":"#)
    }
}

type Corrections = [Option<(Sent, u64)>; NUMBER_MAX as usize + 1];
type Skips = [Option<(u64, u64)>; NUMBER_MAX as usize + 1];

/// The correction that counts of each number, and the skip that covers it.
fn overrides_of(overrides: u64, arrivals: &[(u64, Content)]) -> (Corrections, Skips) {
    let (mut corrections, mut skips) = ([None; NUMBER_MAX as usize + 1], [None; NUMBER_MAX as usize + 1]);
    let (mut arrived, mut highest) = (0u128, 0);
    for (at, content) in arrivals.iter().filter(|(at, _)| *at <= overrides) {
        match *content {
            Content::Message(sent) | Content::Correction(sent) => {
                arrived |= 1 << sent.number;
                highest = highest.max(sent.number);
                if matches!(content, Content::Correction(_)) {
                    corrections[sent.number as usize] = Some((sent, *at));
                }
            }
            Content::Skip(up_to) => {
                for number in (1..=up_to.min(highest)).filter(|number| arrived >> number & 1 == 0) {
                    skips[number as usize].get_or_insert((*at, up_to));
                }
            }
            Content::Malformed(_) => {}
        }
    }
    (corrections, skips)
}

/// The rocket after a message, or why it changes nothing.
fn after(rocket: Option<Rocket>, sent: Sent) -> Result<Rocket, &'static str> {
    let Some(rocket) = rocket else {
        return match sent.says() {
            Says::Launched(speed) => Ok(Rocket { launch: sent, mission: sent, speed, end: None, updated: sent }),
            _ => Err(NOT_LAUNCHED),
        };
    };
    let changed = Rocket { updated: sent, ..rocket };
    match sent.says() {
        Says::Launched(_) => Err(LAUNCHED_BEFORE),
        _ if rocket.end.is_some() => Err(EXPLODED),
        Says::Faster(by) if rocket.speed > i64::MAX - by => Err(TOO_FAST),
        Says::Faster(by) => Ok(Rocket { speed: rocket.speed + by, ..changed }),
        Says::Slower(by) => Ok(Rocket { speed: if by > rocket.speed { 0 } else { rocket.speed - by }, ..changed }),
        Says::Mission => Ok(Rocket { mission: sent, ..changed }),
        Says::Exploded => Ok(Rocket { speed: 0, end: Some(sent), ..changed }),
    }
}

impl Rocket {
    fn text(self) -> String {
        let (kind, mission, speed) = (self.launch.word(), self.mission.word(), self.speed);
        let status = match self.end {
            None => r#""active""#.to_owned(),
            Some(end) => format!(r#""exploded","explosionReason":"{}""#, end.word()),
        };
        let (launch, updated) = (self.launch.time(), self.updated.time());
        format!(
            r#"{{"type":"{kind}","mission":"{mission}","speed":{speed},"status":{status},"launchTime":"{launch}","lastUpdated":"{updated}"}}"#
        )
    }
}
