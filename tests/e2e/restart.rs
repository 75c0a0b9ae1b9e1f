//! What is stored is there after a restart, and the view follows what becomes of the bucket.

use super::harness::service::{init, settles};
use super::harness::{DataDir, Flight, Program, TestService, becomes, eventually};

#[tokio::test]
async fn everything_is_there_after_a_restart_on_the_same_store() {
    let data = DataDir::new();
    let flights: Vec<_> = (0..20).map(|_| Flight::new().climb(5)).collect();
    let mut up = Program::of(&["up"]).data_dir(&data).start();
    let client = up.ready().await;
    for messages in &flights {
        for message in &messages[..4] {
            client.ingest(message).await;
        }
        settles(&client, &messages[..4]).await;
    }
    let before = client.rockets().await;
    assert_eq!(before.len(), 20);
    assert!(up.term().await.success());
    assert_eq!(data.broker_pid(), None, "its broker is still there");

    for killed in [true, false] {
        let mut up = Program::of(&["up"]).data_dir(&data).start();
        let client = up.ready().await;
        assert_eq!(client.rockets().await, before);
        if killed {
            up.kill();
        }
    }
    let mut up = Program::of(&["up"]).data_dir(&data).start();
    let client = up.ready().await;
    for messages in &flights {
        client.ingest(&messages[4]).await;
        settles(&client, messages).await;
    }
}

#[tokio::test]
async fn a_bucket_made_anew_behind_the_view_is_noticed() {
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
