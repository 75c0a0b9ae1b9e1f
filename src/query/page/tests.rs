//! Pages against an oracle that knows only the public JSON, and pages while others change.

use std::cell::Cell;

use proptest::prelude::*;
use serde_json::Value as Json;
use strum::VariantNames;

use super::super::fixtures::{MISSIONS, Sample, TIMES, TYPES, channel, view_of};
use super::super::public::PublicRocket;
use super::*;
use crate::domain::{Channel, MessageTime};

fn samples(ids: std::ops::Range<u32>) -> impl Strategy<Value = Sample> {
    let times = std::array::from_fn(|_| 0..TIMES.len());
    (ids, 0..TYPES.len(), 0..MISSIONS.len(), 0..4i64, any::<bool>(), times).prop_map(
        |(id, rocket_type, mission, speed, exploded, times)| Sample {
            id,
            rocket_type,
            mission,
            speed,
            exploded,
            times,
        },
    )
}

fn many(ids: std::ops::Range<u32>) -> impl Strategy<Value = Vec<Sample>> {
    proptest::collection::btree_map(ids.clone(), samples(ids), 0..60)
        .prop_map(|by_id| by_id.into_iter().map(|(id, sample)| Sample { id, ..sample }).collect())
}

/// A query without limit or cursor, and its parts.
#[derive(Clone, Debug)]
struct Asked {
    sort_by: &'static str,
    order: &'static str,
    status: Option<&'static str>,
    rocket_type: Option<&'static str>,
    mission: Option<&'static str>,
}

impl Asked {
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("sortBy", self.sort_by).append_pair("order", self.order);
        for (name, value) in [("status", self.status), ("type", self.rocket_type), ("mission", self.mission)] {
            value.map(|value| query.append_pair(name, value));
        }
        query.finish()
    }

    /// The ids that the list should have, from the public JSON.
    fn expected(&self, view: &View) -> Vec<String> {
        let wanted =
            |rocket: &Json, name: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| rocket[name] == wanted);
        let mut rockets: Vec<_> = view.scan(Order::Asc, None).map(|entry| json(&entry)).collect();
        rockets.retain(|rocket| {
            wanted(rocket, "status", self.status)
                && wanted(rocket, "type", self.rocket_type)
                && wanted(rocket, "mission", self.mission)
        });
        rockets.sort_by(|a, b| {
            let by_key = self.compare(a, b);
            let by_key = if self.order == "desc" { by_key.reverse() } else { by_key };
            by_key.then_with(|| text(a, "id").cmp(text(b, "id")))
        });
        rockets.iter().map(|rocket| text(rocket, "id").to_owned()).collect()
    }

    fn compare(&self, a: &Json, b: &Json) -> Ordering {
        match self.sort_by {
            "channel" => text(a, "id").cmp(text(b, "id")),
            "speed" => a["currentSpeed"].as_i64().cmp(&b["currentSpeed"].as_i64()),
            name @ ("type" | "mission" | "status") => text(a, name).chars().cmp(text(b, name).chars()),
            name => instant(a, name).cmp(&instant(b, name)),
        }
    }
}

fn text<'a>(rocket: &'a Json, name: &str) -> &'a str {
    rocket[name].as_str().unwrap()
}

fn instant(rocket: &Json, name: &str) -> i128 {
    MessageTime::parse(text(rocket, name)).unwrap().instant()
}

fn json(entry: &Entry) -> Json {
    serde_json::to_value(PublicRocket::from(entry)).unwrap()
}

fn asked() -> impl Strategy<Value = Asked> {
    let sort_by = proptest::sample::select(<SortBy as VariantNames>::VARIANTS);
    let order = proptest::sample::select(vec!["asc", "desc"]);
    let one_of = |names: &[&'static str]| proptest::option::weighted(0.2, proptest::sample::select(names.to_vec()));
    (sort_by, order, one_of(&["active", "exploded"]), one_of(&TYPES), one_of(&MISSIONS)).prop_map(
        |(sort_by, order, status, rocket_type, mission)| Asked { sort_by, order, status, rocket_type, mission },
    )
}

fn answer(view: &View, query: &str) -> Page {
    page(view, &ListRequest::parse(query).unwrap())
}

fn ids(page: &Page) -> Vec<String> {
    page.rockets.iter().map(|entry| entry.channel.to_string()).collect()
}

/// Asks for one page after the other, with `between` before each one but the first.
fn pages(view: &View, query: &str, limits: &[usize], mut between: impl FnMut()) -> Vec<Page> {
    let mut limits = limits.iter().cycle();
    let mut pages = vec![answer(view, &format!("{query}&limit={}", limits.next().unwrap()))];
    while let Some(cursor) = pages.last().and_then(|page| page.next_cursor.clone()) {
        between();
        pages.push(answer(view, &format!("limit={}&cursor={cursor}", limits.next().unwrap())));
        assert!(pages.len() < 1_000, "the pages come to an end");
    }
    pages
}

fn limits() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![1..5usize, 1..100usize], 1..4)
}

