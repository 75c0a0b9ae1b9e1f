//! `rockets import`: the messages of a file come into the service, whatever is in the file, and whoever is killed meanwhile.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::client::Client;
use super::harness::messages::scattered;
use super::harness::program::{Ended, Start};
use super::harness::service::settles;
use super::harness::{DataDir, Flight, Program, Terminal, TestService, eventually, free_port, pick};
use super::keys::Keys;

const COUNTS: [&str; 4] = ["lines", "ingested", "duplicate", "refused"];

/// A folder with a file of messages.
struct Input {
    folder: TempDir,
}

impl Input {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let input = Self { folder: TempDir::with_prefix("rockets-e2e-import-").unwrap() };
        fs::write(input.path(), content).unwrap();
        input
    }

    fn of(messages: &[Value]) -> Self {
        Self::new(lines(messages))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("messages.ndjson")
    }

    fn progress(&self) -> PathBuf {
        self.folder.path().join("messages.ndjson.rockets-import")
    }

    /// What stands in the progress file; none while it is not there.
    fn noted(&self) -> Option<Value> {
        Some(serde_json::from_slice(&fs::read(self.progress()).ok()?).unwrap())
    }

    /// An import of it at the service there.
    fn import(&self, base: &str, flags: &[&str]) -> Start {
        let path = self.path();
        Program::of(&[&["import", path.to_str().unwrap(), "--url", base, "--json"], flags].concat())
    }
}

