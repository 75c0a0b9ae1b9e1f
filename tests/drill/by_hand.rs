//! What operators do to a broker by hand while the load goes on: delete objects, trim the log, forget a rocket, let the dead
//! dead letters run full, have leaders step down.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use serde_json::json;
use tokio::time::sleep;

use crate::harness::{Client, Flight, eventually};
use crate::load::Load;
use crate::plan::{Role, Store};
use crate::site::Site;

/// How often a leader steps down, and how many times in a row.
const STEP_DOWN_EVERY: Duration = Duration::from_secs(2);
const STEPS_DOWN: usize = 4;
/// How long a trim may take: what lies behind a message that stays goes one by one, each agreed on by three nodes.
const TRIMS_WITHIN: Duration = Duration::from_secs(300);

/// Deletes the durable of a partition.
pub async fn delete_durable(site: &Site, partition: usize) {
    let stream = site.jetstream().await.get_stream("ROCKETS").await.unwrap();
    stream.delete_consumer(&format!("rockets-p{partition:02}")).await.unwrap();
}

/// Deletes what can be made again from the log. What has been said of rockets and events meanwhile is judged no more.
pub async fn delete_store(site: &Site, load: &Load, store: Store) {
    load.begins_again.fetch_add(1, Ordering::SeqCst);
    load.dead_letters_lost.fetch_or(store == Store::DeadLetters, Ordering::SeqCst);
    site.jetstream().await.delete_stream(store.stream()).await.unwrap();
}

/// Makes it again, and fills it from the log. In a log that was trimmed, a rocket whose first message has not arrived looks
/// like one whose first message is lost, until it is there.
pub async fn restore_store(site: &Site, load: &Load) {
    site.program(&["init"]).ends().await.says(0);
    let is_rebuilt = async || (site.program(&["rebuild", "--apply"]).ends().await.code == Some(0)).then_some(());
    eventually("the rebuild leaves nothing", is_rebuilt).await;
    load.begins_again.fetch_add(1, Ordering::SeqCst);
}

/// Trims everything that has been applied.
pub async fn trim(site: &Site, load: &Load) {
    load.trims.fetch_add(1, Ordering::SeqCst);
    let mut trim = site.program(&["trim", "--keep", "1s", "--yes"]).start();
    let deadline = Instant::now() + TRIMS_WITHIN;
    let status = loop {
        if let Some(status) = trim.try_exit() {
            break status;
        }
        assert!(Instant::now() < deadline, "the trim does not end within {TRIMS_WITHIN:?}: {}", trim.log());
        sleep(Duration::from_millis(100)).await;
    };
    assert!(status.success(), "{status}: {}", trim.log());
}

/// Forgets a rocket while it sends; it must begin again with number 1.
pub async fn forget(site: &Site, load: &Load) {
    let (flight, ingest) = (Flight::new(), site.clients(Role::Ingest).remove(0));
    for message in flight.climb(5) {
        is_stored(&ingest, &message).await;
    }
    site.program(&["forget", &flight.channel, "--yes"]).ends().await.says(0);
    let launch = json!({"type": "T", "launchSpeed": 7, "mission": "AGAIN"});
    is_stored(&ingest, &flight.message(2, "RocketSpeedIncreased", json!({"by": 1_000}))).await;
    is_stored(&ingest, &flight.message(1, "RocketLaunched", launch)).await;
    let query = site.clients(Role::Query).remove(0);
    let speed = async || query.try_get(&format!("/rockets/{}", flight.channel)).await;
    let begins_again = async || speed().await.filter(|answer| answer.body["data"]["currentSpeed"] == 1_007);
    eventually("a rocket that was forgotten begins again", begins_again).await;
    load.tally.forgotten.fetch_add(1, Ordering::Relaxed);
}

async fn is_stored(ingest: &Client, message: &serde_json::Value) {
    let post = async || {
        let request = ingest.request(reqwest::Method::POST, "/messages").json(message);
        ingest.try_answer(request).await.ok().filter(|answer| answer.status == 200)
    };
    eventually("a message is stored", post).await;
}

/// Lets the dead letters have no more room, or any.
pub async fn bound_dead_letters(site: &Site, is_full: bool) {
    let jetstream = site.jetstream().await;
    let info = jetstream.get_stream("ROCKETS_DLQ").await.unwrap().cached_info().clone();
    let max_messages = if is_full { info.state.messages.max(1) as i64 } else { -1 };
    jetstream.update_stream(jetstream::stream::Config { max_messages, ..info.config }).await.unwrap();
}

/// Has the leaders of the log, of the bucket and of a durable step down again and again; nobody dies.
pub async fn step_down(site: &Site, partition: usize) {
    let jetstream = site.jetstream().await;
    let durable = format!("CONSUMER.LEADER.STEPDOWN.ROCKETS.rockets-p{partition:02}");
    for _ in 0..STEPS_DOWN {
        for who in ["STREAM.LEADER.STEPDOWN.ROCKETS", "STREAM.LEADER.STEPDOWN.KV_rockets", &durable] {
            // One that is being elected just then steps down the next time.
            let _: Result<serde_json::Value, _> = jetstream.request(who.to_owned(), &json!({})).await;
        }
        sleep(STEP_DOWN_EVERY).await;
    }
}
