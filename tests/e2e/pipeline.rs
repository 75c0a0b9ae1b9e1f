//! The way of messages when nothing breaks: whatever their order and however often they come.

use super::harness::{Flight, TestService};

#[tokio::test]
async fn a_launch_is_seen_in_every_shape_of_the_service() {
    for service in [TestService::start().await, TestService::embedded().await, TestService::split().await] {
        let flight = Flight::new();
        let messages = flight.climb(10);
        for message in &messages {
            service.ingest.ingest(message).await;
        }
        service.settles(&messages).await;
    }
}
