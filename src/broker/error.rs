//! What can go wrong at the broker, sorted once by what the caller does about it.

use std::error::Error;

use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};

/// One variant for each decision that a caller makes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum BrokerError {
    /// Somebody else wrote first: read again, decide again.
    #[error("a newer revision is there")]
    Conflict,
    /// A message with this id is being stored at this moment: ask again in a moment.
    #[error("a message with the same id is being stored")]
    InFlight,
    /// What was asked for is not there, and never was or is no more.
    #[error("it is not there")]
    NotThere,
    /// The store is full: nothing can be stored until an operator makes room.
    #[error("the store is full: {0}")]
    Full(String),
    /// The message is larger than the stream takes: it will never be stored.
    #[error("too large: {0}")]
    TooLarge(String),
    /// Away, overloaded or electing a leader. What was asked may have been done or not: ask again later.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// A record or a message has this format, which is newer than those that this program knows: not ours to judge.
    #[error("format {0} is newer than those that this program knows: update it")]
    Newer(u32),
    /// An object is missing or is not as it should be: an operator has to look.
    #[error("the broker is not set up as it should be: {0}")]
    Misconfigured(String),
}

impl BrokerError {
    /// Nothing came back in time.
    pub fn timed_out(what: &str) -> Self {
        Self::Unavailable(format!("{what} took too long"))
    }

    /// Any other error of the client: away, for all we know.
    pub fn unavailable(error: impl std::fmt::Display) -> Self {
        Self::Unavailable(error.to_string())
    }

    /// Whether it is about one stream or bucket and may last for hours, while others can be written.
    pub fn is_of_a_store(&self) -> bool {
        matches!(self, Self::Full(_) | Self::TooLarge(_) | Self::Misconfigured(_) | Self::NotThere)
    }

    /// Sorts an answer of the server by its error code.
    pub fn from_server(error: &jetstream::Error) -> Self {
        let text = error.to_string();
        match error.error_code().0 {
            code if Self::CONFLICT_CODES.contains(&code) => Self::Conflict,
            10158 => Self::InFlight,
            // No message found; a sequence that was deleted before.
            10037 | 10043 | 10057 => Self::NotThere,
            // Store failed (a limit is reached), resources exceeded, account limits.
            10077 | 10023 | 10047 | 10028 | 10002 => Self::Full(text),
            10054 => Self::TooLarge(text),
            // Stream or consumer not found, another stream than expected, TTL or atomic batches not allowed.
            10059 | 10014 | 10060 | 10166 | 10174 => Self::Misconfigured(text),
            _ => Self::Unavailable(text),
        }
    }

    /// The codes of [`Self::Conflict`]. Three replicas answer a stale revision with the second one, which carries no revision.
    pub const CONFLICT_CODES: [u64; 2] = [10071, 10164];

    /// The code of what the client returned, where somebody else wrote first.
    pub fn conflict_code(error: &PublishError) -> Option<u64> {
        let [wrong_last_sequence, _] = Self::CONFLICT_CODES;
        match error.kind() {
            PublishErrorKind::WrongLastSequence => Some(wrong_last_sequence),
            PublishErrorKind::Other => {
                let code = Self::answer_among_causes(error)?.error_code().0;
                Self::CONFLICT_CODES.contains(&code).then_some(code)
            }
            _ => None,
        }
    }

    /// Sorts what any call of the client returned: the server's answer, if one is among the causes.
    pub fn from_causes(error: &(dyn Error + 'static)) -> Self {
        Self::answer_among_causes(error).map_or_else(|| Self::unavailable(error), Self::from_server)
    }

    /// Whether the server answered: then what was asked was not done.
    pub(super) fn is_answer(error: &PublishError) -> bool {
        Self::answer_among_causes(error).is_some()
    }

    /// The server's answer, if one is among the causes of what a call of the client returned.
    fn answer_among_causes<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a jetstream::Error> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(answer) = error.downcast_ref::<jetstream::Error>() {
                return Some(answer);
            }
            cause = error.source();
        }
        None
    }
}

impl From<PublishError> for BrokerError {
    fn from(error: PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => Self::Conflict,
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge(error.to_string()),
            // No stream answers: it is missing, or (in a cluster) its leader is being elected.
            PublishErrorKind::StreamNotFound => Self::Unavailable("no stream answers".into()),
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => {
                Self::unavailable(error)
            }
            PublishErrorKind::Other => Self::from_causes(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_code(code: u64) -> BrokerError {
        let json = format!(r#"{{"code":400,"err_code":{code},"description":"why"}}"#);
        BrokerError::from_server(&serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn each_code_asks_for_one_decision() {
        for code in [10071, 10164] {
            assert_eq!(of_code(code), BrokerError::Conflict);
        }
        assert_eq!(of_code(10158), BrokerError::InFlight);
        for code in [10037, 10043, 10057] {
            assert_eq!(of_code(code), BrokerError::NotThere);
        }
        for code in [10077, 10023, 10047, 10028, 10002] {
            assert!(matches!(of_code(code), BrokerError::Full(_)), "{code}");
        }
        assert!(matches!(of_code(10054), BrokerError::TooLarge(_)));
        for code in [10059, 10014, 10060, 10166, 10174] {
            assert!(matches!(of_code(code), BrokerError::Misconfigured(_)), "{code}");
        }
        for code in [10008, 10009, 10167, 1] {
            assert!(matches!(of_code(code), BrokerError::Unavailable(_)), "{code}");
        }
    }

    #[test]
    fn the_server_s_answer_is_found_among_the_causes() {
        let answer: jetstream::Error =
            serde_json::from_str(r#"{"code":400,"err_code":10164,"description":"why"}"#).unwrap();
        let error = PublishError::with_source(PublishErrorKind::Other, answer);
        assert_eq!(BrokerError::from(error), BrokerError::Conflict);
    }
}