#[test]
fn every_key_in_both_orders_is_sorted() {
    let view = view_of(&[
        Sample { rocket_type: 1, mission: 2, speed: 7, exploded: true, times: [1, 0, 4], ..Sample::new(4) },
        Sample { rocket_type: 3, mission: 1, speed: 7, exploded: false, times: [0, 2, 3], ..Sample::new(3) },
        Sample { rocket_type: 0, mission: 1, speed: 0, exploded: true, times: [3, 3, 2], ..Sample::new(2) },
        Sample { rocket_type: 2, mission: 0, speed: 100, exploded: false, times: [2, 4, 1], ..Sample::new(1) },
    ]);
    for (sort_by, asc, desc) in [
        ("channel", [1, 2, 3, 4], [4, 3, 2, 1]),
        ("type", [4, 2, 1, 3], [3, 1, 2, 4]),
        ("mission", [2, 3, 1, 4], [4, 1, 2, 3]),
        ("speed", [2, 3, 4, 1], [1, 3, 4, 2]),
        ("status", [1, 3, 2, 4], [2, 4, 1, 3]),
        ("launchTime", [2, 3, 4, 1], [1, 3, 4, 2]),
        ("lastUpdated", [1, 2, 4, 3], [3, 4, 2, 1]),
        ("lastMessageTime", [4, 3, 1, 2], [2, 1, 3, 4]),
    ] {
        for (order, expected) in [("asc", asc), ("desc", desc)] {
            let page = answer(&view, &format!("sortBy={sort_by}&order={order}"));
            assert_eq!(ids(&page), expected.map(|id| channel(id).to_string()), "{sort_by} {order}");
            assert_eq!(page.next_cursor, None);
        }
    }
}

#[test]
fn the_last_page_has_no_cursor() {
    let view = view_of(&[1, 2, 3, 4].map(Sample::new));
    for (limit, sizes) in [(1, vec![1; 4]), (2, vec![2, 2]), (3, vec![3, 1]), (4, vec![4]), (1_000, vec![4])] {
        for query in ["sortBy=channel", "sortBy=speed&order=desc"] {
            let pages = pages(&view, query, &[limit], || {});
            assert_eq!(pages.iter().map(|page| page.rockets.len()).collect::<Vec<_>>(), sizes, "{query} {limit}");
        }
    }
    let nothing = answer(&View::default(), "limit=1");
    assert!(nothing.rockets.is_empty() && nothing.next_cursor.is_none());
}

#[test]
fn a_cursor_without_a_limit_gives_all_the_rest() {
    let view = view_of(&[1, 2, 3, 4, 5].map(Sample::new));
    for query in ["sortBy=channel&limit=2", "sortBy=speed&limit=2"] {
        let cursor = answer(&view, query).next_cursor.unwrap();
        let rest = answer(&view, &format!("cursor={cursor}"));
        assert_eq!((ids(&rest), rest.next_cursor), ([3, 4, 5].map(|id| channel(id).to_string()).to_vec(), None));
    }
}

#[test]
fn a_page_of_a_hundred_thousand_is_the_head_of_the_sorted_list() {
    let view = View::default();
    for id in 0..100_000u32 {
        let speed = i64::from(id.wrapping_mul(2_654_435_761) >> 12);
        view.apply(Some(channel(id)), Some(Sample { speed, ..Sample::new(id) }.record()), u64::from(id) + 1);
    }
    let page = answer(&view, "sortBy=speed&limit=100");
    let mut speeds: Vec<_> = view.scan(Order::Asc, None).map(|entry| (entry.rocket.speed, entry.channel)).collect();
    speeds.sort_unstable();
    let shown: Vec<_> = page.rockets.iter().map(|entry| (entry.rocket.speed, entry.channel)).collect();
    assert_eq!(shown, speeds[..100]);
}

