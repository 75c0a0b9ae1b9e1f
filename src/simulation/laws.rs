//! The contract's laws, checked at each thing that is stored, told or let go: against the oracle's truth of the channel,
//! and against what is in the model of the broker at that moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::channel::OfChannel;
use super::messages::{CHANNELS, NUMBER_MAX, number_of};
use super::oracle::{LATE, Place, Truth};
use super::record_text::Facts;
use super::script::{Line, Said, Script};
use crate::broker::{DeadLetter, Reason};
use crate::domain::bounds;
use crate::domain::{Became, Channel, Outcome, Owed, Sequence};

/// What is known beside the model, and the first law that was broken.
pub struct Laws {
    script: Arc<Script>,
    /// By sequence.
    pub events: Vec<Event>,
    pub channels: Vec<OfChannel>,
}

/// One place of the stream.
pub struct Event {
    pub line: Line,
    pub acknowledged: bool,
    /// Everything that was told of it and counted.
    pub told: Option<Became>,
    /// Its dead letters, by reason.
    pub refused_letters: u32,
    pub skipped_letters: u32,
    pub malformed_letters: u32,
    /// Whether it became a dead letter when an act had arrived after which it is none.
    pub raced: bool,
}

/// Fails with these words where a law does not hold.
macro_rules! law {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}

type Lawful = Result<(), String>;

impl Laws {
    pub fn new(script: Arc<Script>) -> Self {
        Self { script, events: Vec::new(), channels: (0..CHANNELS).map(|_| OfChannel::new()).collect() }
    }

    /// Something was stored in the stream.
    pub fn arrived(&mut self, line: Line) {
        self.events.push(Event {
            line,
            acknowledged: false,
            told: None,
            refused_letters: 0,
            skipped_letters: 0,
            malformed_letters: 0,
            raced: false,
        });
        self.channels[line.channel].arrived(self.events.len() as u64, line.said);
    }

    /// All these are delivered anew.
    pub fn delivers_anew(&mut self, delivered: &BTreeSet<u64>) {
        let events = (1..).zip(&mut self.events).filter(|(event, _)| delivered.contains(event));
        for (_, Event { line: Line { channel, said }, acknowledged, .. }) in events {
            let held_again = std::mem::replace(acknowledged, false) && !matches!(said, Said::Malformed(_));
            self.channels[*channel].held += u32::from(held_again);
        }
    }

    /// A record was stored.
    pub fn written(&mut self, channel: &Channel, record: &[u8], owed: &Owed) -> Lawful {
        let (at, text) = (number_of(channel), std::str::from_utf8(record).map_err(|error| error.to_string())?);
        let facts = Facts::of(text);
        let of = &mut self.channels[at];
        let before = std::mem::replace(&mut of.facts, facts.clone());
        of.was_aside |= std::mem::take(&mut of.is_aside);
        if before.beyond && before.parked.is_empty() && !facts.parked.is_empty() {
            bounds::beyond("a drain lists what waits");
        }
        law!(facts.acts == 0 || of.acts.contains(&facts.acts), "record {at} follows {}, which is no act", facts.acts);
        law!(facts.acts >= before.acts, "record {at} forgets an act: {before:?}, {facts:?}");
        law!(facts.last >= before.last, "record {at} goes back: {before:?}, {facts:?}");
        law!(facts.last <= NUMBER_MAX, "record {at} has passed what was never sent: {facts:?}");
        of.note_owed(owed, &self.script.lines);
        let truth = self.truth(at, facts.acts);
        let expected = truth.text_through(facts.last);
        law!(text.starts_with(&expected), "record {at} is no fold: {text}, and should be {expected}");
        self.check_waiting(at, &facts)?;
        let anew = if facts.acts == before.acts { before.last + 1 } else { 1 };
        (anew..=facts.last).try_for_each(|number| self.check_passed(at, number))?;
        if facts.acts != before.acts {
            self.check_late(at)?;
        }
        self.check_owed(at)?;
        self.check_held(at)
    }

