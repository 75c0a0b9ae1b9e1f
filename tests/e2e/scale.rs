//! Several trackers: they share the partitions by themselves, and take over from each other however one of them goes.
//!
//! The times are those that are promised. Where a message that was lost on the way would only come again after `ack_wait`,
//! that is ten minutes, so that a test in which it happens does not end.

use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::trackers::PARTITIONS;
use super::harness::{Broker, Program, Trackers, load};

/// After a tracker came or went.
const SHARED_WITHIN: Duration = Duration::from_secs(3);
/// For requests of a tracker that is not first any more to bring it nothing any more.
const REQUESTS_RUN_OUT: Duration = Duration::from_secs(3);
/// For what a tracker that is gone has never held.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(1);
/// For everything, whatever became of the tracker.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(10);
/// Longer than a test may take.
const ACK_WAIT_LONG: &str = "10m";

#[tokio::test]
async fn the_partitions_are_shared_as_trackers_come_and_go() {
    let mut service = Trackers::start(1, ACK_WAIT_LONG).await;
    for count in 2..=4 {
        service.join().await;
        assert!(service.share(count).await < SHARED_WITHIN);
    }
    let gone = service.trackers.remove(1).term().await;
    assert!(gone.success() && service.share(3).await < SHARED_WITHIN);
    service.trackers.remove(0).kill();
    assert!(service.share(2).await < SHARED_WITHIN);

    // Whoever says to be first for a partition is who works on it, once the requests of the first before have run out.
    tokio::time::sleep(REQUESTS_RUN_OUT).await;
    let led = [service.led_by(0).await.len() as u64, service.led_by(1).await.len() as u64];
    let events = service.launch_in(0..PARTITIONS).await;
    service.are_processed(&events).await;
    for (tracker, led) in led.into_iter().enumerate() {
        assert!(service.trackers[tracker].term().await.success());
        assert_eq!(service.counted(tracker, "applied"), led);
    }
}

#[tokio::test]
async fn one_that_ends_in_good_order_gives_back_all_that_it_holds() {
    let mut service = Trackers::start(3, ACK_WAIT_LONG).await;
    let mut launch = load::launch(&service.ingest, &service.query, 8_000);
    for applied_min in [1_000, 2_000, 3_000, 4_000] {
        load::reaches(&service.query, &mut launch, applied_min).await;
        assert!(service.trackers.remove(0).term().await.success());
        service.join().await;
    }
    load::is_verified(launch).await;
}

#[tokio::test]
async fn others_take_over_at_once_from_one_that_ends_in_good_order() {
    let mut service = Trackers::start(2, ACK_WAIT_LONG).await;
    service.share(2).await;
    let led = service.led_by(0).await;
    service.trackers[0].send_term();
    let begin = Instant::now();
    let events = service.launch_in(led).await;
    service.are_processed(&events).await;
    assert!(begin.elapsed() < TAKEN_OVER_WITHIN, "{:?}", begin.elapsed());
    assert!(service.trackers[0].exit().await.success());
}

#[tokio::test]
async fn others_take_over_at_once_from_one_that_is_killed() {
    let mut service = Trackers::start(3, "5s").await;
    service.share(3).await;
    let led = service.led_by(0).await;
    // What comes now is with one that does not work on it.
    service.trackers[0].freeze();
    let held = service.launch_in(led.clone()).await;
    let begin_held = Instant::now();
    let begin = Instant::now();
    service.kill(0).await;
    for _ in 0..3 {
        let events = service.launch_in(led.clone()).await;
        service.are_processed(&events).await;
    }
    assert!(begin.elapsed() < TAKEN_OVER_WITHIN, "{:?}", begin.elapsed());
    service.are_processed(&held).await;
    let (ack_wait, polling) = (Duration::from_secs(5), Duration::from_millis(500));
    assert!(begin_held.elapsed() < ack_wait + polling, "{:?}", begin_held.elapsed());
}

#[tokio::test]
async fn what_a_frozen_one_holds_all_is_applied_and_its_waking_harms_nothing() {
    let service = Trackers::start(2, "5s").await;
    service.share(2).await;
    let led = service.led_by(0).await;
    service.trackers[0].freeze();
    let mut events = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        events.extend(service.launch_in(led.clone()).await);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let last = Instant::now();
    service.are_processed(&events).await;
    assert!(last.elapsed() < TAKEN_UP_WITHIN, "{:?}", last.elapsed());
    assert!(service.share(1).await < SHARED_WITHIN);

    let rockets = service.query.rockets().await;
    service.trackers[0].thaw();
    assert!(service.share(2).await < SHARED_WITHIN);
    let more = service.launch_in(0..PARTITIONS).await;
    service.are_processed(&more).await;
    let now = service.query.rockets().await;
    assert_eq!(now.len(), rockets.len() + PARTITIONS as usize);
    assert!(rockets.iter().all(|rocket| now.contains(rocket)));
    service.are_processed(&events).await;
    Program::of(&["rebuild", "--check"]).broker(&service.broker).ends().await.says(0);
}

#[tokio::test]
async fn trackers_that_do_not_hear_each_other_are_right_all_the_same() {
    let deny = json!({ "deny": ["rockets_trackers.>"] });
    let users = json!([{ "user": "deaf", "password": "dumb", "permissions": { "publish": deny, "subscribe": deny } }]);
    let more = json!({ "authorization": { "users": users }, "no_auth_user": "deaf" });
    let mut service = Trackers::start_at(Broker::start_with("2m", more).await, 3, "1s").await;
    let mut launch = load::launch(&service.ingest, &service.query, 4_000);
    load::reaches(&service.query, &mut launch, 1_000).await;
    service.trackers.remove(0).kill();
    service.join().await;
    load::reaches(&service.query, &mut launch, 2_000).await;
    assert!(service.trackers.remove(0).term().await.success());
    load::is_verified(launch).await;
    for tracker in &service.trackers {
        let lines = tracker.log_lines();
        let alone = lines.iter().filter(|line| line["message"] == "partitions assigned");
        assert!(alone.clone().count() > 0 && alone.clone().all(|line| line["trackers"] == 1), "it has heard others");
        let complaints = lines.iter().filter(|line| line["message"] == "the broker complains").count();
        assert!((1..=5).contains(&complaints), "{complaints} complaints");
    }
}
