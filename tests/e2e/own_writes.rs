//! Reading one's own writes: a rocket is not shown before an event of it is in there.

use std::time::Duration;

use super::harness::service::init;
use super::harness::{Broker, Flight, Program, TestService};

#[tokio::test]
async fn whoever_names_an_event_sees_it() {
    let service = TestService::start().await;
    let (client, flight) = (&service.ingest, Flight::new());
    client.ingest(&flight.launched(1)).await;
    for number in 2..=40 {
        let event = client.ingest(&flight.faster(number, 1)).await;
        let rocket = client.get(&format!("/rockets/{}?after={event}&wait=10s", flight.channel)).await;
        assert_eq!((rocket.status, &rocket.body["data"]["lastMessageNumber"]), (200, &number.into()), "{rocket:?}");
    }
    // Refused, waiting behind a gap, and a second copy that is a conflict: all of them are in there.
    for message in [flight.launched(41), flight.faster(50, 1), flight.faster(40, 9)] {
        let event = client.ingest(&message).await;
        let rocket = client.get(&format!("/rockets/{}?after={event}&wait=10s", flight.channel)).await;
        assert_eq!((rocket.status, &rocket.body["data"]["lastMessageNumber"]), (200, &41.into()), "{rocket:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_refused_with_the_reason() {
    let service = TestService::start().await;
    let (client, [flight, other]) = (&service.ingest, [Flight::new(), Flight::new()]);
    let event = client.ingest(&flight.launched(1)).await;
    let of_another = client.ingest(&other.launched(1)).await;
    let get = async |query: &str| client.get(&format!("/rockets/{}?{query}", flight.channel)).await;
    assert_eq!(get(&format!("after={}", of_another + 1_000)).await.error(404), "event not found");
    let another = get(&format!("after={of_another}")).await;
    assert_eq!(another.error(409), format!("after: event {of_another} is not of this rocket"));
    for (query, field) in [
        ("after=x", "after"),
        ("after=", "after"),
        ("after=9223372036854775808", "after"),
        ("after=1&after=1", "after"),
        ("wait=1s", "wait"),
        (&*format!("after={event}&wait=11s"), "wait"),
        ("since=1", "since"),
    ] {
        let answer = get(query).await;
        assert!(answer.error(400).starts_with(field), "{query}: {answer:?}");
    }
    assert_eq!(get(&format!("after={event}&wait=0s")).await.status, 200);
}

#[tokio::test]
async fn a_wait_that_ends_without_the_event_says_so() {
    let broker = Broker::start().await;
    init(&broker).await;
    let mut program = Program::of(&["up", "--roles", "ingest,query"]).broker(&broker).start();
    let (client, flight) = (program.ready().await, Flight::new());
    let event = client.ingest(&flight.launched(1)).await;
    let began = std::time::Instant::now();
    let answer = client.get(&format!("/rockets/{}?after={event}&wait=300ms", flight.channel)).await;
    assert_eq!(answer.error(503), format!("event {event} is not applied yet, ask again"));
    assert!(answer.headers.contains_key("retry-after") && began.elapsed() >= Duration::from_millis(300));
    let _tracker = Program::of(&["track"]).broker(&broker).start();
    let rocket = client.get(&format!("/rockets/{}?after={event}&wait=10s", flight.channel)).await;
    assert_eq!(rocket.status, 200, "{rocket:?}");
}