fn lines(messages: &[Value]) -> String {
    messages.iter().map(|message| format!("{message}\n")).collect()
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// So many rockets with so many messages each, one message of each rocket after the other.
fn fleet(rockets: usize, messages: u64) -> (Vec<Vec<Value>>, Vec<Value>) {
    let rockets: Vec<_> = std::iter::repeat_with(|| Flight::new().climb(messages)).take(rockets).collect();
    let in_turns = (0..messages as usize).flat_map(|at| rockets.iter().map(move |rocket| rocket[at].clone()));
    let all = in_turns.collect();
    (rockets, all)
}

fn summary(ended: &Ended) -> Value {
    serde_json::from_str(ended.output.lines().next().unwrap_or_default()).unwrap()
}

async fn all_settle(client: &Client, rockets: &[Vec<Value>]) {
    for rocket in rockets {
        settles(client, rocket).await;
    }
}

#[tokio::test]
async fn a_plain_and_a_packed_file_come_in_and_are_verified() {
    let service = TestService::start().await;
    let base = service.ingest.base();
    for is_packed in [false, true] {
        let (rockets, messages) = fleet(20, 100);
        let text = lines(&scattered(&messages));
        let input = if is_packed { Input::new(packed(&text)) } else { Input::new(&text) };
        let rows = input.import(base, &["--batch", "300", "--verify"]).ends().await.rows();
        assert_eq!(pick(&rows[0], COUNTS), json!([2_000, 2_000, 0, 0]), "{rows:?}");
        assert_eq!(pick(&rows[1], ["rockets", "by_number", "differences"]), json!([20, 0, []]), "{rows:?}");
        all_settle(&service.query, &rockets).await;
        assert!(!input.progress().exists(), "everything is through");
        let again = input.import(base, &[]).ends().await.rows();
        assert_eq!(pick(&again[0], COUNTS), json!([2_000, 0, 2_000, 0]), "{again:?}");
    }
}

#[tokio::test]
async fn what_is_refused_is_named_and_the_rest_goes_on() {
    let service = TestService::start().await;
    let flight = Flight::new();
    let climb = flight.climb(4);
    let mut wrong = flight.faster(5, 1);
    wrong["metadata"]["channel"] = "none".into();
    let content = format!(
        "{}\n\n{{oops\n{}\n{}\n{wrong}\n[]\r\n{}\n\u{feff}{}\n{}",
        climb[0],
        climb[1],
        flight.mission(6, &"x".repeat(70_000)),
        climb[2],
        climb[3],
        climb[3],
    );
    let input = Input::new(content);
    let name = input.path().display().to_string();
    let says = [
        (2, "the line is empty"),
        (3, "body: must be JSON"),
        (5, "the line is larger than 65536 bytes"),
        (6, "metadata.channel: must be a UUID"),
        (7, "body: must be a JSON object"),
        (9, "body: begins with a byte order mark"),
    ];
    for flags in [&["--dry-run"][..], &["--batch", "2"]] {
        let ended = input.import(service.ingest.base(), flags).ends().await;
        for (line, reason) in says {
            assert!(ended.fails(1).contains(&format!("{name}:{line}: {reason}")), "{line}: {}", ended.errors);
        }
        assert_eq!(ended.errors.lines().count(), says.len(), "{}", ended.errors);
        assert_eq!(pick(&summary(&ended), ["lines", "refused"]), json!([10, 6]));
        assert!(!input.progress().exists(), "there is nothing to go on with");
        if flags == ["--dry-run"] {
            assert_eq!(pick(&summary(&ended), ["messages", "channels", "channels_with_gaps"]), json!([4, 1, 0]));
            assert_eq!(service.rocket(&flight.channel).await, None, "nothing was sent");
        }
    }
    service.settles(&climb).await;
}

#[tokio::test]
async fn refused_lines_are_said_up_to_a_bound() {
    let service = TestService::start().await;
    let ended = Input::new("{}\n".repeat(150)).import(service.ingest.base(), &[]).ends().await;
    let said = ended.fails(1).lines().filter(|line| line.ends_with(": metadata: is missing")).count();
    assert_eq!((said, ended.errors.lines().count()), (100, 101), "{}", ended.errors);
    assert_eq!(pick(&summary(&ended), COUNTS), json!([150, 0, 0, 150]));
}

#[tokio::test]
async fn a_service_that_is_killed_and_started_again_loses_nothing() {
    let (data, port) = (DataDir::new(), free_port());
    let up = || Program::of(&["up"]).data_dir(&data).http_port(port);
    let (mut service, client) = up().start_and_ready().await;
    let (rockets, messages) = fleet(10, 1_000);
    let input = Input::of(&messages);
    let mut import = input.import(client.base(), &["--batch", "20", "--verify"]).start();
    eventually("a part is through", async || input.noted().filter(|it| it["place"]["line"].as_u64() > Some(500))).await;
    service.kill();
    let (_service, client) = up().start_and_ready().await;
    let status = import.exit().await;
    assert!(status.success(), "{status} {}", import.log());
    let rows: Vec<Value> = import.output().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(pick(&rows[0], ["lines", "refused"]), json!([10_000, 0]), "{rows:?}");
    assert!(rows[0]["sent_again"].as_u64() > Some(0), "{rows:?}");
    assert_eq!(pick(&rows[1], ["rockets", "differences"]), json!([10, []]), "{rows:?}");
    all_settle(&client, &rockets).await;
}

#[tokio::test]
async fn an_import_that_is_killed_goes_on_where_it_was() {
    let service = TestService::start().await;
    let base = service.ingest.base();
    for is_packed in [false, true] {
        let (rockets, messages) = fleet(10, 1_000);
        let text = format!("{{oops\n{}", lines(&messages));
        let input = if is_packed { Input::new(packed(&text)) } else { Input::new(&text) };
        let flags = ["--batch", "20", "--connections", "2"];
        let mut import = input.import(base, &flags).start();
        eventually("a part is through", async || input.noted().filter(|it| it["place"]["line"].as_u64() > Some(500)))
            .await;
        import.kill();
        let noted = input.noted().expect("it was killed before its end")["place"]["line"].as_u64().unwrap();
        let ended = input.import(base, &[&flags[..], &["--verify"]].concat()).ends().await;
        assert!(ended.fails(1).contains(&format!("going on behind line {noted}")), "{}", ended.errors);
        assert!(!ended.errors.contains("oops"), "{}", ended.errors);
        let sent = summary(&ended);
        assert_eq!(pick(&sent, ["lines", "refused", "complete"]), json!([10_001, 1, true]), "{sent}");
        let duplicate = sent["duplicate"].as_u64().unwrap();
        // What may have been stored and not noted: a batch for each worker, and those that ended before an earlier one.
        assert!(duplicate <= 4 * 20, "{sent}");
        assert_eq!(sent["ingested"].as_u64().unwrap() + duplicate, 10_000, "{sent}");
        let verdict: Value = serde_json::from_str(ended.output.lines().nth(1).unwrap()).unwrap();
        assert_eq!(pick(&verdict, ["rockets", "differences"]), json!([10, []]), "{verdict}");
        all_settle(&service.query, &rockets).await;
        assert!(!input.progress().exists());
    }
}

#[tokio::test]
async fn ctrl_c_ends_in_good_order_and_says_how_to_go_on() {
    let service = TestService::start().await;
    let (rockets, messages) = fleet(10, 1_000);
    let input = Input::of(&messages);
    let flags = ["--batch", "10", "--connections", "1"];
    let mut import = input.import(service.ingest.base(), &flags).start();
    eventually("a part is through", async || input.noted().filter(|it| it["place"]["line"].as_u64() > Some(100))).await;
    kill_process(import.pid(), Signal::INT).unwrap();
    assert_eq!(import.exit().await.code(), Some(130));
    assert!(import.log().contains("the same command goes on where it stopped"), "{}", import.log());
    let sent: Value = serde_json::from_str(&import.output()).unwrap();
    assert_eq!(sent["complete"], false, "{sent}");
    let rows = input.import(service.ingest.base(), &[]).ends().await.rows();
    assert_eq!(pick(&rows[0], COUNTS), json!([10_000, 10_000, 0, 0]), "what was under way was finished: {rows:?}");
    all_settle(&service.query, &rockets).await;
}

#[tokio::test]
async fn a_file_that_has_changed_and_another_service_are_refused() {
    let service = TestService::start().await;
    let base = service.ingest.base();
    let (_, messages) = fleet(10, 1_000);
    let input = Input::of(&messages);
    let mut import = input.import(base, &["--batch", "10", "--connections", "1"]).start();
    eventually("a part is through", async || input.noted().filter(|it| it["place"]["line"].as_u64() > Some(100))).await;
    assert_eq!(import.term().await.code(), Some(1));
    let elsewhere = input.import("http://127.0.0.1:1", &[]).ends().await;
    assert!(elsewhere.fails(1).contains("was being sent to"), "{}", elsewhere.errors);
    let mut file = fs::OpenOptions::new().append(true).open(input.path()).unwrap();
    file.write_all(format!("{}\n", Flight::new().launched(1)).as_bytes()).unwrap();
    let changed = input.import(base, &[]).ends().await;
    let says = changed.fails(1);
    assert!(says.contains("has changed") && says.contains(input.progress().to_str().unwrap()), "{says}");
    fs::remove_file(input.progress()).unwrap();
    let rows = input.import(base, &[]).ends().await.rows();
    assert_eq!(pick(&rows[0], ["lines", "refused"]), json!([10_001, 0]), "{rows:?}");
    assert!(rows[0]["duplicate"].as_u64() > Some(100), "it began with the first line: {rows:?}");
}

#[tokio::test]
async fn what_is_missing_or_false_in_the_service_is_found() {
    let service = TestService::start().await;
    let [right, other, further, late] = [(); 4].map(|()| Flight::new());
    let file: Vec<_> = [&right, &other, &further].iter().flat_map(|flight| flight.climb(5)).collect();
    let beginning_late = &late.climb(9)[3..];
    let input = Input::of(&[&file, beginning_late].concat());
    // One rocket was told something else under number 3, and one is further than the file.
    for message in [other.launched(1), other.faster(2, 2), other.faster(3, 4_000), further.faster(6, 1)] {
        service.ingest.ingest(&message).await;
    }
    let flags = ["--verify", "--verify-deadline", "5s"];
    let ended = input.import(service.ingest.base(), &flags).ends().await;
    ended.says(1);
    let verdict: Value = serde_json::from_str(ended.output.lines().nth(1).unwrap()).unwrap();
    assert_eq!(pick(&verdict, ["rockets", "by_number"]), json!([3, 1]), "{verdict}");
    let differences: Vec<_> =
        verdict["differences"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let of =
        |flight: &Flight, text: &str| differences.iter().any(|it| it.starts_with(&flight.channel) && it.contains(text));
    assert!(of(&other, "currentSpeed: is 4506, should be "), "{verdict}");
    assert!(of(&late, "has number 9, but not number 1"), "{verdict}");
    assert_eq!(differences.len(), 2, "{verdict}");
}

#[tokio::test]
async fn a_key_that_may_not_is_told_at_once() {
    let (keys, data) = (Keys::new(), DataDir::new());
    let flight = Flight::new();
    let key = keys.key(&["--scope", "ingest,read", "--channel", &flight.channel]).await;
    let read = keys.key(&["--scope", "read", "--all-channels"]).await;
    let up = Program::of(&["up"]).data_dir(&data).env("ROCKETS_AUTH__MODE", "required");
    let (_up, client) = up.env("ROCKETS_AUTH__KEYS_FILE", keys.file().to_str().unwrap()).start_and_ready().await;
    let other = Flight::new();
    let input = Input::of(&[flight.launched(1), other.launched(1), flight.faster(2, 1)]);
    for (key, says) in [("", "answer 401"), (&read, "answer 403")] {
        let import = input.import(client.base(), &[]);
        let ended = if key.is_empty() { import } else { import.env("ROCKETS_KEY", key) }.ends().await;
        assert!(ended.fails(1).contains(says) && ended.errors.contains("--key"), "{}", ended.errors);
    }
    let ended = input.import(client.base(), &[]).env("ROCKETS_KEY", &key).ends().await;
    assert!(ended.fails(1).contains("ndjson:2: "), "{}", ended.errors);
    assert_eq!(pick(&summary(&ended), COUNTS), json!([3, 2, 0, 1]));
}

#[tokio::test]
async fn what_cannot_be_done_says_why() {
    let service = TestService::start().await;
    let input = Input::of(&Flight::new().climb(3));
    let nowhere = input.import(&service.ingest.url("/nowhere"), &[]).ends().await;
    assert!(nowhere.fails(1).contains("answer 404"), "{}", nowhere.errors);
    let program = async |arguments: &[&str]| Program::of(&[&["import"], arguments].concat()).ends().await;
    assert!(program(&["/not/there"]).await.fails(1).contains("cannot read /not/there"));
    assert!(program(&["-", "--verify"]).await.fails(2).contains("--verify"));
    let cut = packed(&lines(&Flight::new().climb(2_000)));
    let cut = Input::new(&cut[..cut.len() / 2]);
    let ended = cut.import(service.ingest.base(), &[]).ends().await;
    assert!(ended.fails(1).contains("cannot read") && ended.errors.contains("goes on where it stopped"), "{ended:?}");
    assert!(cut.noted().unwrap()["place"]["line"].as_u64() > Some(100), "what was read was sent");
}

#[tokio::test]
async fn standard_input_is_read_to_its_end() {
    let service = TestService::start().await;
    let messages = Flight::new().climb(700);
    let input = Input::of(&messages);
    let arguments = ["import", "-", "--url", service.ingest.base(), "--json"];
    let (mut command, folder) = Program::of(&arguments).into_command();
    let output = tokio::task::spawn_blocking(move || command.stdin(fs::File::open(input.path()).unwrap()).output());
    let output = output.await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    let sent: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(pick(&sent, COUNTS), json!([700, 700, 0, 0]));
    assert_eq!(files(folder.path()), 0, "no progress file of what cannot be read again");
    service.settles(&messages).await;
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn a_terminal_shows_a_bar_and_a_table() {
    let service = TestService::start().await;
    let input = Input::of(&Flight::new().climb(20));
    let path = input.path();
    let arguments = ["import", path.to_str().unwrap(), "--url", service.ingest.base()];
    let mut terminal = Terminal::start(Program::of(&arguments).env("TERM", "xterm"));
    assert_eq!(terminal.ends().await, Some(0));
    let shown = terminal.shown();
    assert!(shown.contains("20 messages, left") && shown.contains("lines a second"), "{shown:?}");
}
