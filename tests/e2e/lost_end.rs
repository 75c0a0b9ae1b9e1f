//! A log that is shorter than what bucket, outcomes and checkpoints know of, after a power cut, half a restore or a stream
//! made again: it is said, by everybody whom an operator asks, and it stops nothing.

use async_nats::jetstream;
use serde_json::{Value, json};

use super::harness::messages::number_of;
use super::harness::service::{init, settles};
use super::harness::stream::{all_is_applied, lose_records, publish, records};
use super::harness::{Broker, Client, Flight, Program, becomes, eventually};

const SHORT: &str = "stream ROCKETS has lost its end: it ends at event";

/// Has a service apply the numbers 1 to 9 of a rocket and keep 11 and 12, and ends it. All that it has stored stays.
async fn applied(broker: &Broker) -> Flight {
    let mut up = Program::of(&["up"]).broker(broker).start();
    let (client, flight) = (up.ready().await, Flight::new());
    for message in flight.climb(12).iter().filter(|message| message["metadata"]["messageNumber"] != 10) {
        client.ingest(message).await;
    }
    all_is_applied(&broker.jetstream().await).await;
    client.settled(9).await;
    assert!(up.term().await.success());
    flight
}

/// Makes the log again, with these messages and nothing else.
async fn make_log_again(jetstream: &jetstream::Context, messages: &[Value]) {
    let config = jetstream.get_stream("ROCKETS").await.unwrap().cached_info().config.clone();
    jetstream.delete_stream("ROCKETS").await.unwrap();
    jetstream.create_stream(config).await.unwrap();
    publish(jetstream, messages).await;
}

/// Waits until a process does its work and says that something is wrong; gives what.
async fn is_degraded(client: &Client) -> Vec<Value> {
    eventually("/readyz says that something is wrong", async || {
        let answer = client.get("/readyz").await;
        assert_eq!((answer.status, client.get("/health").await.status), (200, 200));
        answer.body["data"]["problems"].as_array().cloned()
    })
    .await
}

fn warnings(program: &Program) -> usize {
    let is_one = |line: &&Value| line["level"] == "WARN" && line["problems"].to_string().contains("lost its end");
    program.log_lines().iter().filter(is_one).count()
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_noticed_until_it_has_grown_beyond_it() {
    let broker = Broker::start().await;
    let flight = applied(&broker).await;
    let jetstream = broker.jetstream().await;
    make_log_again(&jetstream, &flight.climb(3)).await;
    let output = Program::of(&["init"]).broker(&broker).ends().await;
    assert!(output.says(0).contains(&format!("warning  {SHORT} 3, and records know of event 10")), "{output:?}");
    let mut programs: Vec<_> =
        ["ingest", "track", "query"].map(|role| Program::of(&[role]).broker(&broker).start()).into();
    let mut clients = Vec::new();
    for program in &mut programs {
        clients.push(program.client().await);
    }
    for client in &clients {
        let problems = is_degraded(client).await;
        let [Value::String(problem)] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.starts_with(&format!("{SHORT} 3, ")) && problem.contains("rockets rebuild"), "{problem}");
        let well = json!({ "status": "OK", "service": "rockets-backend" });
        assert_eq!(client.get("/health").await.body["data"], well);
    }
    // What is answered may be known a moment before its line of the log is read.
    for program in &programs {
        eventually("its log says it", async || (warnings(program) == 1).then_some(())).await;
    }

    // What it knows of is behind it again, and it counts for no other message.
    let other = Flight::new();
    for message in other.climb(10) {
        clients[0].ingest(&message).await;
    }
    settles(&clients[2], &other.climb(10)).await;
    for client in &clients {
        becomes("/readyz", json!("ready"), async || client.get("/readyz").await.body["data"]["status"].clone()).await;
    }
    assert!(programs.iter().all(|program| warnings(program) == 1), "each has said it once");
}

