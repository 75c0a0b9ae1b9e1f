//! A machine is lost with its store, and the service comes back from a backup of its streams: with `rockets backup` and
//! `rockets restore`, and the other way of docs/operations.md, with the `nats` tool.

use futures_util::StreamExt as _;
use serde_json::Value;
use tempfile::TempDir;

use super::harness::backup::{Backup, stored};
#[cfg(feature = "fail-points")]
use super::harness::messages::subject;
use super::harness::program::Ended;
use super::harness::service::init;
use super::harness::stream::{all_is_applied, count, publish, records};
use super::harness::{
    Broker, ChannelLog, Client, DataDir, Flight, Program, TestService, becomes, eventually, load, pick,
};

/// The streams in the order in which they are saved: what tells of events must not know of any that is not in ROCKETS.
const STREAMS: [&str; 4] = ["ROCKETS_OUTCOMES", "ROCKETS_CHECKPOINTS", "ROCKETS_DLQ", "ROCKETS"];

/// Whether an operator skips a number of this rocket.
fn is_skipped(rocket: usize) -> bool {
    rocket % 4 == 3
}

/// Rockets of every kind: usual ones, some with a refusal, some with a gap, some with a gap that was skipped.
async fn send(client: &Client, broker: &Broker) -> Vec<ChannelLog> {
    let mut logs = Vec::new();
    for rocket in 0..12 {
        let flight = Flight::new();
        let mut log = ChannelLog::new(&flight.channel);
        let mut messages = flight.climb(20);
        match rocket % 4 {
            1 => messages[9] = flight.launched(10),
            2 => drop(messages.remove(14)),
            3 => drop(messages.remove(9)),
            _ => {}
        }
        for message in &messages {
            log.post(client, message).await;
        }
        if is_skipped(rocket) {
            let waits = async || client.rocket(&flight.channel).await.filter(|rocket| rocket["pendingMessages"] == 10);
            eventually("it waits", waits).await;
            log.skip(client, &broker.jetstream().await, 10).await;
        }
        logs.push(log);
    }
    for log in &logs {
        log.holds(client).await;
    }
    all_is_applied(&broker.jetstream().await).await;
    logs
}

#[tokio::test]
async fn the_service_comes_back_from_a_backup() {
    comes_back_from(&STREAMS).await;
}

#[tokio::test]
async fn the_messages_alone_are_enough() {
    comes_back_from(&STREAMS[3..]).await;
}

async fn comes_back_from(streams: &[&str]) {
    let (lost, new) = (Broker::start().await, Broker::start().await);
    let mut up = Program::of(&["up"]).broker(&lost).start();
    let client = up.ready().await;
    let logs = send(&client, &lost).await;
    let records_before = records(&lost.jetstream().await).await;

    let mut backups = Vec::new();
    for stream in streams {
        backups.push(Backup::of(&lost.client().await, stream).await);
    }
    // What comes after the backup is lost with the machine.
    let late = Flight::new();
    client.ingest(&late.launched(1)).await;
    up.kill();
    drop(lost);

    for backup in &backups {
        backup.restore(&new.client().await).await;
    }
    init(&new).await;
    let rebuild = async |mode| Program::of(&["rebuild", mode]).broker(&new).ends().await;
    assert!(!rebuild("--check").await.fails(1).contains("panic"));
    rebuild("--apply").await.says(0);
    rebuild("--check").await.says(0);
    assert_eq!(records(&new.jetstream().await).await, records_before);

    let mut up = Program::of(&["up"]).broker(&new).start();
    let client = up.ready().await;
    for log in &logs {
        log.holds(&client).await;
    }
    assert_eq!(client.rocket(&late.channel).await, None);
    // Its sender has it still.
    let mut log = ChannelLog::new(&late.channel);
    log.post(&client, &late.launched(1)).await;
    log.holds(&client).await;
}

/// A folder for a backup, which is not there yet.
fn folder() -> (TempDir, String) {
    let above = TempDir::with_prefix("rockets-e2e-backup-").unwrap();
    let folder = above.path().join("backups/first").to_str().unwrap().to_owned();
    (above, folder)
}

