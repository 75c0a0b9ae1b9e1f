//! The messages of a run, as a stream: the channels' scripts, interleaved.
//!
//! Everything is drawn from one ChaCha generator whose key is the seed together with every flag that changes the data.
//! So the same flags give the same messages on any platform, and other flags give other channels. Nothing is kept but
//! the scripts: a million messages need no more memory than a hundred. The stream is in order within each channel;
//! copies and disorder are added later.
//!
//! A field script is what the field's sender has: number 1 launches, the speed stays above zero, at most one explosion,
//! and that is the last message. It keeps the speed that it needs for that; what a rocket must finally be is computed
//! elsewhere (see the oracle), from the messages alone. What else may happen is in the hostile script.

use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uuid::{Builder, Uuid};

use super::message::{ChannelClock, Event, HostileScript, Message};

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
    scripts: Vec<ChannelScript>,
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
        let scripts = (0..).zip(lengths).map(script).collect();
        Generator { random, scripts, longest }
    }

    /// The channel that sends next: each as often as it is long, so that all come to their ends at about one time.
    fn draw_index(&mut self) -> usize {
        loop {
            let index = self.random.random_range(0..self.scripts.len() as u32) as usize;
            if self.random.random_range(0..self.longest) < self.scripts[index].length() {
                return index;
            }
        }
    }
}

impl Iterator for Generator {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        if self.scripts.is_empty() {
            return None;
        }
        let index = self.draw_index();
        let message = self.scripts[index].next(&mut self.random);
        if self.scripts[index].is_over() {
            self.scripts.swap_remove(index);
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

/// How many of a hundred rockets of the field explode at last.
const EXPLODING_PERCENT: u32 = 40;
/// How fast a rocket of the field may become before it is slowed down.
const FIELD_SPEED_MAX: i64 = 100_000;

/// One channel, with what it has still to send.
#[derive(Debug)]
pub(super) struct ChannelScript {
    channel: Uuid,
    clock: ChannelClock,
    length: u64,
    sent: u64,
    script: Script,
}

#[derive(Debug)]
enum Script {
    Field(FieldScript),
    Hostile(HostileScript),
}

impl ChannelScript {
    /// A channel of `length` messages as the field's sender has them.
    pub(super) fn field(length: u64, random: &mut impl Rng) -> ChannelScript {
        let script = FieldScript::new(length, random);
        ChannelScript::new(length, Script::Field(script), random)
    }

    /// A channel of `length` messages that are valid and often make no sense; the index spreads the kinds of mischief.
    pub(super) fn hostile(index: u32, length: u64, random: &mut impl Rng) -> ChannelScript {
        let script = HostileScript::new(index, length, random);
        ChannelScript::new(length, Script::Hostile(script), random)
    }

    fn new(length: u64, script: Script, random: &mut impl Rng) -> ChannelScript {
        let channel = Builder::from_random_bytes(random.random()).into_uuid();
        ChannelScript { channel, clock: ChannelClock::start(random), length, sent: 0, script }
    }

    /// How many messages the whole channel has.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether everything has been sent.
    pub(super) fn is_over(&self) -> bool {
        self.sent == self.length
    }

    /// The next message of the channel.
    pub(super) fn next(&mut self, random: &mut impl Rng) -> Message {
        self.sent += 1;
        let (time, upper_case, event) = match &mut self.script {
            Script::Field(script) => (self.clock.field_time(random), false, script.event(self.sent, random)),
            Script::Hostile(script) => {
                (self.clock.hostile_time(random), random.random_ratio(1, 10), script.event(self.sent, random))
            }
        };
        Message { channel: self.channel, upper_case, number: self.sent, time, event }
    }
}

/// A rocket that behaves.
#[derive(Debug)]
struct FieldScript {
    explodes_at: Option<u64>,
    speed: i64,
}

impl FieldScript {
    fn new(length: u64, random: &mut impl Rng) -> FieldScript {
        let explodes = length > 1 && random.random_ratio(EXPLODING_PERCENT, 100);
        FieldScript { explodes_at: explodes.then_some(length), speed: 0 }
    }

    fn event(&mut self, number: u64, random: &mut impl Rng) -> Event {
        if number == 1 {
            return self.launch(random);
        }
        if self.explodes_at == Some(number) {
            return Event::Exploded { reason: Names::Field.reason(random) };
        }
        match random.random_range(0..100_u32) {
            0..45 if self.speed < FIELD_SPEED_MAX => self.increase(random),
            0..85 if self.speed > 1 => self.decrease(random),
            _ => Event::MissionChanged { mission: Names::Field.mission(random) },
        }
    }

    fn launch(&mut self, random: &mut impl Rng) -> Event {
        self.speed = random.random_range(1..=50) * 100;
        Event::Launched {
            rocket_type: Names::Field.rocket_type(random),
            speed: self.speed,
            mission: Names::Field.mission(random),
        }
    }

    fn increase(&mut self, random: &mut impl Rng) -> Event {
        let by = random.random_range(1..=3_000);
        self.speed += by;
        Event::SpeedIncreased { by }
    }

    fn decrease(&mut self, random: &mut impl Rng) -> Event {
        let by = random.random_range(1..=3_000.min(self.speed - 1));
        self.speed -= by;
        Event::SpeedDecreased { by }
    }
}

/// The longest string of the contract, in code points.
const CHARACTERS_MAX: usize = 255;

const ROCKET_TYPES: [&str; 8] =
    ["Falcon-9", "Falcon-Heavy", "Ariane-6", "Atlas-V", "Delta-IV", "Electron", "Soyuz-2", "Vega-C"];
const MISSIONS: [&str; 10] =
    ["ARTEMIS", "APOLLO", "CASSINI", "GALILEO", "GEMINI", "JUNO", "MAGELLAN", "ROSETTA", "SHUTTLE_MIR", "VOYAGER"];
const REASONS: [&str; 5] =
    ["PRESSURE_VESSEL_FAILURE", "ENGINE_FAILURE", "FUEL_LEAK", "GUIDANCE_FAILURE", "LOST_STAGE_SEPARATION"];
const HOSTILE_NAMES: [&str; 12] = [
    " ",
    "null",
    "\"quoted\" and \\escaped\\",
    "two\nlines\r\nand a\ttab",
    "\u{0}begins with a NUL",
    "\u{1b}[31mred\u{1b}[0m\u{7}",
    "<script>alert('mission')</script>",
    "Звёздный путь 火星 🚀",
    "e\u{301} is not \u{e9}",
    "right to left \u{202e}SIMETRA",
    "\u{feff}zero\u{200b}width\u{2028}",
    "{\"metadata\": 1e400}",
];

/// The names of one kind of data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Names {
    /// Names as the field's sender has them.
    Field,
    /// Of three names, one that is hostile.
    Hostile,
}

impl Names {
    /// The type of a rocket, as a launch says it.
    pub(super) fn rocket_type(self, random: &mut impl Rng) -> String {
        self.draw(random, &ROCKET_TYPES)
    }

