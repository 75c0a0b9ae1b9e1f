//! Who may do what: every route with every kind of key, keys that come and go, signed messages, the operators' own address,
//! and what is written down of whoever did something.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, StatusCode};
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::client::Answer;
use super::harness::program::{Ended, Start};
use super::harness::{Broker, Client, Flight, Program, eventually};
use super::raw_http::Connection;

/// A file of keys of a test's own, and what is said to `rockets key` about it.
pub struct Keys {
    folder: TempDir,
}

impl Keys {
    pub fn new() -> Self {
        Self { folder: TempDir::with_prefix("rockets-e2e-keys-").unwrap() }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    fn set(&self, start: Start) -> Start {
        start.env("ROCKETS_AUTH__KEYS_FILE", self.file().to_str().unwrap())
    }

    async fn say(&self, arguments: &[&str]) -> Ended {
        self.set(Program::of(&[&["key"], arguments].concat())).ends().await
    }

    /// A new key, as its holder is given it.
    pub async fn key(&self, arguments: &[&str]) -> String {
        let ended = self.say(&[&["new", "somebody"], arguments].concat()).await;
        let said = ended.says(0);
        assert_eq!((said.lines().count(), ended.errors.as_str()), (1, ""), "{said}");
        said.trim_end().to_owned()
    }

    /// `rockets up` that asks for them.
    pub fn up(&self, broker: &Broker) -> Start {
        self.set(Program::of(&["up"]).broker(broker)).env("ROCKETS_AUTH__MODE", "required")
    }
}

fn id(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

async fn status(client: &Client, method: &str, path: &str, key: Option<&str>, body: &str) -> u16 {
    let request = client.request(Method::from_bytes(method.as_bytes()).unwrap(), path).body(body.to_owned());
    let request = key.into_iter().fold(request, |request, key| request.bearer_auth(key));
    request.send().await.unwrap().status().as_u16()
}

/// What becomes of who asks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// Whatever is answered then, it is about what was asked.
    In,
    Unknown,
    Forbidden,
}

use Verdict::{Forbidden as F, In, Unknown as U};

/// Of no key, a wrong one, one that has expired, a revoked one; of a key for `ingest` of this channel, and of another channel;
/// for `read`; for `operate`.
const OPEN: [Verdict; 8] = [In; 8];
const LOOKS: [Verdict; 8] = [U, U, U, U, F, F, In, In];
const CHANGES: [Verdict; 8] = [U, U, U, U, F, F, F, In];

/// Every route, with what becomes of each of them.
const ROUTES: [(&str, [Verdict; 8]); 22] = [
    ("POST /messages", [U, U, U, U, In, F, F, F]),
    ("GET /events/{event_id}", LOOKS),
    ("GET /rockets", LOOKS),
    ("GET /rockets/{channel}", LOOKS),
    ("GET /rockets/{channel}/history", LOOKS),
    ("GET /rockets/live", LOOKS),
    ("GET /gaps", LOOKS),
    ("GET /stats", LOOKS),
    ("POST /rockets/{channel}/skip", CHANGES),
    ("GET /dead-letters", LOOKS),
    ("GET /dead-letters/{id}", LOOKS),
    ("POST /dead-letters/{id}/replay", CHANGES),
    ("DELETE /dead-letters/{id}", CHANGES),
    ("GET /metrics", LOOKS),
    ("GET /livez", OPEN),
    ("GET /readyz", OPEN),
    ("GET /health", OPEN),
    ("GET /", OPEN),
    ("GET /page/{file}", OPEN),
    ("GET /openapi.json", OPEN),
    ("GET /docs", OPEN),
    ("GET /docs/{file}", OPEN),
];

#[tokio::test]
async fn every_route_lets_in_whom_the_table_says() {
    let (keys, broker, flight) = (Keys::new(), Broker::start().await, Flight::new());
    let expired = keys.key(&["--scope", "ingest,read,operate", "--all-channels", "--expires", "1ms"]).await;
    let revoked = keys.key(&["--scope", "ingest,read,operate", "--all-channels"]).await;
    keys.say(&["revoke", id(&revoked)]).await.says(0);
    let ingest = keys.key(&["--scope", "ingest", "--channel", &flight.channel]).await;
    let other = keys.key(&["--scope", "ingest", "--channel", &Flight::new().channel]).await;
    let read = keys.key(&["--scope", "read", "--all-channels"]).await;
    let operate = keys.key(&["--scope", "operate", "--all-channels"]).await;
    let wrong = format!("{ingest}x");
    let all =
        [None, Some(&wrong), Some(&expired), Some(&revoked), Some(&ingest), Some(&other), Some(&read), Some(&operate)];
    let (_program, client) = keys.up(&broker).start_and_ready().await;
    let document = client.get("/openapi.json").await.body;
    let of_path = |(path, item): (&String, &Value)| {
        let methods: Vec<_> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        methods.into_iter().map(|method| format!("{method} {path}")).collect::<Vec<_>>()
    };
    let described: Vec<_> = document["paths"].as_object().unwrap().iter().flat_map(of_path).collect();
    assert_eq!(described.len(), ROUTES.len());
    for route in described {
        let row = ROUTES.iter().find(|(known, _)| *known == route);
        let (_, expected) = row.unwrap_or_else(|| panic!("{route} is new: say in tests/e2e/keys.rs who may use it"));
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{channel}", &flight.channel).replace("{file}", "x");
        let path = path.replace("{id}", "1").replace("{event_id}", "1");
        let body = if path == "/messages" { flight.launched(1).to_string() } else { String::new() };
        let methods = if method == "GET" { &["GET", "HEAD"][..] } else { &[method] };
        for method in methods {
            for (at, key) in all.iter().enumerate() {
                let verdict = match status(&client, method, &path, key.map(String::as_str), &body).await {
                    401 => U,
                    403 => F,
                    _ => In,
                };
                assert_eq!(verdict, expected[at], "{method} {path} with the key at {at}");
            }
        }
    }
}

#[tokio::test]
async fn who_is_not_let_in_costs_no_body_and_learns_nothing() {
    let (keys, broker) = (Keys::new(), Broker::start().await);
    let expired = keys.key(&["--scope", "ingest", "--all-channels", "--expires", "1ms"]).await;
    let read = keys.key(&["--scope", "read"]).await;
    let (mut program, client) = keys.up(&broker).start_and_ready().await;
    let mut texts = Vec::new();
    for key in [None, Some("rkt_unknown_0123456789"), Some("nonsense"), Some(&expired)] {
        let request = client.request(Method::POST, "/messages");
        let answer = client.answer(key.into_iter().fold(request, |request, key| request.bearer_auth(key))).await;
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        texts.push(answer.error(401).to_owned());
    }
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:?}");
    let addr = program.addr().await.parse().unwrap();
    for (key, expected) in [("rkt_unknown_0", 401), (&*read, 403)] {
        let mut connection = Connection::open(addr).await;
        let head = format!(
            "POST /messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Length: 60000\r\n\r\n"
        );
        connection.send(head).await;
        assert_eq!(connection.reply().await.status, expected, "without the body");
    }
    // Neither is what is in no route, or in another method of it.
    assert_eq!(status(&client, "GET", "/nothing", None, "").await, 404);
    assert_eq!(status(&client, "PUT", "/messages", None, "").await, 405);
}

