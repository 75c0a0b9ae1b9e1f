//! The description of the API is true: it has the routes that there are, and what it says of them is tried by schemathesis,
//! which makes requests of it, right and wrong ones (`tests/e2e/openapi`).
//!
//! That runs where `.venv` is there (`tests/e2e/get-nats-py`); elsewhere it is skipped, except in continuous integration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use super::contract_service::Service;
use super::harness::judge::{judged, skipped};
use super::raw_http::{get, ingest, launch, message, new_channel, request};

type Methods = BTreeMap<String, BTreeSet<String>>;

/// The methods of each path, as the document has them.
async fn described(service: &Service) -> Methods {
    let document: Value = serde_json::from_slice(&get(service.addr(), "/openapi.json").await.body).unwrap();
    assert_eq!(document["openapi"], "3.2.0");
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = |path: &Value| path.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
    paths.map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// The pattern of a path, as the metrics name it.
fn pattern(path: &str) -> String {
    let segment = |segment: &'_ str| if segment.starts_with('{') { ":".to_owned() } else { segment.to_owned() };
    path.trim_start_matches('/').split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn it_has_the_routes_that_there_are() {
    let service = Service::start().await;
    let described = described(&service).await;
    let metrics = String::from_utf8(get(service.addr(), "/metrics").await.body).unwrap();
    let requests = metrics.lines().filter(|line| line.starts_with("rockets_http_requests_total{"));
    let routes = requests.filter_map(|line| line.split("route=\"").nth(1)?.split('"').next());
    let routes: BTreeSet<_> = routes.filter(|route| *route != "none").map(str::to_owned).collect();
    assert_eq!(described.keys().map(|path| pattern(path)).collect::<BTreeSet<_>>(), routes);
}

#[tokio::test]
async fn it_has_the_methods_that_there_are() {
    let service = Service::start().await;
    for (path, methods) in described(&service).await {
        let reply = request(service.addr(), "PATCH", &path.replace(['{', '}'], "x"), "", "").await;
        let allowed = reply.header("allow").unwrap_or_else(|| panic!("{path} says which methods it has"));
        let allowed: BTreeSet<_> = allowed.split(", ").filter(|method| *method != "HEAD").map(str::to_owned).collect();
        assert_eq!((reply.status, allowed), (405, methods), "{path}");
    }
}

#[tokio::test]
async fn people_read_it() {
    let service = Service::start().await;
    let moved = get(service.addr(), "/docs").await;
    assert_eq!((moved.status, moved.header("location")), (308, Some("docs/")));
    let index = get(service.addr(), "/docs/").await;
    assert_eq!((index.status, index.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let initializer = get(service.addr(), "/docs/swagger-initializer.js").await;
    assert!(String::from_utf8(initializer.body).unwrap().contains("../openapi.json"));
    assert_eq!(get(service.addr(), "/docs/nothing.js").await.error(404), "path not found");
}

#[tokio::test]
async fn the_service_does_what_it_says() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schemathesis = project.join(".venv/bin/schemathesis");
    if !schemathesis.is_file() {
        let reason = "there is no .venv with schemathesis; tests/e2e/get-nats-py makes it, where there is a python3";
        return skipped("described", reason);
    }
    let (service, folder) = (Service::start().await, tempfile::tempdir().unwrap());
    let settings = project.join("tests/e2e/openapi");
    let mut schemathesis = Command::new(schemathesis);
    schemathesis
        .arg("--config-file")
        .arg(settings.join("schemathesis.toml"))
        .args(["run", &format!("http://{}/openapi.json", service.addr()), "--seed", "17", "--no-color"])
        .env("KNOWN_CHANNEL", a_rocket_with_everything(&service).await)
        .env("PYTHONPATH", settings)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path());
    let said = judged(&mut schemathesis, Duration::from_secs(300)).await;
    let operations: usize = described(&service).await.values().map(BTreeSet::len).sum();
    // All but the stream, and the document itself.
    let tested = format!("Tested: {}", operations - 2);
    assert!(said.contains(&tested), "{tested} {said}");
}

/// A rocket with a history, a gap and dead letters.
async fn a_rocket_with_everything(service: &Service) -> String {
    let (channel, addr) = (new_channel(), service.addr());
    ingest(addr, launch(&channel)).await;
    ingest(addr, launch(&channel).replacen("\"messageNumber\":1", "\"messageNumber\":2", 1)).await;
    ingest(addr, message(&channel, 5, "RocketSpeedIncreased", &json!({ "by": 1 }))).await;
    service.publish(&channel, "{}").await;
    service.until(&channel, |rocket| rocket["pendingMessages"] == 1).await;
    channel
}
