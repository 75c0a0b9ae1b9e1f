//! The end of a schedule, when everything has arrived, nothing goes wrong any more and all workers rest: whatever was
//! accepted was applied once and in order, or waits, or is a dead letter, and it is told what became of it.

use super::laws::{Event, Laws, through};
use super::messages::{CHANNELS, NUMBER_MAX, channel_of};
use super::oracle::{LATE, Numbered, Place};
use super::record_text::Facts;
use super::script::{Line, Said};
use crate::domain::Became;
use crate::simulation::model::{Model, Sight};

/// Fails with what is wrong at the end.
pub fn judge(model: &Model, laws: &mut Laws) -> Result<(), String> {
    for channel in 0..CHANNELS {
        let is = model.load(&channel_of(channel), Sight::clear(1)).record;
        let is = is.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let (is, listed) = without_overflow(&is);
        let expected = record_of(laws, channel, &Facts::of(&is), listed.as_ref());
        if is != expected {
            return Err(format!("record {channel} is {is}, and should be {expected}"));
        }
        check_numbers(laws, channel)?;
    }
    (1..=laws.events.len() as u64).try_for_each(|event| check_event(laws, event))
}

/// The text of a record without what waits and is not listed, and the last number that is listed, if not all are.
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
fn record_of(laws: &mut Laws, channel: usize, is: &Facts, listed: Option<&Facts>) -> String {
    if laws.channels[channel].arrivals.is_empty() {
        return String::new();
    }
    let acts = laws.channels[channel].last_act();
    let truth = laws.truth(channel, acts).clone();
    let of = &laws.channels[channel];
    let is_there = |number: &u64| match truth.at(*number).place {
        Place::Plain(_) => of.arrived >> number & 1 == 1,
        Place::Correction(..) | Place::Skip(..) => true,
    };
    let last = (1..=NUMBER_MAX).take_while(is_there).last().unwrap_or(0);
    let sent = of.arrivals.iter().filter_map(|(sequence, said)| match said {
        Said::Message(sent) | Said::Correction(sent) => Some((sent.number, *sequence, said)),
        Said::Skip(_) | Said::Malformed(_) => None,
    });
    let waits: Vec<_> = sent.filter(|(number, ..)| *number > last).collect();
    let mut parked: Vec<[u64; 3]> = Vec::new();
    let last_listed = match listed {
        Some(facts) => facts.parked.last().map_or(last, |[_, end, _]| *end),
        None => NUMBER_MAX,
    };
    for number in (last + 1..=last_listed).filter(|number| of.arrived >> number & 1 == 1) {
        let lowest = waits.iter().filter(|(of, ..)| *of == number).map(|(_, sequence, _)| *sequence).min();
        let lowest = lowest.unwrap_or_default();
        match parked.last_mut() {
            Some([_, end, sequence]) if *end + 1 == number => (*end, *sequence) = (number, lowest.min(*sequence)),
            _ => parked.push([number, number, lowest]),
        }
    }
    let corrections_wait = waits.iter().any(|(.., said)| matches!(said, Said::Correction(_)));
    let (unlisted, skipped) = (is.unlisted, is.listed_of(truth.skipped_through(last)));
    let rest = Facts { last, acts, parked, beyond: false, skipped, unlisted, corrections_wait };
    truth.text_through(last) + &rest.text()
}

/// What has a place is told, is a dead letter if it was refused, and none if it was not.
fn check_numbers(laws: &mut Laws, channel: usize) -> Result<(), String> {
    let Facts { last, acts, .. } = laws.channels[channel].facts;
    let truth = laws.truth(channel, acts).clone();
    for number in 1..=last {
        let Numbered { place, refused, .. } = *truth.at(number);
        let holders: Vec<_> = match place {
            Place::Skip(..) => continue,
            Place::Correction(_, at) => vec![at],
            Place::Plain(_) => copies(laws, channel, number),
        };
        let expected = refused.map_or(Became::Processed, |why| Became::Failed(why.into()));
        let holders: Vec<_> = holders.iter().map(|at| &laws.events[*at as usize - 1]).collect();
        let told: Vec<_> = holders.iter().map(|event| event.told.clone()).collect();
        let right = told.iter().filter(|told| told.as_ref() == Some(&expected)).count();
        // What is folded anew names the first copy in the log, which may not be the one that was told before.
        let anew = acts > 0 || laws.channels[channel].was_damaged;
        let of = &laws.channels[channel];
        let once = right == 1 || (right > 1 && anew) || number <= of.lost_reports() || of.has_lost_end;
        if !once {
            return Err(format!("{number} of {channel} should be told once to be {expected:?}: {told:?}"));
        }
        let letters: u32 = holders.iter().map(|event| event.refused_letters).sum();
        // Of copies, one may have been refused before an act, or by one who lost a race, and another one have the place.
        // Who judges a message while somebody else follows an act may be too late with its dead letter to have it removed.
        let excused = holders.len() > 1 || holders.iter().any(|event| event.raced);
        let fits = if refused.is_some() { letters > 0 || of.has_lost_end } else { letters == 0 || excused };
        if !fits || (!anew && holders.iter().any(|event| event.refused_letters > 1)) {
            return Err(format!("{number} of {channel} ({refused:?}) has {letters} dead letters"));
        }
    }
    let waits = laws.channels[channel].told & !through(last);
    if waits == 0 { Ok(()) } else { Err(format!("what waits in {channel} is told of: {waits:b}")) }
}

/// The places of the plain messages with a number.
fn copies(laws: &Laws, channel: usize, number: u64) -> Vec<u64> {
    let arrivals = laws.channels[channel].arrivals.iter();
    arrivals
        .filter(|(_, said)| matches!(said, Said::Message(sent) if sent.number == number))
        .map(|(at, _)| *at)
        .collect()
}

/// What one place of the stream has come to.
fn check_event(laws: &mut Laws, at: u64) -> Result<(), String> {
    let Event { line: Line { channel, said }, told, skipped_letters, malformed_letters, acknowledged, .. } =
        &laws.events[at as usize - 1];
    let (channel, said, told, acknowledged) = (*channel, *said, told.clone(), *acknowledged);
    let (late_letters, malformed_letters) = (*skipped_letters, *malformed_letters);
    let Facts { last, acts, .. } = laws.channels[channel].facts;
    let fits = acknowledged
        && match said {
            Said::Malformed(_) => matches!(told, Some(Became::Failed(_))) && malformed_letters == 1,
            Said::Skip(_) => told == Some(Became::Processed),
            // Of one that waited and was overtaken nobody is told: it is a copy, as its number says.
            Said::Correction(sent) => {
                let overtaken =
                    !matches!(laws.truth(channel, acts).at(sent.number).place, Place::Correction(_, of) if of == at);
                sent.number > last || told.is_some() || overtaken
            }
            Said::Message(sent) => {
                let skip = laws.truth(channel, acts).skipped_by(sent.number);
                let is_known = sent.number > laws.channels[channel].trimmed && sent.number <= last;
                let late = is_known && skip.is_some_and(|skip| skip < at);
                !late || (told == Some(Became::Failed(LATE.into())) && late_letters >= 1)
            }
        };
    if fits {
        return Ok(());
    }
    let letters = (late_letters, malformed_letters);
    Err(format!("event {at}, {said:?} of {channel}, ends as {told:?}, {letters:?}, let go: {acknowledged}"))
}
