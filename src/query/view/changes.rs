//! What changed after a revision: a compacted log of changes, in which each key stands once, at its newest revision.
//!
//! Whoever follows has one number, the revision up to which everything is known to them, and asks for what came after it.
//! So nothing is kept for anybody here, and whoever comes late finds one change where there were many. A bucket gives each
//! change a revision of its own, and the feed brings them in rising order: what lies behind a revision has not been there.
//! A key that was deleted stays, as long as its marker is in the bucket, so that it is known that it is gone.
//!
//! Revisions begin again with a new bucket. So they are said together with an [`Epoch`].

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use time::OffsetDateTime;

use super::{Entry, Slot, State, View};
use crate::domain::Channel;

/// Keys that are looked at in one go, with the lock held: some ten microseconds' work.
const PART_KEYS_MAX: usize = 128;

/// Which key changed when. A change that is not the last one of its key is not there.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<u64, Channel>);

impl Changes {
    /// Notes that a key changed at this revision, and before at that one.
    pub(super) fn put(&mut self, channel: Channel, revision: u64, before: Option<u64>) {
        if let Some(before) = before {
            self.0.remove(&before);
        }
        self.0.insert(revision, channel);
    }

    fn after(&self, revision: u64) -> impl Iterator<Item = (&u64, &Channel)> {
        self.0.range((Bound::Excluded(revision), Bound::Unbounded))
    }
}

/// Names the life of a bucket in which revisions mean something: by when it was made. A state that takes the place of one of
/// the same bucket, or of a younger one, may lack what was there before, so it has a name of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch {
    name: Arc<str>,
    /// When the youngest bucket so far was made.
    youngest: Option<OffsetDateTime>,
    /// How often there was one that was not younger than all before.
    returns: u32,
}

impl Epoch {
    /// That of a bucket that takes the place of this one.
    pub(super) fn next(&self, created: OffsetDateTime) -> Self {
        let made = created.unix_timestamp_nanos();
        if self.youngest.is_none_or(|youngest| created > youngest) {
            return Self { name: format!("{made:x}").into(), youngest: Some(created), returns: self.returns };
        }
        let returns = self.returns + 1;
        Self { name: format!("{made:x}x{returns}").into(), youngest: self.youngest, returns }
    }
}

/// A revision and in which epoch; as text `<epoch>.<revision>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The name of the epoch; another one where revisions began again.
    pub epoch: Arc<str>,
    /// The revision.
    pub revision: u64,
}

impl Position {
    /// Reads the text of one; nothing where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, revision) = text.rsplit_once('.')?;
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let revision = Some(revision).filter(|text| is_plain(text) && is_plain(epoch))?.parse().ok()?;
        Some(Self { epoch: epoch.into(), revision })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}

/// The last change of one key.
#[derive(Clone, Debug)]
pub struct Change {
    /// The key.
    pub channel: Channel,
    /// When it changed.
    pub revision: u64,
    /// Since which revision it is in the same lists as now; 0, which no change has, as long as it has been in no others.
    pub alike_since: u64,
    /// The rocket; none where there is none, or none any more.
    pub entry: Option<Arc<Entry>>,
}

/// Some changes, in the order of their revisions.
#[derive(Clone, Debug)]
pub struct Part {
    /// The changes.
    pub changes: Vec<Change>,
    /// Up to which revision nothing is missing with them.
    pub through: u64,
    /// Whether that is where the view stands.
    pub is_end: bool,
}

impl View {
    /// Where the view stands.
    pub fn position(&self) -> Position {
        self.read().position()
    }

    /// One rocket, and where it changed last; the rocket is none if its launch has not been applied.
    pub fn get_at(&self, channel: &Channel) -> Option<(Position, Option<Arc<Entry>>)> {
        let state = self.read();
        let slot = state.slots.get(channel)?;
        Some((Position { revision: slot.revision, ..state.position() }, slot.entry.clone()))
    }

    /// Some of what changed after a position; nothing at all where that is of another epoch. With a channel it is only asked
    /// what became of that one.
    pub fn changes(&self, after: &Position, only: Option<&Channel>) -> Option<Part> {
        let state = self.read();
        (state.epoch.name == after.epoch).then(|| match only {
            Some(channel) => state.part_of_one(after.revision, channel),
            None => state.part(after.revision),
        })
    }
}

