//! A rocket's radio channel: a UUID, and so the rocket's id.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

/// A channel. Written in lower case with hyphens, whatever case it came in; orders as its text does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Channel(Uuid);

impl Channel {
    /// Length of a channel's text in characters, hyphens included.
    const TEXT_LEN: usize = 36;
    /// What a text must be to be one, in words for whoever wrote another.
    pub const MUST_BE: &str = "must be a UUID such as 193270a9-c9cf-404a-8f83-838e71d9ae67";

    /// Reads the 36 characters of a UUID with hyphens, in either case; the other forms of a UUID are none here.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::TEXT_LEN {
            return None;
        }
        Uuid::try_parse(text).ok().map(Self)
    }

    /// Reads a channel from the token of a subject, where only the form in which we write it is the channel's own.
    pub fn from_token(token: &str) -> Option<Self> {
        let lower_case = !token.bytes().any(|byte| byte.is_ascii_uppercase());
        Self::parse(token).filter(|_| lower_case)
    }
}

impl Serialize for Channel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl TryFrom<String> for Channel {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or(Self::MUST_BE)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOWER: &str = "193270a9-c9cf-404a-8f83-838e71d9ae67";

    #[test]
    fn either_case_is_read_and_lower_case_is_written() {
        let channel = Channel::parse("193270A9-C9CF-404A-8F83-838E71D9AE67").unwrap();
        assert_eq!(channel.to_string(), LOWER);
        assert_eq!(Some(channel), Channel::parse(LOWER));
    }

    #[test]
    fn other_forms_of_a_uuid_are_no_channels() {
        for text in [
            "",
            "193270a9c9cf404a8f83838e71d9ae67",
            "{193270a9-c9cf-404a-8f83-838e71d9ae67}",
            "urn:uuid:193270a9-c9cf-404a-8f83-838e71d9ae67",
            "193270a9-c9cf-404a-8f83-838e71d9ae6g",
            "193270a9-c9cf-404a-8f83-838e71d9ae67 ",
            "193270a9c-9cf-404a-8f83-838e71d9ae67",
        ] {
            assert_eq!(Channel::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_subject_in_upper_case_is_not_the_channel_s_own() {
        assert_eq!(Channel::from_token("193270A9-C9CF-404A-8F83-838E71D9AE67"), None);
        assert_eq!(Channel::from_token(LOWER), Channel::parse(LOWER));
    }
}
