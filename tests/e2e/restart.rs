//! What is stored is there after a restart on the same store, and all is read again.

use super::harness::service::settles;
use super::harness::{DataDir, Flight, Program};

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
