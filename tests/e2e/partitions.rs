//! `rockets partitions`: what it says of trackers that work, of none, and of what is pending.

use serde_json::Value;

use super::harness::program::Ended;
use super::harness::service::init;
use super::harness::{Broker, Flight, Program, Trackers, becomes, eventually};

async fn partitions(broker: &Broker, more: &[&str]) -> Ended {
    Program::of(&[&["partitions"], more].concat()).broker(broker).ends().await
}

/// The rows of the partitions, and the one of all of them.
async fn rows(broker: &Broker) -> (Vec<Value>, Value) {
    let mut rows = partitions(broker, &["--json"]).await.rows();
    let total = rows.pop().unwrap();
    (rows, total)
}

#[tokio::test]
async fn who_works_on_what_and_what_waits_is_told() {
    let mut service = Trackers::start(2, "5s").await;
    service.share(2).await;
    let flight = Flight::new();
    service.ingest.ingest(&flight.launched(1)).await;
    for number in [3, 4, 7] {
        service.ingest.ingest(&flight.faster(number, 1)).await;
    }
    becomes("what waits", Some(3.into()), async || {
        Some(service.query.rocket(&flight.channel).await?["pendingMessages"].clone())
    })
    .await;
    let (rows, total) = rows(&service.broker).await;
    assert_eq!(rows.len(), 16);
    for (partition, row) in (0..).zip(&rows) {
        assert_eq!(row["partition"], partition);
        let [led, other] = [service.led_by(0).await, service.led_by(1).await].map(|led| led.contains(&partition));
        assert!(led != other);
        let pid = service.trackers[usize::from(other)].pid().as_raw_nonzero();
        let trackers = row["trackers"].as_array().unwrap();
        assert!(trackers.len() == 1 && trackers[0].as_str().unwrap().contains(&format!("-{pid}-")), "{row}");
        let waiting = if partition == flight.partition() { 3 } else { 0 };
        assert_eq!((&row["waiting"], &row["lag"], &row["oldest_seconds"]), (&waiting.into(), &0.into(), &Value::Null));
    }
    assert_eq!(total["trackers"].as_array().unwrap().len(), 2);
    assert_eq!((&total["waiting"], &total["lag"]), (&3.into(), &0.into()));
    assert_eq!(
        (&total["more_trackers_needed"], &total["why"]),
        (&false.into(), &"everything is applied as it comes".into())
    );

    let table = partitions(&service.broker, &[]).await;
    let table = table.says(0);
    assert!(table.contains("redelivered") && table.contains("2 in all"), "{table}");
    assert!(table.ends_with("more trackers needed? no: everything is applied as it comes\n"), "{table}");

    for tracker in 0..2 {
        service.kill(tracker).await;
    }
    let events = service.launch_in([5, 5, 6]).await;
    assert_eq!(events.len(), 3);
    let (rows, total) = self::rows(&service.broker).await;
    assert_eq!(
        [&rows[4]["lag"], &rows[5]["lag"], &rows[6]["lag"], &total["lag"]],
        [0, 2, 1, 3].map(Value::from).each_ref()
    );
    assert!(rows[5]["oldest_seconds"].as_f64().unwrap() > 0.0 && rows[4]["oldest_seconds"].is_null());
    assert_eq!(rows[5]["trackers"], Value::Array(Vec::new()));
    assert_eq!(total["more_trackers_needed"], true);
    assert!(total["why"].as_str().unwrap().contains("rockets track"), "{total}");
}

#[tokio::test]
async fn watching_goes_on_until_it_is_told_to_end() {
    let broker = Broker::start().await;
    init(&broker).await;
    let mut watching = Program::of(&["partitions", "--watch", "--json"]).broker(&broker).start();
    eventually("two looks", async || (watching.output().lines().count() >= 34).then_some(())).await;
    assert_eq!(watching.term().await.code(), Some(0));
}

#[tokio::test]
async fn without_its_objects_it_says_what_to_do() {
    let broker = Broker::start().await;
    let ended = partitions(&broker, &[]).await;
    assert!(ended.fails(1).contains("rockets init"), "{}", ended.errors);
    assert!(Program::of(&["partitions", "stray"]).ends().await.fails(2).contains("--help"));
}
