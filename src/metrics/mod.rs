//! What a process counts of itself, in the form that Prometheus reads: one struct of handles for each role, each made from
//! the process's [`Metrics`] and handed to whoever counts. Nothing is global.
//!
//! [`ingest`], [`track`], [`query`] and [`http`] are the definitions: every name, label and meaning stands there, and in the
//! table of docs/operations.md, which a test compares. [`durations`] is the one histogram of times. [`process`] asks the
//! system, [`mod@text`] writes it all out.
//!
//! A label has few values, which are known beforehand, and each has a sample from the start: a rate misses what came first
//! otherwise. What is counted often is counted for a batch and added once. What takes a question to the broker is asked by
//! a role from time to time ([`crate::track::observe`], [`crate::query::observe`]), never for a message.
//!
//! Deliberately absent: labels of channels, of which there is no end, and whatever the broker's own exporter says of
//! streams and consumers.

pub mod durations;
pub mod http;
pub mod ingest;
mod process;
pub mod query;
#[cfg(test)]
mod tests;
mod text;
pub mod track;

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use http::HttpMetrics;
pub use ingest::IngestMetrics;
pub use query::QueryMetrics;
pub use text::CONTENT_TYPE;
pub use track::TrackMetrics;

/// A gauge of seconds.
pub type Seconds = Gauge<f64, AtomicU64>;
/// One label with its value.
type Label<V = &'static str> = [(&'static str, V); 1];

/// Everything that one process counts.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// The metrics of a process with these roles: of itself at first, and of each role once that asks for its handles.
    pub fn new(roles: &str) -> Self {
        let mut registry = Registry::default();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("roles", roles.to_owned())]);
        registry.register("rockets_build", "What runs here, always 1", build);
        process::register(&mut registry);
        Self(registry)
    }

    /// The handles of the ingress.
    pub fn ingest(&mut self) -> IngestMetrics {
        IngestMetrics::new(&mut self.0)
    }

    /// The handles of a tracker of so many partitions.
    pub fn track(&mut self, partitions: u16) -> TrackMetrics {
        TrackMetrics::new(&mut self.0, partitions)
    }

    /// The handles of the read side.
    pub fn query(&mut self) -> QueryMetrics {
        QueryMetrics::new(&mut self.0)
    }

    /// The handles of whoever serves HTTP.
    pub fn http(&mut self) -> HttpMetrics {
        HttpMetrics::new(&mut self.0)
    }

    /// All samples, as Prometheus reads them.
    pub fn text(&self) -> String {
        text::write(&self.0)
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn seconds(registry: &mut Registry, name: &str, help: &str) -> Seconds {
    let seconds = Seconds::default();
    registry.register(name, help, seconds.clone());
    seconds
}

/// A counter for each value of a label.
fn counters<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: [&'static str; N],
) -> [Counter; N] {
    let family = Family::<Label, Counter>::default();
    registry.register(name, help, family.clone());
    values.map(|value| family.get_or_create_owned(&[(label, value)]))
}
