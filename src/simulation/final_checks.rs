//! The end of a schedule, when everything has arrived, nothing goes wrong any more and all workers rest: whatever was
//! accepted was applied once and in order, or waits, or is a dead letter, and it is reported what became of it.

use super::channel::through;
use super::invariants::{Event, Invariants};
use super::messages::{CHANNELS, NUMBER_MAX, channel_of};
use super::oracle::{Numbered, Place, SKIPPED_LATE};
use super::record_text::Facts;
use super::workload::{Content, Line};
use crate::domain::Outcome;
use crate::simulation::model::{Model, Sight};

/// Fails with what is wrong at the end.
pub fn judge(model: &Model, invariants: &mut Invariants) -> Result<(), String> {
    for channel in 0..CHANNELS {
        let is = model.load(&channel_of(channel), Sight::clear(1)).record;
        let is = is.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let (is, listed) = without_overflow(&is);
        let expected = record_of(invariants, channel, &Facts::of(&is), listed.as_ref());
        if is != expected {
            return Err(format!("record {channel} is {is}, and should be {expected}"));
        }
        check_numbers(invariants, channel)?;
    }
    (1..=invariants.events.len() as u64).try_for_each(|event| check_event(invariants, event))
}

/// The text of a record without what is pending and is not listed, and the last number that is listed, if not all are.
fn without_overflow(text: &str) -> (String, Option<Facts>) {
    let facts = Facts::of(text);
    let begin = text.find(",\"parkedBeyond\":[").filter(|_| facts.beyond);
    let end = begin.and_then(|begin| Some(begin + text[begin..].find(']')? + 1));
    match begin.zip(end) {
        Some((begin, end)) => (format!("{}{}", &text[..begin], &text[end..]), Some(facts)),
        None => (text.to_owned(), None),
    }
}

/// The text of a channel's record; empty where nothing has arrived. Where not all is listed that waits, what is listed
/// must be the lowest of it.
fn record_of(invariants: &mut Invariants, channel: usize, is: &Facts, listed: Option<&Facts>) -> String {
    if invariants.channels[channel].arrivals.is_empty() {
        return String::new();
    }
    let overrides = invariants.channels[channel].last_override();
    let truth = invariants.truth(channel, overrides).clone();
    let of = &invariants.channels[channel];
    let is_there = |number: &u64| match truth.at(*number).place {
        Place::Plain(_) => of.arrived >> number & 1 == 1,
        Place::Correction(..) | Place::Skip(..) => true,
    };
    let last = (1..=NUMBER_MAX).take_while(is_there).last().unwrap_or(0);
    let sent = of.arrivals.iter().filter_map(|(sequence, content)| match content {
        Content::Message(sent) | Content::Correction(sent) => Some((sent.number, *sequence, content)),
        Content::Skip(_) | Content::Malformed(_) => None,
    });
    let waits: Vec<_> = sent.filter(|(number, ..)| *number > last).collect();
    let mut pending: Vec<[u64; 3]> = Vec::new();
    let last_listed = match listed {
        Some(facts) => facts.pending.last().map_or(last, |[_, end, _]| *end),
        None => NUMBER_MAX,
    };
    for number in (last + 1..=last_listed).filter(|number| of.arrived >> number & 1 == 1) {
        let lowest = waits.iter().filter(|(of, ..)| *of == number).map(|(_, sequence, _)| *sequence).min();
        let lowest = lowest.unwrap_or_default();
        match pending.last_mut() {
            Some([_, end, sequence]) if *end + 1 == number => (*end, *sequence) = (number, lowest.min(*sequence)),
            _ => pending.push([number, number, lowest]),
        }
    }
    let corrections_wait = waits.iter().any(|(.., content)| matches!(content, Content::Correction(_)));
    let (unlisted, skipped) = (is.unlisted, is.listed_of(truth.skipped_through(last)));
    let rest = Facts { last, overrides, pending, beyond: false, skipped, unlisted, corrections_wait };
    truth.text_through(last) + &rest.text()
}

