//! What all subcommands have in common: lists speak JSON, what changes something asks first, output is for pipes, and a
//! terminal is treated as one.

use std::process::Stdio;

use clap::{Command, CommandFactory as _};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::harness::program::{Ended, Start};
use super::harness::{Broker, ChannelLog, Flight, Program, Terminal, TestService, eventually};
use super::keys::Keys;

/// What a subcommand is, and how it is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Lists something: has `--json`.
    Lists(&'static str),
    /// Changes something for good: has `--dry-run` and `--yes`.
    Changes(&'static str),
    /// Both.
    ListsWhatItChanges(&'static str),
    /// Goes on until it is told to end.
    Serves,
    /// Does one thing, and says so.
    DoesOneThing,
    /// Prints something that has a form of its own.
    Prints,
}

use Kind::{Changes, DoesOneThing, Lists, ListsWhatItChanges, Prints, Serves};

/// Every subcommand. `CHANNEL` has a gap, `ID` is a dead letter, `URL` takes messages at `SERVICE`, `KEYS` is a file of keys,
/// `MESSAGES` one of messages.
const ALL: [(&str, Kind); 31] = [
    ("up", Serves),
    ("ingest", Serves),
    ("track", Serves),
    ("query", Serves),
    ("init", DoesOneThing),
    ("top", Lists("--once --every 100ms")),
    ("list", Lists("")),
    ("partitions", Lists("")),
    ("health", Prints),
    ("doctor", Lists("")),
    ("gaps", Lists("")),
    ("skip", Changes("CHANNEL --up-to 5 --reason lost")),
    ("dlq list", Lists("")),
    ("dlq show", Lists("ID")),
    ("dlq replay", Changes("ID")),
    ("dlq drop", Changes("ID")),
    ("history", Lists("CHANNEL")),
    ("rebuild", Lists("--check")),
    ("trim", ListsWhatItChanges("--keep 0s")),
    ("forget", Changes("CHANNEL")),
    ("backup", DoesOneThing),
    ("restore", DoesOneThing),
    ("key new", DoesOneThing),
    ("key list", Lists("--keys-file KEYS")),
    ("key revoke", DoesOneThing),
    ("launch", Lists("URL --max-messages 20")),
    ("import", Lists("MESSAGES --url SERVICE")),
    ("completions", Prints),
    ("man", Prints),
    ("dlq replay", Changes("--all")),
    ("dlq drop", Changes("--all --reason refused")),
];

/// Subcommands that have none of their own, by their names.
fn leaves(command: &Command, name: &str, leaves: &mut Vec<(String, Vec<String>)>) {
    let below: Vec<_> = command.get_subcommands().filter(|it| it.get_name() != "help").collect();
    if below.is_empty() {
        let flags = command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned);
        leaves.push((name.trim().to_owned(), flags.collect()));
    }
    below.into_iter().for_each(|it| self::leaves(it, &format!("{name} {}", it.get_name()), leaves));
}

#[test]
fn every_subcommand_has_the_flags_of_its_kind() {
    let mut found = Vec::new();
    leaves(&rockets::internals::Cli::command(), "", &mut found);
    for (name, flags) in &found {
        let kind = ALL.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind);
        let kind =
            kind.unwrap_or_else(|| panic!("`rockets {name}` is new: say in tests/e2e/command_line.rs what it is"));
        let has = |flag: &str| flags.iter().any(|it| it == flag);
        let lists = matches!(kind, Lists(_) | ListsWhatItChanges(_));
        let changes = matches!(kind, Changes(_) | ListsWhatItChanges(_));
        assert!(!lists || has("json"), "`rockets {name}` lists something, and has no --json");
        assert!(!changes || has("yes") && has("dry-run"), "`rockets {name}` changes something: --yes, --dry-run");
        assert!(lists || !has("json"), "`rockets {name}` has --json: it lists something");
    }
    for (name, _) in ALL {
        assert!(found.iter().any(|(found, _)| found == name), "there is no `rockets {name}` any more");
    }
}

/// A service with a rocket that has a gap and a dead letter.
async fn service() -> (TestService, ChannelLog, Flight) {
    let service = TestService::start().await;
    let flight = Flight::new();
    let mut log = ChannelLog::new(&flight.channel);
    for message in [flight.launched(1), flight.launched(2), flight.faster(3, 10), flight.faster(6, 100)] {
        log.post(&service.ingest, &message).await;
    }
    log.holds(&service.ingest).await;
    (service, log, flight)
}

