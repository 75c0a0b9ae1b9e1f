//! The contract's invariants, checked at each thing that is stored, reported or acknowledged: against the oracle's truth
//! of the channel, and against what is in the model of the broker at that moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::channel::{OfChannel, highest_of, list, through};
use super::messages::{CHANNELS, NUMBER_MAX, number_of};
use super::oracle::{Place, SKIPPED_LATE, Truth};
use super::record_text::Facts;
use super::workload::{Content, Line, Workload};
use crate::broker::{DeadLetter, Reason};
use crate::domain::bounds;
use crate::domain::{Channel, Outcome, OutcomeRecord, Sequence, Unreported};

/// What is known beside the model, and the first invariant that was broken.
pub struct Invariants {
    workload: Arc<Workload>,
    /// By sequence.
    pub events: Vec<Event>,
    pub channels: Vec<OfChannel>,
}

/// One sequence.
pub struct Event {
    pub line: Line,
    pub acknowledged: bool,
    /// Everything that was reported of it and counted.
    pub reported: Option<Outcome>,
    /// Its dead letters, by reason.
    pub refused_dead_letters: u32,
    pub skipped_dead_letters: u32,
    pub malformed_dead_letters: u32,
    /// Whether it became a dead letter when an override had arrived after which it is none.
    pub raced: bool,
}

/// Fails with these words where an invariant does not hold.
macro_rules! must {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}

type Checked = Result<(), String>;

impl Invariants {
    pub fn new(workload: Arc<Workload>) -> Self {
        Self { workload, events: Vec::new(), channels: (0..CHANNELS).map(|_| OfChannel::new()).collect() }
    }

    /// Something was stored in the stream.
    pub fn arrived(&mut self, line: Line) {
        self.events.push(Event {
            line,
            acknowledged: false,
            reported: None,
            refused_dead_letters: 0,
            skipped_dead_letters: 0,
            malformed_dead_letters: 0,
            raced: false,
        });
        self.channels[line.channel].arrived(self.events.len() as u64, line.content);
    }

    /// All these are delivered again.
    pub fn delivers_again(&mut self, delivered: &BTreeSet<u64>) {
        let events = (1..).zip(&mut self.events).filter(|(event, _)| delivered.contains(event));
        for (_, Event { line: Line { channel, content }, acknowledged, .. }) in events {
            let held_again = std::mem::replace(acknowledged, false) && !matches!(content, Content::Malformed(_));
            self.channels[*channel].held += u32::from(held_again);
        }
    }

    /// A record was stored.
    pub fn written(&mut self, channel: &Channel, record: &[u8], unreported: &Unreported) -> Checked {
        let (at, text) = (number_of(channel), std::str::from_utf8(record).map_err(|error| error.to_string())?);
        let facts = Facts::of(text);
        let of = &mut self.channels[at];
        let before = std::mem::replace(&mut of.facts, facts.clone());
        of.was_aside |= std::mem::take(&mut of.is_aside);
        if before.beyond && before.pending.is_empty() && !facts.pending.is_empty() {
            bounds::reached("a drain lists what waits");
        }
        must!(
            facts.overrides == 0 || of.overrides.contains(&facts.overrides),
            "record {at} follows {}, which is no override",
            facts.overrides
        );
        must!(facts.overrides >= before.overrides, "record {at} forgets an override: {before:?}, {facts:?}");
        must!(facts.last >= before.last, "record {at} goes back: {before:?}, {facts:?}");
        must!(facts.last <= NUMBER_MAX, "record {at} is past what was never sent: {facts:?}");
        of.note_unreported(unreported, &self.workload.lines);
        let truth = self.truth(at, facts.overrides);
        let expected = truth.text_through(facts.last);
        must!(text.starts_with(&expected), "record {at} is no fold: {text}, and should be {expected}");
        self.check_waiting(at, &facts)?;
        let first = if facts.overrides == before.overrides { before.last + 1 } else { 1 };
        (first..=facts.last).try_for_each(|number| self.check_through(at, number))?;
        if facts.overrides != before.overrides {
            self.check_late(at)?;
        }
        self.check_unreported(at)?;
        self.check_held(at)
    }

