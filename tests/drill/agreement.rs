//! What three replicas do that one does not: a message is refused while the same one is being stored, a revision that is not
//! the last one is refused with another code, and what was just written is not there yet at another node. None of it may be
//! seen by those who ask.

use futures_util::future::join_all;
use serde_json::Value;

use crate::course::Course;
use crate::harness::client::Answer;
use crate::harness::{Client, Flight};
use crate::plan::{BrokersWanted, Role};
use crate::site::Site;

/// Rockets that send at once.
const ROCKETS: usize = 8;
/// Messages of each.
const MESSAGES: usize = 25;
/// Copies of each message that are sent at once.
const COPIES: usize = 6;

/// Many send the same at once, and ask everywhere for what they were answered, at once.
pub async fn holds() {
    let site = Site::start(BrokersWanted::Three).await;
    let (ingests, queries) = (site.clients(Role::Ingest), site.clients(Role::Query));
    let courses: Vec<_> = (0..ROCKETS).map(|_| Course::of_probe(Flight::new())).collect();
    for _ in 0..MESSAGES {
        join_all(courses.iter().map(|course| goes_all_the_way(course, &ingests, &queries))).await;
    }
    site.program(&["rebuild", "--check"]).ends().await.says(0);
}

async fn goes_all_the_way(course: &Course, ingests: &[Client], queries: &[Client]) {
    let (number, message) = course.next();
    course.tries(number);
    let copies = (0..COPIES).map(|copy| ingests[copy % ingests.len()].post(&message));
    let event = one_is_stored(&join_all(copies).await);
    // what waits for a gap is known; there is none here.
    join_all(queries.iter().map(|query| is_known(course, query, event, number))).await;
}

/// One copy was stored, and each was told where.
fn one_is_stored(answers: &[Answer]) -> u64 {
    let told = |answer: &Answer| (answer.status, answer.body["data"]["event_id"].as_u64());
    assert!(answers.iter().all(|answer| told(answer) == told(&answers[0])), "{answers:?}");
    let stored = answers.iter().filter(|answer| answer.body["data"]["status"] == "ingested").count();
    assert_eq!((answers[0].status, stored), (200, 1), "{answers:?}");
    told(&answers[0]).1.expect("it was stored")
}

/// Each process knows the event at once, says what became of it, and then shows it.
async fn is_known(course: &Course, query: &Client, event: u64, number: u64) {
    assert!(query.event(event).await.is_some(), "event {event} is not found");
    let told = query.settled(event).await;
    assert_eq!(told["status"], course.status_of(number), "{told}");
    let rocket: Value = query.rocket(&course.channel).await.unwrap_or_default();
    assert!(course.judge(Some(&rocket)).unwrap() >= number, "{told} is not shown by {rocket}");
}