/// How a line of the table above is said of this service.
async fn said(service: &TestService, flight: &Flight, name: &str, arguments: &str) -> Vec<String> {
    let id = service.ingest.dead_letters_of(&flight.channel).await[0]["id"].to_string();
    let url = service.ingest.url("/messages");
    let words = name.split(' ').chain(arguments.split_whitespace());
    let meant = |word: &str| match word {
        "CHANNEL" => flight.channel.clone(),
        "ID" => id.clone(),
        "URL" => url.clone(),
        "SERVICE" => service.ingest.base().to_owned(),
        word => word.to_owned(),
    };
    words.map(meant).collect()
}

fn program(broker: &Broker, arguments: &[String]) -> Start {
    Program::of(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).broker(broker)
}

#[tokio::test]
async fn what_lists_gives_one_object_a_line_and_nothing_else() {
    let (mut service, _, flight) = service().await;
    let keys = Keys::new();
    keys.key(&["--scope", "read"]).await;
    let messages = NamedTempFile::new().unwrap();
    std::fs::write(messages.path(), format!("{}\n", flight.launched(1))).unwrap();
    for (name, kind) in ALL {
        let arguments = match kind {
            Lists(arguments) => format!("{arguments} --json"),
            ListsWhatItChanges(arguments) => format!("{arguments} --json --dry-run"),
            _ => continue,
        };
        let arguments = arguments.replace("KEYS", keys.file().to_str().unwrap());
        let arguments = arguments.replace("MESSAGES", messages.path().to_str().unwrap());
        let said = said(&service, &flight, name, &arguments).await;
        let ended = program(service.broker(), &said).ends().await;
        let rows = ended.rows();
        assert!(!rows.is_empty() && rows.iter().all(Value::is_object), "{said:?}: {}", ended.output);
        // `launch` keeps a log, which says that it begins.
        assert!(ended.errors.is_empty() || name == "launch", "{said:?}: {}", ended.errors);
    }
}

#[tokio::test]
async fn what_changes_something_asks_and_a_dry_run_does_nothing() {
    let (mut service, log, flight) = service().await;
    for (name, kind) in ALL {
        let (Changes(arguments) | ListsWhatItChanges(arguments)) = kind else { continue };
        let said = said(&service, &flight, name, arguments).await;
        let with = |flag: &str| [said.clone(), vec![flag.to_owned()]].concat();
        let dry = program(service.broker(), &with("--dry-run")).ends().await;
        assert!(!dry.says(0).is_empty(), "{said:?}: {dry:?}");
        // A replay loses nothing: a script just does it.
        if name == "dlq replay" {
            continue;
        }
        // Nobody can be asked: its input is no terminal.
        let refused = program(service.broker(), &said).ends().await;
        let says = refused.fails(2);
        assert!(says.contains("--yes") && says.contains("--dry-run"), "{said:?}: {says}");
    }
    log.holds(&service.ingest).await;
}

#[tokio::test]
async fn rockets_are_listed_by_the_rules_of_http() {
    let (mut service, ..) = service().await;
    let client = service.ingest.clone();
    let other = Flight::new();
    client.settled(client.ingest(&other.launched(1)).await).await;
    client.settled(client.ingest(&other.exploded(2, "FUEL")).await).await;
    for (flags, query) in [
        ("", ""),
        ("--status exploded", "?status=exploded"),
        ("--sort-by speed --order desc", "?sortBy=speed&order=desc"),
        ("--min-speed 1 --max-speed 9000", "?minSpeed=1&maxSpeed=9000"),
        ("--type Falcon-9 --mission none", "?type=Falcon-9&mission=none"),
        ("--launched-after 2000-01-01T00:00:00Z --limit 1", "?launchedAfter=2000-01-01T00:00:00Z&limit=1"),
        ("--launched-before 2000-01-01T00:00:00Z", "?launchedBefore=2000-01-01T00:00:00Z"),
    ] {
        let said: Vec<_> = ["list", "--json"].into_iter().chain(flags.split_whitespace()).map(str::to_owned).collect();
        let rows = program(service.broker(), &said).ends().await.rows();
        assert_eq!(rows, client.list(&format!("/rockets{query}")).await, "{flags}");
    }
}

async fn ended(broker: &Broker, words: &str) -> Ended {
    program(broker, &words.split(' ').map(str::to_owned).collect::<Vec<_>>()).ends().await
}

