//! What every rocket must finally be, computed from the messages while they are generated.
//!
//! Written from the contract alone and sharing nothing with the service: a mistake would have to be made twice, in two
//! ways of thinking, to go unnoticed. It sees each message once, in the order of its channel; copies, disorder and
//! retries happen behind its back, because they must make no difference.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::expected::Expected;
use super::message::Message;

/// The expected states of all channels.
///
/// What was lost at the end of a channel is as if it had never been: nothing that was sent waits for it. A channel
/// that was lost as a whole is not expected at all.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    channels: BTreeMap<Uuid, Expected>,
    lost: u64,
}

impl Oracle {
    /// Counts a message that was lost on the radio. When a later one of its channel is sent, its number counts as
    /// skipped, for somebody has to do that before the service can go on.
    pub(super) fn lose(&mut self) {
        self.lost += 1;
    }

    /// How many messages were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes the next message of its channel that was not lost into account.
    pub(super) fn observe(&mut self, message: &Message) {
        self.channels.entry(message.channel).or_default().observe(message);
    }

    /// All channels with what is expected of them.
    pub(super) fn channels(&self) -> impl Iterator<Item = (Uuid, Expected)> {
        self.channels.iter().map(|(channel, expected)| (*channel, expected.clone()))
    }

    /// How many messages the service has to apply, as far as that can be seen: where there is a rocket.
    pub(super) fn messages(&self) -> u64 {
        let launched = self.channels.values().filter(|expected| expected.is_launched());
        launched.map(|expected| expected.last_number).sum()
    }
}
