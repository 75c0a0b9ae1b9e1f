//! A long gap: what is pending behind it lies in the stream, is applied in pieces, and holds up nobody.

use super::harness::stream::{all_is_applied, publish};
use super::harness::{Broker, Flight, Program, becomes, eventually};

/// What a rocket that is cut off for 10 s may have sent meanwhile, and more.
const WAITING: u64 = 100_000;
/// Memory that all of it may cost: less than the waiting messages would take.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[tokio::test]
async fn a_hundred_thousand_wait_and_are_applied_while_others_go_on() {
    let broker = Broker::start().await;
    // One partition: whoever is held up by the drain would show.
    let mut up = Program::of(&["up"]).broker(&broker).env("ROCKETS_STREAM__PARTITIONS", "1").start();
    let client = up.ready().await;
    let (long, other) = (Flight::new(), Flight::new());
    let last = WAITING + 2;
    let resident_before = up.resident_bytes();

    client.ingest(&long.launched(1)).await;
    let waiting: Vec<_> = (3..=last).map(|number| long.faster(number, 1)).collect();
    let jetstream = broker.jetstream().await;
    publish(&jetstream, &waiting).await;
    let progress = async || {
        let rocket = client.rocket(&long.channel).await.unwrap_or_default();
        ["lastMessageNumber", "pendingMessages", "currentSpeed"].map(|field| rocket[field].as_u64().unwrap_or(0))
    };
    becomes("all but two wait", [1, WAITING, 500], progress).await;

    client.ingest(&long.faster(2, 1)).await;
    eventually("the drain has begun", async || (progress().await[0] > 1).then_some(())).await;
    client.ingest(&other.launched(1)).await;
    eventually("the other rocket is seen", async || client.rocket(&other.channel).await).await;
    let [during, waiting_still, _] = progress().await;
    assert!(during < last && waiting_still > 0, "the other rocket was seen only after the drain");
    becomes("all are applied", [last, 0, 500 + WAITING + 1], progress).await;

    all_is_applied(&jetstream).await;
    if let (Some(before), Some(peak)) = (resident_before, up.peak_bytes()) {
        assert!(peak < before + GROWTH_BYTES_MAX, "{before} bytes before, {peak} at most");
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_drain_costs_nothing() {
    let broker = Broker::start().await;
    let start = async || Program::of(&["up"]).broker(&broker).env("ROCKETS_TRACK__ACK_WAIT", "1s").start();
    let mut up = start().await;
    let client = up.ready().await;
    let flight = Flight::new();
    let last = 40_000;
    let jetstream = broker.jetstream().await;
    let waiting: Vec<_> = (2..=last).map(|number| flight.faster(number, 1)).collect();
    publish(&jetstream, &waiting).await;
    client.ingest(&flight.launched(1)).await;
    let mut killed_in_the_middle = 0;
    for kill in 1..=3 {
        let client = up.client().await;
        let reached = eventually("the drain goes on", async || {
            let answer = client.try_get(&format!("/rockets/{}", flight.channel)).await?;
            answer.body["data"]["lastMessageNumber"].as_u64().filter(|reached| *reached > kill * 4_000)
        })
        .await;
        up.kill();
        killed_in_the_middle += u64::from(reached < last);
        up = start().await;
    }
    assert!(killed_in_the_middle > 0, "every kill came too late");
    let client = up.client().await;
    becomes("all are applied", [Some(last), Some(0), Some(500 + last - 1)], async || {
        let rocket = client.rocket(&flight.channel).await.unwrap_or_default();
        ["lastMessageNumber", "pendingMessages", "currentSpeed"].map(|field| rocket[field].as_u64())
    })
    .await;
    all_is_applied(&jetstream).await;
}
