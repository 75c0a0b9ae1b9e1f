//! What `rockets init` makes at a broker and repairs, what the roles refuse, and the JSON definitions in `nats/` for
//! people who provision by hand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::consumer::{Config as ConsumerConfig, DeliverPolicy, IntoConsumerConfig as _};
use async_nats::jetstream::stream::{Config as StreamConfig, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, consumer};
use rockets::internals::topology::{Bounds, Topology};
use serde_json::{Value, json};

use super::harness::{Broker, Program};

/// The partitions of most tests here: few, so that what is printed is short.
const PARTITIONS: &str = "2";

const STREAMS: [&str; 5] = ["ROCKETS", "ROCKETS_DLQ", "ROCKETS_OUTCOMES", "ROCKETS_CHECKPOINTS", "KV_rockets"];

/// Runs a subcommand at a broker to its end, and gives its exit code, its output and its log.
async fn run(subcommand: &str, broker: &Broker) -> (Option<i32>, String, String) {
    let mut program = Program::of(&[subcommand, "--stream-partitions", PARTITIONS]).broker(broker).start();
    let code = program.exit().await.code();
    (code, program.output(), program.log())
}

async fn init(broker: &Broker) -> String {
    let (code, output, log) = run("init", broker).await;
    assert_eq!(code, Some(0), "{log}");
    output
}