    fn check_waiting(&mut self, at: usize, facts: &Facts) -> Lawful {
        let (of, parked) = (&self.channels[at], facts.parked_bits());
        let passed = through(facts.last);
        law!(parked & passed == 0, "record {at} parks what it has passed: {facts:?}");
        law!(parked & !of.arrived == 0, "record {at} parks what never arrived: {facts:?}");
        let lost = of.acknowledged & !passed & !parked;
        law!(lost == 0 || facts.beyond, "record {at} forgets {:?}, which were let go: {facts:?}", list(lost));
        for [first, last, sequence] in &facts.parked {
            let unreadable = (*first..=*last).find(|number| of.highest[*number as usize] < *sequence);
            law!(unreadable.is_none(), "{unreadable:?} of record {at} is not found from {sequence} on: {facts:?}");
        }
        let corrections = of.arrivals.iter().filter(|(act, _)| *act <= facts.acts);
        let waits = |said: &Said| matches!(said, Said::Correction(sent) if sent.number > facts.last);
        let wait = { corrections }.any(|(_, said)| waits(said));
        let knows = wait == facts.corrections_wait || ((of.was_damaged || of.was_aside) && facts.beyond);
        law!(knows, "record {at} is wrong on whether corrections wait: {facts:?}");
        let truth = self.truth(at, facts.acts);
        let all = truth.skipped_through(facts.last);
        let is_end = facts.unlisted == 0 || all.iter().any(|[_, last]| *last == facts.unlisted);
        let skipped = facts.listed_of(all);
        law!(is_end && facts.skipped == skipped, "record {at} is wrong on what is skipped: {facts:?}");
        Ok(())
    }

    /// A number that a record has passed must have been there, and must be a dead letter if it was refused.
    fn check_passed(&mut self, at: usize, number: u64) -> Lawful {
        let acts = self.channels[at].facts.acts;
        let passed = *self.truth(at, acts).at(number);
        let of = &self.channels[at];
        let letters = match passed.place {
            Place::Skip(..) => return Ok(()),
            Place::Plain(_) => {
                law!(of.plain_arrived >> number & 1 == 1, "record {at} has passed {number}, which has not arrived");
                of.letters[number as usize]
            }
            Place::Correction(_, event) => self.events[event as usize - 1].refused_letters,
        };
        law!(passed.refused.is_none() || letters > 0, "{number} of record {at} is refused and no dead letter");
        Ok(())
    }

    /// What was let go while it waited, and came after a skip of its number, must be a dead letter now.
    fn check_late(&mut self, at: usize) -> Lawful {
        let acts = self.channels[at].facts.acts;
        for place in 0..self.channels[at].arrivals.len() {
            let (event, said) = self.channels[at].arrivals[place];
            let Said::Message(sent) = said else { continue };
            if sent.number <= self.channels[at].trimmed {
                continue;
            }
            let late = self.truth(at, acts).skipped_by(sent.number).is_some_and(|skip| skip < event);
            let Event { acknowledged, skipped_letters, .. } = self.events[event as usize - 1];
            law!(!(late && acknowledged) || skipped_letters > 0, "{event} came too late and is no dead letter");
        }
        Ok(())
    }

    /// What has a place was told, or the record owes it.
    fn check_owed(&mut self, at: usize) -> Lawful {
        let Facts { last, acts, .. } = self.channels[at].facts;
        let skipped = self.truth(at, acts).skipped_through(last);
        let skipped = skipped.iter().flat_map(|[first, last]| *first..=*last).fold(0, |bits, at| bits | 1 << at);
        let of = &self.channels[at];
        let forgotten = through(last) & !skipped & !of.told & !of.owed & !through(of.lost_reports());
        law!(forgotten == 0 || of.owes_since, "record {at} owes {:?} and does not say so", list(forgotten));
        Ok(())
    }

    /// For a record that could move, or owes what has to be found out again, a message is held.
    fn check_held(&self, at: usize) -> Lawful {
        let of = &self.channels[at];
        // What was let go before the record was damaged, or the channel set aside, may come to the broker only then.
        if of.was_damaged || of.is_aside {
            return Ok(());
        }
        law!(of.held > 0 || !of.facts.could_move(), "{at} could move and nobody holds a message: {:?}", of.facts);
        law!(
            of.held > 0 || !of.owes_since,
            "{at} owes what acts have changed and nobody holds a message: {:?}",
            of.facts
        );
        Ok(())
    }

    /// It was told what became of an event.
    pub fn told(&mut self, outcome: &Outcome, counts: &Outcome) -> Lawful {
        let event = outcome.event.sequence.0;
        let Line { channel, said } = self.events[event as usize - 1].line;
        match said {
            Said::Malformed(_) => {
                let letters = self.events[event as usize - 1].malformed_letters;
                law!(matches!(outcome.became, Became::Failed(_)) && letters > 0, "{event} is told before its letter");
            }
            Said::Skip(_) => {
                let followed = self.channels[channel].facts.acts >= event && outcome.became == Became::Processed;
                law!(followed, "skip {event} is told to be {:?}", outcome.became);
            }
            Said::Message(_) | Said::Correction(_) => self.check_told(channel, said, outcome)?,
        }
        self.events[event as usize - 1].told = Some(counts.became.clone());
        Ok(())
    }

