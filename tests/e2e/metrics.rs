//! `GET /metrics`: what every role counts, and that Prometheus' own linter has nothing to say about it.

use std::collections::HashMap;

use reqwest::Method;

use super::harness::prometheus::promtool;
use super::harness::stream::publish_bytes;
use super::harness::{Client, Flight, TestService, Trackers, becomes, eventually};

/// All samples of a process, by name and labels as they stand there.
type Samples = HashMap<String, f64>;

async fn text(client: &Client) -> String {
    let answer = client.request(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(answer.headers().contains_key("request-id"));
    answer.text().await.unwrap()
}

async fn samples(client: &Client) -> Samples {
    let text = text(client).await;
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
}

/// Waits until the samples of a process are these, and others whatever they are.
async fn become_these(client: &Client, expected: &[(&str, f64)]) {
    let shown = async || {
        let samples = samples(client).await;
        expected.iter().map(|(series, _)| (*series, samples.get(*series).copied())).collect::<Vec<_>>()
    };
    let expected: Vec<_> = expected.iter().map(|(series, value)| (*series, Some(*value))).collect();
    becomes("the samples", expected.clone(), shown).await;
}

#[tokio::test]
async fn what_is_counted_is_what_has_happened() {
    let mut service = TestService::split().await;
    let track = service.programs[1].client().await;
    let (first, second) = (Flight::new(), Flight::new());
    let jetstream = service.broker().jetstream().await;

    service.ingest.ingest(&first.launched(1)).await;
    assert_eq!(service.post(&first.launched(1)).await.body["data"]["status"], "duplicate");
    service.ingest.ingest(&first.launched(2)).await;
    service.ingest.ingest(&first.faster(5, 1)).await;
    let mut wrong = first.faster(6, 1);
    wrong["message"]["by"] = (-1).into();
    assert_eq!(service.post(&wrong).await.status, 400);
    wrong["metadata"]["messageType"] = "RocketVanished".into();
    assert_eq!(service.post(&wrong).await.status, 400);
    publish_bytes(&jetstream, &format!("rockets.{}", second.channel), "no message".into()).await;
    assert_eq!(service.query.get(&format!("/rockets/{}", second.channel)).await.status, 404);
    assert_eq!(service.query.get(&format!("/nowhere/{}", second.channel)).await.status, 404);

    become_these(
        &service.ingest,
        &[
            ("rockets_ingest_messages_total{result=\"ingested\"}", 3.0),
            ("rockets_ingest_messages_total{result=\"duplicate\"}", 1.0),
            ("rockets_ingest_messages_total{result=\"rejected\"}", 2.0),
            ("rockets_ingest_messages_total{result=\"unavailable\"}", 0.0),
            ("rockets_ingest_rejected_total{field=\"message.by\"}", 1.0),
            ("rockets_ingest_rejected_total{field=\"metadata.messageType\"}", 1.0),
            ("rockets_ingest_rejected_total{field=\"metadata.channel\"}", 0.0),
            ("rockets_publish_duration_seconds_count", 4.0),
            ("rockets_http_requests_total{route=\"messages\",status=\"200\"}", 4.0),
            ("rockets_http_requests_total{route=\"messages\",status=\"400\"}", 2.0),
        ],
    )
    .await;
    become_these(
        &track,
        &[
            ("rockets_track_messages_total{outcome=\"applied\"}", 1.0),
            ("rockets_track_messages_total{outcome=\"refused\"}", 1.0),
            ("rockets_track_messages_total{outcome=\"pending\"}", 1.0),
            ("rockets_track_messages_total{outcome=\"malformed\"}", 1.0),
            ("rockets_dead_letters_total{reason=\"refused\"}", 1.0),
            ("rockets_dead_letters_total{reason=\"malformed\"}", 1.0),
            ("rockets_dead_letters_total{reason=\"skipped\"}", 0.0),
            ("rockets_state_conflicts_total{code=\"10071\"}", 0.0),
            ("rockets_apply_lag_seconds_count{pending=\"false\"}", 1.0),
            ("rockets_track_redeliveries_total", 0.0),
            ("rockets_partitions_led", 16.0),
            ("rockets_partition_takeovers_total", 0.0),
            ("rockets_partition_led{partition=\"15\"}", 1.0),
            ("rockets_partition_lag_messages{partition=\"15\"}", 0.0),
        ],
    )
    .await;
    become_these(
        &service.query,
        &[
            ("rockets_view_rockets", 1.0),
            ("rockets_gaps", 1.0),
            ("rockets_pending_messages", 1.0),
            ("rockets_live_readers", 0.0),
            ("rockets_http_requests_total{route=\"rockets/:\",status=\"404\"}", 1.0),
            ("rockets_http_requests_total{route=\"none\",status=\"404\"}", 1.0),
        ],
    )
    .await;
    eventually("the gap has an age", async || {
        let samples = samples(&service.query).await;
        (samples["rockets_gap_oldest_seconds"] > 0.0).then_some(())
    })
    .await;

    // What closes the gap was pending, and is applied.
    service.ingest.ingest(&first.faster(3, 1)).await;
    service.ingest.ingest(&first.faster(4, 1)).await;
    become_these(&track, &[("rockets_track_messages_total{outcome=\"applied\"}", 4.0)]).await;
    become_these(&track, &[("rockets_apply_lag_seconds_count{pending=\"true\"}", 1.0)]).await;
    become_these(&service.query, &[("rockets_gaps", 0.0), ("rockets_gap_oldest_seconds", 0.0)]).await;

    for client in [&service.ingest, &track, &service.query] {
        let text = text(client).await;
        assert!(!text.contains(&first.channel) && !text.contains(&second.channel) && !text.contains("nowhere"));
        assert!(text.contains("\nprocess_cpu_seconds_total ") && text.contains("\nrockets_build_info{"));
    }
}

#[tokio::test]
async fn what_the_broker_does_not_take_and_a_stale_view_are_counted() {
    let mut service = TestService::split().await;
    let track = service.programs[1].client().await;
    let flight = Flight::new();
    service.ingest.ingest(&flight.launched(1)).await;
    become_these(&track, &[("rockets_track_messages_total{outcome=\"applied\"}", 1.0)]).await;

    service.programs[1].kill();
    eventually("the view is fresh", async || {
        (samples(&service.query).await["rockets_view_staleness_seconds"] < 1.0).then_some(())
    })
    .await;
    service.broker().kill();
    eventually("the view is stale", async || {
        (samples(&service.query).await["rockets_view_staleness_seconds"] > 1.0).then_some(())
    })
    .await;
    assert_eq!(service.post(&flight.faster(2, 1)).await.status, 503);
    become_these(&service.ingest, &[("rockets_ingest_messages_total{result=\"unavailable\"}", 1.0)]).await;
}

#[tokio::test]
async fn what_a_tracker_takes_over_is_counted() {
    let mut service = Trackers::start(2, "1s").await;
    service.share(2).await;
    let led = service.led_by(0).await;
    let left = service.trackers[1].client().await;
    become_these(&left, &[("rockets_partitions_led", 16.0 - led.len() as f64)]).await;
    let taken_over_before = samples(&left).await["rockets_partition_takeovers_total"];

    // What comes to one that hangs is delivered to it, and again when it is gone.
    service.trackers[0].freeze();
    let events = service.launch_in(led.iter().copied()).await;
    service.kill(0).await;
    service.are_processed(&events).await;
    let taken_over = taken_over_before + led.len() as f64;
    become_these(&left, &[("rockets_partitions_led", 16.0), ("rockets_partition_takeovers_total", taken_over)]).await;
    let samples = samples(&left).await;
    assert!(samples["rockets_track_redeliveries_total"] > 0.0, "{samples:?}");
    assert_eq!(samples[&format!("rockets_partition_led{{partition=\"{}\"}}", led[0])], 1.0);
}

#[tokio::test]
async fn promtool_has_nothing_to_say_of_a_scrape() {
    let service = TestService::start().await;
    let flight = Flight::new();
    service.ingest.ingest(&flight.launched(1)).await;
    service.settles(&[flight.launched(1)]).await;
    let scrape = text(&service.query).await;
    let Some(lint) = promtool(&["check", "metrics"], &scrape, "promtool check metrics") else { return };
    let said = [lint.stdout, lint.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(lint.status.success() && said.is_empty(), "{said}");
}

#[tokio::test]
async fn a_scrape_is_a_question() {
    let service = TestService::start().await;
    let refused = service.query.answer(service.query.request(Method::POST, "/metrics")).await;
    assert_eq!((refused.status, &refused.headers["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    let head = service.query.request(Method::HEAD, "/metrics").send().await.unwrap();
    assert_eq!(head.status(), 200);
}