/// What was applied is reported, is a dead letter if it was refused, and none if it was not.
fn check_numbers(invariants: &mut Invariants, channel: usize) -> Result<(), String> {
    let Facts { last, overrides, .. } = invariants.channels[channel].facts;
    let truth = invariants.truth(channel, overrides).clone();
    for number in 1..=last {
        let Numbered { place, refused, .. } = *truth.at(number);
        let holders: Vec<_> = match place {
            Place::Skip(..) => continue,
            Place::Correction(_, at) => vec![at],
            Place::Plain(_) => copies(invariants, channel, number),
        };
        let expected = refused.map_or(Outcome::Processed, |why| Outcome::Failed(why.into()));
        let holders: Vec<_> = holders.iter().map(|at| &invariants.events[*at as usize - 1]).collect();
        let reported: Vec<_> = holders.iter().map(|event| event.reported.clone()).collect();
        let right = reported.iter().filter(|reported| reported.as_ref() == Some(&expected)).count();
        // What is replayed names the first copy in the log, which may not be the one that was reported before.
        let is_replayed = overrides > 0 || invariants.channels[channel].was_damaged;
        let of = &invariants.channels[channel];
        let once = right == 1 || (right > 1 && is_replayed) || number <= of.lost_reports() || of.has_lost_end;
        if !once {
            return Err(format!("{number} of {channel} should be told once to be {expected:?}: {reported:?}"));
        }
        let dead_letters: u32 = holders.iter().map(|event| event.refused_dead_letters).sum();
        // Of copies, one may have been refused before an override, or by one who lost a race, and another one be applied.
        // Who judges a message while somebody else follows an override may be too late with its dead letter to have it
        // removed.
        let excused = holders.len() > 1 || holders.iter().any(|event| event.raced);
        let fits = if refused.is_some() { dead_letters > 0 || of.has_lost_end } else { dead_letters == 0 || excused };
        if !fits || (!is_replayed && holders.iter().any(|event| event.refused_dead_letters > 1)) {
            return Err(format!("{number} of {channel} ({refused:?}) has {dead_letters} dead letters"));
        }
    }
    let waits = invariants.channels[channel].reported & !through(last);
    if waits == 0 { Ok(()) } else { Err(format!("what waits in {channel} is told of: {waits:b}")) }
}

/// The places of the plain messages with a number.
fn copies(invariants: &Invariants, channel: usize, number: u64) -> Vec<u64> {
    let arrivals = invariants.channels[channel].arrivals.iter();
    arrivals
        .filter(|(_, content)| matches!(content, Content::Message(sent) if sent.number == number))
        .map(|(at, _)| *at)
        .collect()
}

/// What one sequence has come to.
fn check_event(invariants: &mut Invariants, at: u64) -> Result<(), String> {
    let Event {
        line: Line { channel, content },
        reported,
        skipped_dead_letters,
        malformed_dead_letters,
        acknowledged,
        ..
    } = &invariants.events[at as usize - 1];
    let (channel, content, reported, acknowledged) = (*channel, *content, reported.clone(), *acknowledged);
    let (late_dead_letters, malformed_dead_letters) = (*skipped_dead_letters, *malformed_dead_letters);
    let Facts { last, overrides, .. } = invariants.channels[channel].facts;
    let fits = acknowledged
        && match content {
            Content::Malformed(_) => matches!(reported, Some(Outcome::Failed(_))) && malformed_dead_letters == 1,
            Content::Skip(_) => reported == Some(Outcome::Processed),
            // Of one that waited and was overtaken nothing is reported: it is a copy, as its number says.
            Content::Correction(sent) => {
                let overtaken = !matches!(invariants.truth(channel, overrides).at(sent.number).place, Place::Correction(_, of) if of == at);
                sent.number > last || reported.is_some() || overtaken
            }
            Content::Message(sent) => {
                let skip = invariants.truth(channel, overrides).skipped_by(sent.number);
                let is_known = sent.number > invariants.channels[channel].trimmed && sent.number <= last;
                let late = is_known && skip.is_some_and(|skip| skip < at);
                !late || (reported == Some(Outcome::Failed(SKIPPED_LATE.into())) && late_dead_letters >= 1)
            }
        };
    if fits {
        return Ok(());
    }
    let dead_letters = (late_dead_letters, malformed_dead_letters);
    Err(format!(
        "event {at}, {content:?} of {channel}, ends as {reported:?}, {dead_letters:?}, acknowledged: {acknowledged}"
    ))
}