    fn check_waiting(&mut self, at: usize, facts: &Facts) -> Checked {
        let (of, pending) = (&self.channels[at], facts.pending_bits());
        let passed = through(facts.last);
        must!(pending & passed == 0, "record {at} lists what it is past: {facts:?}");
        must!(pending & !of.arrived == 0, "record {at} lists what never arrived: {facts:?}");
        let lost = of.acknowledged & !passed & !pending;
        must!(lost == 0 || facts.beyond, "record {at} forgets {:?}, which were acknowledged: {facts:?}", list(lost));
        for [first, last, sequence] in &facts.pending {
            let is_acknowledged = |event: u64| self.events[event as usize - 1].acknowledged;
            let unreadable = (*first..=*last).find(|number| !of.is_found(*number, *sequence, is_acknowledged));
            must!(unreadable.is_none(), "{unreadable:?} of record {at} is not found from {sequence} on: {facts:?}");
        }
        let corrections = of.arrivals.iter().filter(|(overriding, _)| *overriding <= facts.overrides);
        let waits = |content: &Content| matches!(content, Content::Correction(sent) if sent.number > facts.last);
        let wait = { corrections }.any(|(_, content)| waits(content));
        let knows = wait == facts.corrections_wait || ((of.was_damaged || of.was_aside) && facts.beyond);
        must!(knows, "record {at} is wrong on whether corrections wait: {facts:?}");
        let truth = self.truth(at, facts.overrides);
        let all = truth.skipped_through(facts.last);
        let is_end = facts.unlisted == 0 || all.iter().any(|[_, last]| *last == facts.unlisted);
        let skipped = facts.listed_of(all);
        must!(is_end && facts.skipped == skipped, "record {at} is wrong on what is skipped: {facts:?}");
        Ok(())
    }

    /// A number that a record is past must have been there, and must be a dead letter if it was refused.
    fn check_through(&mut self, at: usize, number: u64) -> Checked {
        let overrides = self.channels[at].facts.overrides;
        let passed = *self.truth(at, overrides).at(number);
        let of = &self.channels[at];
        let dead_letters = match passed.place {
            Place::Skip(..) => return Ok(()),
            Place::Plain(_) => {
                must!(of.plain_arrived >> number & 1 == 1, "record {at} has passed {number}, which has not arrived");
                of.dead_letters[number as usize]
            }
            Place::Correction(_, event) => self.events[event as usize - 1].refused_dead_letters,
        };
        must!(passed.refused.is_none() || dead_letters > 0, "{number} of record {at} is refused and no dead letter");
        Ok(())
    }

    /// What was acknowledged while it waited, and came after a skip of its number, must be a dead letter now.
    fn check_late(&mut self, at: usize) -> Checked {
        let overrides = self.channels[at].facts.overrides;
        for place in 0..self.channels[at].arrivals.len() {
            let (event, content) = self.channels[at].arrivals[place];
            let Content::Message(sent) = content else { continue };
            if sent.number <= self.channels[at].trimmed {
                continue;
            }
            let late = self.truth(at, overrides).skipped_by(sent.number).is_some_and(|skip| skip < event);
            let Event { acknowledged, skipped_dead_letters, .. } = self.events[event as usize - 1];
            must!(!(late && acknowledged) || skipped_dead_letters > 0, "{event} came too late and is no dead letter");
        }
        Ok(())
    }

    /// What was applied was reported, or the record has it unreported.
    fn check_unreported(&mut self, at: usize) -> Checked {
        let Facts { last, overrides, .. } = self.channels[at].facts;
        let skipped = self.truth(at, overrides).skipped_through(last);
        let skipped = skipped.iter().flat_map(|[first, last]| *first..=*last).fold(0, |bits, at| bits | 1 << at);
        let of = &self.channels[at];
        let forgotten = through(last) & !skipped & !of.reported & !of.unreported & !through(of.lost_reports());
        must!(
            forgotten == 0 || of.unreported_since,
            "record {at} has {:?} unreported and does not say so",
            list(forgotten)
        );
        Ok(())
    }

    /// For a record that is drainable, or has changes unreported that a replay finds out, a message is held.
    fn check_held(&self, at: usize) -> Checked {
        let of = &self.channels[at];
        // What was acknowledged before the record was damaged, or the channel set aside, may come to the broker only then.
        if of.was_damaged || of.is_aside {
            return Ok(());
        }
        must!(of.held > 0 || !of.facts.is_drainable(), "{at} is drainable and nobody holds a message: {:?}", of.facts);
        must!(
            of.held > 0 || !of.unreported_since,
            "{at} has changes of overrides unreported and nobody holds a message: {:?}",
            of.facts
        );
        Ok(())
    }

    /// What became of an event was reported.
    pub fn reported(&mut self, outcome_record: &OutcomeRecord, counts: &OutcomeRecord) -> Checked {
        let event = outcome_record.event.sequence.0;
        let Line { channel, content } = self.events[event as usize - 1].line;
        match content {
            Content::Malformed(_) => {
                let dead_letters = self.events[event as usize - 1].malformed_dead_letters;
                must!(
                    matches!(outcome_record.outcome, Outcome::Failed(_)) && dead_letters > 0,
                    "{event} is reported before its dead letter"
                );
            }
            Content::Skip(_) => {
                let followed =
                    self.channels[channel].facts.overrides >= event && outcome_record.outcome == Outcome::Processed;
                must!(followed, "skip {event} is reported to be {:?}", outcome_record.outcome);
            }
            Content::Message(_) | Content::Correction(_) => self.check_reported(channel, content, outcome_record)?,
        }
        self.events[event as usize - 1].reported = Some(counts.outcome.clone());
        Ok(())
    }

