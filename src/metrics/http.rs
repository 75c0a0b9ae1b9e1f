//! What HTTP counts: requests by the pattern of their route, never by their path, which is the client's to choose.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Label;
use super::durations::Durations;

/// The route of a request that no route has.
pub const NO_ROUTE: &str = "none";
/// The statuses of which each route has a sample from the start.
const STATUSES: [u16; 5] = [200, 400, 404, 500, 503];

/// The handles of whoever serves HTTP. Clones share what they count.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<RouteStatus, Counter>,
    durations: Family<Label, Durations>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteStatus {
    route: &'static str,
    status: u16,
}

impl HttpMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (requests, durations) = (Family::default(), Family::default());
        let help = "Requests that were answered, by the pattern of their route and the status";
        registry.register("rockets_http_requests", help, requests.clone());
        let help = "How long it took to answer a request, by the pattern of its route";
        registry.register("rockets_http_request_duration_seconds", help, durations.clone());
        let metrics = Self { requests, durations };
        metrics.know(NO_ROUTE);
        metrics
    }

    /// Has samples of a route.
    pub fn know(&self, route: &'static str) {
        drop(self.durations.get_or_create_owned(&[("route", route)]));
        for status in STATUSES {
            drop(self.requests.get_or_create_owned(&RouteStatus { route, status }));
        }
    }

    /// Counts a request that was answered.
    pub fn answered(&self, route: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&RouteStatus { route, status }).inc();
        self.durations.get_or_create(&[("route", route)]).observe(took);
    }
}

/// Handles that nobody reads.
impl Default for HttpMetrics {
    fn default() -> Self {
        Self::new(&mut Registry::default())
    }
}
