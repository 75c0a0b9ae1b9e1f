//! What the messages of a file make of each rocket: the same fold as the service's ([`Rocket::after`]), over the lines in
//! whatever order they stand there.
//!
//! Memory is taken for each channel, and for messages that stand before an earlier number of theirs, up to a bound. A channel
//! whose messages would pass it is known by its highest number only; so is one of which the file has not all numbers from 1 on.
//!
//! Where a file has two different messages of one number, the first one counts here. In the service it is the one that is
//! applied first, which may be the other: then they differ.

use std::collections::{BTreeMap, btree_map};

use serde_json::{Map, Value, json};

use crate::domain::{Channel, Message, MessageTime, Rocket, Status};

/// How many bytes messages may have together that wait for an earlier one.
const WAITING_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What a message takes in memory beside its text.
const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// What is expected of every channel of a file.
#[derive(Debug)]
pub(super) struct Expectations {
    channels: BTreeMap<Channel, OfChannel>,
    waiting_bytes: usize,
    waiting_bytes_max: usize,
}

impl Default for Expectations {
    fn default() -> Self {
        Self { channels: BTreeMap::new(), waiting_bytes: 0, waiting_bytes_max: WAITING_BYTES_MAX }
    }
}

#[derive(Debug, Default)]
struct OfChannel {
    rocket: Option<Rocket>,
    /// All numbers up to this one have been folded.
    through: u64,
    /// The message time of that number.
    last_time: Option<MessageTime>,
    highest: u64,
    /// Later messages, with what each takes of the bound.
    waiting: BTreeMap<u64, (Message, usize)>,
    /// Whether there was no room for its messages.
    is_counted_only: bool,
}

/// What is expected of one channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expected {
    /// Which one.
    pub(super) channel: Channel,
    /// The highest number.
    pub(super) highest: u64,
    /// What is known of the rocket after that number.
    pub(super) known: Known,
}

/// What is known of a rocket from a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Known {
    /// The fields that the service shows, each with its value.
    Fields(Map<String, Value>),
    /// There is none: nothing in the file launched it.
    NoRocket,
    /// Only that its numbers are applied; why, and the first number that the file does not have, where that is why.
    NumbersOnly { missing: Option<u64> },
}

impl Expectations {
    /// Takes one more message of the file into account, of so many bytes.
    pub(super) fn observe(&mut self, message: Message, bytes: usize) {
        let channel = self.channels.entry(message.channel).or_default();
        let number = message.number.get();
        channel.highest = channel.highest.max(number);
        if channel.is_counted_only || number <= channel.through {
            return;
        }
        let bytes = bytes + MESSAGE_OVERHEAD_BYTES;
        if let btree_map::Entry::Vacant(free) = channel.waiting.entry(number) {
            free.insert((message, bytes));
            self.waiting_bytes += bytes;
        }
        self.waiting_bytes -= channel.drain();
        if self.waiting_bytes > self.waiting_bytes_max {
            self.waiting_bytes -= channel.give_up();
        }
    }

    /// How many channels there are.
    pub(super) fn channels(&self) -> usize {
        self.channels.len()
    }

    /// What is expected of each channel.
    pub(super) fn all(&self) -> impl Iterator<Item = Expected> {
        self.channels.iter().map(|(channel, of)| of.expected(*channel))
    }
}

impl OfChannel {
    /// Folds what follows the last number; gives how many bytes that frees.
    fn drain(&mut self) -> usize {
        let mut freed = 0;
        while let Some((message, bytes)) = self.waiting.remove(&(self.through + 1)) {
            if let Ok(rocket) = Rocket::after(self.rocket.as_ref(), &message) {
                self.rocket = Some(rocket);
            }
            self.through += 1;
            self.last_time = Some(message.time);
            freed += bytes;
        }
        freed
    }

    /// Keeps no messages from here on; gives how many bytes that frees.
    fn give_up(&mut self) -> usize {
        self.is_counted_only = true;
        std::mem::take(&mut self.waiting).into_values().map(|(_, bytes)| bytes).sum()
    }

    fn expected(&self, channel: Channel) -> Expected {
        let known = match &self.rocket {
            _ if self.is_counted_only => Known::NumbersOnly { missing: None },
            _ if self.through < self.highest => Known::NumbersOnly { missing: Some(self.through + 1) },
            None => Known::NoRocket,
            Some(rocket) => Known::Fields(self.fields(channel, rocket)),
        };
        Expected { channel, highest: self.highest, known }
    }

