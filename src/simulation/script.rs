//! What arrives in a schedule, in the order of the stream: messages of several channels in the order in which a radio
//! brings them, copies, bytes that are no message, and what operators say.

use super::messages::{CHANNELS, LAUNCH, NUMBER_MAX, Sent};
use super::random::Random;
use super::weather::Weather;

/// What one place of the stream says, and under which channel.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub channel: usize,
    pub said: Said,
}

/// What one place of the stream says.
#[derive(Clone, Copy, Debug)]
pub enum Said {
    Message(Sent),
    Correction(Sent),
    /// Up to this number.
    Skip(u64),
    /// One of some kinds.
    Malformed(u64),
}

/// Everything that arrives.
pub struct Script {
    pub lines: Vec<Line>,
    /// What each number of each channel says, whether it arrives or not.
    pub plain: [[Sent; NUMBER_MAX as usize + 1]; CHANNELS],
}

impl Script {
    /// Draws a script of this many places.
    pub fn draw(weather: &Weather, random: &mut Random, length: usize) -> Self {
        let plain = std::array::from_fn(|_| {
            std::array::from_fn(|number| match number {
                1 if !random.happens(16) => Sent { number: 1, form: LAUNCH },
                _ => Sent::drawn(number as u64, random.below(256)),
            })
        });
        let mut script = Self { lines: Vec::with_capacity(length), plain };
        let mut highest = [0; CHANNELS];
        for (channel, number) in radio(weather, random, length) {
            if script.lines.len() >= length {
                break;
            }
            script.interrupt(weather, random, &highest);
            highest[channel] = highest[channel].max(number);
            let said = Said::Message(script.plain[channel][number as usize]);
            script.lines.push(Line { channel, said });
        }
        script.lines.truncate(length);
        script
    }

    /// What comes in between the messages: copies, garbage, an operator's word.
    fn interrupt(&mut self, weather: &Weather, random: &mut Random, highest: &[u64; CHANNELS]) {
        let channel = random.below(weather.channels) as usize;
        let number = random.within(1, (highest[channel] + 2).min(NUMBER_MAX));
        if random.happens(weather.skips) {
            self.lines.push(Line { channel, said: Said::Skip(number) });
        }
        if random.happens(weather.corrections) {
            self.lines.push(Line { channel, said: Said::Correction(Sent::drawn(number, random.below(256))) });
        }
        if random.happens(weather.malformed) {
            self.lines.push(Line { channel, said: Said::Malformed(random.below(5)) });
        }
        if random.happens(weather.copies) && !self.lines.is_empty() {
            let line = self.lines[random.place(self.lines.len())];
            if matches!(line.said, Said::Message(_)) {
                self.lines.push(line);
            }
        }
    }
}

/// Channels and numbers in the order in which they arrive, some missing.
fn radio(weather: &Weather, random: &mut Random, length: usize) -> Vec<(usize, u64)> {
    let (mut sent, mut next) = (Vec::with_capacity(length), [1; CHANNELS]);
    for _ in 0..length {
        let channel = random.below(weather.channels) as usize;
        if next[channel] <= NUMBER_MAX && !random.happens(weather.lost) {
            sent.push((channel, next[channel]));
        }
        next[channel] += 1;
    }
    for at in 0..sent.len() {
        let other = (at + random.place(weather.shuffle)).min(sent.len() - 1);
        sent.swap(at, other);
    }
    sent
}