/// A browser asks before it sends a key, and has none then. The page of an origin that may call learns whether it was let in.
#[tokio::test]
async fn a_page_that_may_call_asks_without_a_key_and_calls_with_one() {
    let (keys, broker, origin) = (Keys::new(), Broker::start().await, "https://a.example");
    let key = keys.key(&["--scope", "operate"]).await;
    let start = keys.up(&broker).env("ROCKETS_HTTP__CORS_ORIGINS", origin);
    let (_program, client) = start.start_and_ready().await;
    let origin_of = |answer: &Answer| answer.headers["access-control-allow-origin"].to_str().unwrap().to_owned();
    let asks = async |method: &str, path: &str, from: &str| {
        let request = client.request(Method::OPTIONS, path).header("Origin", from);
        let request = request.header("Access-Control-Request-Method", method);
        client.answer(request.header("Access-Control-Request-Headers", "authorization,content-type")).await
    };
    for (method, path) in [("GET", "/rockets"), ("POST", "/messages"), ("DELETE", "/dead-letters/1"), ("GET", "/livez")]
    {
        let answer = asks(method, path, origin).await;
        assert_eq!((answer.status, origin_of(&answer)), (204, origin.to_owned()), "{method} {path}");
        let allowed = |header: &str| answer.headers[header].to_str().unwrap().to_owned();
        assert!(allowed("access-control-allow-methods").contains(method));
        assert!(allowed("access-control-allow-headers").contains("authorization"));
        let other = asks(method, path, "https://b.example").await;
        assert!(other.status >= 400 && !other.headers.contains_key("access-control-allow-origin"), "{other:?}");
    }
    for (key, expected) in [(None, 401), (Some(&key), 404)] {
        let request = client.request(Method::DELETE, "/dead-letters/1").header("Origin", origin);
        let answer = client.answer(key.into_iter().fold(request, |request, key| request.bearer_auth(key))).await;
        assert_eq!((answer.status, origin_of(&answer)), (expected, origin.to_owned()));
    }
}

