//! What happens to messages on their way: some are lost, some are sent twice, and they leave their order.
//!
//! The latter two are adaptors of a stream and hold no more than the window of the shuffle.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// A message as it is sent: only bytes, since the sender has no need to look inside.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outgoing {
    /// The body of the request.
    pub(super) body: Bytes,
    /// Whether this is the second of two copies.
    pub(super) is_copy: bool,
    /// Whether it has been sent before and did not get through.
    pub(super) is_retry: bool,
}

impl Outgoing {
    fn new(body: Bytes, is_copy: bool) -> Outgoing {
        Outgoing { body, is_copy, is_retry: false }
    }
}

/// The radio, which loses a share of the messages for good: not even a copy of them is sent.
pub(super) struct Radio {
    share: f64,
    random: ChaCha8Rng,
}

impl Radio {
    /// A radio that loses the given share (0 to 1).
    pub(super) fn new(share: f32, random: ChaCha8Rng) -> Radio {
        Radio { share: f64::from(share), random }
    }

    /// Whether it loses the next message.
    pub(super) fn loses(&mut self) -> bool {
        self.random.random_bool(self.share)
    }
}

/// A stream in which a share of the messages is followed by a copy.
pub(super) struct Duplicated<I> {
    bodies: I,
    share: f64,
    random: ChaCha8Rng,
    copy: Option<Bytes>,
}

impl<I: Iterator<Item = Bytes>> Duplicated<I> {
    /// Copies the given share (0 to 1) of the bodies.
    pub(super) fn new(bodies: I, share: f64, random: ChaCha8Rng) -> Duplicated<I> {
        Duplicated { bodies, share, random, copy: None }
    }
}

impl<I: Iterator<Item = Bytes>> Iterator for Duplicated<I> {
    type Item = Outgoing;

    fn next(&mut self) -> Option<Outgoing> {
        if let Some(body) = self.copy.take() {
            return Some(Outgoing::new(body, true));
        }
        let body = self.bodies.next()?;
        if self.random.random_bool(self.share) {
            self.copy = Some(body.clone());
        }
        Some(Outgoing::new(body, false))
    }
}

/// A stream whose items come at most so many places from where they were.
///
/// Item i gets the key i + r, with r drawn from 0 to `places`, and the items leave in the order of their keys. Those
/// before i - `places` have smaller keys and those after i + `places` greater ones, whatever was drawn: hence the bound.
pub(super) struct Shuffled<I: Iterator> {
    items: I,
    places: u64,
    random: ChaCha8Rng,
    taken: u64,
    /// The items not yet sent, by key and then by place.
    window: BTreeMap<(u64, u64), I::Item>,
}

impl<I: Iterator> Shuffled<I> {
    /// Moves each item by at most `places`; with 0 the order stays.
    pub(super) fn new(items: I, places: u32, random: ChaCha8Rng) -> Shuffled<I> {
        Shuffled { items, places: u64::from(places), random, taken: 0, window: BTreeMap::new() }
    }

    /// Takes items until no later one can have a smaller key than the first of the window.
    fn fill(&mut self) {
        while self.window.first_key_value().is_none_or(|((key, _), _)| *key > self.taken) {
            let Some(item) = self.items.next() else { return };
            let key = self.taken + self.random.random_range(0..=self.places);
            self.window.insert((key, self.taken), item);
            self.taken += 1;
        }
    }
}

impl<I: Iterator> Iterator for Shuffled<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.fill();
        self.window.pop_first().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    fn random() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(1)
    }

    fn shuffled(places: u32) -> Vec<i64> {
        Shuffled::new(0..10_000_i64, places, random()).collect()
    }

    #[test]
    fn no_item_moves_further_than_asked_and_none_is_lost() {
        for places in [0_u32, 1, 7, 300, 20_000] {
            let items = shuffled(places);
            let farthest = (0..).zip(&items).map(|(place, item): (i64, &i64)| (place - item).abs()).max().unwrap();
            assert!(farthest <= i64::from(places), "{farthest} places with --shuffle {places}");
            let mut sorted = items;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..10_000));
        }
    }

    #[test]
    fn the_shuffle_reaches_about_as_far_as_asked() {
        let items = shuffled(300);
        let farthest = (0..).zip(&items).map(|(place, item): (i64, &i64)| (place - item).abs()).max().unwrap();
        assert!(farthest > 150, "only {farthest} places");
    }

    #[test]
    fn about_the_share_asked_for_is_lost_and_always_the_same() {
        let losses = |share| {
            let mut radio = Radio::new(share, random());
            (0..10_000).filter(|_| radio.loses()).collect::<Vec<i32>>()
        };
        assert!(losses(0.0).is_empty() && losses(1.0).len() == 10_000);
        assert!((900..1_100).contains(&losses(0.1).len()), "{}", losses(0.1).len());
        assert_eq!(losses(0.1), losses(0.1));
    }

    fn copies(share: f64) -> usize {
        let bodies = (0..10_000).map(|number| Bytes::from(number.to_string()));
        Duplicated::new(bodies, share, random()).filter(|outgoing| outgoing.is_copy).count()
    }

    #[test]
    fn about_the_share_asked_for_is_copied() {
        assert_eq!(copies(0.0), 0);
        assert_eq!(copies(1.0), 10_000);
        assert!((900..1_100).contains(&copies(0.1)), "{}", copies(0.1));
    }

    #[test]
    fn a_copy_is_the_same_and_comes_right_after() {
        let sent: Vec<Outgoing> = Duplicated::new([Bytes::from("a")].into_iter(), 1.0, random()).collect();
        let body = Bytes::from("a");
        assert_eq!(sent, [Outgoing::new(body.clone(), false), Outgoing::new(body, true)]);
    }
}
