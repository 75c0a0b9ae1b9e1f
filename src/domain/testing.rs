//! Messages for the tests of the domain.

use super::{Channel, Kind, Message, MessageNumber, MessageTime};

pub fn channel() -> Channel {
    Channel::parse("193270a9-c9cf-404a-8f83-838e71d9ae67").unwrap()
}

/// A message whose time tells its number.
pub fn message(number: u64, kind: Kind) -> Message {
    Message {
        channel: channel(),
        number: MessageNumber::new(number).unwrap(),
        time: MessageTime::parse(&format!("2022-02-02T19:39:05.{number}Z")).unwrap(),
        kind,
    }
}
