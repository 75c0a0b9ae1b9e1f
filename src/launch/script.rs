//! The script of one channel: which message comes as its number n.
//!
//! A field script is what the field's sender has: number 1 launches, the speed stays above zero, at most one explosion,
//! and that is the last message. It keeps the speed that it needs for that; what a rocket must finally be is computed
//! elsewhere (see the oracle), from the messages alone. What else may happen is in the hostile script.

use rand::{Rng, RngExt as _};
use uuid::{Builder, Uuid};

use super::clock::ChannelClock;
use super::hostile::HostileScript;
use super::message::{Event, Message};
use super::names::Words;

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
            return Event::Exploded { reason: Words::Field.reason(random) };
        }
        match random.random_range(0..100_u32) {
            0..45 if self.speed < FIELD_SPEED_MAX => self.increase(random),
            0..85 if self.speed > 1 => self.decrease(random),
            _ => Event::MissionChanged { mission: Words::Field.mission(random) },
        }
    }

    fn launch(&mut self, random: &mut impl Rng) -> Event {
        self.speed = random.random_range(1..=50) * 100;
        Event::Launched {
            rocket_type: Words::Field.rocket_type(random),
            speed: self.speed,
            mission: Words::Field.mission(random),
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