async fn backup(broker: &Broker, folder: &str) -> Ended {
    Program::of(&["backup", folder]).broker(broker).ends().await
}

async fn restore(broker: &Broker, folder: &str) -> Ended {
    Program::of(&["restore", folder]).broker(broker).ends().await
}

/// The streams that a broker has.
async fn streams(broker: &Broker) -> Vec<String> {
    let mut names: Vec<String> = broker.jetstream().await.stream_names().map(Result::unwrap).collect().await;
    names.sort();
    names
}

/// What a manifest says of each stream.
fn saved(folder: &str) -> Value {
    let manifest: Value = serde_json::from_slice(&std::fs::read(format!("{folder}/manifest.json")).unwrap()).unwrap();
    let streams = manifest["backup"]["streams"].as_array().unwrap().iter();
    streams.map(|stream| pick(stream, ["name", "messages", "first_sequence", "last_sequence", "sha256"])).collect()
}

const ALL_STREAMS: [&str; 5] = ["KV_rockets", "ROCKETS", "ROCKETS_CHECKPOINTS", "ROCKETS_DLQ", "ROCKETS_OUTCOMES"];

#[tokio::test]
async fn what_is_saved_under_load_comes_back_at_a_broker_that_syncs_always() {
    let (lost, new) = (Broker::start().await, Broker::start_syncing("always").await);
    let mut up = Program::of(&["up"]).broker(&lost).start();
    let client = up.ready().await;
    let logs = send(&client, &lost).await;
    let mut launch = load::launch(&client, &client, 6_000);
    load::reaches(&client, &mut launch, 2_000).await;
    let (_above, folder) = folder();
    backup(&lost, &folder).await.says(0);
    load::is_verified(launch).await;
    up.kill();

    restore(&new, &folder).await.says(0);
    let sizes = is_the_beginning_of(ALL_STREAMS, &lost, &new).await;
    // No rocket has come so far that there is a checkpoint.
    let is_empty = ALL_STREAMS.map(|stream| stream == "ROCKETS_CHECKPOINTS");
    assert!(sizes.iter().zip(is_empty).all(|(messages, empty)| (*messages == 0) == empty), "{sizes:?}");
    drop(lost);

    init(&new).await;
    let mut up = Program::of(&["up"]).broker(&new).start();
    let client = up.ready().await;
    all_is_applied(&new.jetstream().await).await;
    for log in &logs {
        log.holds(&client).await;
    }
    Program::of(&["rebuild", "--check"]).broker(&new).ends().await.says(0);
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in flight.climb(5) {
        log.post(&client, &message).await;
    }
    log.holds(&client).await;
}

/// Fails unless each stream of the new broker is the lost one's up to some place, and gives how many messages it has.
async fn is_the_beginning_of(streams: [&str; 5], lost: &Broker, new: &Broker) -> Vec<usize> {
    let mut sizes = Vec::new();
    for stream in streams {
        let (mut was, is) = (stored(&lost.client().await, stream).await, stored(&new.client().await, stream).await);
        let last = is.keys().next_back().copied().unwrap_or_default();
        was.retain(|sequence, _| *sequence <= last);
        // Records that have been written since are further back there.
        let is_same = match stream {
            "KV_rockets" => was.iter().all(|(sequence, record)| is.get(sequence) == Some(record)),
            _ => was == is,
        };
        assert!(is_same, "{stream}: {} messages and {}", was.len(), is.len());
        sizes.push(is.len());
    }
    sizes
}