    /// The name of a mission.
    pub(super) fn mission(self, random: &mut impl Rng) -> String {
        self.draw(random, &MISSIONS)
    }

    /// Why a rocket exploded.
    pub(super) fn reason(self, random: &mut impl Rng) -> String {
        self.draw(random, &REASONS)
    }

    fn draw(self, random: &mut impl Rng, plain: &[&str]) -> String {
        if self == Names::Hostile && random.random_ratio(1, 3) {
            return hostile(random);
        }
        one_of(random, plain).to_owned()
    }
}

fn hostile(random: &mut impl Rng) -> String {
    match random.random_range(0..6_u32) {
        0 => "M".repeat(CHARACTERS_MAX),
        1 => "🚀".repeat(CHARACTERS_MAX),
        _ => one_of(random, &HOSTILE_NAMES).to_owned(),
    }
}

fn one_of<'a>(random: &mut impl Rng, values: &[&'a str]) -> &'a str {
    // The index is drawn as a u32, because a usize is drawn differently on platforms of other widths.
    values[random.random_range(0..values.len() as u32) as usize]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;
    use uuid::Uuid;

    use super::super::message::Event;
    use super::*;

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

    #[test]
    fn every_name_is_within_the_contract() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for names in [Names::Field, Names::Hostile] {
            for _ in 0..2_000 {
                let name = names.mission(&mut random);
                assert!((1..=CHARACTERS_MAX).contains(&name.chars().count()), "{name:?}");
            }
        }
    }
}