    /// What became of an event was reported that the log lost with its end.
    pub fn reported_of_lost(&mut self, event: crate::domain::Event) -> Checked {
        let Line { channel, content } = self.workload.lines[event.sequence.0 as usize - 1];
        if let Content::Message(sent) = content {
            self.channels[channel].reported |= 1 << sent.number;
        }
        Ok(())
    }

    fn check_reported(
        &mut self,
        at: usize,
        content: Content,
        OutcomeRecord { event, outcome, .. }: &OutcomeRecord,
    ) -> Checked {
        let event = event.sequence;
        let (Content::Message(sent) | Content::Correction(sent)) = content else { return Ok(()) };
        let Facts { last, overrides, .. } = self.channels[at].facts;
        let last = last.max(self.channels[at].passed_before);
        let number = sent.number;
        let corrects = matches!(content, Content::Correction(_));
        match outcome {
            Outcome::Duplicate => {
                must!(
                    number <= last || (corrects && overrides >= event.0),
                    "{event} is reported to be a copy and is none"
                );
            }
            Outcome::Failed(why) if why == SKIPPED_LATE => {
                let so =
                    self.sometimes(at, overrides, |truth| truth.skipped_by(number).is_some_and(|skip| skip < event.0));
                must!(so && !corrects, "{event} is reported to be late and is not");
            }
            outcome => {
                let refused = if let Outcome::Failed(why) = outcome { Some(why.as_str()) } else { None };
                let so = self.sometimes(at, overrides, |truth| {
                    truth.at(number).refused == refused && is_at(truth, content, event)
                });
                must!(so && number <= last, "{event} is reported to be {outcome:?} and is not");
                self.channels[at].reported |= 1 << number;
            }
        }
        Ok(())
    }

    /// Whether something is so after one of the overrides up to this sequence, or before the first.
    fn sometimes(&mut self, at: usize, overrides: u64, so: impl Fn(&Truth) -> bool) -> bool {
        if so(self.truth(at, overrides)) {
            return true;
        }
        let before = self.channels[at].overrides.iter().copied().filter(|overriding| *overriding <= overrides);
        let before: Vec<_> = before.chain([0]).collect();
        before.into_iter().any(|overrides| so(self.truth(at, overrides)))
    }

    /// A dead letter was stored.
    pub fn stored_dead_letters(&mut self, dead_letter: &DeadLetter<'_>) -> Checked {
        let (event, at) = (dead_letter.stored.sequence, dead_letter.stored.sequence.0 as usize - 1);
        let Line { channel, content } = self.events[at].line;
        match (dead_letter.reason, content) {
            (Reason::Malformed, Content::Malformed(_)) => self.events[at].malformed_dead_letters += 1,
            (Reason::Skipped, Content::Message(sent)) => {
                let late = |truth: &Truth| truth.skipped_by(sent.number).is_some_and(|skip| skip < event.0);
                must!(self.sometimes(channel, u64::MAX, late), "{event} is no late message and becomes a dead letter");
                self.events[at].skipped_dead_letters += 1;
                self.channels[channel].dead_letters[sent.number as usize] += 1;
            }
            (Reason::Refused, Content::Message(sent) | Content::Correction(sent)) => {
                let refused = |truth: &Truth| {
                    truth.at(sent.number).refused == Some(&dead_letter.error) && is_at(truth, content, event)
                };
                must!(
                    self.sometimes(channel, u64::MAX, refused),
                    "{event} becomes a dead letter: {}",
                    dead_letter.error
                );
                let raced = !refused(self.truth(channel, u64::MAX));
                self.events[at].raced |= raced;
                self.events[at].refused_dead_letters += 1;
                if matches!(content, Content::Message(_)) {
                    self.channels[channel].dead_letters[sent.number as usize] += 1;
                }
            }
            (reason, content) => return Err(format!("{event} is {content:?} and becomes a dead letter: {reason:?}")),
        }
        Ok(())
    }

    /// A dead letter of a refused message was removed.
    pub fn removed(&mut self, event: Sequence) {
        let known = &mut self.events[event.0 as usize - 1];
        known.refused_dead_letters -= 1;
        if let Line { channel, content: Content::Message(sent) } = known.line {
            self.channels[channel].dead_letters[sent.number as usize] -= 1;
        }
    }