#[tokio::test]
async fn a_log_that_has_grown_again_before_anybody_looked_is_known_by_the_time_of_its_messages() {
    let broker = Broker::start().await;
    applied(&broker).await;
    let jetstream = broker.jetstream().await;
    make_log_again(&jetstream, &Flight::new().climb(15)).await;
    init(&broker).await;
    // Nobody reports anything new.
    let mut ingest = Program::of(&["ingest"]).broker(&broker).start();
    let client = ingest.client().await;
    let problems = is_degraded(&client).await;
    assert!(problems[0].as_str().unwrap().contains("had lost its end: event "), "{problems:?}");
    assert_eq!(warnings(&ingest), 1);
    let check = Program::of(&["rebuild", "--check"]).broker(&broker).ends().await;
    assert!(check.says(1).contains("stream ROCKETS had lost its end: event "), "{check:?}");
}

#[tokio::test]
async fn a_skip_at_the_place_of_a_lost_one_is_followed() {
    let broker = Broker::start().await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let (client, flight, jetstream) = (up.ready().await, Flight::new(), broker.jetstream().await);
    let messages: Vec<_> =
        flight.climb(7).into_iter().filter(|message| ![3, 5].contains(&number_of(message))).collect();
    for message in &messages {
        client.ingest(message).await;
    }
    let skip = async |client: &Client, up_to: u64| {
        let skip = client.skip(&flight.channel, &json!({ "up_to": up_to, "reason": "radio lost" })).await.ingested();
        assert_eq!((skip, client.settled(skip).await["status"].clone()), (6, json!("processed")));
        client.rocket(&flight.channel).await.unwrap()["lastMessageNumber"].clone()
    };
    assert_eq!(skip(&client, 3).await, 4);
    all_is_applied(&jetstream).await;
    assert!(up.term().await.success());

    make_log_again(&jetstream, &messages).await;
    let mut up = Program::of(&["up"]).broker(&broker).start();
    let client = up.client().await;
    eventually("/readyz", async || (client.get("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(skip(&client, 5).await, 7);
    all_is_applied(&jetstream).await;
}

#[tokio::test]
async fn a_rebuild_says_that_the_log_lost_its_end_and_is_never_well() {
    let broker = Broker::start().await;
    let flight = applied(&broker).await;
    let jetstream = broker.jetstream().await;
    make_log_again(&jetstream, &flight.climb(3)).await;
    init(&broker).await;
    let before = records(&jetstream).await;
    let rebuild = async |mode: &str| {
        let ended = Program::of(&["rebuild", mode]).broker(&broker).ends().await;
        let output = ended.says(1).to_owned();
        let known = output.lines().next().and_then(|line| line.strip_prefix(&format!("{SHORT} 3, and ")));
        (known.unwrap_or_else(|| panic!("{output}")).to_owned(), output)
    };
    for mode in ["--check", "--apply"] {
        let (known, output) = rebuild(mode).await;
        assert_eq!(known, "records know of event 10");
        assert!(output.contains("the log does not reach back far enough: message number 4 was applied"), "{output}");
    }
    assert!(records(&jetstream).await == before, "a record was changed");

    // Outcomes alone know of more, and no tracker will make the record: what is left of it was applied.
    let mut track = Program::of(&["track"]).broker(&broker).start();
    track.client().await;
    all_is_applied(&jetstream).await;
    assert!(track.term().await.success());
    lose_records(&broker).await;
    let (known, output) = rebuild("--check").await;
    assert_eq!(known, "outcomes know of event 9");
    assert!(output.contains("record: is missing"), "{output}");
    let (_, applied) = rebuild("--apply").await;
    assert!(applied.contains("1 not as they should be, 1 repaired"), "{applied}");
    let (_, again) = rebuild("--apply").await;
    assert!(again.contains("every record is what the log says, but the log has lost its end"), "{again}");
    let record: Value = serde_json::from_slice(&records(&jetstream).await[&flight.channel]).unwrap();
    assert_eq!(record["lastMessageNumber"], 3, "what the log says");
}
