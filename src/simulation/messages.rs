//! What is sent in a schedule: a message is a number and one of some forms, and its bytes lie ready. What it means is
//! written down for the oracle here, apart from the code that reads it.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::domain::{Channel, MessageNumber, MessageTime, Skip, wire};

/// Channels at most.
pub const CHANNELS: usize = 6;
/// The highest number of a channel: sets of numbers fit into 128 bits.
pub const NUMBER_MAX: u64 = 126;

/// One message of a channel: its number, and its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub number: u64,
    pub form: usize,
}

/// What a form says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Launched(i64),
    Faster(i64),
    Slower(i64),
    Mission,
    Exploded,
}

/// The forms: how often each is sent in 256 messages, and what it says.
const FORMS: [(u8, Says); 8] = [
    (110, Says::Faster(1)),
    (40, Says::Slower(3)),
    (40, Says::Mission),
    (10, Says::Slower(100_000)),
    (8, Says::Faster(i64::MAX)),
    (40, Says::Launched(500)),
    (6, Says::Launched(70)),
    (2, Says::Exploded),
];
/// The form that most channels begin with.
pub const LAUNCH: usize = 5;

impl Sent {
    /// A form for a number, drawn by this one below 256.
    pub fn drawn(number: u64, chance: u64) -> Self {
        let mut left = chance;
        let form = FORMS.iter().position(|(times, _)| {
            let here = left < u64::from(*times);
            left = left.saturating_sub(u64::from(*times));
            here
        });
        Self { number, form: form.unwrap_or(LAUNCH) }
    }

    /// What it says. Speeds differ by the number, so that a message that counts twice or not at all shows.
    pub fn says(self) -> Says {
        match FORMS[self.form].1 {
            Says::Faster(1) => Says::Faster(1 + (self.number * self.number) as i64),
            says => says,
        }
    }

    /// The text that it gives a rocket: its type, its mission or the reason of its end.
    pub fn word(self) -> String {
        format!("W{}-{}", self.number, self.form)
    }

    /// Its message time.
    pub fn time(self) -> String {
        format!("2022-02-02T19:39:05.{:03}{}Z", self.number, self.form)
    }

    /// Its bytes, as it is sent on this channel.
    pub fn bytes(self, channel: usize) -> Bytes {
        static READY: OnceLock<Vec<Bytes>> = OnceLock::new();
        let ready = READY.get_or_init(|| {
            let numbers = (0..CHANNELS).flat_map(|channel| (0..=NUMBER_MAX).map(move |number| (channel, number)));
            let all = numbers.flat_map(|(channel, number)| (0..FORMS.len()).map(move |form| (channel, number, form)));
            all.map(|(channel, number, form)| Sent { number, form }.text(channel).into()).collect()
        });
        ready[(channel * (NUMBER_MAX as usize + 1) + self.number as usize) * FORMS.len() + self.form].clone()
    }

    fn text(self, channel: usize) -> String {
        let (word, time, number, channel) = (self.word(), self.time(), self.number, channel_of(channel));
        let (name, message) = match self.says() {
            Says::Launched(speed) => {
                ("RocketLaunched", format!(r#""type":"{word}","launchSpeed":{speed},"mission":"{word}""#))
            }
            Says::Faster(by) => ("RocketSpeedIncreased", format!(r#""by":{by}"#)),
            Says::Slower(by) => ("RocketSpeedDecreased", format!(r#""by":{by}"#)),
            Says::Mission => ("RocketMissionChanged", format!(r#""newMission":"{word}""#)),
            Says::Exploded => ("RocketExploded", format!(r#""reason":"{word}""#)),
        };
        format!(
            r#"{{"metadata":{{"channel":"{channel}","messageNumber":{number},"messageTime":"{time}","messageType":"{name}"}},"message":{{{message}}}}}"#
        )
    }
}

/// The channel with this number.
pub fn channel_of(channel: usize) -> Channel {
    static READY: OnceLock<[Channel; CHANNELS]> = OnceLock::new();
    let parse = |at: usize| Channel::parse(&format!("00000000-0000-4000-8000-0000000000{at:02x}")).unwrap();
    READY.get_or_init(|| std::array::from_fn(parse))[channel]
}

/// The number of a channel.
pub fn number_of(channel: &Channel) -> usize {
    (0..CHANNELS).find(|at| channel_of(*at) == *channel).unwrap()
}

/// The time of a skip up to this number.
pub fn skip_time(up_to: u64) -> String {
    format!("2024-02-02T19:39:05.{up_to:03}Z")
}

/// The bytes of a skip.
pub fn skip_bytes(channel: usize, up_to: u64) -> Bytes {
    let (time, number) = (MessageTime::parse(&skip_time(up_to)), MessageNumber::new(up_to));
    let (channel, up_to, time) = (channel_of(channel), number.unwrap(), time.unwrap());
    wire::write_skip(&Skip { channel, up_to, time, reason: "lost".into() }).into()
}
