//! What is done to the bucket behind the service's back: the view follows, and what is damaged is replayed.

use super::harness::service::init;
use super::harness::stream::{all_is_applied, publish_bytes};
use super::harness::{Flight, TestService, becomes, eventually};

#[tokio::test]
async fn a_bucket_made_again_behind_the_view_is_noticed() {
    let mut service = TestService::split().await;
    let gone = Flight::new().climb(3);
    for message in &gone {
        service.ingest.ingest(message).await;
    }
    service.settles(&gone).await;

    let jetstream = service.broker().jetstream().await;
    jetstream.delete_stream("KV_rockets").await.unwrap();
    init(service.broker()).await;
    becomes("the rockets of the empty bucket", Vec::new(), async || service.query.rockets().await).await;
    eventually("the view is fresh", async || {
        (service.query.get("/readyz").await.body["data"]["status"] == "ready").then_some(())
    })
    .await;
    let new = Flight::new().climb(3);
    for message in &new {
        service.ingest.ingest(message).await;
    }
    service.settles(&new).await;
}

#[tokio::test]
async fn a_damaged_record_is_replayed_from_the_log() {
    let mut service = TestService::start().await;
    let flight = Flight::new();
    let messages = flight.climb(10);
    for message in &messages[..5] {
        service.ingest.ingest(message).await;
    }
    service.settles(&messages[..5]).await;
    let jetstream = service.broker().jetstream().await;
    publish_bytes(&jetstream, &format!("$KV.rockets.{}", flight.channel), b"{\"garbage\":".to_vec()).await;
    becomes("a record that cannot be read hides its rocket", None, async || service.rocket(&flight.channel).await)
        .await;
    for message in &messages[5..] {
        service.ingest.ingest(message).await;
    }
    service.settles(&messages).await;
    all_is_applied(&jetstream).await;
}

#[tokio::test]
async fn keys_of_others_in_the_bucket_harm_nobody() {
    let mut service = TestService::start().await;
    let jetstream = service.broker().jetstream().await;
    for key in ["note", "a.b.c", "193270A9-C9CF-404A-8F83-838E71D9AE67"] {
        publish_bytes(&jetstream, &format!("$KV.rockets.{key}"), b"x".to_vec()).await;
    }
    let messages = Flight::new().climb(5);
    for message in &messages {
        service.ingest.ingest(message).await;
    }
    service.settles(&messages).await;
    service.programs[0].ready().await;
    assert_eq!(service.query.rockets().await.len(), 1);
}
