//! Which rockets a list has, and in which order.
//!
//! Every rocket has one [`Place`] in a list: the value that the list is sorted by, and its id, so that no two rockets
//! have the same. A page ends at a place and the next one begins behind it, whether a rocket is still there or not.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use strum::{EnumString, VariantArray, VariantNames};

use super::filter::Filter;
use super::public::PublicStatus;
use super::view::{Entry, Order};
use crate::domain::time::Instant;
use crate::domain::{Channel, MessageTime};

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, EnumString, VariantArray, VariantNames)]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum SortBy {
    /// The id.
    Channel,
    /// The type, by code point.
    Type,
    /// The mission, by code point.
    Mission,
    /// The speed now.
    Speed,
    /// The status, by its name.
    Status,
    /// The instant of the launch.
    LaunchTime,
    /// The instant of the last message that changed the rocket.
    LastUpdated,
    /// The instant of the last message that was applied.
    LastMessageTime,
}

/// Which rockets, in which order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// The value that they are sorted by.
    pub sort_by: SortBy,
    /// Which of these values come first. Where they are equal, the lower id does, in either order.
    pub order: Order,
    /// Which rockets there are.
    #[serde(flatten)]
    pub filter: Filter,
}

/// The value that a list is sorted by, of one rocket. Values of one list are always of the same kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value<'a> {
    /// An id.
    Channel(Channel),
    /// A type or a mission.
    Text(Cow<'a, str>),
    /// A speed.
    Speed(i64),
    /// A status.
    Status(PublicStatus),
    /// A time of any kind.
    Time(Instant),
}

/// Where a rocket stands, or stood, in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The value that the list is sorted by.
    pub value: Value<'a>,
    /// The rocket's id.
    pub id: Channel,
}

impl Selection {
    /// Where a rocket stands.
    pub fn place_of<'a>(&self, entry: &'a Entry) -> Place<'a> {
        let rocket = &entry.rocket;
        let time = |time: &MessageTime| Value::Time(time.instant());
        let value = match self.sort_by {
            SortBy::Channel => Value::Channel(entry.channel),
            SortBy::Type => Value::Text(Cow::Borrowed(&rocket.rocket_type)),
            SortBy::Mission => Value::Text(Cow::Borrowed(&rocket.mission)),
            SortBy::Speed => Value::Speed(rocket.speed),
            SortBy::Status => Value::Status(PublicStatus::from(&rocket.status)),
            SortBy::LaunchTime => time(&rocket.launch_time),
            SortBy::LastUpdated => time(&rocket.last_updated),
            SortBy::LastMessageTime => time(&entry.last.time),
        };
        Place { value, id: entry.channel }
    }

    /// Which of two places comes first.
    pub fn compare(&self, a: &Place<'_>, b: &Place<'_>) -> Ordering {
        let by_value = match self.order {
            Order::Asc => a.value.cmp(&b.value),
            Order::Desc => b.value.cmp(&a.value),
        };
        by_value.then_with(|| a.id.cmp(&b.id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::Sample;
    use super::*;

    #[test]
    fn equal_values_stand_by_id_in_either_order() {
        let [low, high] = [1, 2].map(|id| Sample { times: [id as usize - 1; 3], ..Sample::new(id) }.entry());
        for &sort_by in <SortBy as VariantArray>::VARIANTS {
            for order in [Order::Asc, Order::Desc] {
                let selection = Selection { sort_by, order, filter: Filter::default() };
                let expected = match (sort_by, order) {
                    (SortBy::Channel, Order::Desc) => Ordering::Greater,
                    _ => Ordering::Less,
                };
                let places = [&low, &high].map(|entry| selection.place_of(entry));
                assert_eq!(selection.compare(&places[0], &places[1]), expected, "{sort_by:?} {order:?}");
            }
        }
    }
}
