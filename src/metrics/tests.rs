//! What Prometheus reads is what the documentation, the alerts and the dashboard say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::*;

/// Everything that a process with all roles may say, each family with at least one sample.
fn all() -> String {
    let mut metrics = Metrics::new("ingest,track,query");
    let (ingest, track, _query, http) = (metrics.ingest(), metrics.track(2), metrics.query(), metrics.http());
    ingest.know_fields(&["body"]);
    track.stores.know(&[1], &["refused"]);
    track.partitions.lead(1, true);
    track.partitions.backlog(1, 7, 1.5);
    http.know("rockets/:");
    metrics.text()
}

/// A metric as its samples show it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    help: String,
    kind: String,
    labels: BTreeSet<String>,
    samples: usize,
}

/// The name of a sample, and of its labels those that are not of a histogram's making.
fn sample(line: &str) -> (&str, Vec<String>) {
    let (series, _) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let names = labels.trim_end_matches('}').split("\",").filter_map(|label| Some(label.split_once('=')?.0));
    (name, names.filter(|name| *name != "le").map(str::to_owned).collect())
}

fn shown(text: &str) -> BTreeMap<String, Shown> {
    let mut all: BTreeMap<String, Shown> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            let before = all.insert(name.to_owned(), Shown { help: help.to_owned(), ..Shown::default() });
            assert_eq!(before, None, "{name} is there twice");
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            all.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let (name, labels) = sample(line);
            let of_histogram = || name.rsplit_once('_').map(|(name, _)| name).filter(|name| all.contains_key(*name));
            let name = if all.contains_key(name) { name } else { of_histogram().unwrap() }.to_owned();
            let shown = all.get_mut(&name).unwrap();
            shown.samples += 1;
            shown.labels.extend(labels);
        }
    }
    all
}

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Elsewhere the system says nothing of the process.
#[cfg(target_os = "linux")]
#[test]
fn the_documented_table_is_what_is_shown() {
    let rows = shown(&all()).into_iter().map(|(name, Shown { help, kind, labels, .. })| {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {kind} | {} | {} |\n", labels.join(", "), help.trim_end_matches('.'))
    });
    let table = rows.collect::<String>();
    assert!(file("docs/operations.md").contains(&table), "the table of docs/operations.md should be\n{table}");
}

#[test]
fn every_metric_has_a_sample_from_the_start() {
    let mut metrics = Metrics::new("ingest");
    let _ = (metrics.ingest(), metrics.track(16), metrics.query(), metrics.http());
    // Which values these have is the roles' to say, and what has no partition has no lag.
    let later = ["rockets_ingest_rejected_total", "rockets_state_conflicts_total", "rockets_dead_letters_total"];
    let later = [&later[..], &["rockets_partition_lag_messages", "rockets_partition_oldest_seconds"]].concat();
    for (name, shown) in shown(&metrics.text()) {
        assert!(name.starts_with("rockets_") || name.starts_with("process_"), "{name}");
        assert!(shown.samples > 0 || later.contains(&&*name), "{name} has no sample");
        assert!(!shown.labels.contains("channel"), "{name}");
    }
}

#[test]
fn a_partition_that_is_led_no_more_says_nothing_of_its_lag() {
    let mut metrics = Metrics::new("track");
    let track = metrics.track(1);
    track.partitions.lead(0, true);
    track.partitions.backlog(0, 7, 1.5);
    assert!(metrics.text().contains("rockets_partition_lag_messages{partition=\"0\"} 7\n"));
    track.partitions.lead(0, false);
    let text = metrics.text();
    assert!(!text.contains("rockets_partition_lag_messages{") && !text.contains("rockets_partition_oldest_seconds{"));
    assert!(text.contains("rockets_partition_led{partition=\"0\"} 0\n"));
}

/// The names of this project's metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("rockets_") || word.starts_with("process_")).map(str::to_owned).collect()
}

#[test]
fn what_alerts_and_dashboard_name_is_there() {
    let known = shown(&all());
    let is_known = |name: &String| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().filter_map(|suffix| name.strip_suffix(suffix));
        known.contains_key(name) || of_histogram.into_iter().any(|name| known.contains_key(name))
    };
    for path in ["deploy/prometheus/alerts.yml", "deploy/grafana/dashboards/rockets.json"] {
        let named = named(&file(path));
        assert!(named.len() > 5, "{path} names too little: {named:?}");
        let unknown: Vec<_> = named.iter().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}");
    }
}
