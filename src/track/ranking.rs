//! The line of trackers for each partition: from the names of the trackers to who is first, second and so on. Pure, so that
//! trackers that have heard the same names come to the same line, each for itself.
//!
//! Every tracker is first for the whole part or the next whole number of its share. Of all pairs of a tracker and a
//! partition the one with the highest score is taken first, as long as the tracker has room (rendezvous hashing with a
//! bound on the load): a score is of that pair alone, so a tracker that comes or goes moves little more than its own share.
//!
//! The second is who would be first without the first, so that what a tracker leaves behind goes to all others alike, and
//! nothing moves once more when all have noticed. The further ones stand by their scores.

use std::collections::HashMap;

/// The last rank: those behind it share it. It is what the broker takes as the lowest priority.
pub const RANK_MAX: usize = 9;

/// The lines of all partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking<'a> {
    /// Of each partition the trackers, the first one first.
    of: Vec<Vec<&'a str>>,
}

impl<'a> Ranking<'a> {
    /// The lines of these trackers, in whatever order they are named.
    pub fn new(names: &[&'a str], partitions: u16) -> Self {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        let firsts = firsts(&names, partitions);
        // Who is first where, without this one.
        let without = |name| firsts_without(&names, name, partitions);
        let seconds: HashMap<&str, Vec<Option<&str>>> = names.iter().map(|name| (*name, without(*name))).collect();
        let of = (0..partitions).map(|partition| {
            let first = firsts[usize::from(partition)];
            let second = first.and_then(|first| seconds[first][usize::from(partition)]);
            ranked(&names, partition, first, second)
        });
        Self { of: of.collect() }
    }

    /// The place of a tracker in the line of a partition, 0 first.
    pub fn rank(&self, partition: u16, name: &str) -> usize {
        let ranked = self.of.get(usize::from(partition)).map_or(&[][..], Vec::as_slice);
        ranked.iter().position(|of| *of == name).map_or(RANK_MAX, |rank| rank.min(RANK_MAX))
    }
}

fn ranked<'a>(names: &[&'a str], partition: u16, first: Option<&'a str>, second: Option<&'a str>) -> Vec<&'a str> {
    let mut ranked: Vec<_> = first.into_iter().chain(second).collect();
    let mut others: Vec<_> = names.iter().copied().filter(|name| !ranked.contains(name)).collect();
    others.sort_unstable_by_key(|name| std::cmp::Reverse((score(name, partition), *name)));
    ranked.append(&mut others);
    ranked
}

fn firsts_without<'a>(names: &[&'a str], name: &str, partitions: u16) -> Vec<Option<&'a str>> {
    let others: Vec<_> = names.iter().copied().filter(|other| *other != name).collect();
    firsts(&others, partitions)
}

/// Who is first for each partition.
fn firsts<'a>(names: &[&'a str], partitions: u16) -> Vec<Option<&'a str>> {
    let mut firsts = vec![None; usize::from(partitions)];
    if names.is_empty() {
        return firsts;
    }
    let share = usize::from(partitions) / names.len();
    // So many have one more than the whole part of the share.
    let mut with_one_more = usize::from(partitions) % names.len();
    let mut loads: HashMap<&str, usize> = HashMap::new();
    for (name, partition) in by_score(names, partitions) {
        let (load, first) = (loads.entry(name).or_default(), &mut firsts[usize::from(partition)]);
        let has_room = *load < share || (*load == share && with_one_more > 0);
        if first.is_none() && has_room {
            with_one_more -= usize::from(*load == share);
            *load += 1;
            *first = Some(name);
        }
    }
    firsts
}

/// All pairs of a tracker and a partition, the highest score first.
fn by_score<'a>(names: &[&'a str], partitions: u16) -> Vec<(&'a str, u16)> {
    let pairs = names.iter().flat_map(|name| (0..partitions).map(|partition| (*name, partition)));
    let mut pairs: Vec<_> = pairs.map(|(name, partition)| (score(name, partition), name, partition)).collect();
    pairs.sort_unstable_by(|one, other| other.cmp(one));
    pairs.into_iter().map(|(_, name, partition)| (name, partition)).collect()
}

