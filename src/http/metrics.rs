//! `GET /metrics`: what this process counts, for Prometheus, as text and not in the envelope.

use std::future::ready;
use std::sync::Arc;

use super::Answer;
use super::route::{Routes, get};
use crate::metrics::{CONTENT_TYPE, Metrics};

/// `/metrics`.
pub fn routes(metrics: &Arc<Metrics>) -> Routes {
    get("metrics", metrics, |metrics, _| ready(Ok(Answer::plain(CONTENT_TYPE, metrics.text()))))
}