#[tokio::test]
async fn a_restored_stream_has_the_same_holes_and_a_backup_of_it_says_the_same() {
    let (old, new) = (Broker::start().await, Broker::start().await);
    let mut up = Program::of(&["up"]).broker(&old).start();
    send(&up.ready().await, &old).await;
    up.kill();
    let messages = old.jetstream().await.get_stream("ROCKETS").await.unwrap();
    let last = messages.cached_info().state.last_sequence;
    for sequence in (1..4).chain(20..70).chain(last - 1..=last) {
        messages.delete_message(sequence).await.unwrap();
    }
    old.jetstream().await.get_stream("ROCKETS_DLQ").await.unwrap().purge().await.unwrap();
    let ((_above, first), (_other, second)) = (folder(), folder());
    backup(&old, &first).await.says(0);
    restore(&new, &first).await.says(0);
    backup(&new, &second).await.says(0);
    assert_eq!(saved(&second), saved(&first));
    for stream in ALL_STREAMS {
        assert!(stored(&old.client().await, stream).await == stored(&new.client().await, stream).await, "{stream}");
    }
    // The next message has the place that it would have had.
    init(&new).await;
    let flight = Flight::new();
    assert_eq!(publish(&new.jetstream().await, &flight.climb(1)).await, [last + 1]);
}

#[tokio::test]
async fn what_is_not_as_it_should_be_is_refused_before_anything_is_done() {
    let (broker, new) = (Broker::start().await, Broker::start().await);
    let (_above, folder) = folder();
    // Nothing to save; and then something that is there already.
    assert!(backup(&broker, &folder).await.fails(1).contains("no stream ROCKETS"));
    init(&broker).await;
    publish(&broker.jetstream().await, &Flight::new().climb(30)).await;
    backup(&broker, &folder).await.says(0);
    assert!(backup(&broker, &folder).await.fails(1).contains("is there already"));
    let told = restore(&broker, &folder).await;
    assert!(ALL_STREAMS.iter().all(|stream| told.fails(1).contains(stream)), "{told:?}");

    let file = |name: &str| format!("{folder}/{name}");
    let whole = |name: &str| std::fs::read(file(name)).unwrap();
    let messages = whole("ROCKETS.messages");
    let flipped = |at: usize| {
        let mut bytes = messages.clone();
        bytes[at] ^= 1;
        bytes
    };
    let wrong = [
        ("ROCKETS.messages", Some(flipped(messages.len() / 2))),
        ("ROCKETS.messages", Some(flipped(0))),
        ("ROCKETS.messages", Some(messages[..messages.len() - 20].to_vec())),
        ("ROCKETS.messages", Some([&messages[..], b"more"].concat())),
        ("ROCKETS.messages", None),
        ("KV_rockets.messages", None),
        ("manifest.json", Some(String::from_utf8(whole("manifest.json")).unwrap().replace("30", "31").into_bytes())),
        ("manifest.json", Some(b"{".to_vec())),
        ("manifest.json", None),
    ];
    for (name, bytes) in wrong {
        let right = whole(name);
        match &bytes {
            Some(bytes) => std::fs::write(file(name), bytes).unwrap(),
            None => std::fs::remove_file(file(name)).unwrap(),
        }
        let told = restore(&new, &folder).await;
        assert!(told.fails(1).contains(name) && !told.errors.contains("panic"), "{told:?}");
        assert!(streams(&new).await.is_empty(), "{name}");
        std::fs::write(file(name), right).unwrap();
    }
    assert!(restore(&new, "/nowhere/at/all").await.fails(1).contains("/nowhere/at/all"));
    restore(&new, &folder).await.says(0);
}

#[cfg(feature = "fail-points")]
#[tokio::test]
async fn what_a_restore_leaves_behind_that_was_killed_is_never_taken_for_a_stream() {
    let (old, new) = (Broker::start().await, Broker::start().await);
    init(&old).await;
    publish(&old.jetstream().await, &Flight::new().climb(3_000)).await;
    let (_above, folder) = folder();
    backup(&old, &folder).await.says(0);
    let killed = Program::of(&["restore", &folder]).broker(&new).fail_point("restore.message-put:2000").ends().await;
    assert!(killed.code.is_none() && !streams(&new).await.is_empty(), "{killed:?}");
    let left = streams(&new).await;

    for arguments in [&["init"][..], &["up"], &["track"], &["rebuild", "--check"], &["restore", &folder]] {
        let told = Program::of(arguments).broker(&new).ends().await;
        assert!(told.fails(1).contains("restore"), "{arguments:?}: {told:?}");
        assert_eq!(streams(&new).await, left, "{arguments:?}");
    }
    let ingested = publish_unless_refused(&new, &Flight::new().climb(1)[0]).await;
    assert!(!ingested, "a message was stored in half a stream");
    Program::of(&["restore", &folder, "--yes"]).broker(&new).ends().await.says(0);
    init(&new).await;
    assert!(stored(&old.client().await, "ROCKETS").await == stored(&new.client().await, "ROCKETS").await);
}

