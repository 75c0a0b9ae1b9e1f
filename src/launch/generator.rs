//! The messages of a run, as a stream: the channels' scripts, interleaved.
//!
//! Everything is drawn from one ChaCha generator whose key is the seed together with every flag that changes the data.
//! So the same flags give the same messages on any platform, and other flags give other channels. Nothing is kept but
//! the scripts: a million messages need no more memory than a hundred. The stream is in order within each channel;
//! copies and disorder are added later.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::message::Message;
use super::script::ChannelScript;

/// Part of the key. Raise it whenever the same flags give other data than before, so that they get other channels too.
const DATA_VERSION: u32 = 1;
/// The part of the same key's randomness that decides about copies, and the next one about disorder; never about the data.
const DISORDER_STREAM: u64 = 1;
/// The part that decides which messages are lost.
const LOSS_STREAM: u64 = 3;

/// Everything that the data depend on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recipe {
    /// `--seed`
    pub(super) seed: u64,
    /// `--rockets`
    pub(super) rockets: u32,
    /// `--max-messages`
    pub(super) max_messages: u64,
    /// `--hostile`
    pub(super) hostile: bool,
    /// `--lost`: it leaves the messages of a channel as they are, but what one run has lost another must not send.
    pub(super) lost: f32,
}

impl Recipe {
    fn random(&self) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[0..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.max_messages.to_le_bytes());
        key[16..20].copy_from_slice(&self.rockets.to_le_bytes());
        key[20..24].copy_from_slice(&u32::from(self.hostile).to_le_bytes());
        key[24..28].copy_from_slice(&DATA_VERSION.to_le_bytes());
        key[28..32].copy_from_slice(&self.lost.to_le_bytes());
        ChaCha8Rng::from_seed(key)
    }

    /// The randomness for copies and disorder: seeded as well, and apart, so that they leave the data as they are.
    pub(super) fn disorder_random(&self) -> ChaCha8Rng {
        self.random_of(DISORDER_STREAM)
    }

    /// The randomness for losses, apart for the same reason.
    pub(super) fn loss_random(&self) -> ChaCha8Rng {
        self.random_of(LOSS_STREAM)
    }

    fn random_of(&self, stream: u64) -> ChaCha8Rng {
        let mut random = self.random();
        random.set_stream(stream);
        random
    }
}

/// The stream of all messages.
#[derive(Debug)]
pub(super) struct Generator {
    random: ChaCha8Rng,
    /// The channels with messages left.
    flights: Vec<ChannelScript>,
    /// The length of the longest channel.
    longest: u64,
}

impl Generator {
    /// The stream for these flags.
    pub(super) fn new(recipe: &Recipe) -> Generator {
        let mut random = recipe.random();
        let lengths = lengths(recipe.rockets, recipe.max_messages, &mut random);
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let script = |(index, length): (u32, u64)| match recipe.hostile {
            true => ChannelScript::hostile(index, length, &mut random),
            false => ChannelScript::field(length, &mut random),
        };
        let flights = (0..).zip(lengths).map(script).collect();
        Generator { random, flights, longest }
    }

    /// The channel that sends next: each as often as it is long, so that all come to their ends at about one time.
    fn draw_index(&mut self) -> usize {
        loop {
            let index = self.random.random_range(0..self.flights.len() as u32) as usize;
            if self.random.random_range(0..self.longest) < self.flights[index].length() {
                return index;
            }
        }
    }
}

impl Iterator for Generator {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        if self.flights.is_empty() {
            return None;
        }
        let index = self.draw_index();
        let message = self.flights[index].next(&mut self.random);
        if self.flights[index].is_over() {
            self.flights.swap_remove(index);
        }
        Some(message)
    }
}

/// How many messages each rocket has: at least one, up to 30 % more or less than the average, and so many in all.
fn lengths(rockets: u32, max_messages: u64, random: &mut ChaCha8Rng) -> Vec<u64> {
    let rockets = u64::from(rockets).min(max_messages);
    let weights: Vec<u64> = (0..rockets).map(|_| random.random_range(700..=1_300)).collect();
    let sum: u64 = weights.iter().sum();
    let spread = max_messages - rockets;
    let share = |weight: &u64| 1 + (u128::from(spread) * u128::from(*weight) / u128::from(sum)) as u64;
    let mut lengths: Vec<u64> = weights.iter().map(share).collect();
    // Rounding down leaves less than one message a rocket over.
    let left_over = max_messages - lengths.iter().sum::<u64>();
    lengths.iter_mut().take(left_over as usize).for_each(|length| *length += 1);
    lengths
}