impl State {
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch.name.clone(), revision: self.last_revision }
    }

    fn part(&self, after: u64) -> Part {
        let keys = self.changes.after(after).take(PART_KEYS_MAX);
        let changes: Vec<_> = keys.filter_map(|(_, channel)| self.change_of(channel)).collect();
        let is_end = changes.len() < PART_KEYS_MAX;
        let through = changes.last().filter(|_| !is_end).map_or(self.last_revision, |last| last.revision);
        Part { changes, through, is_end }
    }

    fn part_of_one(&self, after: u64, channel: &Channel) -> Part {
        let change = self.change_of(channel).filter(|change| change.revision > after);
        Part { changes: change.into_iter().collect(), through: self.last_revision, is_end: true }
    }

    fn change_of(&self, channel: &Channel) -> Option<Change> {
        let Slot { revision, alike_since, entry } = self.slots.get(channel)?;
        Some(Change { channel: *channel, revision: *revision, alike_since: *alike_since, entry: entry.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{Sample, channel};
    use super::*;
    use crate::domain::Record;

    fn offer(view: &View, id: u32, record: Option<Record>) {
        view.apply(Some(channel(id)), record, view.last_revision() + 1);
    }

    fn after(view: &View, revision: u64) -> Vec<(u32, u64, u64, bool)> {
        let part = view.changes(&Position { revision, ..view.position() }, None).unwrap();
        assert_eq!((part.is_end, part.through), (true, view.last_revision()));
        let id = |change: &Change| (1..100).find(|id| channel(*id) == change.channel).unwrap();
        let changes = part.changes.iter();
        changes.map(|change| (id(change), change.revision, change.alike_since, change.entry.is_some())).collect()
    }

    #[test]
    fn each_key_stands_once_where_it_changed_last() {
        let view = View::default();
        let (flying, exploded) = (Sample::new(1).record(), Sample { exploded: true, ..Sample::new(1) }.record());
        offer(&view, 1, Some(flying.clone()));
        offer(&view, 2, Some(Record::default()));
        offer(&view, 1, Some(Record { pending: Default::default(), ..flying }));
        offer(&view, 3, Some(Sample::new(3).record()));
        assert_eq!(after(&view, 0), [(2, 2, 0, false), (1, 3, 0, true), (3, 4, 0, true)]);
        offer(&view, 3, Some(Sample { mission: 1, ..Sample::new(3) }.record()));
        offer(&view, 1, Some(exploded.clone()));
        offer(&view, 1, Some(exploded));
        offer(&view, 2, None);
        view.apply(None, None, 9);
        assert_eq!(after(&view, 3), [(3, 5, 5, true), (1, 7, 6, true), (2, 8, 0, false)]);
        offer(&view, 3, None);
        offer(&view, 2, Some(Sample::new(2).record()));
        offer(&view, 3, None);
        assert_eq!(after(&view, 8), [(2, 11, 11, true), (3, 12, 10, false)]);
        assert_eq!((after(&view, 11).len(), after(&view, 12).len()), (1, 0));
    }

    #[test]
    fn many_changes_come_in_parts() {
        let view = View::default();
        let count = 3 * PART_KEYS_MAX as u32;
        (0..count).for_each(|id| offer(&view, id, Some(Sample::new(id).record())));
        let (mut position, mut seen, mut parts) = (Position { revision: 0, ..view.position() }, Vec::new(), 0);
        loop {
            let part = view.changes(&position, None).unwrap();
            seen.extend(part.changes.iter().map(|change| change.channel));
            (position.revision, parts) = (part.through, parts + 1);
            if part.is_end {
                break;
            }
        }
        assert_eq!((seen, parts, position), ((0..count).map(channel).collect(), 4, view.position()));
    }

    #[test]
    fn one_key_can_be_followed_alone() {
        let view = View::default();
        [1, 2, 1, 3].iter().for_each(|id| offer(&view, *id, Some(Sample::new(*id).record())));
        let revisions = |after, id| {
            let part = view.changes(&Position { revision: after, ..view.position() }, Some(&channel(id))).unwrap();
            assert_eq!((part.is_end, part.through), (true, 4));
            part.changes.iter().map(|change| change.revision).collect::<Vec<_>>()
        };
        assert_eq!(
            [revisions(0, 1), revisions(2, 1), revisions(3, 1), revisions(0, 9)],
            [vec![3], vec![3], vec![], vec![]]
        );
    }

    #[test]
    fn revisions_of_another_epoch_mean_nothing() {
        let (view, made) = (View::default(), OffsetDateTime::UNIX_EPOCH);
        let replaced = |created| {
            view.replace_with(View::default(), created);
            view.position()
        };
        let other = made + time::Duration::nanoseconds(31);
        let positions = [replaced(made), replaced(made), replaced(made), replaced(other), replaced(made)];
        let names: Vec<_> = positions.iter().map(|position| &*position.epoch).collect();
        assert_eq!(names, ["0", "0x1", "0x2", "1f", "0x3"]);
        assert!(view.changes(&positions[3], None).is_none() && view.changes(&positions[4], None).is_some());
    }

    #[test]
    fn a_position_has_one_text() {
        let position = Position { epoch: "18c1x2".into(), revision: 7 };
        assert_eq!((position.to_string().as_str(), Position::parse("18c1x2.7")), ("18c1x2.7", Some(position)));
        for text in
            ["", ".", "7", "a.", ".7", "a.b", "a.-1", "a.+1", "a. 1", "a b.1", "a.18446744073709551616", "a.b.1"]
        {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }
}