#[tokio::test]
async fn keys_come_and_go_while_it_runs() {
    let (keys, broker) = (Keys::new(), Broker::start().await);
    let first = keys.key(&["--scope", "read"]).await;
    let (program, client) = keys.up(&broker).start_and_ready().await;
    let becomes = async |key: &str, expected: u16| {
        let look = async || (status(&client, "GET", "/stats", Some(key), "").await == expected).then_some(());
        eventually("the key counts as it should", look).await;
    };
    becomes(&first, 200).await;
    let second = keys.key(&["--scope", "operate"]).await;
    becomes(&second, 200).await;
    keys.say(&["revoke", id(&first)]).await.says(0);
    becomes(&first, 401).await;
    std::fs::set_permissions(keys.file(), Permissions::from_mode(0o644)).unwrap();
    let warned = async || program.log().contains("the keys cannot be read any more").then_some(());
    eventually("a warning", warned).await;
    becomes(&second, 200).await;
    let listed = keys.say(&["list", "--json"]).await;
    assert!(listed.fails(2).contains("others than its owner may open"), "{listed:?}");
    let start = keys.up(&broker).ends().await;
    assert!(start.fails(2).contains("auth.keys_file"), "{start:?}");
    let nowhere = Program::of(&["up"]).broker(&broker).env("ROCKETS_AUTH__MODE", "required").ends().await;
    assert!(nowhere.fails(2).contains("auth.keys_file"), "{nowhere:?}");
}

#[tokio::test]
async fn keys_are_listed_without_their_secrets() {
    let (keys, flight) = (Keys::new(), Flight::new());
    let bearer = keys.key(&["--scope", "ingest,read", "--channel", &flight.channel, "--rate", "5"]).await;
    let signing = keys.key(&["--scope", "ingest", "--all-channels", "--expires", "90d", "--sign"]).await;
    let (signing_id, secret) = signing.split_once(' ').unwrap();
    assert!(secret.starts_with("whsec_"), "{secret}");
    keys.say(&["revoke", signing_id]).await.says(0);
    let listed = keys.say(&["list", "--json"]).await;
    let rows = listed.rows();
    let expected = json!({
        "id": id(&bearer), "name": "somebody", "kind": "bearer", "scopes": ["ingest", "read"],
        "channels": [flight.channel], "expires": null, "revoked": false, "rate": 5, "new_channels": null,
    });
    assert_eq!(rows[0], expected);
    assert_eq!(
        (&rows[1]["id"], &rows[1]["channels"], &rows[1]["revoked"]),
        (&json!(signing_id), &json!(["*"]), &json!(true))
    );
    assert!(rows[1]["expires"].is_string());
    let table = keys.say(&["list"]).await;
    for secret in [secret, bearer.rsplit('_').next().unwrap()] {
        assert!(!listed.output.contains(secret) && !table.says(0).contains(secret));
    }
    let file = std::fs::read_to_string(keys.file()).unwrap();
    assert!(!file.contains(bearer.rsplit('_').next().unwrap()), "a digest is kept");
    assert!(keys.say(&["revoke", "nobody"]).await.fails(1).contains("no key has the id nobody"));
    let unnamed = Program::of(&["key", "list"]).ends().await;
    assert!(unnamed.fails(2).contains("--keys-file"), "{unnamed:?}");
    let elsewhere = keys.folder.path().join("other.json");
    let elsewhere = ["new", "a", "--scope", "read", "--keys-file", elsewhere.to_str().unwrap()];
    assert!(keys.say(&elsewhere).await.says(0).starts_with("rkt_"));
}