#[cfg(feature = "fail-points")]
async fn publish_unless_refused(broker: &Broker, message: &Value) -> bool {
    let sent = broker.jetstream().await.publish(subject(message), message.to_string().into()).await;
    sent.unwrap().await.is_ok()
}

#[tokio::test]
async fn a_restore_that_fails_half_way_leaves_nothing_behind() {
    let (old, mut new) = (Broker::start().await, Broker::start().await);
    init(&old).await;
    publish(&old.jetstream().await, &Flight::new().climb(3_000)).await;
    let (_above, folder) = folder();
    backup(&old, &folder).await.says(0);
    // Room for the small streams, and not for the messages.
    new.give_room(Some(200_000));
    new.restart().await;
    let told = restore(&new, &folder).await;
    assert!(told.fails(1).contains("ROCKETS") && told.errors.contains("nothing of it was left"), "{told:?}");
    assert!(streams(&new).await.is_empty());
    new.give_room(None);
    new.restart().await;
    restore(&new, &folder).await.says(0);
}

#[tokio::test]
async fn the_store_of_rockets_up_is_filled_where_no_broker_runs() {
    let (old, data) = (TestService::embedded().await, DataDir::new());
    let (flight, (_above, folder)) = (Flight::new(), folder());
    let mut log = ChannelLog::new(&flight.channel);
    for message in flight.climb(20) {
        log.post(&old.ingest, &message).await;
    }
    log.holds(&old.query).await;
    let config = std::fs::read_to_string(old.data.as_ref().unwrap().path().join("nats-server.conf")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let url = format!("nats://{}", config["listen"].as_str().unwrap());
    Program::of(&["backup", &folder]).env("ROCKETS_NATS__URL", &url).ends().await.says(0);
    drop(old);
    Program::of(&["restore", &folder]).data_dir(&data).ends().await.says(0);
    let mut up = Program::of(&["up"]).data_dir(&data).start();
    log.holds(&up.ready().await).await;
    // It is no longer empty.
    up.term().await;
    assert!(Program::of(&["restore", &folder]).data_dir(&data).ends().await.fails(1).contains("ROCKETS"));
}

#[tokio::test]
async fn no_record_is_missing_that_is_written_again_while_it_is_saved() {
    const RECORDS: usize = 5_000;
    let (busy, new) = (Broker::start().await, Broker::start().await);
    init(&busy).await;
    let channels: Vec<_> = (0..RECORDS).map(|_| Flight::new().channel).collect();
    let write = async |client: &async_nats::Client, at: usize| {
        let subject = format!("$KV.rockets.{}", channels[at % RECORDS]);
        client.publish(subject, vec![b'x'; 400].into()).await.unwrap();
    };
    let client = busy.client().await;
    for at in 0..RECORDS {
        write(&client, at).await;
    }
    becomes("records", RECORDS as u64, async || count(&busy.jetstream().await, "KV_rockets").await).await;
    let (_above, folder) = folder();
    let writes = async {
        // Each record again and again, in an order of its own, as fast as the broker says that it has come.
        for at in 1.. {
            write(&client, at * 2_741).await;
            if at % 20 == 0 {
                client.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        told = backup(&busy, &folder) => drop(told.says(0).to_owned()),
        () = writes => unreachable!("they do not end"),
    }
    restore(&new, &folder).await.says(0);
    assert_eq!(stored(&new.client().await, "KV_rockets").await.len(), RECORDS);
}
