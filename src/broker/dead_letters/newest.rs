//! A page of the newest dead letters, of one channel, of one reason, or of all.
//!
//! A page costs a page, however many dead letters there are: it is read place by place, from the end backwards, and what does
//! not match is passed over here. The server would pass over it as well, but whatever it is asked with a filter, it goes through
//! all subjects that match, and each channel has its own.
//!
//! A long stretch in which nothing matches is passed over in halves.
//!
//! Where few match, or of one channel, it is the other way round. The server reads only forward, so the newest are found by
//! looking at windows of places, from the end backwards: each as wide as one answer may be, wider while the answers leave
//! room, narrower when one does not hold its window. A window in which nothing matches costs one question, and the first
//! dead letter that matches bounds them all.
//!
//! Any replica answers for a place, so one that was stored in the same moment may be missing from a page.

use async_nats::jetstream::stream::State;
use futures_util::{StreamExt as _, stream};

use crate::broker::dead_letters::list::{ANSWER_DEAD_LETTERS_MAX, DeadLetterFilter};
use crate::broker::dead_letters::reader::{StoredDeadLetter, dead_letter};
use crate::broker::log_reader::direct::{self, PAGE_BYTES_MAX, Query, RawMessage, ask_until};
use crate::broker::objects::provision::stream_info;
use crate::broker::topology::DEAD_LETTER_STREAM;
use crate::broker::{Broker, BrokerError};

/// Dead letters of one answer where there have been none in the window before.
const SPARSE_ANSWER_MAX: usize = 16;
/// Bytes that are read for one page; at the bound it ends with what it has. Letters as rockets cause them have some
/// hundred bytes each, an outsider's have up to 256 KiB.
const PAGE_READ_BYTES_MAX: usize = 8 * PAGE_BYTES_MAX;
/// Places that are looked at one by one before the server is asked where there are more: so many, and for each dead letter that
/// was found among them so many more.
const PLACES_IN_VAIN_MAX: u64 = 64;
const PLACES_FOR_ONE: u64 = 8;
/// Places that are looked at at once.
const PLACES_AT_ONCE: usize = 32;

/// Some dead letters, newest first, and before which one the next page begins, if there is one.
#[derive(Clone, Debug)]
pub struct NewestDeadLetters<T> {
    /// What was kept of each dead letter.
    pub dead_letters: Vec<T>,
    /// The next page has the dead letters with lower ids than this one.
    pub before: Option<u64>,
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
    let Some(subjects) = filter.subjects() else {
        return Ok(NewestDeadLetters { dead_letters: Vec::new(), before: None });
    };
    let (first, end) = extent(broker).await?;
    // One more than is shown tells whether there is a next page.
    let wanted = dead_letters_max + 1;
    let (end, found, bytes) = (before.map_or(end, |before| before.min(end)), Vec::new(), 0);
    let mut search = Search { broker, filter, subjects: &subjects, keep, wanted, first, end, found, bytes };
    search.look_at_places().await?;
    if search.found.is_empty() {
        search.pass_to_the_newest(before.is_none()).await?;
        search.look_at_places().await?;
    }
    search.look_at_windows().await?;
    let Search { first, end, mut found, .. } = search;
    let is_last = found.len() <= dead_letters_max && end <= first;
    found.truncate(dead_letters_max);
    let before = found.last().map(|(id, _)| *id).filter(|_| !is_last);
    Ok(NewestDeadLetters { dead_letters: found.into_iter().map(|(_, kept)| kept).collect(), before })
}

/// Between which ids all dead letters lie, from the first to before the second.
async fn extent(broker: &Broker) -> Result<(u64, u64), BrokerError> {
    let gone =
        || BrokerError::Misconfigured(format!("stream {DEAD_LETTER_STREAM}: is missing (`rockets init` makes it)"));
    let State { first_sequence, last_sequence, .. } =
        stream_info(broker, DEAD_LETTER_STREAM).await?.ok_or_else(gone)?.state;
    Ok((first_sequence.max(1), last_sequence + 1))
}

