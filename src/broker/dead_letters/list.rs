//! Dead letters as an operator lists them: a page of the newest, or all from the oldest on, of one channel, of one reason,
//! or of all.
//!
//! A page costs a page, however many dead letters there are. The server reads only forward, so the newest are found by
//! looking at windows of places, from the end backwards: each as wide as one answer may be, wider while the answers leave
//! room, narrower when one does not hold its window. The filter is the server's to apply, so that a window in which
//! nothing matches costs one question, and the first and the last dead letter that match bound them all.

use std::collections::BTreeMap;

use async_nats::jetstream::stream::{LastRawMessageErrorKind, State};
use futures_util::future::try_join_all;
use strum::VariantNames;

use crate::broker::connection::{PUBLISH_TIMEOUT, within};
use crate::broker::dead_letters::reader::{DeadLetterPage, StoredDeadLetter, dead_letter};
use crate::broker::log_reader::direct::{self, PAGE_BYTES_MAX, Query, ask, ask_until};
use crate::broker::objects::provision::stream_info;
use crate::broker::topology::{DEAD_LETTER_STREAM, dead_letter_filter, dead_letter_token};
use crate::broker::{Broker, BrokerError, Reason};

/// Dead letters of one answer of the server.
const ANSWER_DEAD_LETTERS_MAX: usize = 1_000;
/// Dead letters of one answer where there have been none in the window before.
const SPARSE_ANSWER_MAX: usize = 16;
/// Bytes that are read for one page; at the bound it ends with what it has. Letters as rockets cause them have some
/// hundred bytes each, an outsider's have up to 256 KiB.
const PAGE_READ_BYTES_MAX: usize = 8 * PAGE_BYTES_MAX;

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

/// Some dead letters, newest first, and before which one the next page begins, if there is one.
#[derive(Clone, Debug)]
pub struct NewestDeadLetters<T> {
    /// What was kept of each dead letter.
    pub dead_letters: Vec<T>,
    /// The next page has the dead letters with lower ids than this one.
    pub before: Option<u64>,
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

    /// The subjects of these dead letters; none where no subject can have such a token, or the server would take it for a
    /// wildcard.
    fn subjects(&self) -> Option<String> {
        let token = self.channel_token();
        let possible = |token: &str| {
            let separates = |char: char| char == '.' || char.is_ascii_whitespace();
            !(token.is_empty() || token == "*" || token == ">" || token.contains(separates))
        };
        token.is_none_or(possible).then(|| dead_letter_filter(self.reason.map(Into::into), token))
    }
}

/// A page of these dead letters, newest first: at most so many, those with lower ids than `before`. Of each only what `keep`
/// makes of it is held.
pub async fn newest_dead_letters<T>(
    broker: &Broker,
    filter: &DeadLetterFilter,
    before: Option<u64>,
    dead_letters_max: usize,
    keep: impl Fn(StoredDeadLetter) -> T,
) -> Result<NewestDeadLetters<T>, BrokerError> {
    let nothing = NewestDeadLetters { dead_letters: Vec::new(), before: None };
    let Some(subjects) = filter.subjects() else { return Ok(nothing) };
    let Some((oldest, end)) = extent(broker, filter, &subjects, before).await? else { return Ok(nothing) };
    // One more than is shown tells whether there is a next page.
    let wanted = dead_letters_max + 1;
    let (mut windows, mut found, mut bytes) = (Windows::new(oldest, end, wanted), Vec::new(), 0);
    while let Some((first, end)) = windows.current()
        && found.len() < wanted
        && (found.is_empty() || bytes < PAGE_READ_BYTES_MAX)
    {
        let query =
            Query { stream: DEAD_LETTER_STREAM, subjects: &subjects, from: first, messages_max: windows.answer_max };
        let answer = ask_until(broker, query, end).await?;
        let answer_bytes: usize = answer.found.iter().map(|found| found.message.length).sum();
        bytes += answer_bytes;
        if answer.next.is_some_and(|next| next < end) {
            windows.narrow();
            continue;
        }
        let leaves_room = 2 * answer.found.len() <= windows.answer_max && 2 * answer_bytes <= PAGE_BYTES_MAX;
        windows.pass(answer.found.len(), leaves_room);
        found.extend(answer.found.into_iter().rev().map(|found| (found.sequence, keep(dead_letter(found)))));
    }
    let is_last = found.len() <= dead_letters_max && windows.current().is_none();
    found.truncate(dead_letters_max);
    let before = found.last().map(|(id, _)| *id).filter(|_| !is_last);
    Ok(NewestDeadLetters { dead_letters: found.into_iter().map(|(_, kept)| kept).collect(), before })
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

/// Between which ids these dead letters lie, from the first to before the second. Of all of them the stream knows it; for some
/// the server looks at every subject that there is.
async fn extent(
    broker: &Broker,
    filter: &DeadLetterFilter,
    subjects: &str,
    before: Option<u64>,
) -> Result<Option<(u64, u64)>, BrokerError> {
    if *filter == DeadLetterFilter::default() {
        let gone =
            || BrokerError::Misconfigured(format!("stream {DEAD_LETTER_STREAM}: is missing (`rockets init` makes it)"));
        let info = stream_info(broker, DEAD_LETTER_STREAM).await?.ok_or_else(gone)?;
        let State { first_sequence, last_sequence, .. } = info.state;
        return Ok(Some((first_sequence.max(1), before.unwrap_or(last_sequence + 1))));
    }
    let Some(oldest) = oldest(broker, subjects).await? else { return Ok(None) };
    let end = match before {
        Some(before) => before,
        None => newest(broker, subjects).await?.map_or(0, |newest| newest + 1),
    };
    Ok(Some((oldest, end)))
}

/// The lowest id of these dead letters.
async fn oldest(broker: &Broker, subjects: &str) -> Result<Option<u64>, BrokerError> {
    let query = Query { stream: DEAD_LETTER_STREAM, subjects, from: 1, messages_max: 1 };
    Ok(ask(broker, query).await?.found.first().map(|found| found.sequence))
}

/// The highest id of these dead letters.
async fn newest(broker: &Broker, subjects: &str) -> Result<Option<u64>, BrokerError> {
    let stream = broker.jetstream().get_stream_no_info(DEAD_LETTER_STREAM).await.map_err(BrokerError::unavailable)?;
    let read = async { Ok::<_, BrokerError>(stream.get_last_raw_message_by_subject(subjects).await) };
    match within(PUBLISH_TIMEOUT, "reading the newest dead letter", read).await? {
        Ok(message) => Ok(Some(message.sequence)),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(answer) => match BrokerError::from_server(&answer) {
                BrokerError::NotThere => Ok(None),
                error => Err(error),
            },
            _ => Err(BrokerError::unavailable(error)),
        },
    }
}