#[tokio::test]
async fn who_did_something_is_written_down_and_no_secret_is() {
    let (keys, broker, flight) = (Keys::new(), Broker::start().await, Flight::new());
    let sender = keys.key(&["--scope", "ingest", "--all-channels"]).await;
    let operator = keys.key(&["--scope", "operate"]).await;
    let (program, client) = keys.up(&broker).rust_log("trace").start_and_ready().await;
    for message in [flight.launched(1), flight.launched(2), flight.faster(5, 1)] {
        let sent = client.request(Method::POST, "/messages").bearer_auth(&sender).header("Rockets-Key", "forged");
        client.answer(sent.json(&message)).await.ingested();
    }
    let stored = broker.jetstream().await.get_stream("ROCKETS").await.unwrap().get_raw_message(1).await.unwrap();
    assert_eq!(stored.headers.get("Rockets-Key").unwrap().as_str(), id(&sender));
    let operate =
        |method, path: &str| client.request(method, path).bearer_auth(&operator).header("Request-Id", "by-hand");
    let dead = eventually("the dead letter", async || {
        let listed = client.answer(operate(Method::GET, "/dead-letters")).await;
        listed.body["data"][0]["id"].as_u64()
    })
    .await;
    let skip = operate(Method::POST, &format!("/rockets/{}/skip", flight.channel));
    let skipped = client.answer(skip.json(&json!({ "up_to": 4, "reason": "lost" }))).await.ingested();
    assert_eq!(client.answer(operate(Method::DELETE, &format!("/dead-letters/{dead}"))).await.status, 200);
    let said = async |what: &str| {
        let is_it = |line: &Value| line["message"] == "audit" && line["what"] == what;
        eventually("the line", async || program.log_lines().into_iter().find(|line| is_it(line))).await
    };
    let (skip, drop) = (said("skip").await, said("drop").await);
    for line in [&skip, &drop] {
        assert_eq!((&line["key"], &line["request_id"]), (&json!(id(&operator)), &json!("by-hand")), "{line}");
    }
    assert_eq!(skip["to"], flight.channel);
    assert_eq!(skip["before"], "waits for 3");
    assert_eq!(skip["after"], format!("skipped up to 4, as event {skipped}: lost"));
    assert_eq!(drop["before"], format!("refused: number 2 of {}", flight.channel));
    for key in [&sender, &operator] {
        assert!(!program.log().contains(key.rsplit('_').next().unwrap()), "the log has a key");
    }
}

#[tokio::test]
async fn operators_have_an_address_of_their_own() {
    let (keys, broker, flight) = (Keys::new(), Broker::start().await, Flight::new());
    let key = keys.key(&["--scope", "ingest,operate", "--all-channels"]).await;
    let start = keys.up(&broker).env("ROCKETS_HTTP__ADMIN_ADDR", "127.0.0.1:0");
    let (program, public) = start.start_and_ready().await;
    let line = |line: &Value| (line["message"] == "serving HTTP for operators").then(|| line["addr"].clone());
    let addr = program.log_lines().iter().find_map(line).unwrap();
    let operators = Client::new(&format!("http://{}", addr.as_str().unwrap()));
    let skip = format!("/rockets/{}/skip", flight.channel);
    for (method, path, expected) in [
        ("POST", skip.as_str(), [404, 400]),
        ("POST", "/dead-letters/1/replay", [404, 404]),
        ("DELETE", "/dead-letters/1", [404, 404]),
        ("GET", "/metrics", [404, 200]),
        ("GET", "/dead-letters", [200, 200]),
        ("GET", "/rockets", [200, 200]),
        ("GET", "/readyz", [200, 200]),
    ] {
        let found = [
            status(&public, method, path, Some(&key), "").await,
            status(&operators, method, path, Some(&key), "").await,
        ];
        assert_eq!(found, expected, "{method} {path}");
    }
    let answer = public.answer(public.request(Method::DELETE, "/dead-letters/1").bearer_auth(&key)).await;
    assert_eq!(answer.error(404), "path not found");
    let answer = operators.answer(operators.request(Method::DELETE, "/dead-letters/1").bearer_auth(&key)).await;
    assert_eq!(answer.error(404), "dead letter not found");
    let metrics = operators.request(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(metrics.status(), StatusCode::OK, "whoever reaches this address may read it");
    assert_eq!(status(&operators, "POST", &skip, None, "").await, 401);
}

/// A message as Standard Webhooks has it signed.
fn signed(client: &Client, key: &str, body: &str, late: i64) -> reqwest::RequestBuilder {
    let (id, secret) = key.split_once(' ').unwrap();
    let secret = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 - late;
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), format!("msg_1.{now}.{body}").as_bytes());
    let headers = [
        ("Rockets-Key", id.to_owned()),
        ("webhook-id", "msg_1".to_owned()),
        ("webhook-timestamp", now.to_string()),
        ("webhook-signature", format!("v1,AAAA v1,{}", BASE64_STANDARD.encode(signature))),
    ];
    let request = client.request(Method::POST, "/messages").body(body.to_owned());
    headers.into_iter().fold(request, |request, (name, value)| request.header(name, value))
}

