//! The program at one broker in a container: it works, and a broker that was stopped, killed or paused forgets nothing.

use super::broker::{BrokerContainer, up};
use super::engine;
use super::harness::load::{is_verified, launch, reaches};
use super::harness::service::settles;
use super::harness::{Client, Flight, Program, eventually};

/// The service at a broker in a container, with a run of the load generator under way.
struct UnderLoad {
    broker: BrokerContainer,
    up: Program,
    client: Client,
    launch: Program,
}

impl UnderLoad {
    async fn start() -> Self {
        let broker = BrokerContainer::start().await;
        let mut up = up(&broker.url(), 1);
        let client = up.ready().await;
        let mut launch = launch(&client, &client, 2_000);
        reaches(&client, &mut launch, 300).await;
        Self { broker, up, client, launch }
    }
}

#[tokio::test]
async fn messages_become_a_rocket() {
    if !engine::is_there("messages_become_a_rocket").await {
        return;
    }
    let broker = BrokerContainer::start().await;
    let mut up = up(&broker.url(), 1);
    let client = up.ready().await;
    let messages = Flight::new().climb(30);
    for message in messages.iter().rev() {
        client.ingest(message).await;
    }
    settles(&client, &messages).await;
}

#[tokio::test]
async fn a_broker_that_is_started_again_on_its_volume_forgets_nothing() {
    if !engine::is_there("a_broker_that_is_started_again_on_its_volume_forgets_nothing").await {
        return;
    }
    let UnderLoad { broker, up: _up, client, mut launch } = UnderLoad::start().await;
    // First as an operator would, then as a machine that dies.
    broker.container.stop().await.unwrap();
    broker.container.start().await.unwrap();
    reaches(&client, &mut launch, 1_000).await;
    engine::docker(&["kill", broker.container.id()]).await;
    broker.container.start().await.unwrap();
    is_verified(launch).await;
}

#[tokio::test]
async fn a_broker_that_is_paused_holds_up_but_loses_nothing() {
    if !engine::is_there("a_broker_that_is_paused_holds_up_but_loses_nothing").await {
        return;
    }
    let UnderLoad { broker, up: _up, client, launch } = UnderLoad::start().await;
    broker.container.pause().await.unwrap();
    eventually("a message is answered 503", async || {
        (client.post(&Flight::new().launched(1)).await.status == 503).then_some(())
    })
    .await;
    broker.container.unpause().await.unwrap();
    is_verified(launch).await;
}
