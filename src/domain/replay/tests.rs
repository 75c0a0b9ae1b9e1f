//! Replays, with overrides in any place, against the meaning of the sequence written down a second time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::checkpoint::usable;
use super::super::entry::ArrivedSkip;
use super::super::shortfall::{Base, shortfall};
use super::super::testing::{channel, message};
use super::super::{Arrival, Kind, MessageNumber, MessageTime, Record, Skip, StoredAt};
use super::*;

/// What lies in the stream, in its order.
#[derive(Clone, Debug)]
enum Lies {
    Message { number: u64, kind: Kind, corrects: bool },
    Skip(u64),
}

fn entries(stream: &[Lies]) -> Vec<Entry<()>> {
    let entry = |(lies, sequence): (&Lies, u64)| match lies {
        Lies::Message { number, kind, corrects } => {
            let message = message(*number, kind.clone());
            let (sequence, corrects) = (Sequence(sequence), *corrects);
            Entry::Message(Arc::new(Arrival { sequence, stored_at: StoredAt(0), message, corrects, stored: () }))
        }
        Lies::Skip(up_to) => {
            let (up_to, reason) = (MessageNumber::new(*up_to).unwrap(), "lost".into());
            let time = MessageTime::parse("2024-02-02T19:39:05Z").unwrap();
            let skip = Skip { channel: channel(), up_to, time, reason };
            Entry::Skip(ArrivedSkip { sequence: Sequence(sequence), stored_at: StoredAt(0), skip })
        }
    };
    stream.iter().zip(1..).map(entry).collect()
}

fn streams() -> impl Strategy<Value = Vec<Lies>> {
    let kind = prop_oneof![
        (1..1_000i64).prop_map(|speed| Kind::Launched { rocket_type: "T".into(), speed, mission: "M".into() }),
        (0..1_000i64).prop_map(Kind::SpeedIncreased),
        (0..1_000i64).prop_map(Kind::SpeedDecreased),
        "[a-c]{1,2}".prop_map(Kind::MissionChanged),
        Just(Kind::Exploded("R".into())),
    ];
    let message = (1..20u64, kind, prop::bool::weighted(0.2)).prop_map(|(number, kind, corrects)| Lies::Message {
        number,
        kind,
        corrects,
    });
    let lies = prop_oneof![8 => message, 1 => (1..25u64).prop_map(Lies::Skip)];
    proptest::collection::vec(lies, 0..60)
}

/// Room for few messages and few places, and for all.
fn rooms() -> impl Strategy<Value = Room> {
    let small = (0..4usize, 1..6usize).prop_map(|(bytes_max, places_max)| Room { bytes_max, places_max });
    prop_oneof![3 => small, 1 => Just(Room::of_a_reading(0))]
}

/// What takes the place of each number, number by number, as the contract says it.
fn by_the_contract(stream: &[Entry<()>]) -> Record {
    let mut record = Record::default();
    while let Some(number) = record.next_number() {
        let of_number = || stream.iter().filter_map(Entry::message).filter(|arrival| arrival.message.number == number);
        let correction = of_number().rfind(|arrival| arrival.corrects);
        let first = of_number().next();
        let skip = stream.iter().find_map(|entry| skipped_by(entry, stream, number));
        match (correction, skip, first) {
            (None, Some(skip), _) => record.skip(number, &skip.skip.time),
            (Some(arrival), ..) | (None, None, Some(arrival)) => drop(record.place(&arrival.message)),
            (None, None, None) => break,
        }
    }
    for arrival in stream.iter().filter_map(Entry::message) {
        if !record.is_through(arrival.message.number) {
            record.pending.insert(arrival.message.number, arrival.sequence);
            record.corrections_wait |= arrival.corrects;
        }
    }
    let overrides = || stream.iter().filter(|entry| entry.is_override()).map(Entry::event);
    record.last_override = overrides().map(|overriding| overriding.sequence).max();
    record.last_override_at = overrides().map(|overriding| overriding.stored_at).max();
    record
}

fn skipped_by<'a>(entry: &'a Entry<()>, stream: &[Entry<()>], number: MessageNumber) -> Option<&'a ArrivedSkip> {
    let Entry::Skip(skip) = entry else { return None };
    let before = || stream.iter().filter(|entry| entry.sequence() < skip.sequence).filter_map(Entry::message);
    let highest = before().map(|arrival| arrival.message.number).max()?;
    let missing = before().all(|arrival| arrival.message.number != number);
    (missing && number <= skip.skip.up_to && number <= highest).then_some(skip)
}

