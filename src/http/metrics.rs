//! `GET /metrics`: what this process counts, for Prometheus, as text and not in the envelope.

use std::future::ready;
use std::sync::Arc;

use super::route::{Routes, get};
use super::{Access, Answer};
use crate::metrics::{CONTENT_TYPE, Metrics};

/// `/metrics`.
pub fn routes(metrics: &Arc<Metrics>) -> Routes {
    get("metrics", Access::Metrics, metrics, |metrics, _| ready(Ok(Answer::plain(CONTENT_TYPE, metrics.text()))))
}
