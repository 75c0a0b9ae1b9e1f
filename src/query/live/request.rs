//! What a reader asks for with `GET /rockets/live?…`: which rockets, and from where on.

use warp::http::HeaderMap;

use super::super::filter::Filter;
use super::super::params::{BadParameter, Params};
use super::super::view::Position;
use crate::domain::Channel;

const KNOWN: [&str; 2] = ["channel", "since"];

/// By what a browser says which event it had last.
const LAST_EVENT_ID: &str = "last-event-id";

/// What a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRequest {
    /// This rocket alone.
    pub channel: Option<Channel>,
    /// What the rockets have in common.
    pub filter: Filter,
    /// What the reader has.
    pub since: Since,
}

/// What a reader has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing.
    Nothing,
    /// Everything up to here.
    Position(Position),
    /// Something, and nobody can tell what.
    Unknown,
}

impl LiveRequest {
    /// Reads a query string, without its question mark, and the header, which counts for more: a browser that connects again
    /// asks for the same address as before.
    pub fn parse(query: &str, headers: &HeaderMap) -> Result<Self, BadParameter> {
        let params = Params::parse(query, &[&KNOWN[..], &Filter::PARAMETERS].concat())?;
        let channel = params
            .text("channel")
            .map(|text| Channel::parse(text).ok_or_else(|| BadParameter::new("channel", Channel::MUST_BE)));
        let (channel, filter, named) = (channel.transpose()?, Filter::of(&params)?, since_of(&params)?);
        let since = match headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("?")) {
            None | Some("") => named.map_or(Since::Nothing, Since::Position),
            Some(id) => Position::parse(id).map_or(Since::Unknown, Since::Position),
        };
        Ok(Self { channel, filter, since })
    }
}

fn since_of(params: &Params) -> Result<Option<Position>, BadParameter> {
    let must_be =
        || BadParameter::new("since", "must be the `revision` of a list, or the id of an event of this stream");
    params.text("since").map(|text| Position::parse(text).ok_or_else(must_be)).transpose()
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::super::super::fixtures::channel;
    use super::super::super::public::PublicStatus;
    use super::*;

    fn parse(query: &str, id: Option<&'static str>) -> Result<LiveRequest, String> {
        let headers = id.map(|id| (LAST_EVENT_ID.parse().unwrap(), HeaderValue::from_static(id)));
        LiveRequest::parse(query, &headers.into_iter().collect()).map_err(|bad| bad.to_string())
    }

    #[test]
    fn everything_can_be_named() {
        let nothing = LiveRequest { channel: None, filter: Filter::default(), since: Since::Nothing };
        assert_eq!(parse("", None), Ok(nothing));
        let text = |text: &str| Some(text.to_owned());
        let (status, rocket_type, mission) = (Some(PublicStatus::Active), text("A 1"), text(""));
        let filter = Filter { status, rocket_type, mission, ..Filter::default() };
        let since = Since::Position(Position { epoch: "18c1".into(), revision: 7 });
        let all = LiveRequest { channel: Some(channel(1)), filter, since };
        let query = format!("channel={}&status=active&type=A+1&mission=&since=18c1.7", channel(1));
        assert_eq!(parse(&query, None), Ok(all));
    }

    #[test]
    fn the_header_counts_for_more() {
        let since = |query, id| parse(query, id).unwrap().since;
        let at = |revision| Since::Position(Position { epoch: "18c1".into(), revision });
        for (query, id, expected) in [
            ("since=18c1.7", None, at(7)),
            ("since=18c1.7", Some(""), at(7)),
            ("since=18c1.7", Some("18c1.9"), at(9)),
            ("", Some("18c1.9"), at(9)),
            ("since=18c1.7", Some("nonsense"), Since::Unknown),
        ] {
            assert_eq!(since(query, id), expected, "{query} {id:?}");
        }
    }

    #[test]
    fn each_wrong_parameter_is_named_with_what_it_may_be() {
        let since = "since: must be the `revision` of a list, or the id of an event of this stream";
        for (query, expected) in [
            ("since=", since),
            ("since=7", since),
            ("status=lost", "status: must be one of active, exploded"),
            (
                "limit=1",
                "limit: is not a parameter of this route, which has channel, since, status, type, mission, minSpeed, \
                 maxSpeed, launchedAfter, launchedBefore",
            ),
            ("channel=1", &format!("channel: {}", Channel::MUST_BE)),
            ("type=a&type=a", "type: is given twice"),
        ] {
            assert_eq!(parse(query, None).unwrap_err(), expected, "{query}");
        }
    }
}