/// Drives a reading to its end in pages of this length, and gives its record and everything that it has reported.
fn drive(goal: Goal, stream: &[Lies], page: usize, room: Room) -> (Record, Vec<Vec<Advance<()>>>) {
    let (replay, advances_of) = read_from(Vec::new(), goal, stream, page, room);
    (replay.folds().last().unwrap().state(), advances_of)
}

/// The same from these checkpoints.
fn read_from(
    bases: Vec<Checkpoint>,
    goal: Goal,
    stream: &[Lies],
    page: usize,
    room: Room,
) -> (Replay<()>, Vec<Vec<Advance<()>>>) {
    let all = entries(stream);
    let mut replay = Replay::from_checkpoints(goal, bases, room, |()| 1);
    let mut advances_of = Vec::new();
    while let Some(wanted) = replay.wanted() {
        let turn = match wanted {
            Wanted::Page(from) => {
                let rest = all.split_at((from.0 as usize - 1).min(all.len())).1;
                let (page, behind) = rest.split_at(page.min(rest.len()));
                replay.take(page, behind.first().map(Entry::sequence))
            }
            Wanted::Messages(places) => {
                let there: Vec<_> = entries(stream).into_iter().filter(|it| places.contains(&it.sequence())).collect();
                assert_eq!(there.len(), places.len());
                replay.supply(&there)
            }
        };
        match turn {
            Taken::StartOver => advances_of.clear(),
            Taken::Advance(advances) => {
                advances_of.resize_with(advances.len().max(advances_of.len()), Vec::new);
                advances_of.iter_mut().zip(advances).for_each(|(advances_of, advances)| advances_of.extend(advances));
            }
        }
    }
    (replay, advances_of)
}

/// The checkpoints that readings of the first so many entries make, in the order of their numbers.
fn checkpoints(stream: &[Lies], ends: &[usize]) -> Vec<Checkpoint> {
    let made = ends.iter().zip(1..).filter_map(|(end, place)| {
        let read = &stream[..(*end).min(stream.len())];
        let (replay, _) = read_from(Vec::new(), Goal::State, read, 7, Room::of_a_reading(0));
        let seen = Event { sequence: Sequence(read.len() as u64), ..Event::default() };
        let made = replay.checkpoint(seen)?;
        Some(
            replay
                .checkpoint_before(&made)
                .into_iter()
                .chain([made])
                .map(move |made| Checkpoint { place: Some(place), ..made }),
        )
    });
    usable(made.flatten().collect())
}

/// Each number that was applied once, and by what.
fn places(advances_of: &[Advance<()>]) -> BTreeMap<u64, u64> {
    let mut places = BTreeMap::new();
    for advances in advances_of {
        let (first, last, by) = match advances {
            Advance::Message(arrival, _) => (arrival.message.number, arrival.message.number, arrival.sequence),
            Advance::Skipped { first, last, by } => (*first, *last, *by),
        };
        for number in first.get()..=last.get() {
            assert_eq!(places.insert(number, by.0), None, "{number} is placed twice");
        }
    }
    places
}

#[test]
fn a_correction_stands_in_for_what_it_takes_the_place_of() {
    let message = |number, corrects| Lies::Message { number, kind: Kind::SpeedIncreased(1), corrects };
    let stream = [message(1, false), message(4, false), Lies::Skip(2), message(2, true), message(1, true)]
        .into_iter()
        .chain([message(4, true), message(4, true), message(1, false)]);
    let all = entries(&stream.collect::<Vec<_>>());
    let mut replay = Replay::from_checkpoints(Goal::State, Vec::new(), Room::of_a_reading(0), |()| 1);
    while replay.wanted().is_some() {
        replay.take(&all, None);
    }
    let fold = replay.folds().last().unwrap();
    for (number, correction, expected) in [(1, 5, 1), (2, 4, 3), (4, 7, 6), (4, 6, 2)] {
        let before = fold.stands_in_for(MessageNumber::new(number).unwrap(), Sequence(correction));
        assert_eq!(before, Some(Sequence(expected)), "{number}");
    }
}

