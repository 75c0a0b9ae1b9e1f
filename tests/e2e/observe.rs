//! The dashboard and the alerts, as those who run the service have them: against a real Prometheus that scrapes it under
//! load. What Grafana makes of the dashboard cannot be seen here; what it asks for can.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::harness::load::{is_verified, launch};
use super::harness::prometheus::{Prometheus, promtool};
use super::harness::{Client, Flight, TestService, eventually};

/// Messages of the load: some are pending for a while, some are refused, some are there twice.
const MESSAGES: u64 = 3_000;

fn dashboard() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/dashboards/rockets.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter()
}

/// An expression as Grafana would ask it, of all processes.
fn expression(target: &Value) -> String {
    let asked = target["expr"].as_str().unwrap();
    let asked = asked.replace("$__rate_interval", "1m").replace("$job", "rockets").replace("$instance", ".*");
    assert!(!asked.contains('$'), "{asked}");
    asked
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    assert_eq!((&dashboard["uid"], &dashboard["editable"]), (&"rockets-service".into(), &false.into()));
    let ids: BTreeSet<_> = panels(&dashboard).map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels(&dashboard).count(), "two panels have one id");
    for panel in panels(&dashboard).filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 20), "{title} says not what it shows");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let variable = |name: &str| {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        variables.iter().find(|variable| variable["name"] == name).unwrap()["type"].clone()
    };
    assert_eq!(["datasource", "job", "instance"].map(variable), ["datasource", "query", "query"]);
    let first_row: Vec<_> =
        panels(&dashboard).skip(1).map_while(|panel| (panel["type"] == "stat").then_some(())).collect();
    assert_eq!((&dashboard["panels"][0]["title"], first_row.len()), (&"Is it well?".into(), 4));
}

#[tokio::test]
async fn no_panel_is_empty_and_no_alert_is_wrong() {
    let mut service = TestService::split().await;
    let mut addresses = Vec::new();
    for program in &mut service.programs {
        addresses.push(program.addr().await);
    }
    let Some(prometheus) = Prometheus::start(&addresses, "every panel against Prometheus").await else { return };
    is_verified(launch(&service.ingest, &service.query, MESSAGES)).await;
    // A quantile of what happened in the last minute is nothing where nothing happened.
    tokio::select! {
        () = goes_on(&service.ingest) => unreachable!("it goes on"),
        () = no_panel_is_empty(&prometheus) => {}
    }
    let targets = prometheus.get("targets", &[("state", "active")]).await;
    let healths: Vec<_> = targets["activeTargets"].as_array().unwrap().iter().map(|target| &target["health"]).collect();
    assert_eq!(healths, ["up"; 3]);
    let rules = prometheus.get("rules", &[]).await;
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 5 && rules.iter().all(|rule| rule["health"] == "ok"), "{rules:?}");
    // What was counted by the process is what Prometheus has: a name that changes on its way would show.
    let applied = prometheus.values("sum(rockets_track_messages_total{outcome=\"applied\"})").await;
    assert!(applied[0] > 1_000.0, "{applied:?}");
}

/// Sends messages for ever, each second one out of order.
async fn goes_on(client: &Client) {
    let flight = Flight::new();
    client.ingest(&flight.launched(1)).await;
    for pair in 1.. {
        client.ingest(&flight.faster(2 * pair + 1, 1)).await;
        client.ingest(&flight.faster(2 * pair, 1)).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn no_panel_is_empty(prometheus: &Prometheus) {
    let dashboard = dashboard();
    for panel in panels(&dashboard).filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            let expression = expression(target);
            eventually(&format!("{} has a value: {expression}", panel["title"]), async || {
                let values = prometheus.values(&expression).await;
                values.iter().any(|value| value.is_finite()).then_some(())
            })
            .await;
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        // It is empty where nothing has changed, and an error where it is wrong.
        prometheus.values(&expression(annotation)).await;
    }
}

#[test]
fn alerts_fire_when_they_should() {
    let files = ["deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml"];
    for arguments in [["check", "rules", files[0]], ["test", "rules", files[1]]] {
        let Some(checked) = promtool(&arguments, "", "promtool, rules") else { return };
        let said = [checked.stdout, checked.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(checked.status.success(), "{said}");
    }
}

#[test]
fn the_scrape_configuration_is_right() {
    let arguments = ["check", "config", "deploy/prometheus/prometheus.yml"];
    let Some(checked) = promtool(&arguments, "", "promtool check config") else { return };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

/// Needs the command and no engine behind it.
#[test]
fn the_compose_file_has_the_profile() {
    let commands = [&["docker", "compose"][..], &["docker-compose"]];
    let Some(command) = commands.into_iter().find(|command| answers(command)) else {
        return writeln!(&mut std::io::stderr(), "SKIPPED the compose file: there is no docker compose").unwrap();
    };
    let arguments = ["--profile", "observe", "config", "--services"];
    let run =
        Command::new(command[0]).args(&command[1..]).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let found = run.unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let services = String::from_utf8(found.stdout).unwrap();
    for service in ["api", "tracker", "prometheus", "grafana"] {
        assert!(services.lines().any(|line| line == service), "{service} is not in {services}");
    }
}

fn answers(command: &[&str]) -> bool {
    Command::new(command[0]).args(&command[1..]).arg("version").output().is_ok_and(|answer| answer.status.success())
}

/// Each alert says where it is explained, and there it is.
#[test]
fn every_alert_is_explained_and_tested() {
    let file = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (alerts, tests) = (file("deploy/prometheus/alerts.yml"), file("deploy/prometheus/alerts_test.yml"));
    let operations = file("docs/operations.md");
    let rules: Vec<_> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 5, "{alerts}");
    for rule in rules {
        let name = rule.lines().next().unwrap();
        for part in ["for: ", "severity: ", "summary: ", "description: "] {
            assert!(rule.contains(part), "{name} has no {part}");
        }
        assert!(rule.contains(&format!("runbook: docs/operations.md#{}\n", name.to_lowercase())), "{name}");
        assert!(operations.contains(&format!("\n### {name}\n")), "docs/operations.md does not explain {name}");
        let of_alert: Vec<_> =
            tests.split("- name: ").filter(|test| test.contains(&format!("alertname: {name}\n"))).collect();
        let fires = of_alert.iter().filter(|test| test.contains("- exp_labels:")).count();
        let absent = of_alert.iter().filter(|test| test.contains("input_series: []")).count();
        assert!(fires > 0 && absent > 0 && of_alert.len() > 2, "{name}: {fires} {absent} of {}", of_alert.len());
    }
}
