//! The broker is killed or frozen under load: what was acknowledged is there, what was not is sent again.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::service::init;
use super::harness::stream::{all_is_applied, count};
use super::harness::{Broker, ChannelLog, Flight, Program, TestService, becomes, eventually, load, pick};

#[tokio::test]
async fn a_broker_killed_under_load_comes_back_with_everything() {
    let mut broker = Broker::start_syncing("always").await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.ready().await;
    let mut launch = load::launch(&client, &client, 5_000);
    for applied_min in [500, 2_500] {
        load::reaches(&client, &mut launch, applied_min).await;
        broker.kill();
        eventually("the loss is noticed", async || (client.get("/readyz").await.status == 503).then_some(())).await;
        broker.restart().await;
        up.ready().await;
    }
    load::is_verified(launch).await;
}

#[tokio::test]
async fn its_own_broker_killed_under_load_is_started_again() {
    let service = TestService::embedded().await;
    let data = service.data.as_ref().unwrap();
    let mut launch = load::launch(&service.ingest, &service.query, 5_000);
    for applied_min in [500, 2_500] {
        load::reaches(&service.query, &mut launch, applied_min).await;
        let killed = data.broker_pid();
        data.kill_broker();
        eventually("another broker runs", async || data.broker_pid().filter(|pid| Some(*pid) != killed)).await;
    }
    load::is_verified(launch).await;
}

#[tokio::test]
async fn a_broker_that_lost_its_store_begins_again() {
    let mut service = TestService::split().await;
    let (gone, new) = (Flight::new().climb(3), Flight::new().climb(3));
    for message in &gone {
        service.ingest.ingest(message).await;
    }
    service.settles(&gone).await;
    let broker = service.broker();
    broker.kill();
    broker.clear();
    broker.restart().await;
    eventually("messages are not taken without a stream", async || {
        (service.post(&new[0]).await.status == 503).then_some(())
    })
    .await;
    init(service.broker()).await;
    becomes("the rockets of the empty bucket", Vec::new(), async || service.query.rockets().await).await;
    // The same rocket as well: what the trackers remember of it is not true any more.
    for message in new.iter().chain(&gone) {
        eventually("the message is stored", async || (service.post(message).await.status == 200).then_some(())).await;
    }
    service.settles(&new).await;
    service.settles(&gone).await;
}

#[tokio::test]
async fn a_frozen_broker_costs_nothing_but_time() {
    let mut service = TestService::split().await;
    let flight = Flight::new();
    let messages = flight.climb(40);
    for message in &messages[..10] {
        service.ingest.ingest(message).await;
    }
    service.settles(&messages[..10]).await;

    service.broker().freeze();
    // The client gives up after 10 s, so that every answer has come before that.
    let answers = join_all(messages[10..].iter().map(|message| service.post(message))).await;
    for answer in &answers {
        assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true), "{answer:?}");
    }
    service.settles(&messages[..10]).await;
    eventually("the view says that it is stale", async || {
        let answer = service.query.get("/readyz").await;
        (answer.status == 503 && answer.body["data"]["problems"] == json!(["the view is stale"])).then_some(())
    })
    .await;
    eventually("the ingress says that it cannot take messages", async || {
        (service.ingest.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    // Once the loss is known, nobody has to wait for the answer.
    eventually("a quick refusal", async || {
        let begun = std::time::Instant::now();
        let answer = service.post(&messages[10]).await;
        assert_eq!(answer.status, 503);
        (begun.elapsed() < Duration::from_secs(1)).then_some(())
    })
    .await;
    service.settles(&messages[..10]).await;

    service.broker().thaw();
    for message in &messages[10..] {
        eventually("the message is stored", async || (service.post(message).await.status == 200).then_some(())).await;
    }
    service.settles(&messages).await;
    let jetstream = service.broker().jetstream().await;
    all_is_applied(&jetstream).await;
    // What was on its way when the broker froze is stored once, whoever sent it again.
    becomes("messages in the stream", 40, async || count(&jetstream, "ROCKETS").await).await;
    service.settles(&messages).await;
}

#[tokio::test]
async fn what_needs_the_broker_says_so_while_it_is_away_or_hangs() {
    let mut service = TestService::start().await;
    let client = service.ingest.clone();
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in [flight.launched(1), flight.launched(2), flight.faster(4, 1)] {
        log.post(&client, &message).await;
    }
    log.holds(&client).await;
    let dead_letter = client.dead_letters_of(&flight.channel).await[0]["id"].clone();
    let one = format!("/rockets/{}", flight.channel);
    let skip = json!({ "up_to": 3, "reason": "radio lost" });
    let requests = [
        (Method::GET, "/events/1".to_owned(), Value::Null),
        (Method::GET, "/events/3?wait=1s".to_owned(), Value::Null),
        (Method::GET, format!("{one}/history"), Value::Null),
        (Method::POST, format!("{one}/skip"), skip.clone()),
        (Method::GET, "/dead-letters".to_owned(), Value::Null),
        (Method::GET, format!("/dead-letters/{dead_letter}"), Value::Null),
        // Of none that is there: it may be done after all, once the broker goes on.
        (Method::DELETE, "/dead-letters/1000000".to_owned(), Value::Null),
        (Method::POST, format!("/dead-letters/{dead_letter}/replay"), flight.faster(2, 1)),
    ];
    let each_is_unavailable = async || {
        let asked = requests.iter().map(async |(method, path, body)| {
            let request = client.request(method.clone(), path);
            let request = if body.is_null() { request } else { request.json(body) };
            let answer = client.answer(request).await;
            assert!(answer.headers.contains_key("retry-after"), "{method} {path}: {answer:?}");
            assert!(!answer.error(503).is_empty(), "{method} {path}");
        });
        join_all(asked).await;
        assert!(client.rocket(&flight.channel).await.is_some(), "rockets are read from the view");
    };
    service.broker().freeze();
    each_is_unavailable().await;
    service.broker().thaw();
    service.broker().kill();
    each_is_unavailable().await;
    service.broker().restart().await;
    service.programs[0].ready().await;

    // Whatever of it was stored after all was stored once: asked again, it is as if it had been asked for once.
    client.skip(&flight.channel, &skip).await;
    client.replay(&dead_letter, Some(&flight.faster(2, 1))).await;
    becomes("the rocket", json!([502, 4, 0]), async || {
        let rocket = client.rocket(&flight.channel).await.unwrap();
        pick(&rocket, ["currentSpeed", "lastMessageNumber", "pendingMessages"])
    })
    .await;
}
