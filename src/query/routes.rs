//! The routes of the read side; those of rockets are answered here, from the view.

use std::sync::Arc;

use super::feed::{Freshness, LiveView};
use super::params::BadParameter;
use super::stats::Stats;
use super::view::Position;
use super::view::scan::SCAN_SLOTS_MAX;
use super::whole::WholeLists;
use super::{Entry, Events, ListRequest, Live, PublicRocket, gaps, page};
use crate::broker::objects::{Object, Problem};
use crate::broker::{Broker, Objects};
use crate::domain::Channel;
use crate::http::health::{Check, Condition};
use crate::http::route::{Request, Routes, any, get};
use crate::http::{Access, Answer, Tag};

/// Everything that can be asked but histories: rockets, events and gaps.
pub fn routes(live: &Arc<LiveView>, broker: &Broker, events: &Events, following: &Live) -> Routes {
    any([
        following.routes(),
        get("rockets/:", Access::Knowledge, &(live.clone(), events.clone()), rocket),
        get("rockets", Access::Knowledge, &(live.clone(), WholeLists::default()), list),
        get("stats", Access::Knowledge, &Stats::new(live, broker), Stats::answer),
        get("events/:", Access::Knowledge, events, Events::answer),
        get("gaps", Access::Knowledge, &(live.clone(), broker.clone()), gaps::answer),
    ])
}

/// The channel that a path names.
pub(super) fn channel_of(request: &Request) -> Result<Channel, BadParameter> {
    Channel::parse(&request.parameter).ok_or_else(|| BadParameter::new("channel", Channel::MUST_BE))
}

/// Whether rockets are reported as they are. Without a broker nothing is known of what is new, also before the feed has
/// noticed.
pub fn check(live: &Arc<LiveView>, broker: &Broker, objects: &Objects) -> Check {
    let (live, broker, objects) = (live.clone(), broker.clone(), objects.clone());
    Arc::new(move || condition(&objects.problems(), live.freshness(), broker.is_connected()))
}

/// Events, histories and gaps are read from the other streams: without those, rockets are still served.
fn condition(problems: &[Problem], freshness: Freshness, is_connected: bool) -> Condition {
    let absent: Vec<_> = problems
        .iter()
        .filter(|problem| problem.is_of_absence() || problem.is_of_loss())
        .filter(|problem| !matches!(problem.object, Object::Durable(_)))
        .collect();
    let mut condition = Condition::of(&absent, |problem| problem.object == Object::Bucket);
    let why = match freshness {
        Freshness::Loading => "the view is being loaded",
        Freshness::Fresh if is_connected => return condition,
        Freshness::Fresh | Freshness::Stale => "the view is stale",
        Freshness::Behind => "the view is behind the bucket",
    };
    condition.stops.push(why.to_owned());
    condition
}

async fn list((live, whole): (Arc<LiveView>, WholeLists), request: Request) -> Result<Answer, Answer> {
    let asked = ListRequest::parse(request.query())?;
    if live.freshness() == Freshness::Loading {
        return Err(loading());
    }
    // Looked at before the rockets: whoever follows from here on misses nothing.
    let position = live.view.position();
    let tag = tag_of(&position);
    if tag.is_had_by(&request.head.headers) {
        return Ok(Answer::not_modified(tag));
    }
    if asked.limit.is_none() && !is_short(&live) {
        let list = whole.answer(&live, asked).await?;
        return Ok(list.read_at(position.to_string()).tagged(tag));
    }
    // A page may be the best of a million rockets: nothing that the connections' threads should be busy with.
    let listed = tokio::task::spawn_blocking(move || {
        let page = page(&live.view, &asked);
        let rockets: Vec<_> = page.rockets.iter().map(|entry| public(entry)).collect();
        Answer::page(&rockets, page.next_cursor).read_at(position.to_string()).tagged(tag)
    });
    listed.await.map_err(|_| Answer::internal_error())
}

/// Whether all that there is is one look at the view.
fn is_short(live: &LiveView) -> bool {
    *live.view.keys().start() <= SCAN_SLOTS_MAX as u64
}

async fn rocket((live, events): (Arc<LiveView>, Events), request: Request) -> Result<Answer, Answer> {
    let channel = channel_of(&request)?;
    events.awaited(&channel, request.query(), &request.head.id).await?;
    let found = live.view.get_at(&channel);
    if live.freshness() == Freshness::Loading {
        return Err(loading());
    }
    let Some((position, Some(entry))) = found else { return Err(Answer::not_found("rocket")) };
    let tag = tag_of(&position);
    match tag.is_had_by(&request.head.headers) {
        true => Ok(Answer::not_modified(tag)),
        false => Ok(Answer::ok(&public(&entry)).tagged(tag)),
    }
}

/// Names what a rocket or a list was at a position.
fn tag_of(position: &Position) -> Tag {
    Tag::new(&format!("{}-{}", position.epoch, position.revision))
}

fn public(entry: &Entry) -> PublicRocket<'_> {
    PublicRocket::from(entry)
}

pub(super) fn loading() -> Answer {
    Answer::unavailable("the rockets are being loaded, ask again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::objects::Wrong;

    #[test]
    fn a_view_that_is_not_fresh_is_not_ready() {
        let stops = |freshness, is_connected| condition(&[], freshness, is_connected).stops;
        assert_eq!(stops(Freshness::Fresh, true), [""; 0]);
        assert_eq!(stops(Freshness::Fresh, false), ["the view is stale"]);
        assert_eq!(stops(Freshness::Stale, true), ["the view is stale"]);
        assert_eq!(stops(Freshness::Behind, true), ["the view is behind the bucket"]);
        assert_eq!(stops(Freshness::Loading, true), ["the view is being loaded"]);
    }

    #[test]
    fn only_the_bucket_keeps_it_from_its_work() {
        let reported = |object, wrong| {
            let condition = condition(&[Problem { object, wrong }], Freshness::Fresh, true);
            (condition.stops.len(), condition.notes.len())
        };
        assert_eq!(reported(Object::Bucket, Wrong::Missing), (1, 0));
        assert_eq!(reported(Object::Outcomes, Wrong::Missing), (0, 1));
        assert_eq!(reported(Object::Durable(0), Wrong::Missing), (0, 0));
        assert_eq!(reported(Object::Bucket, Wrong::Full(5, 5, "messages")), (0, 0));
    }
}
