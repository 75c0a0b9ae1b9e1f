//! The routes of the read side; those of rockets are answered here, from the view.

use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;

use super::feed::{Freshness, LiveView};
use super::{Entry, Events, ListRequest, PublicRocket, gaps, page};
use crate::broker::objects::{Object, Problem};
use crate::broker::{Broker, Objects};
use crate::domain::Channel;
use crate::http::health::{Check, Condition};
use crate::http::{Answer, Routes, either, is_read};

/// Everything that can be asked: rockets, events and gaps.
pub fn routes(live: &Arc<LiveView>, broker: &Broker, events: &Events) -> Routes {
    [events.route(), gaps::route(live, broker)].into_iter().fold(rockets(live), either)
}

/// Answers a path whose channel is none.
pub(super) fn no_channel() -> Answer {
    Answer::bad_request(format!("channel: {}", Channel::MUST_BE))
}

/// `/rockets` and `/rockets/{channel}`.
fn rockets(live: &Arc<LiveView>) -> Routes {
    let (all, one) = (live.clone(), live.clone());
    let list = warp::path!("rockets").and(warp::method()).and(query()).then(move |method, query: String| {
        let live = all.clone();
        async move { if is_read(&method) { list(live, query).await } else { methods() } }
    });
    let get = warp::path!("rockets" / String)
        .and(warp::method())
        .map(move |channel: String, method| if is_read(&method) { get(&one, &channel) } else { methods() });
    either(list.boxed(), get.boxed())
}

/// The query string, without its question mark; empty where there is none.
pub(super) fn query() -> BoxedFilter<(String,)> {
    warp::query::raw().or(warp::any().map(String::new)).unify().boxed()
}

/// Answers a method that these routes have not.
pub(super) fn methods() -> Answer {
    Answer::method_not_allowed("GET, HEAD")
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

async fn list(live: Arc<LiveView>, query: String) -> Answer {
    let request = match ListRequest::parse(&query) {
        Ok(request) => request,
        Err(problem) => return Answer::bad_request(problem.to_string()),
    };
    if live.freshness() == Freshness::Loading {
        return loading();
    }
    // A list may be of a million rockets: nothing that the connections' threads should be busy with.
    let listed = tokio::task::spawn_blocking(move || {
        let page = page(&live.view, &request);
        let rockets: Vec<_> = page.rockets.iter().map(|entry| public(entry)).collect();
        Answer::page(&rockets, page.next_cursor)
    });
    listed.await.unwrap_or_else(|_| Answer::internal_error())
}

fn get(live: &LiveView, channel: &str) -> Answer {
    let Some(channel) = Channel::parse(channel) else { return no_channel() };
    match live.view.get(&channel) {
        _ if live.freshness() == Freshness::Loading => loading(),
        Some(entry) => Answer::ok(&public(&entry)),
        None => Answer::not_found("rocket"),
    }
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
