//! Several ingests, trackers and queries at one broker, as behind a load balancer: whichever is asked, the answer is the
//! same.

use serde_json::{Value, json};

use super::harness::messages::scattered;
use super::harness::service::settles;
use super::harness::{Client, Flight, Program, Trackers, becomes, eventually};

/// A second ingest and a second query beside those that are there.
async fn seconds(service: &Trackers) -> ([Program; 2], Client, Client) {
    let mut programs = ["ingest", "query"].map(|role| Program::of(&[role]).broker(&service.broker).start());
    let (ingest, query) = (programs[0].ready().await, programs[1].ready().await);
    (programs, ingest, query)
}

#[tokio::test]
async fn several_ingests_and_queries_answer_alike() {
    let service = Trackers::start(2, "5s").await;
    let (_programs, ingest, query) = seconds(&service).await;
    let (ingests, queries) = ([&service.ingest, &ingest], [&service.query, &query]);

    // The messages of each rocket by turns here and there, and every third one to both.
    let flights: Vec<_> = (0..20).map(|_| Flight::new().climb(30)).collect();
    let mut events = Vec::new();
    for (at, message) in flights.iter().flat_map(|messages| scattered(messages)).enumerate() {
        let event_id = ingests[at % 2].ingest(&message).await;
        if at % 3 == 0 {
            let again = ingests[(at + 1) % 2].post(&message).await;
            let data = json!({ "status": "duplicate", "event_id": event_id });
            assert_eq!((again.status, &again.body["data"]), (200, &data));
        }
        events.push(event_id);
    }
    for messages in &flights {
        for query in queries {
            settles(query, messages).await;
        }
    }

    let stuck = Flight::new();
    ingest.ingest(&stuck.launched(1)).await;
    let waiting = service.ingest.ingest(&stuck.faster(3, 1)).await;
    for query in queries {
        becomes("the gap", 1, async || query.list("/gaps").await.len()).await;
    }

    for path in ["/rockets", "/rockets?sortBy=speed&order=desc", "/gaps", "/dead-letters"] {
        assert_eq!(service.query.list(path).await, query.list(path).await, "{path}");
    }
    for event in events.iter().chain([&waiting]) {
        let path = format!("/events/{event}?wait=5s");
        let [one, other] = queries.map(async |query: &Client| query.get(&path).await.body["data"].clone());
        let (one, other) = (one.await, other.await);
        assert_eq!(one, other);
        assert_eq!(one["status"], if *event == waiting { "pending" } else { "processed" });
    }
    let channel = &flights[0][0]["metadata"]["channel"].as_str().unwrap();
    let history = format!("/rockets/{channel}/history");
    assert_eq!(service.query.list(&history).await, query.list(&history).await);
    assert_eq!(turn_by_turn("/rockets?sortBy=speed", queries).await, service.query.list("/rockets?sortBy=speed").await);

    // What an operator says at one shows at the other, and it may be said at an ingest too.
    ingest.skip(&stuck.channel, &json!({ "up_to": 2, "reason": "lost" })).await.ingested();
    for query in queries {
        eventually("the gap is closed", async || {
            let rocket = query.rocket(&stuck.channel).await?;
            (rocket["lastMessageNumber"] == 3).then_some(())
        })
        .await;
    }
}

/// A list in pages, each from another process than the one before.
async fn turn_by_turn(path: &str, queries: [&Client; 2]) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    for turn in 0.. {
        let mut answer = queries[turn % 2].get(&format!("{path}&limit=3{cursor}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        rows.append(answer.body["data"].as_array_mut().unwrap());
        match answer.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    rows
}
