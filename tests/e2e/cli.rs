//! The command line and the settings, as an operator meets them: what is said, and how the program ends.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::harness::broker::server_program;
use super::harness::{Broker, Program, eventually, free_port, service};

const SUBCOMMANDS: [&str; 13] = [
    "up",
    "ingest",
    "track",
    "query",
    "init",
    "launch",
    "gaps",
    "skip",
    "dlq",
    "history",
    "rebuild",
    "completions",
    "man",
];
/// Those that stand on a broker which somebody else has set up.
const ROLES: [&str; 3] = ["ingest", "track", "query"];

/// How one run of the program ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    output: String,
    errors: String,
}

/// One run in a folder of its own, with nothing in the environment but what a test puts there.
struct Run {
    folder: TempDir,
    command: Command,
}

fn rockets(arguments: &[&str]) -> Run {
    let folder = TempDir::with_prefix("rockets-e2e-cli-").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rockets"));
    command.args(arguments).env_clear().current_dir(folder.path()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Run { folder, command }
}

impl Run {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With a file in its folder.
    fn file(self, path: &str, text: &str) -> Self {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    async fn ends(mut self) -> Ended {
        let output = timeout(Duration::from_secs(100), self.command.output()).await.expect("an end").unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ended { code: output.status.code(), output: text(&output.stdout), errors: text(&output.stderr) }
    }
}

impl Ended {
    /// The errors of a run that ended with this code and said all of this.
    #[track_caller]
    fn fails(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for text in says {
            assert!(self.errors.contains(text), "{text} is not said:\n{}", self.errors);
        }
    }

    /// The lines about settings of a run that ended with wrong ones.
    fn wrong_settings(&self) -> Vec<&str> {
        self.fails(2, &["error: wrong settings\n"]);
        self.errors.lines().skip(1).collect()
    }
}

#[tokio::test]
async fn every_subcommand_explains_itself() {
    let all = rockets(&["--help"]).ends().await;
    assert_eq!(all.code, Some(0));
    for subcommand in SUBCOMMANDS {
        assert!(all.output.contains(&format!("\n  {subcommand} ")), "{}", all.output);
        for arguments in [&[subcommand, "--help"][..], &["help", subcommand]] {
            let help = rockets(arguments).ends().await;
            assert_eq!((help.code, help.errors.as_str()), (Some(0), ""), "{arguments:?}");
            assert!(help.output.contains(&format!("Usage: rockets {subcommand}")), "{}", help.output);
            let about = help.output.lines().next().unwrap();
            assert!(about.len() > 20, "it begins with what it does: {about}");
        }
    }
    for subcommand in ["up", "ingest", "track", "query", "init"] {
        let help = rockets(&[subcommand, "--help"]).ends().await.output;
        for said in ["--config", "--nats-url", "--stream-partitions", "config/rockets.toml", "ROCKETS_HTTP__ADDR"] {
            assert!(help.contains(said), "{subcommand}: {said}\n{help}");
        }
    }
    let launch = rockets(&["launch", "--help"]).ends().await.output;
    for said in ["<URL>", "--message-delay", "--concurrency-level", "--max-messages", "--seed", "444", "100000"] {
        assert!(launch.contains(said), "{said}\n{launch}");
    }
    let version = rockets(&["--version"]).ends().await;
    assert_eq!((version.code, version.output), (Some(0), format!("rockets {}\n", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_says_why() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["up", "--nonsense"],
        &["up", "stray"],
        &["up", "--roles", "nobody"],
        &["up", "--roles", ""],
        &["track", "--http-addr"],
        &["ingest", "--roles", "ingest"],
        &["launch"],
        &["launch", "no url"],
        &["launch", "http://localhost:1/messages", "--message-delay", "soon"],
        &["launch", "http://localhost:1/messages", "--concurrency-level", "0"],
    ] {
        let ended = rockets(arguments).ends().await;
        ended.fails(2, &["--help"]);
    }
}

#[tokio::test]
async fn all_wrong_settings_are_told_at_once_with_their_sources() {
    let ended = rockets(&["up", "--track-ack-wait", "soon", "--stream-replicas", "2"])
        .file(
            "config/rockets.toml",
            "[http]\naddr = 'here'\n[broker]\nport = 65536\nsync = 'never'\n[nats]\nurls = 'x'\n",
        )
        .env("ROCKETS_STREAM__PARTITIONS", "257")
        .env("ROCKETS_LOG__FORMAT", "xml")
        .env("ROCKETS_SPEED", "1")
        .env("NATS_URL", "http://a b")
        .ends()
        .await;
    let mut lines = ended.wrong_settings();
    lines.sort_unstable();
    let expected = [
        ("broker.port: must be a port from 0 to 65535; is \"65536\", from the file ", "config/rockets.toml"),
        ("broker.sync: must be always, or an interval such as 2m; is \"never\", from the file ", "config/rockets.toml"),
        (
            "http.addr: must be an address such as localhost:8088 or 0.0.0.0:8088; is \"here\", from the file ",
            "config/rockets.toml",
        ),
        ("log.format: must be auto, text or json; is \"xml\", from the variable ROCKETS_LOG__FORMAT", ""),
        ("nats.url: must be nats://host:port, several with commas; is \"http://a b\", from the variable NATS_URL", ""),
        ("nats.urls: unknown setting, from the file ", "there are "),
        ("speed: unknown setting, from the variable ROCKETS_SPEED; there are ", "http.addr"),
        ("stream.partitions: must be from 1 to 256; is \"257\", from the variable ROCKETS_STREAM__PARTITIONS", ""),
        ("stream.replicas: must be 1, 3 or 5; is \"2\", from the flag --stream-replicas", ""),
        ("track.ack_wait: must be a time from 1s to 10m such as 5s; is \"soon\", from the flag --track-ack-wait", ""),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (start, within)) in lines.iter().zip(expected) {
        assert!(line.starts_with(start) && line.contains(within), "{line}\nis not\n{start}…{within}");
    }
}

#[tokio::test]
async fn each_source_of_settings_can_be_wrong() {
    for subcommand in ["up", "ingest", "track", "query", "init"] {
        let ended = rockets(&[subcommand]).env("ROCKETS_HTTP__PORT", "1").ends().await;
        assert!(
            ended.wrong_settings()[0].starts_with("http.port: unknown setting, from the variable ROCKETS_HTTP__PORT")
        );
    }
    let ended = rockets(&["up", "--config", "other.toml"]).ends().await;
    assert_eq!(ended.wrong_settings(), ["--config: there is no file other.toml"]);
    let ended = rockets(&["up", "--config", "other.toml"]).file("other.toml", "[http]\nadr = 1\n").ends().await;
    assert!(ended.wrong_settings()[0].starts_with("http.adr: unknown setting, from the file "));
    let ended = rockets(&["up"]).file("config/rockets.toml", "[http\naddr").ends().await;
    ended.fails(2, &["config/rockets.toml"]);
    let ended = rockets(&["up"]).env("RUST_LOG", "rockets=loud").ends().await;
    assert!(ended.wrong_settings()[0].starts_with("RUST_LOG: must be "), "{ended:?}");
    let ended = rockets(&["track"])
        .env("NATS_CREDS", "/nowhere/at.creds")
        .env("ROCKETS_HTTP__ADDR", "127.0.0.1:0")
        .ends()
        .await;
    ended.fails(1, &["nats.creds: cannot read /nowhere/at.creds"]);
}

/// A broker that is set up for some partitions.
async fn broker_with_partitions(partitions: &str) -> Broker {
    let broker = Broker::start().await;
    let ended =
        rockets(&["init"]).env("NATS_URL", &broker.url()).env("ROCKETS_STREAM__PARTITIONS", partitions).ends().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    broker
}

#[tokio::test]
async fn flags_come_before_variables_before_the_file_before_the_defaults() {
    let broker = broker_with_partitions("2").await;
    let says = |partitions: u16| {
        format!("the stream ROCKETS has 2 partitions for all its life, the configuration says {partitions};")
    };
    let url = broker.url();
    let init = |arguments: &[&str]| rockets(&[&["init"], arguments].concat()).env("ROCKETS_NATS__URL", &url);
    let file = |run: Run| run.file("config/rockets.toml", "[stream]\npartitions = 4\n");
    let variable = |run: Run| run.env("ROCKETS_STREAM__PARTITIONS", "5");

    init(&[]).ends().await.fails(1, &[&says(16)]);
    file(init(&[])).ends().await.fails(1, &[&says(4)]);
    variable(file(init(&[]))).ends().await.fails(1, &[&says(5)]);
    variable(file(init(&["--stream-partitions", "6"]))).ends().await.fails(1, &[&says(6)]);
    let named = file(init(&["--config", "other.toml"])).file("other.toml", "stream.partitions = 7");
    named.ends().await.fails(1, &[&says(7)]);

    // The variables of the nats tools: before the file, behind our own.
    let init = |arguments: &[&str]| rockets(arguments).env("ROCKETS_STREAM__PARTITIONS", "2");
    let wrong = "[nats]\nurl = 'nats://127.0.0.1:1'\n";
    let ended = init(&["init"]).file("config/rockets.toml", wrong).env("NATS_URL", &url).ends().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = init(&["init"]).env("NATS_URL", "nats://127.0.0.1:1").env("ROCKETS_NATS__URL", &url).ends().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = init(&["init", "--nats-url", &url]).env("ROCKETS_NATS__URL", "nats://127.0.0.1:1").ends().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let several = format!("nats://127.0.0.1:1, {url}");
    let ended = init(&["init"]).env("NATS_URL", &several).ends().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn another_number_of_partitions_is_refused_everywhere() {
    let broker = broker_with_partitions("4").await;
    for subcommand in ["init", "up", "ingest", "track", "query"] {
        let run =
            rockets(&[subcommand]).env("ROCKETS_NATS__URL", &broker.url()).env("ROCKETS_HTTP__ADDR", "127.0.0.1:0");
        let expected = "error: stream.partitions: the stream ROCKETS has 4 partitions for all its life, the \
                        configuration says 8; set stream.partitions = 4 (ROCKETS_STREAM__PARTITIONS=4)\n";
        run.env("ROCKETS_STREAM__PARTITIONS", "8").ends().await.fails(1, &[expected]);
    }
}

#[tokio::test]
async fn a_role_does_not_set_up_the_broker() {
    let broker = Broker::start().await;
    for role in ROLES {
        let run = rockets(&[role]).env("ROCKETS_NATS__URL", &broker.url()).env("ROCKETS_HTTP__ADDR", "127.0.0.1:0");
        run.ends().await.fails(1, &["stream ROCKETS: is missing", "stream KV_rockets: is missing", "`rockets init`"]);
    }
    let streams = broker.jetstream().await.query_account().await.unwrap().streams;
    assert_eq!(streams, 0, "they made nothing");

    service::init(&broker).await;
    let jetstream = broker.jetstream().await;
    jetstream.delete_consumer_from_stream("rockets-p07", "ROCKETS").await.unwrap();
    jetstream.delete_stream("ROCKETS_DLQ").await.unwrap();
    let run = rockets(&["track"]).env("ROCKETS_NATS__URL", &broker.url()).env("ROCKETS_HTTP__ADDR", "127.0.0.1:0");
    let ended = run.ends().await;
    ended.fails(1, &["`rockets init`", "\n  stream ROCKETS_DLQ: is missing\n  durable rockets-p07: is missing\n"]);
    assert!(!ended.errors.contains("KV_rockets"), "only what is wrong is told: {}", ended.errors);
}

#[tokio::test]
async fn without_a_nats_server_up_tells_the_ways_to_get_one() {
    let empty = TempDir::new().unwrap();
    let path = empty.path().to_str().unwrap();
    let ended = rockets(&["up"]).env("PATH", path).env("ROCKETS_HTTP__ADDR", "127.0.0.1:0").ends().await;
    ended.fails(
        1,
        &[
            "error: broker.server: no nats-server (at least 2.14.6) is found",
            "`make run`",
            "https://nats.io/download",
            "ROCKETS_BROKER__SERVER=",
            "ROCKETS_NATS__URL=",
        ],
    );
    let other = env!("CARGO_BIN_EXE_rockets");
    let ended = rockets(&["up", "--broker-server", other]).env("ROCKETS_HTTP__ADDR", "127.0.0.1:0").ends().await;
    ended.fails(1, &[&format!("broker.server: {other} is "), "at least 2.14.6 is needed"]);
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_named() {
    let port = free_port();
    let url = format!("nats://user:secret@127.0.0.1:{port}");
    let ends = async |subcommand| {
        let run = rockets(&[subcommand]).env("ROCKETS_NATS__URL", &url).env("ROCKETS_HTTP__ADDR", "127.0.0.1:0");
        run.ends().await
    };
    let (track, init, up) = tokio::join!(ends("track"), ends("init"), ends("up"));
    for ended in [track, init, up] {
        ended.fails(1, &[&format!("error: no broker answers at nats://***@127.0.0.1:{port} (nats.url)"), "rockets up"]);
        assert!(!ended.errors.contains("secret"), "{}", ended.errors);
    }
    let ended = rockets(&["init"]).env("NATS_URL", "nats://user:secret@a b").ends().await;
    assert!(!ended.errors.contains("secret"), "{:?}", ended.wrong_settings());
}

/// A `nats-server` with these arguments, once it listens.
async fn server(arguments: &[&str]) -> (tokio::process::Child, String) {
    let port = free_port().to_string();
    let mut server = Command::new(server_program());
    server.args(["--addr", "127.0.0.1", "--port", &port]).args(arguments).kill_on_drop(true);
    let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let at = format!("127.0.0.1:{port}");
    eventually("the broker listens", async || tokio::net::TcpStream::connect(&at).await.ok()).await;
    (child, at)
}

#[tokio::test]
async fn a_broker_that_asks_who_we_are_is_told() {
    let stores = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [store, other_store] = stores.each_ref().map(|store| store.path().to_str().unwrap());
    let (_server, at) = server(&["-js", "--store_dir", store, "--user", "us", "--pass", "p@ss+word"]).await;
    let init = |login: &str| rockets(&["init"]).env("NATS_URL", &format!("nats://{login}{at}"));
    let ended = init("us:p%40ss+word@").ends().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for login in ["", "us:wrong-secret@", "token@"] {
        let started = Instant::now();
        let ended = init(login).ends().await;
        ended.fails(1, &["does not let us in", "nats.creds", "nats.url", "authorization violation"]);
        assert!(started.elapsed() < Duration::from_secs(15), "it is said at once: {:?}", started.elapsed());
        assert!(!ended.errors.contains("wrong-secret"), "{}", ended.errors);
    }
    let (_server, at) = server(&["-js", "--store_dir", other_store, "--auth", "token"]).await;
    let ended = rockets(&["init"]).env("NATS_URL", &format!("nats://token@{at}")).ends().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_broker_that_cannot_do_what_is_needed_is_told_so() {
    let (_server, at) = server(&[]).await;
    for subcommand in ["init", "track"] {
        let run = rockets(&[subcommand]).env("NATS_URL", &at).env("ROCKETS_HTTP__ADDR", "127.0.0.1:0");
        run.ends().await.fails(1, &["is JetStream on (`nats-server -js`)?"]);
    }
    let broker = Broker::start().await;
    let ended = rockets(&["init", "--stream-replicas", "3"]).env("NATS_URL", &broker.url()).ends().await;
    ended.fails(1, &["stream ROCKETS: ", "replicas > 1 not supported"]);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for subcommand in ["up", "track"] {
        let ended = rockets(&[subcommand, "--http-addr", &addr]).ends().await;
        ended.fails(1, &[&format!("error: http.addr: cannot listen on {addr}"), "ROCKETS_HTTP__ADDR"]);
    }
    let port = addr.rsplit(':').next().unwrap();
    let server = server_program();
    let path = std::env::var("PATH").unwrap();
    let ended = rockets(&["up", "--http-addr", "127.0.0.1:0", "--broker-port", port])
        .env("ROCKETS_BROKER__SERVER", server.to_str().unwrap())
        .env("PATH", &path)
        .ends()
        .await;
    ended.fails(1, &[&format!("broker.port: another program listens on 127.0.0.1:{port}"), "ROCKETS_BROKER__PORT"]);
}

#[tokio::test]
async fn sigterm_ends_every_role_well() {
    let broker = Broker::start().await;
    service::init(&broker).await;
    for arguments in [&["up"][..], &["ingest"], &["track"], &["query"], &["up", "--roles", "ingest,query"]] {
        let mut program = Program::of(arguments).broker(&broker).start();
        program.ready().await;
        assert_eq!(program.term().await.code(), Some(0), "{arguments:?}");
    }
}

#[tokio::test]
async fn shells_complete_it_and_man_shows_it() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = rockets(&["completions", shell]).ends().await;
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{shell}");
        assert!(SUBCOMMANDS.iter().all(|subcommand| ended.output.contains(subcommand)), "{shell}");
    }
    assert_eq!(rockets(&["completions", "cmd"]).ends().await.code, Some(2));
    let ended = rockets(&["man"]).ends().await;
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    for said in [".TH rockets", "ROCKETS UP", "ROCKETS DLQ REPLAY", "\\-\\-dry\\-run", "\\-\\-http\\-addr"] {
        assert!(ended.output.contains(said), "{said}");
    }
}

#[tokio::test]
async fn pages_of_listed_origins_may_call() {
    let broker = Broker::start().await;
    let mut program = Program::of(&["up", "--http-cors-origins", "https://a.example"]).broker(&broker).start();
    let client = program.ready().await;
    let asked = |method, origin: &str| client.request(method, "/rockets").header("origin", origin.to_owned());
    let of = |answer: &super::harness::client::Answer, name: &str| {
        answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    for (origin, expected) in [("https://a.example", Some("https://a.example".to_owned())), ("https://b.example", None)]
    {
        let answer = client.answer(asked(reqwest::Method::GET, origin)).await;
        assert_eq!((answer.status, of(&answer, "access-control-allow-origin")), (200, expected.clone()), "{origin}");
        let preflight = asked(reqwest::Method::OPTIONS, origin).header("access-control-request-method", "DELETE");
        let answer = client.answer(preflight).await;
        let status = if expected.is_some() { 204 } else { 405 };
        assert_eq!((answer.status, of(&answer, "access-control-allow-origin")), (status, expected), "{origin}");
    }
}