proptest! {
    #[test]
    fn any_stream_becomes_what_the_contract_says(stream in streams(), page in 1..20usize, room in rooms()) {
        let (record, advances_of) = drive(Goal::State, &stream, page, room);
        prop_assert_eq!(&record, &by_the_contract(&entries(&stream)));
        let last = record.last.map_or(0, |last| last.number.get());
        prop_assert_eq!(places(&advances_of[0]).into_keys().collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>());
    }

    #[test]
    fn from_checkpoints_a_stream_becomes_the_same(
        stream in streams(),
        page in 1..20usize,
        room in rooms(),
        ends in proptest::collection::vec(0..60usize, 1..4),
        since in 0..60u64,
    ) {
        let (bases, all) = (checkpoints(&stream, &ends), entries(&stream));
        for goal in [Goal::State, Goal::Change { since: Sequence::new(since) }] {
            let (replay, advances_of) = read_from(bases.clone(), goal, &stream, page, room);
            prop_assert_eq!(replay.folds().last().unwrap().state(), by_the_contract(&all));
            let is_wrong = |base: &Checkpoint| all.iter().filter_map(Entry::message).any(|it| base.is_made_wrong_by(it));
            prop_assert!(replay.wrong_checkpoints().iter().all(is_wrong));
            prop_assert_eq!(replay.base(), bases.iter().rfind(|base| !is_wrong(base)));
            let through = MessageNumber::count_through(replay.base().and_then(Checkpoint::through));
            prop_assert!(places(advances_of.last().unwrap()).into_keys().all(|number| number > through));
        }
    }

    #[test]
    fn a_change_is_found_by_two_folds(stream in streams(), page in 1..20usize, room in rooms(), since in 0..60u64) {
        let (record, advances_of) = drive(Goal::Change { since: Sequence::new(since) }, &stream, page, room);
        prop_assert_eq!(record, by_the_contract(&entries(&stream)));
        prop_assert_eq!(advances_of.len(), 2);
        let as_it_was = stream.iter().zip(1..).filter(|(lies, at)| {
            *at <= since || matches!(lies, Lies::Message { corrects: false, .. })
        });
        let before: Vec<_> = as_it_was.map(|(lies, _)| lies.clone()).collect();
        let last = by_the_contract(&entries(&before)).last.map_or(0, |last| last.number.get());
        prop_assert_eq!(places(&advances_of[0]).len() as u64, last);
    }
}

#[test]
fn a_further_reading_that_shows_less_than_the_one_before_is_not_complete() {
    let sent = |number| Lies::Message { number, kind: Kind::SpeedIncreased(1), corrects: false };
    let all = entries(&[sent(1), sent(4), sent(3), sent(2), Lies::Skip(1)]);
    let mut replay = Replay::from_checkpoints(Goal::State, Vec::new(), Room { bytes_max: 2, places_max: 0 }, |()| 1);
    replay.take(&all, None);
    replay.take(&all, None);
    assert_eq!(replay.wanted(), Some(Wanted::Page(Sequence(1))), "4 was dropped, and is read once more");
    replay.take(&all[..1], None);
    assert!(!replay.is_complete(), "4 is known to wait and was not shown again");
    replay.go_on();
    assert_eq!(replay.wanted(), Some(Wanted::Page(Sequence(2))));
    replay.take(&all[1..], None);
    assert!(replay.is_complete());
    assert_eq!(replay.folds()[0].state(), by_the_contract(&all));
}

#[test]
fn a_reading_is_not_complete_while_what_comes_next_is_known_and_was_not_shown_again() {
    let sent = |number| Lies::Message { number, kind: Kind::SpeedIncreased(1), corrects: false };
    let all = entries(&[sent(1), sent(3), sent(4), sent(2), Lies::Skip(1), sent(5)]);
    let room = Room { bytes_max: 1, places_max: 0 };
    let mut replay = Replay::from_checkpoints(Goal::State, Vec::new(), room, |()| 1);
    replay.take(&all, None);
    replay.take(&all, None);
    replay.take(&all[..5], None);
    assert!(!replay.is_complete(), "5 is known to wait, and all overrides were shown");
}

#[test]
fn what_comes_after_the_reading_is_not_taken_for_lost() {
    // Numbers 1 and 2 were applied and are gone.
    let mut written = Record::default();
    for number in 1..=2 {
        let _ = written.place(&message(number, Kind::Exploded("R".into())));
    }
    [(4, 1), (5, 3)]
        .into_iter()
        .for_each(|(number, at)| written.pending.insert(MessageNumber::new(number).unwrap(), Sequence(at)));
    let plain = |number| Lies::Message { number, kind: Kind::SpeedIncreased(1), corrects: false };
    let entries = entries(&[plain(4), Lies::Skip(3), plain(5)]);
    let (read, later) = entries.split_at(2);
    let goal = Goal::Onward {
        since: None,
        applied_through: MessageNumber::new(2),
        record: Box::new(written.clone()),
        only: true,
    };
    let mut replay = Replay::from_checkpoints(goal, Vec::new(), Room::of_a_reading(1_000), |()| 1);
    assert!(matches!(replay.take(read, None), Taken::StartOver));
    replay.take(read, None);
    replay.go_on();
    replay.take(later, None);
    let folded = replay.folds().last().unwrap().state();
    assert_eq!(folded.next_number(), MessageNumber::new(6));
    assert_eq!(shortfall(&written, &folded, &replay.overrides(), Base::Record), None);
}