    /// A message was trimmed.
    pub fn trimmed(&self, event: Sequence) -> Checked {
        let Event { line: Line { channel, content }, acknowledged, .. } = &self.events[event.0 as usize - 1];
        let of = &self.channels[*channel];
        must!(acknowledged, "{event} is trimmed and was not acknowledged");
        if let Content::Message(sent) | Content::Correction(sent) = content {
            must!(sent.number <= of.facts.last || of.was_damaged, "{event} is trimmed and waits: {:?}", of.facts);
        }
        Ok(())
    }

    /// The log lost its end, and goes on from this sequence.
    pub fn lost_end(&mut self, last: u64) {
        self.events.truncate(last as usize);
        for of in &mut self.channels {
            of.arrivals.retain(|(event, _)| *event <= last);
            let is_held = |(event, _): &&(u64, Content)| !self.events[*event as usize - 1].acknowledged;
            of.held = of.arrivals.iter().filter(is_held).count() as u32;
            of.highest = highest_of(&of.arrivals);
            of.has_lost_end = true;
        }
    }

    /// A message was lost from the log.
    pub fn lost(&mut self, event: Sequence) {
        let Line { channel, .. } = self.events[event.0 as usize - 1].line;
        self.channels[channel].has_lost = true;
    }

    /// A message was acknowledged for good.
    pub fn acknowledged(&mut self, event: u64) -> Checked {
        let Event { line, reported, malformed_dead_letters, skipped_dead_letters, acknowledged, .. } =
            &mut self.events[event as usize - 1];
        let (Line { channel, content }, first) = (*line, !std::mem::replace(acknowledged, true));
        let (reported, dead_letters, late_dead_letters) =
            (reported.is_some(), *malformed_dead_letters, *skipped_dead_letters);
        let Facts { last, overrides, .. } = self.channels[channel].facts;
        let is_aside = self.channels[channel].is_aside;
        match content {
            Content::Malformed(_) => {
                must!(
                    reported && dead_letters > 0,
                    "{event} is acknowledged and no dead letter, or it is not reported"
                );
                return Ok(());
            }
            Content::Skip(_) if is_aside => {}
            Content::Message(sent) | Content::Correction(sent) if is_aside => {
                self.channels[channel].acknowledged |= 1 << sent.number;
            }
            Content::Skip(_) => {
                must!(
                    reported && overrides >= event,
                    "skip {event} is acknowledged and not followed, or it is not reported"
                )
            }
            Content::Message(sent) | Content::Correction(sent) => {
                let corrects = matches!(content, Content::Correction(_));
                must!(!corrects || overrides >= event, "correction {event} is acknowledged and not followed");
                let skipped = self.truth(channel, overrides).skipped_by(sent.number);
                let of = &self.channels[channel];
                let bit = 1 << sent.number;
                if sent.number > last {
                    let waits = of.facts.pending_bits() & bit != 0 || of.facts.beyond;
                    must!(waits, "{event} is acknowledged and nowhere: {:?}", of.facts);
                } else if sent.number > of.trimmed && skipped.is_some_and(|skip| skip < event) {
                    let is_reported = reported || of.unreported_since;
                    must!(
                        is_reported && late_dead_letters > 0,
                        "{event} came too late, is acknowledged, and no dead letter or not told"
                    );
                } else {
                    let is_reported = (of.reported | of.unreported) & bit != 0 || of.unreported_since || reported;
                    must!(is_reported, "{event} is acknowledged and its outcome will not be reported");
                }
                self.channels[channel].acknowledged |= bit;
            }
        }
        self.channels[channel].held -= u32::from(first);
        self.check_held(channel)
    }

    /// What a channel is with the overrides up to this sequence.
    pub fn truth(&mut self, at: usize, overrides: u64) -> &Truth {
        let of = &mut self.channels[at];
        let overrides = of.overrides.iter().copied().rfind(|overriding| *overriding <= overrides).unwrap_or(0);
        let known = of.truths.iter().position(|truth| truth.overrides == overrides).unwrap_or_else(|| {
            of.truths.push(Truth::of(overrides, &of.arrivals, &self.workload.plain[at]));
            of.truths.len() - 1
        });
        &self.channels[at].truths[known]
    }
}

/// Whether an event has its number's place; of copies, any.
fn is_at(truth: &Truth, content: Content, event: Sequence) -> bool {
    match (content, truth_place(truth, content)) {
        (Content::Message(_), Some(Place::Plain(_))) => true,
        (Content::Correction(_), Some(Place::Correction(_, at))) => at == event.0,
        _ => false,
    }
}

fn truth_place(truth: &Truth, content: Content) -> Option<Place> {
    match content {
        Content::Message(sent) | Content::Correction(sent) => Some(truth.at(sent.number).place),
        Content::Skip(_) | Content::Malformed(_) => None,
    }
}
