//! One program at a time works on a store, and a broker on our port that is not ours is left alone.

use std::net::TcpListener;

use super::harness::service::settles;
use super::harness::{Broker, DataDir, Flight, Program, TestService, eventually, free_port};

/// Fails unless the program has ended with exit code 1 and names the setting.
async fn refuses(mut program: Program, setting: &str) {
    let status = program.exit().await;
    assert_eq!(status.code(), Some(1));
    let error = program.log().lines().find(|line| line.starts_with("error: ")).unwrap_or_default().to_owned();
    assert!(error.contains(setting), "{error:?}");
}

#[tokio::test]
async fn the_second_on_one_folder_is_refused() {
    let service = TestService::embedded().await;
    let data = service.data.as_ref().unwrap();
    let broker = data.broker_pid();
    refuses(Program::of(&["up"]).data_dir(data).start(), "broker.data_dir").await;
    assert_eq!((broker.is_some(), data.broker_pid()), (true, broker), "the first one's broker is another now");
    let messages = Flight::new().climb(3);
    for message in &messages {
        service.ingest.ingest(message).await;
    }
    service.settles(&messages).await;
}

#[tokio::test]
async fn a_broker_left_behind_is_ended_before_the_next_is_started() {
    let data = DataDir::new();
    let port = free_port().to_string();
    let start = || Program::of(&["up"]).data_dir(&data).env("ROCKETS_BROKER__PORT", &port).start();
    let mut left_behind = None;
    let messages = Flight::new().climb(3);
    for (message, broker_is_killed_too) in messages.iter().zip([false, true, false]) {
        let mut up = start();
        let client = up.ready().await;
        assert!(data.broker_pid().is_some() && data.broker_pid() != left_behind);
        client.ingest(message).await;
        up.kill();
        left_behind = data.broker_pid();
        assert!(left_behind.is_some(), "the broker ended with the program");
        if broker_is_killed_too {
            data.kill_broker();
        }
    }
    let mut up = start();
    let client = up.ready().await;
    settles(&client, &messages).await;
    assert!(up.term().await.success());
}

#[tokio::test]
async fn a_start_that_was_cut_short_is_finished_by_the_next() {
    let data = DataDir::new();
    let reaches = async |line: &str| {
        let program = Program::of(&["up"]).data_dir(&data).start();
        eventually(line, async || program.log().contains(line).then_some(())).await;
        program
    };
    for line in ["started a broker", "connected to the broker", "serving HTTP"] {
        reaches(line).await.kill();
    }
    for line in ["started a broker", "connected to the broker", "serving HTTP"] {
        assert_eq!(reaches(line).await.term().await.code(), Some(0), "{line}");
        assert_eq!(data.broker_pid(), None, "{line}: its broker is still there");
    }
    let mut up = Program::of(&["up"]).data_dir(&data).start();
    let (client, messages) = (up.ready().await, Flight::new().climb(2));
    for message in &messages {
        client.ingest(message).await;
    }
    settles(&client, &messages).await;
}

#[tokio::test]
async fn a_foreign_broker_on_the_port_is_not_touched() {
    let (broker, data) = (Broker::start().await, DataDir::new());
    let port = broker.port().to_string();
    refuses(Program::of(&["up"]).data_dir(&data).env("ROCKETS_BROKER__PORT", &port).start(), "broker.port").await;
    let streams = broker.jetstream().await.query_account().await.unwrap().streams;
    assert_eq!(streams, 0);
}

#[tokio::test]
async fn any_other_program_on_the_port_is_refused_too() {
    let (listener, data) = (TcpListener::bind(("127.0.0.1", free_port())).unwrap(), DataDir::new());
    let port = listener.local_addr().unwrap().port().to_string();
    refuses(Program::of(&["up"]).data_dir(&data).env("ROCKETS_BROKER__PORT", &port).start(), "broker.port").await;
}
