//! What the read side counts: how large and how fresh its view is, the gaps in it, and who follows it.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Seconds, gauge, seconds};

/// The handles of the read side. Clones share what they count.
#[derive(Clone, Debug)]
pub struct QueryMetrics {
    /// Rockets in the view.
    pub rockets: Gauge,
    /// For how long the view has not been known to be what the bucket is.
    pub staleness: Seconds,
    /// Channels that are pending behind a gap.
    pub gaps: Gauge,
    /// Messages that are pending behind them.
    pub pending: Gauge,
    /// For how long the oldest of these gaps has been there.
    pub oldest_gap: Seconds,
    /// Readers of the live stream.
    pub live_readers: Gauge,
}

impl QueryMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let stale = "How long ago the view was last known to be what the bucket is";
        let oldest = "How long ago the first message was stored that is pending behind the oldest gap";
        Self {
            rockets: gauge(registry, "rockets_view_rockets", "Rockets in the view"),
            staleness: seconds(registry, "rockets_view_staleness_seconds", stale),
            gaps: gauge(registry, "rockets_gaps", "Channels that are pending behind a gap"),
            pending: gauge(registry, "rockets_pending_messages", "Numbers that are pending behind gaps"),
            oldest_gap: seconds(registry, "rockets_gap_oldest_seconds", oldest),
            live_readers: gauge(registry, "rockets_live_readers", "Readers of the live stream"),
        }
    }
}

/// Handles that nobody reads.
impl Default for QueryMetrics {
    fn default() -> Self {
        Self::new(&mut Registry::default())
    }
}
