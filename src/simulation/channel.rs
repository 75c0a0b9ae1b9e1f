//! What is known of one channel of a schedule, beside the model: what arrived, what its record says, what was reported of it.

use super::messages::NUMBER_MAX;
use super::oracle::Truth;
use super::record_text::Facts;
use super::workload::{Content, Line};
use crate::domain::{MessageNumber, Sequence, Unreported};

/// One channel.
pub struct OfChannel {
    /// What arrived that can be read, with its sequence.
    pub arrivals: Vec<(u64, Content)>,
    /// Where the overrides lie.
    pub overrides: Vec<u64>,
    /// What its record says.
    pub facts: Facts,
    pub truths: Vec<Truth>,
    /// Sets of numbers: of which a message arrived; a plain one; one that was acknowledged; of which a copy was reported.
    pub arrived: u128,
    pub plain_arrived: u128,
    pub acknowledged: u128,
    pub reported: u128,
    /// What the record has unreported.
    pub unreported: u128,
    pub unreported_since: bool,
    /// Whether its record was damaged once: then it takes corrections to wait until it was replayed.
    pub was_damaged: bool,
    /// Whether it is set aside for a newer program: what was acknowledged since, that one finds in the log.
    pub is_aside: bool,
    pub was_aside: bool,
    /// The last number that it was past before it was damaged: what became of those may still be reported.
    pub passed_before: u64,
    /// The highest sequence of each number that the log has not lost with its end.
    pub highest: [u64; NUMBER_MAX as usize + 1],
    /// Dead letters of plain messages, by number. One that is refused may be one already, because it is seen to be too late
    /// by somebody who follows a skip at the same moment.
    pub dead_letters: [u32; NUMBER_MAX as usize + 1],
    /// Messages and overrides that were not acknowledged.
    pub held: u32,
    /// Up to which number the log was trimmed. Of these nobody knows any more which ones were skipped: a late one is a copy.
    pub trimmed: u64,
    /// Whether messages of it are gone that no checkpoint stands in for.
    pub has_lost: bool,
    /// Whether the log lost its end: what was reported of it counts for no message that came in its place, and those are
    /// copies.
    pub has_lost_end: bool,
}

impl OfChannel {
    pub fn new() -> Self {
        Self {
            arrivals: Vec::new(),
            overrides: Vec::new(),
            facts: Facts::default(),
            truths: Vec::new(),
            arrived: 0,
            plain_arrived: 0,
            acknowledged: 0,
            reported: 0,
            unreported: 0,
            unreported_since: false,
            was_damaged: false,
            is_aside: false,
            was_aside: false,
            passed_before: 0,
            highest: [0; NUMBER_MAX as usize + 1],
            dead_letters: [0; NUMBER_MAX as usize + 1],
            held: 0,
            trimmed: 0,
            has_lost: false,
            has_lost_end: false,
        }
    }

    pub fn arrived(&mut self, sequence: u64, content: Content) {
        match content {
            Content::Malformed(_) => return,
            Content::Message(sent) => self.plain_arrived |= 1 << sent.number,
            Content::Correction(_) | Content::Skip(_) => self.overrides.push(sequence),
        }
        if let Content::Message(sent) | Content::Correction(sent) = content {
            self.arrived |= 1 << sent.number;
            self.highest[sent.number as usize] = sequence;
        }
        self.arrivals.push((sequence, content));
        self.held += 1;
    }

    /// Whether a reading from a sequence on comes to the message of a number that waits. In a log that has lost its end it may
    /// lie before that sequence, as long as nobody has acknowledged it there: whoever gets it notes where it lies now.
    pub fn is_found(&self, number: u64, from: u64, is_acknowledged: impl Fn(u64) -> bool) -> bool {
        let is_of_number = |content: &Content| matches!(content, Content::Message(sent) if sent.number == number);
        let mut of_number = self.arrivals.iter().filter(|(_, content)| is_of_number(content));
        self.highest[number as usize] >= from
            || self.has_lost_end && !of_number.any(|(event, _)| is_acknowledged(*event))
    }

    /// Whether a message was not acknowledged.
    pub fn is_held(&self) -> bool {
        self.held > 0
    }

    /// Up to which number a damaged record took with it what was to be reported: a fold from where the log was trimmed does
    /// not find it out again.
    pub fn lost_reports(&self) -> u64 {
        if self.was_damaged { self.trimmed } else { 0 }
    }

    /// Its record says nothing any more.
    pub fn damaged(&mut self) {
        (self.unreported, self.unreported_since, self.was_damaged) = (0, false, true);
        self.passed_before = self.passed_before.max(self.facts.last);
        self.facts = Facts { beyond: true, corrections_wait: true, ..Facts::default() };
    }

    pub fn note_unreported(&mut self, unreported: &Unreported, lines: &[Line]) {
        let number = |event: &Sequence| match lines[event.0 as usize - 1].content {
            Content::Message(sent) | Content::Correction(sent) => sent.number,
            Content::Skip(_) | Content::Malformed(_) => 0,
        };
        self.unreported = unreported.messages.iter().fold(0, |bits, (event, _)| bits | 1 << number(&event.sequence));
        // What has changed since the very state that it has is nothing.
        let state = (Sequence::new(self.facts.overrides), MessageNumber::new(self.facts.last));
        self.unreported_since =
            unreported.since.is_some_and(|since| (since.last_override, since.applied_through) != state);
    }

    /// The last override that arrived, as a record has it in its text: 0 is none.
    pub fn last_override(&self) -> u64 {
        self.overrides.last().copied().unwrap_or(0)
    }
}

/// Where the last of these lies of each number.
pub fn highest_of(arrivals: &[(u64, Content)]) -> [u64; NUMBER_MAX as usize + 1] {
    let mut highest = [0; NUMBER_MAX as usize + 1];
    for (sequence, content) in arrivals {
        if let Content::Message(sent) | Content::Correction(sent) = content {
            highest[sent.number as usize] = *sequence;
        }
    }
    highest
}

/// The numbers from 1 to this one, a bit each.
pub fn through(last: u64) -> u128 {
    ((1 << last) - 1) << 1
}

/// The numbers of which the bits are set.
pub fn list(bits: u128) -> Vec<u64> {
    (0..128).filter(|number| bits >> number & 1 == 1).collect()
}