#[tokio::test]
async fn where_there_is_nothing_the_output_is_empty() {
    let mut service = TestService::start().await;
    for (words, says) in [
        ("gaps", "nothing waits behind a gap\n"),
        ("list", "no rockets found\n"),
        ("dlq list", "no dead letters found\n"),
    ] {
        let nothing = ended(service.broker(), words).await;
        assert_eq!((nothing.code, &*nothing.output, &*nothing.errors), (Some(0), "", says), "{words}");
        let nothing = ended(service.broker(), &format!("{words} --json")).await;
        assert_eq!((nothing.code, &*nothing.output, &*nothing.errors), (Some(0), "", ""), "{words}");
    }
}

/// Bytes that a terminal would obey, or would not show.
const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\r\n\u{7}\u{85}";

#[tokio::test]
async fn tables_are_plain_and_nothing_in_them_is_obeyed() {
    let (mut service, ..) = service().await;
    let client = service.ingest.clone();
    let flight = Flight::new();
    let long = "x".repeat(200);
    for message in [flight.launched(1), flight.mission(2, &format!("{HOSTILE}{long}")), flight.exploded(3, HOSTILE)] {
        client.settled(client.ingest(&message).await).await;
    }
    let again = client.ingest(&flight.mission(4, HOSTILE)).await;
    client.settled(again).await;
    let history = format!("history {}", flight.channel);
    for words in ["list", "gaps", "dlq list", "partitions", "top --once", &history] {
        let table = ended(service.broker(), words).await;
        let shown = table.says(0);
        let is_plain = |it: char| it == '\n' || !(it.is_control() || ['\u{202e}', '\u{2066}'].contains(&it));
        assert!(shown.chars().all(is_plain), "{words}: {shown:?}");
        assert!(!shown.contains(['│', '┌', '|']), "{words}: {shown}");
    }
    let list = ended(service.broker(), "list").await;
    let [header, rows @ ..] = &list.says(0).lines().collect::<Vec<_>>()[..] else { panic!("{list:?}") };
    assert!(header.starts_with("id ") && rows.len() == 2, "a header, and a line a rocket: {list:?}");
    let row = rows.iter().find(|row| row.starts_with(&flight.channel)).expect("its id is whole");
    assert!(row.contains(&long) && row.contains("\\u{1b}[2J"), "nothing is cut: {row}");
}

#[tokio::test]
async fn what_is_watched_in_a_pipe_is_told_as_it_changes() {
    let (mut service, _, flight) = service().await;
    let watch = |words: &str| {
        let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        program(service.broker.as_ref().unwrap(), &words).start()
    };
    let mut watching = [watch("gaps --watch=100ms"), watch("list --watch=100ms"), watch("dlq list --watch=100ms")];
    let mut top = watch("top --every 100ms");
    for program in &watching {
        eventually("the first look", async || (program.output().lines().count() >= 1).then_some(())).await;
    }
    eventually("two pictures", async || (top.output().lines().count() >= 2).then_some(())).await;
    let client = service.ingest.clone();
    client.skip(&flight.channel, &json!({ "up_to": 5, "reason": "lost" })).await.ingested();
    let [gaps, list, dead_letters] = &watching;
    let gone = format!("{{\"gone\":\"{}\"}}\n", flight.channel);
    eventually("the gap is gone", async || gaps.output().ends_with(&gone).then_some(())).await;
    eventually("the rocket flies on", async || list.output().contains("\"lastMessageNumber\":6").then_some(())).await;
    assert_eq!(dead_letters.output().lines().count(), 1, "nothing has changed there");
    for program in watching.iter_mut().chain([&mut top]) {
        kill_process(program.pid(), Signal::INT).unwrap();
        assert_eq!(program.exit().await.code(), Some(130));
        for line in program.output().lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok_and(|row| row.is_object()), "{line}");
        }
    }
    assert_eq!(top.log(), "");
    service.broker();
}

#[tokio::test]
async fn at_a_terminal_it_asks_and_draws() {
    let (mut service, log, flight) = service().await;
    let channel = &*flight.channel;
    let skip = ["skip", channel, "--up-to", "5", "--reason", "lost"];
    let at = |arguments: &[&str]| Program::of(arguments).env("TERM", "xterm");
    let broker = service.broker.as_ref().unwrap();
    for (answer, code) in [("n", 1), ("", 1)] {
        let mut terminal = Terminal::start(at(&skip).broker(broker));
        terminal.shows("Go on? [y/N] ").await;
        assert!(terminal.shown().contains("skipped for good"), "the effect is told: {}", terminal.shown());
        terminal.answer(answer);
        assert_eq!(terminal.ends().await, Some(code));
        terminal.shows("nothing was done").await;
    }
    log.holds(&service.ingest).await;

    let terminal = Terminal::start(at(&["gaps", "--watch=100ms"]).broker(broker));
    terminal.shows(channel).await;
    let drawn = eventually("it is drawn again", async || {
        let shown = terminal.shown();
        (shown.matches("\u{1b}[H").count() >= 3).then_some(shown)
    });
    assert!(drawn.await.contains("\u{1b}[1mchannel"), "its header stands out");
    let mut asked = Terminal::start(at(&skip).broker(broker));
    asked.shows("Go on? [y/N] ").await;
    asked.answer("y");
    assert_eq!(asked.ends().await, Some(0));
    terminal.shows("nothing waits behind a gap").await;
    terminal.interrupt();
    let mut terminal = terminal;
    assert_eq!(terminal.ends().await, Some(130));
    service.broker();
}

