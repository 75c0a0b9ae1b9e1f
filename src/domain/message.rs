//! A message of a rocket, once it is known to be well formed. How bytes become one: [`super::wire`].

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Channel, MessageTime};

/// A message's place within its channel: from 1 to 2^63-1, rising by 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct MessageNumber(u64);

impl MessageNumber {
    /// The number of a channel's first message.
    pub const FIRST: Self = Self(1);
    /// The highest number that can be sent.
    pub const MAX: u64 = i64::MAX as u64;

    /// The number, if it lies in the range that can be sent.
    pub fn new(number: u64) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// The number as a plain integer.
    pub fn get(self) -> u64 {
        self.0
    }

    /// How many numbers there are up to this one.
    pub fn count_through(last: Option<Self>) -> u64 {
        last.map_or(0, Self::get)
    }

    /// The number after this one; none after the highest.
    pub fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

impl TryFrom<u64> for MessageNumber {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("must be from 1 to 9223372036854775807")
    }
}

impl fmt::Display for MessageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message's position in the log, given by the broker when it stored the message: its event id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The sequence of a stream's first message.
    pub const FIRST: Self = Self(1);

    /// The sequence; none for 0, which stands for none where it is stored or sent.
    pub fn new(sequence: u64) -> Option<Self> {
        (sequence > 0).then_some(Self(sequence))
    }

    /// The sequence before this one; none before the first.
    pub fn before(self) -> Option<Self> {
        Self::new(self.0 - 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A well-formed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whose message it is.
    pub channel: Channel,
    /// Its place within the channel.
    pub number: MessageNumber,
    /// When the rocket sent it.
    pub time: MessageTime,
    /// What it says.
    pub kind: Kind,
}

/// What an operator says of a channel: the numbers up to this one that have not arrived are not waited for any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Whose numbers are skipped.
    pub channel: Channel,
    /// The highest number that is skipped, unless it has arrived.
    pub up_to: MessageNumber,
    /// When the operator said it.
    pub time: MessageTime,
    /// Why.
    pub reason: String,
}

impl Skip {
    /// The name of its type in `metadata.messageType`.
    pub const NAME: &'static str = "MessagesSkipped";
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The rocket starts.
    Launched {
        /// Type of the rocket, such as `Falcon-9`.
        rocket_type: String,
        /// Speed at the launch, above 0.
        speed: i64,
        /// Mission, such as `ARTEMIS`.
        mission: String,
    },
    /// The rocket is faster by this much, 0 or more.
    SpeedIncreased(i64),
    /// The rocket is slower by this much, 0 or more.
    SpeedDecreased(i64),
    /// The rocket has this mission from now on.
    MissionChanged(String),
    /// The rocket is gone, for this reason.
    Exploded(String),
}

impl Kind {
    /// The name of the message's type in `metadata.messageType`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Launched { .. } => "RocketLaunched",
            Self::SpeedIncreased(_) => "RocketSpeedIncreased",
            Self::SpeedDecreased(_) => "RocketSpeedDecreased",
            Self::MissionChanged(_) => "RocketMissionChanged",
            Self::Exploded(_) => "RocketExploded",
        }
    }
}