#[tokio::test]
async fn a_signed_message_is_its_sender_s() {
    let (keys, broker, flight) = (Keys::new(), Broker::start().await, Flight::new());
    let key = keys.key(&["--scope", "ingest", "--channel", &flight.channel, "--sign"]).await;
    let other = keys.key(&["--scope", "ingest", "--all-channels", "--sign"]).await;
    let (_program, client) = keys.up(&broker).start_and_ready().await;
    let body = flight.launched(1).to_string();
    let is = async |request: reqwest::RequestBuilder, expected: u16| {
        assert_eq!(client.answer(request).await.status, expected);
    };
    is(signed(&client, &key, &body, 400), 401).await;
    is(signed(&client, &key, &body, -400), 401).await;
    is(signed(&client, &key, &body, 0).body(format!("{body} ")), 401).await;
    is(signed(&client, &key, &body, 0).body(""), 401).await;
    let secret_of_other = format!("{} {}", key.split(' ').next().unwrap(), other.split(' ').nth(1).unwrap());
    is(signed(&client, &secret_of_other, &body, 0), 401).await;
    is(signed(&client, &key, &Flight::new().launched(1).to_string(), 0), 403).await;
    is(client.request(Method::GET, "/rockets").header("Rockets-Key", "x"), 401).await;
    client.answer(signed(&client, &key, &body, 0)).await.ingested();
    let stored = broker.jetstream().await.get_stream("ROCKETS").await.unwrap().get_raw_message(1).await.unwrap();
    assert_eq!(stored.headers.get("Rockets-Key").unwrap().as_str(), key.split(' ').next().unwrap());
    assert_eq!(stored.payload, body.as_bytes());
}

#[tokio::test]
async fn the_load_generator_has_a_key() {
    let (keys, broker) = (Keys::new(), Broker::start().await);
    let key = keys.key(&["--scope", "ingest,operate", "--all-channels"]).await;
    let (_program, client) = keys.up(&broker).start_and_ready().await;
    let (url, base) = (client.url("/messages"), client.base().to_owned());
    let launch = ["launch", &url, "--max-messages", "200", "--lost", "0.1", "--verify", &base];
    Program::of(&launch).env("ROCKETS_KEY", &key).ends().await.says(0);
    let launch = [&launch[..], &["--seed", "5", "--key", &key]].concat();
    Program::of(&launch).ends().await.says(0);
    // Nobody takes it for a setting.
    Program::of(&["key", "list", "--keys-file", keys.file().to_str().unwrap()])
        .env("ROCKETS_KEY", &key)
        .ends()
        .await
        .says(0);
}

