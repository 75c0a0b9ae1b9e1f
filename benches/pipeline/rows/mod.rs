//! The rows of the table: each measures ours and a partner, side by side.

mod batches;
mod drain;
mod gap;
mod group;
mod memory;
mod million;
mod postgres;
mod posts;
mod processor;
mod reading;
mod reporting;
mod starting;
mod under_load;
mod visible;
mod whole;

use futures_util::future::LocalBoxFuture;

use crate::bench::Bench;
use crate::figures::Figures;

/// A row of the table, which may have several lines.
pub struct Row {
    pub name: &'static str,
    /// What it measures.
    pub what: &'static str,
    /// About how long that takes.
    pub minutes: f32,
    /// Only measured where it is named.
    pub is_on_request: bool,
    pub measure: Measure,
}

/// Measures, and adds lines to the figures.
type Measure = for<'a> fn(Bench, &'a mut Figures) -> LocalBoxFuture<'a, anyhow::Result<()>>;

const fn row(name: &'static str, minutes: f32, what: &'static str, measure: Measure) -> Row {
    Row { name, what, minutes, is_on_request: false, measure }
}

/// The rows, in the table's order.
pub static ROWS: [Row; 16] = [
    row("P1", 1.0, "single messages to the ingress alone, unsynced, of a POST that does nothing", |bench, figures| {
        Box::pin(posts::alone(bench, figures))
    }),
    row("P1b", 1.0, "the same to `rockets up`", |bench, figures| Box::pin(posts::whole(bench, figures))),
    row("P2", 0.5, "a new connection for each message, of the same", |bench, figures| {
        Box::pin(posts::new_connections(bench, figures))
    }),
    row("P2b", 2.0, "batches over 8 connections, of bare publishes and of bare atomic batches", |bench, figures| {
        Box::pin(batches::measure(bench, figures))
    }),
    row("P2c", 1.0, "single messages, synced, of a naive POST that publishes and answers", |bench, figures| {
        Box::pin(group::measure(bench, figures))
    }),
    row("P3", 9.0, "messages that waited to state, of consuming and acknowledging them", |bench, figures| {
        Box::pin(drain::measure(bench, figures))
    }),
    row("P4", 1.0, "from an answered POST to its effect, of publish, put, watch", |bench, figures| {
        Box::pin(visible::measure(bench, figures))
    }),
    row(
        "P5",
        1.0,
        "messages to state while 256 connections send, synced, of single synced writes",
        |bench, figures| Box::pin(whole::measure(bench, figures)),
    ),
    row("P6", 2.0, "GET of a rocket, of a GET that does nothing; a sorted page of many, of few", |bench, figures| {
        Box::pin(reading::measure(bench, figures))
    }),
    row("P7", 8.0, "processor time with many rockets, of few; of many trackers, of one", |bench, figures| {
        Box::pin(processor::measure(bench, figures))
    }),
    row("P8", 3.0, "messages behind a gap to state, of as many without a gap", |bench, figures| {
        Box::pin(gap::measure(bench, figures))
    }),
    row("P9", 5.0, "memory of each role", |bench, figures| Box::pin(memory::measure(bench, figures))),
    row("P10", 7.0, "latency at half of the most, while other work is done, of quiet", |bench, figures| {
        Box::pin(under_load::measure(bench, figures))
    }),
    row("P11", 2.0, "from start to ready with many rockets, of only reading the bucket", |bench, figures| {
        Box::pin(starting::measure(bench, figures))
    }),
    row("S1", 5.0, "the whole, synced, of the same contract over PostgreSQL", |bench, figures| {
        Box::pin(postgres::measure(bench, figures))
    }),
    Row {
        is_on_request: true,
        ..row(
            "reporting",
            3.0,
            "messages to state, of the same without reporting what became of each",
            |bench, figures| Box::pin(reporting::measure(bench, figures)),
        )
    },
];
