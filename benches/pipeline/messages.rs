//! The messages that are sent: valid ones, in order, as many rockets as wanted. Each rocket is launched, and then each
//! message makes it faster by 1, so that its state tells how many were applied.

use rockets::internals::{Channel, MessageNumber};
use uuid::Uuid;

const LAUNCH_SPEED: u64 = 500;

/// Some rockets that take turns in sending.
pub struct Fleet {
    channels: Vec<Uuid>,
    sent: u64,
}

/// One message.
pub struct Message {
    channel: Uuid,
    pub number: u64,
}

impl Fleet {
    /// Rockets that nobody has heard of before.
    pub fn new(rockets: u64) -> Self {
        Self { channels: (0..rockets).map(|_| Uuid::new_v4()).collect(), sent: 0 }
    }

    pub fn next(&mut self) -> Message {
        let rockets = self.channels.len() as u64;
        let (at, number) = (self.sent % rockets, self.sent / rockets + 1);
        self.sent += 1;
        Message { channel: self.channels[at as usize], number }
    }

    /// The first rocket, and the last number that it has sent.
    pub fn first(&self) -> (String, u64) {
        (self.channels[0].to_string(), self.sent.div_ceil(self.channels.len() as u64))
    }

    /// A message of the first rocket.
    pub fn of_first(&self, number: u64) -> Message {
        Message { channel: self.channels[0], number }
    }

    /// Some of the rockets; all of them have sent as much as one another.
    pub fn part(&self, rockets: std::ops::Range<usize>) -> Self {
        let each = self.sent / self.channels.len() as u64;
        let channels = self.channels[rockets].to_vec();
        Self { sent: each * channels.len() as u64, channels }
    }

    pub fn rockets(&self) -> usize {
        self.channels.len()
    }

    /// At most so many of the rockets, spread over all of them, each with the last number that it has sent.
    pub fn some(&self, count: usize) -> impl Iterator<Item = anyhow::Result<(Channel, u64)>> {
        let rockets = self.channels.len();
        let last_number = move |at: usize| self.sent.saturating_sub(at as u64).div_ceil(rockets as u64);
        let each = self.channels.iter().enumerate().step_by(rockets.div_ceil(count).max(1));
        each.map(move |(at, channel)| Ok((parsed(*channel)?, last_number(at))))
    }
}

impl Message {
    pub fn channel(&self) -> anyhow::Result<Channel> {
        parsed(self.channel)
    }

    pub fn message_number(&self) -> anyhow::Result<MessageNumber> {
        MessageNumber::new(self.number).ok_or_else(|| anyhow::anyhow!("{} is no number", self.number))
    }

    /// What the broker recognises it by where nobody has looked into it: enough for a partner.
    pub fn id(&self) -> String {
        format!("{}-{}", self.number, self.channel)
    }

    pub fn body(&self) -> String {
        let Self { channel, number } = self;
        let (kind, payload) = match number {
            1 => {
                ("RocketLaunched", format!(r#"{{"type":"Falcon-9","launchSpeed":{LAUNCH_SPEED},"mission":"ARTEMIS"}}"#))
            }
            _ => ("RocketSpeedIncreased", r#"{"by":1}"#.to_owned()),
        };
        format!(
            r#"{{"metadata":{{"channel":"{channel}","messageNumber":{number},"messageTime":"2022-02-02T19:39:05.86337+01:00","messageType":"{kind}"}},"message":{payload}}}"#
        )
    }
}

/// How fast a rocket is after its message with this number.
pub fn speed_after(number: u64) -> u64 {
    LAUNCH_SPEED + number - 1
}

fn parsed(channel: Uuid) -> anyhow::Result<Channel> {
    Channel::parse(&channel.to_string()).ok_or_else(|| anyhow::anyhow!("{channel} is no channel"))
}