/// The windows of places that are looked at, from the end backwards.
struct Windows {
    /// No dead letter lies before this sequence.
    oldest: u64,
    /// Everything from here on has been looked at.
    end: u64,
    width: u64,
    /// Dead letters that one answer may have. Where dead letters are sparse it is little: the server goes on behind the window
    /// until the answer is full.
    answer_max: usize,
    /// The same where they are dense.
    dense_answer_max: usize,
}

impl Windows {
    /// Windows before `end` for so many dead letters.
    fn new(oldest: u64, end: u64, wanted: usize) -> Self {
        let answer_max = (2 * wanted).min(ANSWER_DEAD_LETTERS_MAX);
        Self { oldest, end, width: wanted.min(answer_max) as u64, answer_max, dense_answer_max: answer_max }
    }

    /// First place and end of the window to look at; none at the beginning of all dead letters.
    fn current(&self) -> Option<(u64, u64)> {
        (self.oldest < self.end).then(|| (self.end.saturating_sub(self.width).max(self.oldest), self.end))
    }

    /// An answer did not hold its window: one of half the width is looked at. A window of one place is always held.
    fn narrow(&mut self) {
        self.width = (self.width.min(self.end - self.oldest) / 2).max(1);
    }

    /// The window has been looked at, with so many dead letters in it; the next one is wider if the answer left room.
    fn pass(&mut self, found: usize, leaves_room: bool) {
        self.answer_max = (4 * found + SPARSE_ANSWER_MAX).min(self.dense_answer_max);
        self.end = self.current().map_or(self.oldest, |(first, _)| first);
        if leaves_room {
            self.width = self.width.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of these dead letters as a page finds them, newest first, and how many answers that took.
    fn look(dead_letters: &[u64], end: u64, wanted: usize) -> (Vec<u64>, usize) {
        let (mut windows, mut found, mut answers) = (Windows::new(dead_letters[0], end, wanted), Vec::new(), 0);
        while let Some((first, end)) = windows.current()
            && found.len() < wanted
        {
            answers += 1;
            let of_window: Vec<_> = dead_letters.iter().copied().filter(|at| (first..end).contains(at)).collect();
            if of_window.len() > windows.answer_max {
                windows.narrow();
                continue;
            }
            windows.pass(of_window.len(), 2 * of_window.len() <= windows.answer_max);
            found.extend(of_window.into_iter().rev());
        }
        found.truncate(wanted);
        (found, answers)
    }

    #[test]
    fn the_newest_are_found_however_they_lie() {
        let dense: Vec<u64> = (1..=100_000).collect();
        let sparse: Vec<u64> = (1..=100).map(|at| at * 1_000).collect();
        let split: Vec<u64> = (1..=50_000).chain([99_999, 100_000]).collect();
        for (dead_letters, answers_max) in [(&dense, 2), (&sparse, 14), (&split, 36)] {
            for (end, wanted) in [(100_001, 101), (100_001, 1_001), (60_000, 2), (1_002, 11)] {
                let expected: Vec<u64> =
                    dead_letters.iter().rev().copied().filter(|at| *at < end).take(wanted).collect();
                let (found, answers) = look(dead_letters, end, wanted);
                assert_eq!(found, expected);
                assert!(
                    answers <= answers_max,
                    "{answers} answers for {wanted} before {end} of {}",
                    dead_letters.len()
                );
            }
        }
    }

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
