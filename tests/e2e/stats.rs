//! Totals, and lists of a range: what is counted is what there is.

use serde_json::{Value, json};

use super::harness::stream::publish_bytes;
use super::harness::{ChannelLog, Client, Flight, TestService, becomes, pick};

async fn stats(client: &Client) -> Value {
    let answer = client.get("/stats").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["data"].clone()
}

#[tokio::test]
async fn what_is_counted_is_what_there_is() {
    let mut service = TestService::start().await;
    let client = service.ingest.clone();
    let empty = json!({
        "rockets": 0, "by_status": { "active": 0, "exploded": 0 }, "by_type": {}, "by_mission": {},
        "pending_messages": 0, "gaps": 0, "messages_stored": 0, "messages_applied": 0,
        "dead_letters": { "malformed": 0, "refused": 0, "skipped": 0, "conflict": 0 },
    });
    assert_eq!(stats(&client).await, empty);
    let [whole, gone, waits, unlaunched] = [(); 4].map(|()| Flight::new());
    let messages = [
        whole.climb(3),
        vec![gone.launched(1), gone.exploded(2, "fuel"), gone.faster(3, 1)],
        vec![waits.launched(1), waits.mission(2, "MARS"), waits.faster(5, 1), waits.faster(6, 1)],
        vec![unlaunched.faster(7, 1)],
    ];
    for message in messages.iter().flatten() {
        client.ingest(message).await;
    }
    let jetstream = service.broker().jetstream().await;
    publish_bytes(&jetstream, &format!("rockets.{}", whole.channel), b"garbage".to_vec()).await;
    let expected = json!([
        3, { "active": 2, "exploded": 1 }, { "ARTEMIS": 2, "MARS": 1 }, 3, 2, 12, 8,
        { "malformed": 1, "refused": 1, "skipped": 0, "conflict": 0 },
    ]);
    let fields = [
        "rockets",
        "by_status",
        "by_mission",
        "pending_messages",
        "gaps",
        "messages_stored",
        "messages_applied",
        "dead_letters",
    ];
    becomes("the totals", expected, async || pick(&stats(&client).await, fields)).await;
    assert_eq!(client.get("/stats?by=type").await.error(400).split(':').next(), Some("by"));
}

#[tokio::test]
async fn a_list_may_be_of_a_range() {
    let service = TestService::start().await;
    let (client, flights) = (&service.ingest, [(); 3].map(|()| Flight::new()));
    for (flight, by) in flights.iter().zip([10, 20, 30]) {
        let mut log = ChannelLog::new(&flight.channel);
        for message in [flight.launched(1), flight.faster(2, by)] {
            log.post(client, &message).await;
        }
        log.rocket_holds(client).await;
    }
    let of = |numbers: &[usize]| numbers.iter().map(|at| flights[*at].channel.clone()).collect::<Vec<_>>();
    for (query, expected) in [
        ("minSpeed=520", of(&[1, 2])),
        ("maxSpeed=520", of(&[0, 1])),
        ("minSpeed=511&maxSpeed=529", of(&[1])),
        ("minSpeed=521&maxSpeed=519", of(&[])),
        ("launchedAfter=2000-01-01T00:00:00Z", of(&[0, 1, 2])),
        ("launchedBefore=2000-01-01T00:00:00Z", of(&[])),
    ] {
        let listed = client.list(&format!("/rockets?sortBy=speed&{query}")).await;
        let ids: Vec<_> = listed.iter().map(|rocket| rocket["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, expected, "{query}");
        let pages = client.pages(&format!("/rockets?sortBy=speed&{query}"), 1).await;
        assert_eq!(pages, listed, "{query}");
    }
    for wrong in ["minSpeed=x", "maxSpeed=-1", "launchedAfter=now", "launchedBefore="] {
        let answer = client.get(&format!("/rockets?{wrong}")).await;
        assert!(answer.error(400).starts_with(wrong.split('=').next().unwrap()), "{answer:?}");
    }
}