/// What was found of a page, and where it is looked for next.
struct Search<'a, T, F> {
    broker: &'a Broker,
    filter: &'a DeadLetterFilter,
    subjects: &'a str,
    keep: F,
    /// How many dead letters are looked for.
    wanted: usize,
    /// None of these dead letters has a lower id.
    first: u64,
    /// Everything from here on has been looked at.
    end: u64,
    /// What was made of each that was found, behind its id, newest first.
    found: Vec<(u64, T)>,
    /// Bytes of these.
    bytes: usize,
}

impl<T, F: Fn(StoredDeadLetter) -> T> Search<'_, T, F> {
    fn is_over(&self) -> bool {
        let is_enough = !self.found.is_empty() && self.bytes >= PAGE_READ_BYTES_MAX;
        self.found.len() >= self.wanted || is_enough || self.end <= self.first
    }

    fn take(&mut self, found: RawMessage) {
        self.bytes += found.message.length;
        self.found.push((found.sequence, (self.keep)(dead_letter(found))));
    }

    /// Looks at one place after the other, while enough of them match. Of one channel the server knows them by their subject.
    async fn look_at_places(&mut self) -> Result<(), BrokerError> {
        let (broker, begin, found_before, mut bytes) = (self.broker, self.end, self.found.len(), 0);
        let look = |place| async move { (place, direct::get(broker, DEAD_LETTER_STREAM, place).await) };
        let mut looks = stream::iter((self.first..begin).rev()).map(look).buffered(PLACES_AT_ONCE);
        while self.filter.channel_token().is_none() && !self.is_over() && bytes < PAGE_READ_BYTES_MAX {
            let found = (self.found.len() - found_before) as u64;
            if begin - self.end >= PLACES_IN_VAIN_MAX + PLACES_FOR_ONE * found {
                break;
            }
            let Some((place, seen)) = looks.next().await else { break };
            self.end = place;
            let Some(seen) = seen? else { continue };
            bytes += seen.message.length;
            if self.filter.has_reason_of(&seen.subject) {
                self.take(seen);
            }
        }
        Ok(())
    }

    /// Passes over what is newer than all that match: of all dead letters the server knows it, of those before some place it is
    /// found in halves.
    async fn pass_to_the_newest(&mut self, is_of_all: bool) -> Result<(), BrokerError> {
        if is_of_all {
            let newest = direct::get_last(self.broker, DEAD_LETTER_STREAM, self.subjects.to_owned()).await?;
            self.end = newest.map_or(self.first, |newest| self.end.min(newest.sequence + 1));
            return Ok(());
        }
        // Where none matches, the first question says so.
        let (mut passed, mut middle) = (self.first, self.first);
        while passed < self.end {
            match direct::get_next(self.broker, DEAD_LETTER_STREAM, self.subjects, middle).await? {
                Some(found) if found.sequence < self.end => passed = found.sequence + 1,
                _ => self.end = middle,
            }
            middle = passed.midpoint(self.end);
        }
        Ok(())
    }

    /// Looks at one window after the other, from the first dead letter on that matches.
    async fn look_at_windows(&mut self) -> Result<(), BrokerError> {
        if self.is_over() {
            return Ok(());
        }
        let oldest = direct::get_next(self.broker, DEAD_LETTER_STREAM, self.subjects, self.first).await?;
        self.first = oldest.map_or(self.end, |oldest| oldest.sequence);
        let mut windows = Windows::new(self.first, self.end, self.wanted);
        while let Some((from, end)) = windows.current()
            && !self.is_over()
        {
            let (subjects, messages_max) = (self.subjects, windows.answer_max);
            let answer =
                ask_until(self.broker, Query { stream: DEAD_LETTER_STREAM, subjects, from, messages_max }, end).await?;
            let bytes: usize = answer.found.iter().map(|found| found.message.length).sum();
            if answer.next.is_some_and(|next| next < end) {
                windows.narrow();
                continue;
            }
            let leaves_room = 2 * answer.found.len() <= windows.answer_max && 2 * bytes <= PAGE_BYTES_MAX;
            windows.pass(answer.found.len(), leaves_room);
            self.end = windows.end;
            answer.found.into_iter().rev().for_each(|found| self.take(found));
        }
        Ok(())
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
}
