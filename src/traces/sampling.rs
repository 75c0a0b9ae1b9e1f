//! What is traced: as the caller says where one says something, else a share of all.
//!
//! A caller may be anybody, and a trace costs more than the request. So that a caller asks for it counts only so many times a
//! second; past that it is decided as if nobody had asked. A batch of messages is traced if one of them is, with the same
//! bound: whoever writes past the service into the stream may ask as well.

use std::sync::Arc;

use opentelemetry::trace::{Link, SpanContext, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision, SamplingResult, ShouldSample,
};

use crate::logging::Limit;

/// Requests a second that are traced because their callers ask for it, and as many batches because of their messages.
pub const ASKED_FOR_A_SECOND_MAX: u64 = 100;

/// Decides which spans there are.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// Decides where nobody has decided before.
    pub root: Sampler,
    /// Whether it counts what was decided before.
    pub heeds_callers: bool,
    limits: Arc<Limits>,
}

#[derive(Debug)]
struct Limits {
    requests: Limit,
    batches: Limit,
}

impl Sampling {
    /// Decides so.
    pub fn new(root: Sampler, heeds_callers: bool) -> Self {
        let limit = || Limit::of(ASKED_FOR_A_SECOND_MAX);
        Self { root, heeds_callers, limits: Arc::new(Limits { requests: limit(), batches: limit() }) }
    }

    /// Whether to trace what somebody outside this process asks to be traced.
    fn heeds(&self, kind: &SpanKind) -> bool {
        let limit = match kind {
            SpanKind::Consumer => &self.limits.batches,
            _ => &self.limits.requests,
        };
        // Not by the trace's own id: that is the caller's to choose.
        limit.admits().is_some() || self.samples(RandomIdGenerator::default().new_trace_id())
    }

    fn samples(&self, trace: TraceId) -> bool {
        let decided = self.root.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
        decided.decision == SamplingDecision::RecordAndSample
    }

    fn is_sampled(&self, parent: Option<&SpanContext>, trace: TraceId, kind: &SpanKind, links: &[Link]) -> bool {
        match parent.filter(|_| self.heeds_callers) {
            Some(parent) if parent.is_remote() => parent.is_sampled() && self.heeds(kind),
            Some(parent) => parent.is_sampled(),
            None if self.heeds_callers && !links.is_empty() => self.heeds(kind),
            None => self.samples(trace),
        }
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _: &str,
        kind: &SpanKind,
        _: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|parent| parent.span().span_context().clone()).filter(SpanContext::is_valid);
        let decision = match self.is_sampled(parent.as_ref(), trace, kind, links) {
            true => SamplingDecision::RecordAndSample,
            false => SamplingDecision::Drop,
        };
        let trace_state = parent.map_or(TraceState::NONE, |parent| parent.trace_state().clone());
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}