    /// The fields of the contract that a rocket's messages decide.
    fn fields(&self, channel: Channel, rocket: &Rocket) -> Map<String, Value> {
        let (status, reason) = match &rocket.status {
            Status::Active => ("active", None),
            Status::Exploded { reason } => ("exploded", Some(reason)),
        };
        let mut fields = Map::from_iter([
            ("id".to_owned(), json!(channel)),
            ("type".to_owned(), json!(rocket.rocket_type)),
            ("currentSpeed".to_owned(), json!(rocket.speed)),
            ("mission".to_owned(), json!(rocket.mission)),
            ("status".to_owned(), json!(status)),
            ("launchTime".to_owned(), json!(rocket.launch_time.as_str())),
            ("lastUpdated".to_owned(), json!(rocket.last_updated.as_str())),
            ("lastMessageNumber".to_owned(), json!(self.through)),
            ("lastMessageTime".to_owned(), json!(self.last_time.as_ref().map(MessageTime::as_str))),
        ]);
        fields.extend(reason.map(|reason| ("explosionReason".to_owned(), json!(reason))));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Kind, MessageNumber};

    const CHANNEL: &str = "193270a9-c9cf-404a-8f83-838e71d9ae67";

    fn message(number: u64) -> Message {
        let kind = match number {
            1 => Kind::Launched { rocket_type: "Falcon-9".into(), speed: 500, mission: "ARTEMIS".into() },
            9 => Kind::Exploded("FUEL".into()),
            _ => Kind::SpeedIncreased(number as i64),
        };
        Message {
            channel: Channel::parse(CHANNEL).unwrap(),
            number: MessageNumber::new(number).unwrap(),
            time: MessageTime::parse(&format!("2022-02-02T19:39:{number:02}Z")).unwrap(),
            kind,
        }
    }

    fn expected_with(numbers: &[u64], waiting_bytes_max: usize) -> (Expected, usize) {
        let mut expectations = Expectations { waiting_bytes_max, ..Expectations::default() };
        numbers.iter().for_each(|number| expectations.observe(message(*number), 100));
        (expectations.all().next().unwrap(), expectations.waiting_bytes)
    }

    fn expected(numbers: &[u64]) -> Expected {
        expected_with(numbers, WAITING_BYTES_MAX).0
    }

    #[test]
    fn the_order_in_the_file_makes_no_difference() {
        let in_order = expected(&[1, 2, 3, 4]);
        let Known::Fields(fields) = &in_order.known else { panic!("{in_order:?}") };
        assert_eq!((&fields["currentSpeed"], &fields["lastMessageNumber"]), (&json!(509), &json!(4)));
        assert_eq!(fields["lastMessageTime"], "2022-02-02T19:39:04Z");
        assert!(!fields.contains_key("explosionReason"));
        for numbers in [&[4, 3, 2, 1][..], &[2, 2, 1, 1, 4, 2, 3, 4]] {
            assert_eq!(expected_with(numbers, WAITING_BYTES_MAX), (in_order.clone(), 0), "{numbers:?}");
        }
    }

    #[test]
    fn an_explosion_is_final_and_refused_messages_take_their_number() {
        let expected = expected(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let Known::Fields(fields) = expected.known else { panic!("{expected:?}") };
        let shown = ["status", "explosionReason", "currentSpeed", "lastUpdated", "lastMessageNumber"];
        let shown: Vec<_> = shown.iter().map(|name| fields[*name].clone()).collect();
        assert_eq!(Value::from(shown), json!(["exploded", "FUEL", 0, "2022-02-02T19:39:09Z", 10]));
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |missing| Known::NumbersOnly { missing: Some(missing) };
        assert_eq!((expected(&[5, 6]).known, expected(&[1, 2, 4, 7]).known), (missing(1), missing(3)));
        assert_eq!(expected(&[1, 2, 4, 7]).highest, 7);
        let mut without_launch = Expectations::default();
        let kind = Kind::SpeedIncreased(1);
        without_launch.observe(Message { kind, ..message(1) }, 100);
        assert_eq!(without_launch.all().next().unwrap().known, Known::NoRocket);
    }

    #[test]
    fn without_room_only_numbers_are_kept() {
        let room = 3 * (100 + MESSAGE_OVERHEAD_BYTES);
        assert_eq!(expected_with(&[2, 3, 4, 1], room).0, expected(&[1, 2, 3, 4]));
        let (counted, waiting_bytes) = expected_with(&[2, 3, 4, 5, 1, 9], room);
        assert_eq!((counted.known, counted.highest, waiting_bytes), (Known::NumbersOnly { missing: None }, 9, 0));
    }
}
