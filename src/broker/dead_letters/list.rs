//! Dead letters as an operator lists them: some of the newest ([`super::newest`]), or all from the oldest on, of one channel,
//! of one reason, or of all; and how many there are.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use strum::VariantNames;

use crate::broker::dead_letters::reader::{DeadLetterPage, dead_letter};
use crate::broker::log_reader::direct::{self, Query, ask};
use crate::broker::topology::{DEAD_LETTER_STREAM, dead_letter_filter, dead_letter_token, reason_of_dead_letter};
use crate::broker::{Broker, BrokerError, Reason};

/// Dead letters of one answer of the server.
pub(super) const ANSWER_DEAD_LETTERS_MAX: usize = 1_000;

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    reason: Option<Reason>,
    channel_token: Option<String>,
}

/// How many of these dead letters there are.
pub async fn count(broker: &Broker, filter: &DeadLetterFilter) -> Result<u64, BrokerError> {
    match filter.subjects() {
        Some(subjects) => direct::count(broker, DEAD_LETTER_STREAM, &subjects).await,
        None => Ok(0),
    }
}

/// How many dead letters there are of each reason.
pub async fn count_by_reason(broker: &Broker) -> Result<BTreeMap<&'static str, u64>, BrokerError> {
    let of = |reason: &'static str| async move {
        let subjects = dead_letter_filter(Some(reason), None);
        direct::count(broker, DEAD_LETTER_STREAM, &subjects).await.map(|count| (reason, count))
    };
    Ok(try_join_all(<Reason as VariantNames>::VARIANTS.iter().copied().map(of)).await?.into_iter().collect())
}

impl DeadLetterFilter {
    /// The dead letters of one reason, of the channel with exactly this token, of both, or all.
    pub fn new(reason: Option<Reason>, channel_token: Option<&str>) -> Self {
        Self { reason, channel_token: channel_token.map(dead_letter_token) }
    }

    /// The reason, if it is of one.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The channel's token, if it is of one, as dead letters have it: of a long one the beginning.
    pub fn channel_token(&self) -> Option<&str> {
        self.channel_token.as_deref()
    }

    /// Whether a dead letter with this subject is of the reason.
    pub(super) fn has_reason_of(&self, subject: &str) -> bool {
        self.reason.is_none_or(|reason| reason.as_ref() == reason_of_dead_letter(subject))
    }

    /// The subjects of these dead letters; none where no subject can have such a token, or the server would take it for a
    /// wildcard.
    pub(super) fn subjects(&self) -> Option<String> {
        let token = self.channel_token();
        let possible = |token: &str| {
            let separates = |char: char| char == '.' || char.is_ascii_whitespace();
            !(token.is_empty() || token == "*" || token == ">" || token.contains(separates))
        };
        token.is_none_or(possible).then(|| dead_letter_filter(self.reason.map(Into::into), token))
    }
}

/// A page of these dead letters, oldest first, from an id on.
pub async fn dead_letters_from(
    broker: &Broker,
    filter: &DeadLetterFilter,
    from: u64,
) -> Result<DeadLetterPage, BrokerError> {
    let Some(subjects) = filter.subjects() else { return Ok(DeadLetterPage { dead_letters: Vec::new(), next: None }) };
    let query = Query { stream: DEAD_LETTER_STREAM, subjects: &subjects, from, messages_max: ANSWER_DEAD_LETTERS_MAX };
    let page = ask(broker, query).await?;
    Ok(DeadLetterPage { dead_letters: page.found.into_iter().map(dead_letter).collect(), next: page.next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_a_wildcard() {
        let subjects = |token| DeadLetterFilter::new(Some(Reason::Skipped), Some(token)).subjects();
        assert_eq!(subjects("a*b").as_deref(), Some("rockets_dlq.*.skipped.a*b"));
        for token in ["", "*", ">", "a.b", "a b", "a\n"] {
            assert_eq!(subjects(token), None, "{token:?}");
        }
        assert_eq!(DeadLetterFilter::default().subjects().as_deref(), Some(">"));
    }
}