#[tokio::test]
async fn who_is_over_the_rate_waits_and_others_do_not() {
    let (keys, broker, flight) = (Keys::new(), Broker::start().await, Flight::new());
    let slow = keys.key(&["--scope", "ingest", "--all-channels", "--rate", "1"]).await;
    let other = keys.key(&["--scope", "ingest", "--all-channels"]).await;
    let (_program, client) = keys.up(&broker).start_and_ready().await;
    let send = async |key: &str| {
        let request = client.request(Method::POST, "/messages").bearer_auth(key);
        client.answer(request.json(&flight.launched(1))).await
    };
    let refused = eventually("a refusal", async || Some(send(&slow).await).filter(|answer| answer.status == 429)).await;
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.headers["ratelimit"], r#""messages";r=0;t=1"#);
    assert_eq!(refused.headers["ratelimit-policy"], r#""messages";q=1;w=1"#);
    assert_eq!(send(&other).await.status, 200);
    eventually("a turn", async || (send(&slow).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn of_a_batch_each_message_is_let_in_for_itself() {
    let (keys, broker, flight) = (Keys::new(), Broker::start().await, Flight::new());
    let one = keys.key(&["--scope", "ingest", "--channel", &flight.channel]).await;
    let slow = keys.key(&["--scope", "ingest", "--all-channels", "--rate", "3"]).await;
    let (_program, client) = keys.up(&broker).start_and_ready().await;
    let send = async |key: &str, batch: &[Value]| {
        client.answer(client.request(Method::POST, "/messages").bearer_auth(key).json(&batch)).await
    };
    let statuses = |answer: &Answer| {
        let results = answer.body["data"]["results"].as_array().unwrap().clone();
        results.into_iter().map(|result| result["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let answer = send(&one, &[flight.launched(1), Flight::new().launched(1), flight.faster(2, 7)]).await;
    assert_eq!((answer.status, statuses(&answer)), (207, ["ingested", "rejected", "ingested"].map(Into::into).into()));
    assert_eq!(answer.body["data"]["results"][1]["error"], "metadata.channel: this key may not write it");
    let answer = send(&slow, &Flight::new().climb(40)).await;
    let said = statuses(&answer);
    assert_eq!((answer.status, said[0].as_str(), said[39].as_str()), (207, "ingested", "unavailable"));
    let error = &answer.body["data"]["results"][39]["error"];
    assert_eq!(error, "this key is over its rate of messages");
}

#[tokio::test]
async fn who_signs_has_a_rate_and_nobody_else_takes_its_turns() {
    let (keys, broker) = (Keys::new(), Broker::start().await);
    let key = keys.key(&["--scope", "ingest", "--all-channels", "--rate", "1", "--sign"]).await;
    let (_program, client) = keys.up(&broker).start_and_ready().await;
    let body = Flight::new().launched(1).to_string();
    let send = async || client.answer(signed(&client, &key, &body, 0)).await;
    for _ in 0..3 {
        assert_eq!(client.answer(signed(&client, &key, &body, 0).body("forged")).await.status, 401);
    }
    assert_eq!(send().await.status, 200);
    let refused = eventually("a refusal", async || Some(send().await).filter(|answer| answer.status == 429)).await;
    assert_eq!(refused.headers["ratelimit-policy"], r#""messages";q=1;w=1"#);
}

#[tokio::test]
async fn a_key_s_new_channels_are_bounded_and_known_ones_are_not() {
    let (keys, broker) = (Keys::new(), Broker::start().await);
    let key = keys.key(&["--scope", "ingest", "--all-channels", "--new-channels", "2"]).await;
    let (_program, client) = keys.up(&broker).start_and_ready().await;
    let send = async |message: &Value| {
        client.answer(client.request(Method::POST, "/messages").bearer_auth(&key).json(message)).await
    };
    let flights = [(); 3].map(|()| Flight::new());
    assert_eq!(send(&flights[0].launched(1)).await.status, 200);
    assert_eq!(send(&flights[1].launched(1)).await.status, 200);
    let refused = send(&flights[2].launched(1)).await;
    assert!(refused.error(429).starts_with("metadata.channel: "), "{refused:?}");
    assert_eq!(refused.headers["ratelimit-policy"], r#""new-channels";q=2;w=60"#);
    assert_eq!(send(&flights[0].faster(2, 1)).await.status, 200);
}

#[tokio::test]
async fn channels_in_all_and_what_waits_of_one_are_bounded() {
    let broker = Broker::start().await;
    let start = Program::of(&["up"]).broker(&broker).env("ROCKETS_INGEST__CHANNELS_MAX", "2");
    let (_program, client) = start.env("ROCKETS_INGEST__PENDING_MAX", "3").start_and_ready().await;
    let [flight, other] = [(); 2].map(|()| Flight::new());
    client.settled(client.ingest(&flight.launched(1)).await).await;
    client.settled(client.ingest(&other.launched(1)).await).await;
    let new = async || Some(client.post(&Flight::new().launched(1)).await).filter(|answer| answer.status == 429);
    let refused = eventually("one channel too many", new).await;
    assert!(
        refused.error(429).contains("as many channels as there may be") && refused.headers.contains_key("retry-after")
    );
    for number in 3..=5 {
        client.ingest(&flight.faster(number, 1)).await;
    }
    let waits = async || (client.rocket(&flight.channel).await?["pendingMessages"] == 3).then_some(());
    eventually("three that wait", waits).await;
    let mut number = 5;
    let more = async || {
        number += 1;
        Some(client.post(&flight.faster(number, 1)).await).filter(|answer| answer.status == 429)
    };
    let refused = eventually("one too many that waits", more).await;
    assert!(refused.error(429).contains("wait for an earlier one"), "{refused:?}");
    client.ingest(&flight.faster(2, 1)).await;
    let well = async || (client.post(&flight.faster(number, 1)).await.status == 200).then_some(());
    eventually("the channel goes on", well).await;
}
