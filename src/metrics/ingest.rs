//! What the ingress counts: messages by what became of them, what was wrong with those that it refused, and how long the
//! broker takes to store one.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::durations::Durations;
use super::{Label, counters};

/// The handles of the ingress. Clones share what they count.
#[derive(Clone, Debug)]
pub struct IngestMetrics {
    /// Messages that were stored.
    pub ingested: Counter,
    /// Messages that had been stored before.
    pub duplicate: Counter,
    /// Messages that the broker did not take.
    pub unavailable: Counter,
    /// How long the broker took.
    pub publishing: Durations,
    rejected: Counter,
    rejected_by: Family<Label, Counter>,
}

impl IngestMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let [ingested, duplicate, rejected, unavailable] = counters(
            registry,
            "rockets_ingest_messages",
            "Messages that came to the ingress, by what became of them",
            "result",
            ["ingested", "duplicate", "rejected", "unavailable"],
        );
        let (rejected_by, publishing) = (Family::default(), Durations::default());
        let name = "rockets_ingest_rejected";
        registry.register(name, "Messages that were rejected, by the field that was wrong", rejected_by.clone());
        let name = "rockets_publish_duration_seconds";
        registry.register(
            name,
            "How long it took to store a message at the broker, or to give it up",
            publishing.clone(),
        );
        Self { ingested, duplicate, unavailable, publishing, rejected, rejected_by }
    }

    /// Has a sample for each of these fields.
    pub fn know_fields(&self, fields: &[&'static str]) {
        fields.iter().for_each(|field| drop(self.rejected_by.get_or_create_owned(&[("field", *field)])));
    }

    /// Counts a message that was rejected because of this field.
    pub fn reject(&self, field: &'static str) {
        self.rejected.inc();
        self.rejected_by.get_or_create_owned(&[("field", field)]).inc();
    }
}

/// Handles that nobody reads.
impl Default for IngestMetrics {
    fn default() -> Self {
        Self::new(&mut Registry::default())
    }
}
