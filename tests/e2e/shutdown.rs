//! SIGTERM: what is in hand is answered, what is held is returned with a nak, and the program ends well.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::harness::balancer::Balancer;
use super::harness::client::http;
use super::harness::service::{init, settles};
use super::harness::stream::count;
use super::harness::{Broker, Client, Flight, Program, TestService, becomes, eventually, free_port};
use super::raw_http::get;

#[tokio::test]
async fn every_role_ends_well() {
    for mut service in [TestService::start().await, TestService::embedded().await, TestService::split().await] {
        let messages = Flight::new().climb(3);
        for message in &messages {
            service.ingest.ingest(message).await;
        }
        service.settles(&messages).await;
        for program in &mut service.programs {
            assert_eq!(program.term().await.code(), Some(0));
        }
    }
}

#[tokio::test]
async fn a_message_in_hand_is_stored_and_answered() {
    let mut service = TestService::start().await;
    let messages = Flight::new().climb(1);
    let addr = service.programs[0].addr().await;

    // The interim answer is the proof that the request is in hand, and waits for its body.
    let body = messages[0].to_string();
    let mut connection = TcpStream::connect(addr).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST /messages HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    connection.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");

    let up = &mut service.programs[0];
    up.send_term();
    eventually("the shutdown has begun", async || up.log().contains("shutting down").then_some(())).await;
    connection.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"ingested\""), "{answer}");
    assert_eq!(up.exit().await.code(), Some(0));

    let broker = service.broker();
    assert_eq!(count(&broker.jetstream().await, "ROCKETS").await, 1);
    let mut next = Program::of(&["up"]).broker(broker).start();
    settles(&next.ready().await, &messages).await;
}

#[tokio::test]
async fn it_ends_well_while_the_broker_is_frozen_or_gone() {
    let mut service = TestService::split().await;
    service.ingest.ingest(&Flight::new().launched(1)).await;
    service.broker().freeze();
    for program in &mut service.programs {
        assert_eq!(program.term().await.code(), Some(0));
    }
    let mut service = TestService::embedded().await;
    let data = service.data.as_ref().unwrap();
    kill_process(data.broker_pid().unwrap(), Signal::STOP).unwrap();
    assert_eq!(service.programs[0].term().await.code(), Some(0));
    assert_eq!(data.broker_pid(), None, "its broker is still there");
    let mut service = TestService::split().await;
    service.broker().kill();
    for program in &mut service.programs {
        assert_eq!(program.term().await.code(), Some(0));
    }
}

#[tokio::test]
async fn it_ends_well_while_it_still_waits_for_a_broker() {
    let nobody = format!("nats://127.0.0.1:{}", free_port());
    for role in ["up", "ingest", "track", "query", "init"] {
        let mut program = Program::of(&[role]).env("ROCKETS_NATS__URL", &nobody).start();
        eventually("it waits", async || program.log().contains("no broker answers yet").then_some(())).await;
        let status = program.term().await;
        // Nothing was made, which is no success of `init`.
        assert_eq!(status.success(), role != "init", "{role}: {status}");
    }
}

/// Posts messages of a rocket one after another, as clients that keep their connections do or as the field's sender does,
/// until it is told to stop; tells how many there were.
async fn posts(client: Client, stop: watch::Receiver<bool>) -> usize {
    let flight = Flight::new();
    for number in 1.. {
        if *stop.borrow() {
            return number as usize - 1;
        }
        let message = if number == 1 { flight.launched(1) } else { flight.faster(number, 1) };
        let answer = client.post(&message).await;
        assert_eq!(answer.status, 200, "message {number}: {}", answer.body);
        sleep(Duration::from_millis(10)).await;
    }
    unreachable!("numbers do not end")
}

#[tokio::test]
async fn behind_a_load_balancer_nobody_notices_that_one_of_two_ends() {
    let broker = Broker::start().await;
    init(&broker).await;
    let start = || Program::of(&["ingest"]).broker(&broker).env("ROCKETS_HTTP__DRAIN_DELAY", "2s").start();
    let (mut staying, mut leaving) = (start(), start());
    for program in [&mut staying, &mut leaving] {
        program.ready().await;
    }
    let balancer = Balancer::of(&[staying.addr().await, leaving.addr().await]).await;
    let (stopping, stop) = watch::channel(false);
    let mut senders = JoinSet::new();
    for idle in [0, 4] {
        for _ in 0..4 {
            let client = Client::with(http().pool_max_idle_per_host(idle), &format!("http://{}", balancer.addr()));
            senders.spawn(posts(client, stop.clone()));
        }
    }
    let jetstream = broker.jetstream().await;
    let stored = async || count(&jetstream, "ROCKETS").await;
    eventually("messages by both", async || (stored().await > 200).then_some(())).await;
    let addr = leaving.addr().await.parse().unwrap();
    assert_eq!(get(addr, "/livez").await.header("connection"), None);
    leaving.send_term();
    let says_goodbye = async || get(addr, "/livez").await.header("connection") == Some("close");
    becomes("an answer that is the last of its connection", true, says_goodbye).await;
    assert_eq!(leaving.exit().await.code(), Some(0));
    let before = stored().await;
    eventually("messages by the other", async || (stored().await > before + 200).then_some(())).await;
    stopping.send_replace(true);
    let sent: usize = senders.join_all().await.into_iter().sum();
    assert_eq!(stored().await, sent as u64);
}