/// A number that depends on all of a name and a partition: FNV-1a, its bits mixed (splitmix64). Trackers of different
/// builds must agree on it.
fn score(name: &str, partition: u16) -> u64 {
    let bytes = name.bytes().chain(partition.to_le_bytes());
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, hash);
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// So many partitions more than the share of the one that came may have another first: a partition that it took from
    /// one may be made good by one of a third.
    const MOVED_MORE_MAX: usize = 8;

    fn names() -> impl Strategy<Value = Vec<String>> {
        let name = ("[a-z]{1,8}", 1..99_999_u32, any::<u16>());
        let name = name.prop_map(|(host, pid, random)| format!("{host}-{pid}-{random:04x}"));
        prop::collection::btree_set(name, 1..=16).prop_map(|names| names.into_iter().collect()).prop_shuffle()
    }

    fn ranking(names: &[String], partitions: u16) -> Ranking<'_> {
        Ranking::new(&names.iter().map(String::as_str).collect::<Vec<_>>(), partitions)
    }

    /// Who is first for a partition; nobody where there is no tracker.
    fn first<'a>(ranking: &Ranking<'a>, partition: u16) -> Option<&'a str> {
        ranking.of.get(usize::from(partition))?.first().copied()
    }

    /// How many partitions each has a place for.
    fn loads(ranking: &Ranking<'_>, names: &[String], rank: usize) -> Vec<usize> {
        let has = |name: &String| ranking.of.iter().filter(|ranked| ranked.get(rank) == Some(&name.as_str())).count();
        names.iter().map(has).collect()
    }

    fn moved(one: &Ranking<'_>, other: &Ranking<'_>) -> usize {
        one.of.iter().zip(&other.of).filter(|(one, other)| one.first() != other.first()).count()
    }

    proptest! {
        #[test]
        fn every_tracker_is_first_for_its_share(names in names(), partitions in 1..=256_u16) {
            for partitions in [16, partitions] {
                let ranking = ranking(&names, partitions);
                let share = usize::from(partitions) / names.len();
                for load in loads(&ranking, &names, 0) {
                    prop_assert!(load == share || (load == share + 1 && usize::from(partitions) % names.len() > 0));
                }
            }
        }

        #[test]
        fn everybody_stands_once_in_each_line(names in names(), partitions in 1..=64_u16) {
            let ranking = ranking(&names, partitions);
            for partition in 0..partitions {
                let mut ranks: Vec<_> = names.iter().map(|name| ranking.rank(partition, name)).collect();
                ranks.sort_unstable();
                let expected: Vec<_> = (0..names.len()).map(|rank| rank.min(9)).collect();
                prop_assert_eq!(ranks, expected);
                prop_assert_eq!(ranking.rank(partition, "nobody"), 9);
            }
        }

        #[test]
        fn the_order_of_the_names_says_nothing(names in names(), partitions in 1..=64_u16) {
            let mut sorted = names.clone();
            sorted.sort();
            sorted.push(sorted[0].clone());
            prop_assert_eq!(ranking(&names, partitions), ranking(&sorted, partitions));
        }

        #[test]
        fn what_a_tracker_leaves_goes_to_the_second_of_each_line(names in names(), partitions in 1..=64_u16) {
            let (with, without) = (ranking(&names, partitions), ranking(&names[1..], partitions));
            for (partition, ranked) in (0..).zip(&with.of).filter(|(_, ranked)| ranked[0] == names[0]) {
                prop_assert_eq!(ranked.get(1).copied(), first(&without, partition));
            }
            // All others get of it as evenly as it can be.
            let taken = |name: &String| with.of.iter().filter(|ranked| ranked[0] == names[0] && ranked.get(1) == Some(&name.as_str())).count();
            let most = names[1..].iter().map(taken).max().unwrap_or_default();
            prop_assert!(most <= usize::from(partitions).div_ceil(names.len().max(2) - 1));
        }

        #[test]
        fn a_tracker_that_comes_moves_little_more_than_its_share(names in names()) {
            let share = 16_usize.div_ceil(names.len());
            let moved = moved(&ranking(&names, 16), &ranking(&names[1..], 16));
            prop_assert!(moved <= share + MOVED_MORE_MAX, "{} of a share of {}", moved, share);
        }
    }

    #[test]
    fn mostly_no_more_moves_than_has_to() {
        for count in 1..=15 {
            let (mut moved_in_all, times) = (0, 200);
            for time in 0..times {
                let names: Vec<_> = (0..=count).map(|tracker| format!("host-{}", time * 100 + tracker)).collect();
                moved_in_all += moved(&ranking(&names, 16), &ranking(&names[1..], 16));
            }
            let share = 16.0 / f64::from(count + 1);
            let mean = f64::from(u32::try_from(moved_in_all).unwrap()) / f64::from(times);
            assert!(mean < share + 2.5, "{count}: {mean} where the share is {share}");
        }
    }

    #[test]
    fn builds_agree() {
        let names = ["a-1-0000", "b-2-0000", "c-3-0000"];
        let firsts: String =
            (0..16).filter_map(|partition| first(&Ranking::new(&names, 16), partition)?.chars().next()).collect();
        assert_eq!(firsts, "accabccaaaabbbcb");
        assert_eq!(first(&Ranking::new(&[], 16), 0), None);
    }
}