/// What a role says when it refuses the broker: a line for each object and field.
async fn refusals(broker: &Broker) -> Vec<String> {
    let (code, output, log) = run("track", broker).await;
    assert_eq!((code, output.as_str()), (Some(1), ""), "{log}");
    let told = log.split("error: the broker is not set up for this configuration (`rockets init` does it):\n");
    told.last().unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

async fn is_accepted(broker: &Broker) {
    Program::of(&["track", "--stream-partitions", PARTITIONS]).broker(broker).start().ready().await;
}

async fn stream_config(jetstream: &jetstream::Context, name: &str) -> StreamConfig {
    jetstream.get_stream(name).await.unwrap().cached_info().config.clone()
}

async fn change_stream(jetstream: &jetstream::Context, name: &str, change: impl FnOnce(&mut StreamConfig)) {
    let mut config = stream_config(jetstream, name).await;
    change(&mut config);
    jetstream.update_stream(config).await.unwrap();
}

async fn durable_config(jetstream: &jetstream::Context, name: &str) -> ConsumerConfig {
    let consumer: consumer::Consumer<consumer::pull::Config> =
        jetstream.get_consumer_from_stream(name, "ROCKETS").await.unwrap();
    consumer.cached_info().config.clone()
}

async fn change_durable(jetstream: &jetstream::Context, name: &str, change: impl FnOnce(&mut ConsumerConfig)) {
    let mut config = durable_config(jetstream, name).await;
    change(&mut config);
    jetstream.create_consumer_on_stream(config, "ROCKETS").await.unwrap();
}

#[tokio::test]
async fn init_makes_what_is_missing_and_finds_it_again() {
    let broker = Broker::start().await;
    let objects = [
        "stream ROCKETS",
        "stream ROCKETS_DLQ",
        "stream ROCKETS_OUTCOMES",
        "stream ROCKETS_CHECKPOINTS",
        "stream KV_rockets",
        "durable rockets-p00",
        "durable rockets-p01",
    ];
    let all = |done: &str| objects.map(|object| format!("{done:9}{object}\n")).concat();
    assert_eq!(init(&broker).await, all("made"));
    assert_eq!(init(&broker).await, all("found"));
    is_accepted(&broker).await;

    let jetstream = broker.jetstream().await;
    jetstream.delete_consumer_from_stream("rockets-p01", "ROCKETS").await.unwrap();
    jetstream.delete_stream("ROCKETS_DLQ").await.unwrap();
    assert_eq!(refusals(&broker).await, ["stream ROCKETS_DLQ: is missing", "durable rockets-p01: is missing"]);
    let again = init(&broker).await;
    let made: Vec<_> = again.lines().filter(|line| line.starts_with("made ")).collect();
    assert_eq!((made.len(), again.lines().count()), (2, 7), "{again}");
    assert_eq!(init(&broker).await, all("found"));
}

#[tokio::test]
async fn what_was_changed_by_hand_is_told_field_by_field_and_repaired() {
    let broker = Broker::start().await;
    init(&broker).await;
    let jetstream = broker.jetstream().await;
    change_stream(&jetstream, "ROCKETS", |config| {
        config.discard = DiscardPolicy::Old;
        config.duplicate_window = Duration::from_secs(1);
        config.allow_rollup = true;
    })
    .await;
    change_stream(&jetstream, "KV_rockets", |config| {
        config.max_messages_per_subject = 5;
        config.max_age = Duration::from_secs(3_600);
    })
    .await;
    change_durable(&jetstream, "rockets-p01", |config| {
        config.ack_wait = Duration::from_secs(30);
        config.max_ack_pending = 1_000;
        config.max_deliver = 3;
    })
    .await;

    let second = 1_000_000_000_u64;
    let of_stream = [
        "allow_rollup_hdrs: is true, should be null".to_owned(),
        "discard: is \"old\", should be \"new\"".to_owned(),
        format!("duplicate_window: is {second}, should be {}", 120 * second),
    ];
    let of_bucket = [
        format!("max_age: is {}, should be null", 3_600 * second),
        "max_msgs_per_subject: is 5, should be 1".to_owned(),
    ];
    let of_durable = [
        format!("ack_wait: is {}, should be {}", 30 * second, 5 * second),
        "max_ack_pending: is 1000, should be 65536".to_owned(),
        "max_deliver: is 3, should be -1".to_owned(),
    ];
    let lines = |object: &str, fields: &[String]| -> Vec<String> {
        fields.iter().map(|field| format!("{object}: {field}")).collect()
    };
    let expected = [
        lines("stream ROCKETS", &of_stream),
        lines("stream KV_rockets", &of_bucket),
        lines("durable rockets-p01", &of_durable),
    ];
    assert_eq!(refusals(&broker).await, expected.concat());

    let changed = |object: &str, fields: &[String]| {
        let fields: String = fields.iter().map(|field| format!("         {field}\n")).collect();
        format!("changed  {object}\n{fields}")
    };
    let repaired = [
        changed("stream ROCKETS", &of_stream),
        "found    stream ROCKETS_DLQ\n".to_owned(),
        "found    stream ROCKETS_OUTCOMES\n".to_owned(),
        "found    stream ROCKETS_CHECKPOINTS\n".to_owned(),
        changed("stream KV_rockets", &of_bucket),
        "found    durable rockets-p00\n".to_owned(),
        changed("durable rockets-p01", &of_durable),
    ];
    assert_eq!(init(&broker).await, repaired.concat());
    assert!(init(&broker).await.lines().all(|line| line.starts_with("found ")));
    is_accepted(&broker).await;
}

#[tokio::test]
async fn what_belongs_to_the_operator_is_left_alone() {
    let broker = Broker::start().await;
    init(&broker).await;
    let jetstream = broker.jetstream().await;
    for stream in STREAMS {
        change_stream(&jetstream, stream, |config| {
            config.max_bytes = 1_000_000_000;
            config.max_messages = 1_000_000;
            config.description = Some("as the operator says".into());
            config.metadata.insert("team".into(), "space".into());
        })
        .await;
    }
    change_durable(&jetstream, "rockets-p00", |config| {
        config.description = Some("as the operator says".into());
        config.metadata.insert("team".into(), "space".into());
        config.sample_frequency = 50;
    })
    .await;
    is_accepted(&broker).await;
    assert!(init(&broker).await.lines().all(|line| line.starts_with("found ")));

    // Also where something else has to be repaired.
    for stream in STREAMS {
        change_stream(&jetstream, stream, |config| config.discard = DiscardPolicy::Old).await;
    }
    change_durable(&jetstream, "rockets-p00", |config| config.max_ack_pending = 7).await;
    let repaired = init(&broker).await;
    assert_eq!(repaired.lines().filter(|line| line.starts_with("changed ")).count(), 6, "{repaired}");
    for stream in STREAMS {
        let config = stream_config(&jetstream, stream).await;
        assert_eq!(
            (config.max_bytes, config.max_messages, config.discard),
            (1_000_000_000, 1_000_000, DiscardPolicy::New)
        );
        assert_eq!(config.description.as_deref(), Some("as the operator says"));
        assert_eq!(config.metadata.get("team").map(String::as_str), Some("space"), "{stream}");
    }
    let durable = durable_config(&jetstream, "rockets-p00").await;
    assert_eq!((durable.max_ack_pending, durable.sample_frequency), (65_536, 50));
    assert_eq!(durable.description.as_deref(), Some("as the operator says"));
    assert_eq!(durable.metadata.get("team").map(String::as_str), Some("space"));
}

#[tokio::test]
async fn a_stream_without_a_bound_gets_one_and_one_that_has_another_keeps_it_unless_asked() {
    let broker = Broker::start().await;
    init(&broker).await;
    let jetstream = broker.jetstream().await;
    // As the version before made it; roles take it as it is.
    change_stream(&jetstream, "ROCKETS", |config| config.max_bytes = -1).await;
    change_stream(&jetstream, "ROCKETS_DLQ", |config| config.max_bytes = 1_000_000_000).await;
    is_accepted(&broker).await;
    let changed = init(&broker).await;
    let lines: Vec<_> = changed.lines().filter(|line| !line.starts_with("found ")).collect();
    assert_eq!(lines, ["changed  stream ROCKETS", "         max_bytes: is -1, should be 4294967296"], "{changed}");
    let asked = Program::of(&["init", "--set-bounds", "--stream-partitions", PARTITIONS]).broker(&broker).ends().await;
    let changed = "changed  stream ROCKETS_DLQ\n         max_bytes: is 1000000000, should be 1073741824\n";
    assert!(asked.says(0).contains(changed), "{asked:?}");
    assert!(init(&broker).await.lines().all(|line| line.starts_with("found ")));
}

#[tokio::test]
async fn a_broker_that_gives_less_room_than_streams_may_take_is_told_and_serves_what_it_had() {
    let mut broker = Broker::start().await;
    broker.give_room(Some(1 << 31));
    broker.restart().await;
    let (code, _, log) = run("init", &broker).await;
    assert!(code == Some(1) && log.contains("max_file_store") && log.contains("stream.log_max_bytes"), "{log}");
    let unlimited = |name: &str| (format!("ROCKETS_STREAM__{name}_MAX_BYTES"), "unlimited");
    let unbounded = ["LOG", "DEAD_LETTERS", "OUTCOMES", "CHECKPOINTS", "BUCKET"].map(unlimited);
    let start = Program::of(&["init", "--stream-partitions", PARTITIONS]).broker(&broker);
    unbounded.iter().fold(start, |start, (name, value)| start.env(name, value)).ends().await.says(0);
    let (code, _, log) = run("init", &broker).await;
    assert!(code == Some(0) && log.contains("the broker gives less room (max_file_store)"), "{log}");
    is_accepted(&broker).await;
}

#[tokio::test]
async fn what_cannot_be_repaired_is_named() {
    let broker = Broker::start().await;
    init(&broker).await;
    let jetstream = broker.jetstream().await;
    let mut config = durable_config(&jetstream, "rockets-p01").await;
    jetstream.delete_consumer_from_stream("rockets-p01", "ROCKETS").await.unwrap();
    config.deliver_policy = DeliverPolicy::New;
    jetstream.create_consumer_on_stream(config, "ROCKETS").await.unwrap();
    assert_eq!(refusals(&broker).await, ["durable rockets-p01: deliver_policy: is \"new\", should be \"all\""]);
    let (code, _, log) = run("init", &broker).await;
    assert!(code == Some(1) && log.contains("durable rockets-p01: "), "{log}");

    let mut config = stream_config(&jetstream, "ROCKETS_DLQ").await;
    jetstream.delete_stream("ROCKETS_DLQ").await.unwrap();
    config.storage = StorageType::Memory;
    jetstream.create_stream(config).await.unwrap();
    assert_eq!(refusals(&broker).await[0], "stream ROCKETS_DLQ: storage: is \"memory\", should be \"file\"");
    let (code, _, log) = run("init", &broker).await;
    assert!(code == Some(1) && log.contains("stream ROCKETS_DLQ: "), "{log}");
}

#[tokio::test]
async fn what_cannot_be_repaired_says_how_to_go_on() {
    let broker = Broker::start().await;
    let jetstream = broker.jetstream().await;
    // As `nats kv add rockets` makes it.
    let bucket = jetstream::kv::Config { bucket: "rockets".into(), ..jetstream::kv::Config::default() };
    jetstream.create_key_value(bucket).await.unwrap();
    let (code, _, log) = run("init", &broker).await;
    assert!(
        code == Some(1) && log.contains("error: stream KV_rockets: ") && log.contains("deny_delete: is true"),
        "{log}"
    );
    assert!(log.contains("nats stream rm KV_rockets") && log.contains("rockets rebuild --apply"), "{log}");
    // So it is done.
    jetstream.delete_stream("KV_rockets").await.unwrap();
    init(&broker).await;

    let mut config = durable_config(&jetstream, "rockets-p01").await;
    jetstream.delete_consumer_from_stream("rockets-p01", "ROCKETS").await.unwrap();
    config.deliver_policy = DeliverPolicy::New;
    jetstream.create_consumer_on_stream(config, "ROCKETS").await.unwrap();
    let (code, _, log) = run("init", &broker).await;
    assert!(code == Some(1) && log.contains("nats consumer rm ROCKETS rockets-p01"), "{log}");
}

#[tokio::test]
async fn up_at_a_broker_of_others_makes_what_is_missing_and_changes_nothing() {
    let broker = Broker::start().await;
    init(&broker).await;
    let jetstream = broker.jetstream().await;
    jetstream.delete_stream("ROCKETS_DLQ").await.unwrap();
    let mut up = Program::of(&["up", "--stream-partitions", PARTITIONS]).broker(&broker).start();
    up.ready().await;
    let made = |up: &Program| up.log_lines().iter().any(|line| line["object"] == "stream ROCKETS_DLQ");
    assert!(made(&up), "{}", up.log());
    drop(up);

    change_stream(&jetstream, "KV_rockets", |config| config.max_messages_per_subject = 5).await;
    let (code, _, log) = run("up", &broker).await;
    assert!(code == Some(1) && log.contains("stream KV_rockets: max_msgs_per_subject: is 5, should be 1"), "{log}");
    assert_eq!(stream_config(&jetstream, "KV_rockets").await.max_messages_per_subject, 5);
}

#[tokio::test]
async fn a_foreign_stream_in_the_place_of_ours_is_named() {
    let broker = Broker::start().await;
    let jetstream = broker.jetstream().await;
    let foreign = StreamConfig { name: "OTHER".into(), subjects: vec!["rockets.*".into()], ..StreamConfig::default() };
    jetstream.create_stream(foreign).await.unwrap();
    let (code, _, log) = run("init", &broker).await;
    assert!(code == Some(1) && log.contains("stream ROCKETS: ") && log.contains("subjects overlap"), "{log}");
    jetstream.delete_stream("OTHER").await.unwrap();

    let foreign =
        StreamConfig { name: "ROCKETS".into(), subjects: vec!["rockets.*".into()], ..StreamConfig::default() };
    jetstream.create_stream(foreign).await.unwrap();
    for subcommand in ["init", "track"] {
        let (code, _, log) = run(subcommand, &broker).await;
        assert!(code == Some(1) && log.contains("error: stream.partitions: the stream ROCKETS has no"), "{log}");
    }
}

/// One of the JSON definitions in `nats/`.
struct Definition {
    path: PathBuf,
    config: Value,
}

/// All of them as the code has them, with the default settings.
fn definitions() -> Vec<Definition> {
    let gib = |gib: u64| Some(gib << 30);
    let bounds = Bounds { log: gib(4), dead_letters: gib(1), outcomes: gib(1), checkpoints: gib(1), bucket: gib(1) };
    let topology = Topology { partitions: 16, replicas: 1, ack_wait: Duration::from_secs(5), bounds };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats");
    let streams = topology.streams().map(|config| Definition {
        path: folder.join(format!("stream-{}.json", config.name)),
        config: without_nulls(serde_json::to_value(config).unwrap()),
    });
    let durables = (0..topology.partitions).map(|partition| {
        let config = topology.durable(partition).into_consumer_config();
        let name = config.durable_name.clone().unwrap();
        Definition {
            path: folder.join("consumers").join(format!("{name}.json")),
            config: serde_json::to_value(config).unwrap(),
        }
    });
    streams.into_iter().chain(durables).collect()
}

/// A field that is not there says the same.
fn without_nulls(mut config: Value) -> Value {
    config.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    config
}

#[test]
fn the_json_definitions_are_those_of_the_code() {
    for Definition { path, config } in definitions() {
        let generated = format!("{config:#}\n");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &generated).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == generated,
            "{} is not what the code says; `UPDATE=1 cargo test --test e2e json_definitions` writes it again:\n{generated}",
            path.display()
        );
    }
}

#[tokio::test]
async fn a_broker_set_up_by_hand_with_them_is_accepted() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let ask = async |question: String, body: String| {
        let answer = client.request(question.clone(), body.into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(answer.get("error"), None, "{question}");
    };
    for Definition { path, .. } in definitions() {
        let text = std::fs::read_to_string(path).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        let name = config["name"].as_str().or(config["durable_name"].as_str()).unwrap();
        match config["filter_subject"].as_str() {
            None => ask(format!("$JS.API.STREAM.CREATE.{name}"), text).await,
            // As the nats tools ask for it.
            Some(filter) => {
                let body = json!({"stream_name": "ROCKETS", "config": config, "action": "create"});
                ask(format!("$JS.API.CONSUMER.CREATE.ROCKETS.{name}.{filter}"), body.to_string()).await;
            }
        }
    }
    Program::of(&["track"]).broker(&broker).start().ready().await;
    let mut init = Program::of(&["init"]).broker(&broker).start();
    assert_eq!(init.exit().await.code(), Some(0));
    let output = init.output();
    assert!(output.lines().count() == 21 && output.lines().all(|line| line.starts_with("found ")), "{output}");
}