    /// It was told what became of an event that the log lost with its end.
    pub fn told_of_lost(&mut self, event: crate::domain::Event) -> Lawful {
        let Line { channel, said } = self.script.lines[event.sequence.0 as usize - 1];
        if let Said::Message(sent) = said {
            self.channels[channel].told |= 1 << sent.number;
        }
        Ok(())
    }

    fn check_told(&mut self, at: usize, said: Said, Outcome { event, became, .. }: &Outcome) -> Lawful {
        let event = event.sequence;
        let (Said::Message(sent) | Said::Correction(sent)) = said else { return Ok(()) };
        let Facts { last, acts, .. } = self.channels[at].facts;
        let last = last.max(self.channels[at].passed_before);
        let number = sent.number;
        let corrects = matches!(said, Said::Correction(_));
        match became {
            Became::Duplicate => {
                law!(number <= last || (corrects && acts >= event.0), "{event} is told to be a copy and is none");
            }
            Became::Failed(why) if why == LATE => {
                let so = self.sometimes(at, acts, |truth| truth.skipped_by(number).is_some_and(|skip| skip < event.0));
                law!(so && !corrects, "{event} is told to be late and is not");
            }
            became => {
                let refused = if let Became::Failed(why) = became { Some(why.as_str()) } else { None };
                let so =
                    self.sometimes(at, acts, |truth| truth.at(number).refused == refused && is_at(truth, said, event));
                law!(so && number <= last, "{event} is told to be {became:?} and is not");
                self.channels[at].told |= 1 << number;
            }
        }
        Ok(())
    }

    /// Whether something is so after one of the acts up to this place, or before the first.
    fn sometimes(&mut self, at: usize, acts: u64, so: impl Fn(&Truth) -> bool) -> bool {
        if so(self.truth(at, acts)) {
            return true;
        }
        let before = self.channels[at].acts.iter().copied().filter(|act| *act <= acts);
        let before: Vec<_> = before.chain([0]).collect();
        before.into_iter().any(|acts| so(self.truth(at, acts)))
    }

    /// A dead letter was stored.
    pub fn buried(&mut self, letter: &DeadLetter<'_>) -> Lawful {
        let (event, at) = (letter.stored.sequence, letter.stored.sequence.0 as usize - 1);
        let Line { channel, said } = self.events[at].line;
        match (letter.reason, said) {
            (Reason::Malformed, Said::Malformed(_)) => self.events[at].malformed_letters += 1,
            (Reason::Skipped, Said::Message(sent)) => {
                let late = |truth: &Truth| truth.skipped_by(sent.number).is_some_and(|skip| skip < event.0);
                law!(self.sometimes(channel, u64::MAX, late), "{event} is no late message and becomes a dead letter");
                self.events[at].skipped_letters += 1;
                self.channels[channel].letters[sent.number as usize] += 1;
            }
            (Reason::Refused, Said::Message(sent) | Said::Correction(sent)) => {
                let refused =
                    |truth: &Truth| truth.at(sent.number).refused == Some(&letter.error) && is_at(truth, said, event);
                law!(self.sometimes(channel, u64::MAX, refused), "{event} becomes a dead letter: {}", letter.error);
                let raced = !refused(self.truth(channel, u64::MAX));
                self.events[at].raced |= raced;
                self.events[at].refused_letters += 1;
                if matches!(said, Said::Message(_)) {
                    self.channels[channel].letters[sent.number as usize] += 1;
                }
            }
            (reason, said) => return Err(format!("{event} is {said:?} and becomes a dead letter: {reason:?}")),
        }
        Ok(())
    }

    /// A dead letter of a refused message was removed.
    pub fn removed(&mut self, event: Sequence) {
        let known = &mut self.events[event.0 as usize - 1];
        known.refused_letters -= 1;
        if let Line { channel, said: Said::Message(sent) } = known.line {
            self.channels[channel].letters[sent.number as usize] -= 1;
        }
    }

    /// A message was trimmed.
    pub fn trimmed(&self, event: Sequence) -> Lawful {
        let Event { line: Line { channel, said }, acknowledged, .. } = &self.events[event.0 as usize - 1];
        let of = &self.channels[*channel];
        law!(acknowledged, "{event} is trimmed and was not let go");
        if let Said::Message(sent) | Said::Correction(sent) = said {
            law!(sent.number <= of.facts.last || of.was_damaged, "{event} is trimmed and waits: {:?}", of.facts);
        }
        Ok(())
    }

