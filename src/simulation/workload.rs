//! What arrives in a schedule, in the order of the stream: messages of several channels in the order in which a radio
//! brings them, copies, bytes that are no message, and what operators say.

use super::messages::{CHANNELS, LAUNCH, NUMBER_MAX, Sent};
use super::profile::FaultProfile;
use super::random::Random;

/// What one sequence says, and under which channel.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub channel: usize,
    pub content: Content,
}

/// What one sequence says.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    Message(Sent),
    Correction(Sent),
    /// Up to this number.
    Skip(u64),
    /// One of some kinds.
    Malformed(u64),
}

/// Everything that arrives.
pub struct Workload {
    pub lines: Vec<Line>,
    /// What each number of each channel says, whether it arrives or not.
    pub plain: [[Sent; NUMBER_MAX as usize + 1]; CHANNELS],
}

impl Workload {
    /// Draws a script of this many places.
    pub fn draw(profile: &FaultProfile, random: &mut Random, length: usize) -> Self {
        let plain = std::array::from_fn(|_| {
            std::array::from_fn(|number| match number {
                1 if !random.happens(16) => Sent { number: 1, form: LAUNCH },
                _ => Sent::drawn(number as u64, random.below(256)),
            })
        });
        let mut workload = Self { lines: Vec::with_capacity(length), plain };
        let mut highest = [0; CHANNELS];
        for (channel, number) in radio(profile, random, length) {
            if workload.lines.len() >= length {
                break;
            }
            workload.interrupt(profile, random, &highest);
            highest[channel] = highest[channel].max(number);
            let content = Content::Message(workload.plain[channel][number as usize]);
            workload.lines.push(Line { channel, content });
        }
        workload.lines.truncate(length);
        workload
    }

    /// What comes in between the messages: copies, garbage, an override.
    fn interrupt(&mut self, profile: &FaultProfile, random: &mut Random, highest: &[u64; CHANNELS]) {
        let channel = random.below(profile.channels) as usize;
        let number = random.within(1, (highest[channel] + 2).min(NUMBER_MAX));
        if random.happens(profile.skips) {
            self.lines.push(Line { channel, content: Content::Skip(number) });
        }
        if random.happens(profile.corrections) {
            self.lines.push(Line { channel, content: Content::Correction(Sent::drawn(number, random.below(256))) });
        }
        if random.happens(profile.malformed) {
            self.lines.push(Line { channel, content: Content::Malformed(random.below(5)) });
        }
        if random.happens(profile.copies) && !self.lines.is_empty() {
            let line = self.lines[random.place(self.lines.len())];
            if matches!(line.content, Content::Message(_)) {
                self.lines.push(line);
            }
        }
    }
}

/// Channels and numbers in the order in which they arrive, some missing.
fn radio(profile: &FaultProfile, random: &mut Random, length: usize) -> Vec<(usize, u64)> {
    let (mut sent, mut next) = (Vec::with_capacity(length), [1; CHANNELS]);
    for _ in 0..length {
        let channel = random.below(profile.channels) as usize;
        if next[channel] <= NUMBER_MAX && !random.happens(profile.lost) {
            sent.push((channel, next[channel]));
        }
        next[channel] += 1;
    }
    for at in 0..sent.len() {
        let other = (at + random.place(profile.shuffle)).min(sent.len() - 1);
        sent.swap(at, other);
    }
    sent
}
