//! Three brokers in containers that keep everything three times: any one of them may go.

use super::broker::{BrokerContainer, up};
use super::engine;
use super::harness::load::{is_verified, launch, reaches};

#[tokio::test]
async fn one_of_three_is_stopped_under_load_and_nothing_is_lost() {
    if !engine::is_there("one_of_three_is_stopped_under_load_and_nothing_is_lost").await {
        return;
    }
    let network = format!("rockets-{}", std::process::id());
    let names = [1, 2, 3].map(|node| format!("{network}-n{node}"));
    let [n1, n2, n3] = [0, 1, 2].map(|node| BrokerContainer::node(&network, &names[node], &names));
    let nodes = <[_; 3]>::from(tokio::join!(n1, n2, n3));
    for node in &nodes {
        node.is_healthy().await;
    }
    let urls: Vec<_> = nodes.iter().map(BrokerContainer::url).collect();
    let mut up = up(&urls.join(","), 3);
    let client = up.ready().await;
    let mut launch = launch(&client, &client, 3_000);
    for (node, applied) in nodes.iter().zip([300, 1_000, 1_800]) {
        reaches(&client, &mut launch, applied).await;
        node.container.stop().await.unwrap();
        node.container.start().await.unwrap();
        node.is_healthy().await;
    }
    is_verified(launch).await;
}
