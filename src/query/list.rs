//! What a client asks for with `GET /rockets?…`, read from the query string and checked as a whole.
//!
//! A cursor brings its list along, so that the next page needs nothing else; what the client names all the same has to
//! be what the cursor says. How the rockets are then found is the business of [`mod@super::page`].

use super::cursor::Cursor;
use super::filter::Filter;
use super::params::{BadParameter, Params};
use super::selection::{Place, Selection, SortBy};
use super::view::Order;

const KNOWN: [&str; 4] = ["sortBy", "order", "limit", "cursor"];

/// A request for a list of rockets, or for a page of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Which rockets, in which order.
    pub selection: Selection,
    /// How many at most; all of them without.
    pub limit: Option<usize>,
    /// Behind which place the page begins; at the very beginning without.
    pub after: Option<Place<'static>>,
}

impl ListRequest {
    /// Reads a query string, without its question mark.
    pub fn parse(query: &str) -> Result<Self, BadParameter> {
        let params = Params::parse(query, &[&KNOWN[..], &Filter::PARAMETERS].concat())?;
        let named = NamedSelection::of(&params)?;
        let limit = params.limit()?;
        let Some(cursor) = params.cursor::<Cursor>()? else {
            return Ok(Self { selection: named.or_default(), limit, after: None });
        };
        if !named.agrees_with(&cursor.selection) {
            return Err(BadParameter::cursor_of_another_list("sortBy, order or filters differ"));
        }
        Ok(Self { after: Some(cursor.place()?), selection: cursor.selection, limit })
    }
}

/// As much of a selection as the client names.
struct NamedSelection {
    sort_by: Option<SortBy>,
    order: Option<Order>,
    filter: Filter,
}

impl NamedSelection {
    fn of(params: &Params) -> Result<Self, BadParameter> {
        let (sort_by, order) = (params.one_of("sortBy")?, params.one_of("order")?);
        Ok(Self { sort_by, order, filter: Filter::of(params)? })
    }

    fn or_default(self) -> Selection {
        Selection {
            sort_by: self.sort_by.unwrap_or(SortBy::Channel),
            order: self.order.unwrap_or(Order::Asc),
            filter: self.filter,
        }
    }

    fn agrees_with(&self, selection: &Selection) -> bool {
        self.sort_by.is_none_or(|sort_by| sort_by == selection.sort_by)
            && self.order.is_none_or(|order| order == selection.order)
            && self.filter.agrees_with(&selection.filter)
    }
}

#[cfg(test)]
mod tests {
    use strum::{VariantArray, VariantNames};

    use super::super::fixtures::Sample;
    use super::super::public::PublicStatus;
    use super::*;
    use crate::http::cursor;

    fn error(query: &str) -> String {
        ListRequest::parse(query).unwrap_err().to_string()
    }

    fn request(query: &str) -> ListRequest {
        ListRequest::parse(query).unwrap()
    }

    /// A cursor of the list that a query asks for.
    fn cursor_of(query: &str) -> String {
        let selection = request(query).selection;
        cursor::write(&Cursor::behind(&selection, &selection.place_of(&Sample::new(1).entry())))
    }

    #[test]
    fn without_a_word_it_is_everything_by_channel() {
        let selection = Selection { sort_by: SortBy::Channel, order: Order::Asc, filter: Filter::default() };
        assert_eq!(request(""), ListRequest { selection, limit: None, after: None });
    }

    #[test]
    fn everything_can_be_named() {
        let all = request("sortBy=lastUpdated&order=desc&status=exploded&type=Falcon-9&mission=MY+MISSION&limit=7");
        let filter = Filter {
            status: Some(PublicStatus::Exploded),
            rocket_type: Some("Falcon-9".into()),
            mission: Some("MY MISSION".into()),
            ..Filter::default()
        };
        let selection = Selection { sort_by: SortBy::LastUpdated, order: Order::Desc, filter };
        assert_eq!(all, ListRequest { selection, limit: Some(7), after: None });
        for (sort_by, name) in <SortBy as VariantArray>::VARIANTS.iter().zip(<SortBy as VariantNames>::VARIANTS) {
            assert_eq!(request(&format!("sortBy={name}")).selection.sort_by, *sort_by);
        }
    }

    #[test]
    fn each_wrong_parameter_is_named_with_what_it_may_be() {
        let sort_by =
            "sortBy: must be one of channel, type, mission, speed, status, launchTime, lastUpdated, lastMessageTime";
        let not_known = "is not a parameter of this route, which has sortBy, order, limit, cursor, status, type, mission, \
             minSpeed, maxSpeed, launchedAfter, launchedBefore";
        for (query, expected) in [
            ("sortBy=", sort_by),
            ("sortBy=id", sort_by),
            ("sortBy=Speed", sort_by),
            ("order=", "order: must be one of asc, desc"),
            ("order=ASC", "order: must be one of asc, desc"),
            ("status=", "status: must be one of active, exploded"),
            ("status=lost", "status: must be one of active, exploded"),
            ("limit=", "limit: must be an integer from 1 to 1000"),
            ("limit=0", "limit: must be an integer from 1 to 1000"),
            ("limit=1001", "limit: must be an integer from 1 to 1000"),
            ("cursor=", "cursor: is not a cursor of this list"),
            ("cursor=abc", "cursor: is not a cursor of this list"),
            ("order=asc&order=asc", "order: is given twice"),
            ("mission=&mission=", "mission: is given twice"),
            ("sort=speed", &format!("sort: {not_known}")),
            ("offset=1&limit=0", &format!("offset: {not_known}")),
        ] {
            assert_eq!(error(query), expected, "{query}");
        }
    }

    #[test]
    fn a_cursor_brings_its_list_along() {
        let list = "sortBy=speed&order=desc&status=active&mission=A%26B";
        let cursor = cursor_of(list);
        let next = request(&format!("cursor={cursor}&limit=5"));
        assert_eq!((&next.selection, next.limit), (&request(list).selection, Some(5)));
        assert!(next.after.is_some());
        for named in [list, "sortBy=speed", "order=desc", "status=active", "mission=A%26B", "limit=5&order=desc"] {
            assert_eq!(request(&format!("limit=5&cursor={cursor}&{}", named.replace("limit=5&", ""))), next, "{named}");
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_told_so() {
        let cursor = cursor_of("sortBy=speed&order=desc&status=active");
        for named in ["sortBy=channel", "order=asc", "status=exploded", "type=Falcon-9", "mission="] {
            let expected = "cursor: was made for another list (sortBy, order or filters differ)";
            assert_eq!(error(&format!("{named}&cursor={cursor}")), expected, "{named}");
        }
    }
}