#[tokio::test]
async fn colours_come_only_where_they_are_wanted() {
    let (mut service, ..) = service().await;
    let broker = service.broker();
    let gaps = || Program::of(&["gaps"]).broker(broker);
    let is_bold = |shown: &str| shown.contains("\u{1b}[1m");
    assert!(!is_bold(gaps().ends().await.says(0)), "no terminal");
    assert!(is_bold(gaps().env("CLICOLOR_FORCE", "1").ends().await.says(0)));
    for (variable, value, expected) in [("TERM", "xterm", true), ("NO_COLOR", "1", false), ("TERM", "dumb", false)] {
        let mut terminal = Terminal::start(gaps().env("TERM", "xterm").env(variable, value));
        terminal.shows("pending").await;
        assert_eq!(terminal.ends().await, Some(0));
        assert_eq!(is_bold(&terminal.shown()), expected, "{variable}={value}: {:?}", terminal.shown());
    }
}

#[tokio::test]
async fn a_bar_is_drawn_only_where_nothing_is_piped() {
    let service = TestService::start().await;
    let url = service.ingest.url("/messages");
    let launch = || Program::of(&["launch", &url, "--max-messages", "20"]).env("TERM", "xterm").rust_log("error");
    for (mut terminal, expected) in [(Terminal::start(launch()), true), (Terminal::start_piped(launch()), false)] {
        assert_eq!(terminal.ends().await, Some(0));
        assert_eq!(terminal.shown().contains("20 messages, "), expected, "{:?}", terminal.shown());
    }
}

#[tokio::test]
async fn top_tells_what_the_other_routes_tell() {
    let (mut service, _, flight) = service().await;
    let stats = service.query.get("/stats").await.body["data"].clone();
    let gaps = service.query.list("/gaps").await;
    let top = ended(service.broker(), "top --once --json").await.rows().remove(0);
    for field in ["rockets", "by_status", "gaps", "pending_messages"] {
        assert_eq!(top[field], stats[field], "{field}: {top}");
    }
    assert_eq!((&top["dead_letters"], &top["oldest_gaps"]), (&stats["dead_letters"]["refused"], &gaps.into()));
    assert_eq!((&top["lag"], &top["ingested_per_second"]), (&0.into(), &0.0.into()), "{top}");
    let waiting = top["partitions"].as_array().unwrap().iter().filter(|row| row["waiting"] == 1);
    assert_eq!(waiting.map(|row| row["partition"].clone()).collect::<Vec<_>>(), [Value::from(flight.partition())]);
    let text = ended(service.broker(), "top --once").await;
    for said in ["  gaps          1\n", "  dead letters  1\n", &flight.channel, "more trackers needed? no"] {
        assert!(text.says(0).contains(said), "{said}\n{}", text.output);
    }
}

#[tokio::test]
async fn whoever_has_seen_enough_is_no_error() {
    let (mut service, ..) = service().await;
    let url = service.ingest.url("/messages");
    let broker = service.broker();
    // What was not verified is not well; what was only shown is.
    for (arguments, code) in [
        (&["gaps"][..], 0),
        (&["list", "--json"], 0),
        (&["dlq", "list", "--watch=100ms"], 0),
        (&["top", "--every", "100ms"], 0),
        (&["rebuild", "--check"], 0),
        (&["man"], 0),
        (&["launch", &url, "--max-messages", "5"], 1),
    ] {
        let (mut command, _folder) = Program::of(arguments).broker(broker).rust_log("error").into_command();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {ended:?}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{arguments:?}");
    }
}

#[tokio::test]
async fn how_it_ends_is_explained() {
    let help = Program::of(&["--help"]).ends().await;
    for said in ["Exit codes: 0 ", "1 it failed", "2 wrong usage", "130 ", "NO_COLOR"] {
        assert!(help.says(0).contains(said), "{said}: {}", help.output);
    }
}