/// Counts how often it is compared.
struct Counted<'a>(u64, &'a Cell<u64>);

impl Ord for Counted<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.1.set(self.1.get() + 1);
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Counted<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Counted<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Counted<'_> {}

#[test]
fn a_page_out_of_a_million_does_not_sort_a_million() {
    const MANY: u64 = 1_000_000;
    let compared = Cell::new(0);
    // Odd, and so a permutation of 2^20 numbers, of which the last few are left out.
    let shuffled = (0..MANY).map(|at| Counted(at.wrapping_mul(2_654_435_761) % (1 << 20), &compared));
    let mut all: Vec<_> = (0..MANY).map(|at| at.wrapping_mul(2_654_435_761) % (1 << 20)).collect();
    all.sort_unstable();
    let first: Vec<_> = Smallest::of(shuffled, 101).into_iter().map(|counted| counted.0).collect();
    assert_eq!(first, all[..101]);
    assert!(compared.get() < MANY + MANY / 10, "about one comparison each: {}", compared.get());

    compared.set(0);
    let worst = (0..MANY).rev().map(|number| Counted(number, &compared));
    assert_eq!(Smallest::of(worst, 101).len(), 101);
    assert!(compared.get() < 16 * MANY, "at worst 1 + 2 log2(101) each: {}", compared.get());
}

#[test]
fn no_more_than_the_bound_is_held() {
    let mut smallest = Smallest { heap: BinaryHeap::new(), bound: 3 };
    for item in [5, 9, 1, 7, 3, 8, 2, 2] {
        smallest.offer(item);
        assert!(smallest.heap.len() <= 3);
    }
    assert_eq!(smallest.heap.into_sorted_vec(), [1, 2, 2]);
}

/// What happens between two pages: a rocket comes, changes or goes.
#[derive(Clone, Debug)]
enum Happens {
    Put(Sample),
    Gone(u32),
}

fn happens(ids: std::ops::Range<u32>) -> impl Strategy<Value = Vec<Vec<Happens>>> {
    let one = prop_oneof![samples(ids.clone()).prop_map(Happens::Put), ids.prop_map(Happens::Gone)];
    proptest::collection::vec(proptest::collection::vec(one, 0..8), 1..6)
}

proptest! {
    #[test]
    fn a_list_is_what_a_naive_sort_of_the_public_json_says(samples in many(0..80), asked in asked()) {
        let view = view_of(&samples);
        prop_assert_eq!(ids(&answer(&view, &asked.query())), asked.expected(&view));
    }

    #[test]
    fn all_pages_together_are_the_list(samples in many(0..80), asked in asked(), limits in limits()) {
        let view = view_of(&samples);
        let pages = pages(&view, &asked.query(), &limits, || {});
        prop_assert_eq!(pages.iter().flat_map(ids).collect::<Vec<_>>(), asked.expected(&view));
        for (page, limit) in pages.iter().zip(limits.iter().cycle()) {
            prop_assert!(page.rockets.len() == *limit || page.next_cursor.is_none());
        }
    }

    /// Even ids stay as they are; odd ones come, change and go, those that cursors point at among them.
    #[test]
    fn who_stays_is_shown_once_whatever_others_do(
        samples in many(0..80),
        asked in asked(),
        limits in limits(),
        happens in happens(0..80),
    ) {
        let view = view_of(&samples);
        let stays = |id: &Channel| (0..80).step_by(2).any(|even| channel(even) == *id);
        let expected: Vec<_> = {
            let staying: Vec<_> = samples.iter().copied().filter(|sample| sample.id % 2 == 0).collect();
            asked.expected(&view_of(&staying))
        };
        let (mut revision, mut happens) = (1, happens.iter().cycle());
        let pages = pages(&view, &asked.query(), &limits, || {
            for change in happens.next().into_iter().flatten() {
                revision += 1;
                let (id, sample) = match change {
                    Happens::Put(sample) => (sample.id | 1, Some(Sample { id: sample.id | 1, ..*sample })),
                    Happens::Gone(id) => (id | 1, None),
                };
                view.apply(Some(channel(id)), sample.map(Sample::record), revision);
            }
        });
        let shown: Vec<_> = pages.iter().flat_map(|page| &page.rockets).map(|entry| entry.channel).collect();
        let stayed: Vec<_> = shown.iter().filter(|id| stays(id)).map(Channel::to_string).collect();
        prop_assert_eq!(stayed, expected);
    }
}