#[cfg(test)]
mod tests {
    use super::super::message::Event;
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use uuid::Uuid;

    const RECIPE: Recipe = Recipe { seed: 444, rockets: 20, max_messages: 5_000, hostile: false, lost: 0.0 };

    fn channels(recipe: &Recipe) -> BTreeSet<Uuid> {
        Generator::new(recipe).map(|message| message.channel).collect()
    }

    fn by_channel(recipe: &Recipe) -> BTreeMap<Uuid, Vec<Message>> {
        let mut all: BTreeMap<Uuid, Vec<Message>> = BTreeMap::new();
        Generator::new(recipe).for_each(|message| all.entry(message.channel).or_default().push(message));
        all
    }

    #[test]
    fn the_same_flags_give_the_same_messages() {
        for hostile in [false, true] {
            let recipe = Recipe { hostile, ..RECIPE };
            assert!(Generator::new(&recipe).eq(Generator::new(&recipe)));
        }
    }

    #[test]
    fn any_other_flag_gives_other_channels() {
        let others = [
            Recipe { seed: 445, ..RECIPE },
            Recipe { rockets: 21, ..RECIPE },
            Recipe { max_messages: 5_001, ..RECIPE },
            Recipe { hostile: true, ..RECIPE },
            Recipe { lost: 0.1, ..RECIPE },
        ];
        for other in others {
            assert!(channels(&other).is_disjoint(&channels(&RECIPE)), "{other:?}");
        }
    }

    #[test]
    fn numbers_rise_by_one_and_the_amounts_are_as_asked() {
        for (rockets, max_messages, expected_rockets) in [(20, 5_000, 20), (20, 20, 20), (20, 7, 7), (1, 1, 1)] {
            let all = by_channel(&Recipe { rockets, max_messages, ..RECIPE });
            assert_eq!(all.len(), expected_rockets);
            assert_eq!(all.values().map(Vec::len).sum::<usize>() as u64, max_messages);
            for messages in all.values() {
                assert!(messages.iter().zip(1..).all(|(message, number)| message.number == number));
            }
        }
    }

    #[test]
    fn the_fields_rockets_behave() {
        for messages in by_channel(&RECIPE).into_values() {
            let mut speed = 0;
            let last = messages.len() as u64;
            for message in messages {
                match message.event {
                    Event::Launched { speed: launch_speed, .. } => {
                        assert_eq!(message.number, 1);
                        speed = launch_speed;
                    }
                    Event::SpeedIncreased { by } => speed += by,
                    Event::SpeedDecreased { by } => speed -= by,
                    Event::MissionChanged { .. } => assert!(message.number > 1),
                    Event::Exploded { .. } => assert_eq!(message.number, last),
                }
                assert!(speed > 0);
            }
        }
    }

    #[test]
    fn channels_are_interleaved_to_the_end() {
        let tail: BTreeSet<Uuid> = Generator::new(&RECIPE).skip(4_500).map(|message| message.channel).collect();
        assert!(tail.len() > 10, "only {} channels in the last tenth", tail.len());
    }

    /// A digest of the data, so that a change does not go unnoticed: it needs another `DATA_VERSION`. Channels and times
    /// are enough, since all is drawn in one sequence; the order of fields in the JSON is not part of the data.
    #[test]
    fn the_data_have_not_changed() {
        let digest = |recipe: &Recipe| {
            let texts = Generator::new(recipe).map(|message| format!("{}{}", message.channel, message.time));
            let bytes = texts.flat_map(String::into_bytes);
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        };
        assert_eq!(
            (digest(&RECIPE), digest(&Recipe { hostile: true, ..RECIPE })),
            (4_492_334_301_852_298_828, 8_190_778_810_162_159_801)
        );
    }
}