    /// The log lost its end, and goes on from this place.
    pub fn lost_end(&mut self, last: u64) {
        self.events.truncate(last as usize);
        for of in &mut self.channels {
            of.arrivals.retain(|(event, _)| *event <= last);
            let is_held = |(event, _): &&(u64, Said)| !self.events[*event as usize - 1].acknowledged;
            of.held = of.arrivals.iter().filter(is_held).count() as u32;
            of.has_lost_end = true;
        }
    }

    /// A message was lost from the log.
    pub fn lost(&mut self, event: Sequence) {
        let Line { channel, .. } = self.events[event.0 as usize - 1].line;
        self.channels[channel].has_lost = true;
    }

    /// A message was let go for good.
    pub fn acknowledged(&mut self, event: u64) -> Lawful {
        let Event { line, told, malformed_letters, skipped_letters, acknowledged, .. } =
            &mut self.events[event as usize - 1];
        let (Line { channel, said }, first) = (*line, !std::mem::replace(acknowledged, true));
        let (told, letters, late_letters) = (told.is_some(), *malformed_letters, *skipped_letters);
        let Facts { last, acts, .. } = self.channels[channel].facts;
        let is_aside = self.channels[channel].is_aside;
        match said {
            Said::Malformed(_) => {
                law!(told && letters > 0, "{event} is let go and no dead letter, or nobody is told");
                return Ok(());
            }
            Said::Skip(_) if is_aside => {}
            Said::Message(sent) | Said::Correction(sent) if is_aside => {
                self.channels[channel].acknowledged |= 1 << sent.number;
            }
            Said::Skip(_) => law!(told && acts >= event, "skip {event} is let go and not followed, or nobody is told"),
            Said::Message(sent) | Said::Correction(sent) => {
                let corrects = matches!(said, Said::Correction(_));
                law!(!corrects || acts >= event, "correction {event} is let go and not followed");
                let skipped = self.truth(channel, acts).skipped_by(sent.number);
                let of = &self.channels[channel];
                let bit = 1 << sent.number;
                if sent.number > last {
                    let waits = of.facts.parked_bits() & bit != 0 || of.facts.beyond;
                    law!(waits, "{event} is let go and nowhere: {:?}", of.facts);
                } else if sent.number > of.trimmed && skipped.is_some_and(|skip| skip < event) {
                    let is_told = told || of.owes_since;
                    law!(
                        is_told && late_letters > 0,
                        "{event} came too late, is let go, and no dead letter or not told"
                    );
                } else {
                    let is_told = (of.told | of.owed) & bit != 0 || of.owes_since || told;
                    law!(is_told, "{event} is let go and nobody will be told what became of it");
                }
                self.channels[channel].acknowledged |= bit;
            }
        }
        self.channels[channel].held -= u32::from(first);
        self.check_held(channel)
    }

    /// What a channel is with the acts up to this place of the stream.
    pub fn truth(&mut self, at: usize, acts: u64) -> &Truth {
        let of = &mut self.channels[at];
        let acts = of.acts.iter().copied().rfind(|act| *act <= acts).unwrap_or(0);
        let known = of.truths.iter().position(|truth| truth.acts == acts).unwrap_or_else(|| {
            of.truths.push(Truth::of(acts, &of.arrivals, &self.script.plain[at]));
            of.truths.len() - 1
        });
        &self.channels[at].truths[known]
    }
}

/// Whether an event has its number's place; of copies, any.
fn is_at(truth: &Truth, said: Said, event: Sequence) -> bool {
    match (said, truth_place(truth, said)) {
        (Said::Message(_), Some(Place::Plain(_))) => true,
        (Said::Correction(_), Some(Place::Correction(_, at))) => at == event.0,
        _ => false,
    }
}

fn truth_place(truth: &Truth, said: Said) -> Option<Place> {
    match said {
        Said::Message(sent) | Said::Correction(sent) => Some(truth.at(sent.number).place),
        Said::Skip(_) | Said::Malformed(_) => None,
    }
}

/// The numbers from 1 to this one, a bit each.
pub fn through(last: u64) -> u128 {
    ((1 << last) - 1) << 1
}

fn list(bits: u128) -> Vec<u64> {
    (0..128).filter(|number| bits >> number & 1 == 1).collect()
}
