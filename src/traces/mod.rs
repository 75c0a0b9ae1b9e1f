//! Traces: what one request caused, from its `POST` to the record that changed, as spans that a collector is sent. Off unless
//! a variable of OpenTelemetry names a collector.
//!
//! ```text
//! POST /messages ▸ publish rockets.{channel} ▸ [headers in the stream] ▸ process ROCKETS ▸ write rockets
//!                                                                                        ▸ replay rockets (an override)
//! ```
//!
//! [`settings`] reads the variables, [`sampling`] decides what is traced, [`context`] reads and writes the headers that carry
//! a trace on, [`spans`] has every span with its name and attributes, and [`export`] sends them.
//!
//! A process has one [`Traces`], from which a trace begins or goes on. A [`Span`] ends when it is dropped, and its [`Trace`]
//! is handed to whatever it causes. Of what is not traced both are empty: it costs a branch.
//!
//! Deliberately absent: a layer under the log's lines. It would be asked at every line whether that is a span, sampled or not,
//! and what is worth a span here are five things.

pub mod context;
pub mod export;
pub mod sampling;
pub mod settings;
pub mod spans;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use opentelemetry::trace::{Span as _, SpanBuilder, SpanContext, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};
use tracing::field::{self, DisplayValue};

/// Links of one span; of a larger batch only so many messages are linked.
pub const LINKS_MAX: usize = 128;

/// Where traces begin in this process; nowhere by default.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<SdkTracer>);

/// A span of what is under way, if that is traced. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<Box<Recording>>);

#[derive(Debug)]
struct Recording {
    span: SdkSpan,
    tracer: SdkTracer,
}

/// What causes other things, if it is traced: their spans are its children.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<Cause>>);

#[derive(Debug)]
struct Cause {
    context: SpanContext,
    tracer: SdkTracer,
}

/// How a trace is called in a line of the log.
pub type TraceId = DisplayValue<opentelemetry::trace::TraceId>;

/// How the trace is called that a message has come with.
pub fn trace_id(context: &SpanContext) -> TraceId {
    field::display(context.trace_id())
}

impl Traces {
    /// What begins spans, if anything is traced at all.
    fn tracer(&self) -> Option<&SdkTracer> {
        self.0.as_ref()
    }
}

impl Trace {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// How it is called in a line of the log.
    pub fn id(&self) -> Option<TraceId> {
        self.0.as_ref().map(|cause| trace_id(&cause.context))
    }

    /// The headers by which a message carries it on.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().flat_map(|cause| context::headers(&cause.context))
    }

    fn child(&self, builder: impl FnOnce() -> SpanBuilder, attributes: impl FnOnce() -> Vec<KeyValue>) -> Span {
        let Some(cause) = &self.0 else { return Span::default() };
        begin(&cause.tracer, builder(), Some(cause.context.clone()), attributes)
    }
}

impl Span {
    /// What this is the cause of.
    pub fn trace(&self) -> Trace {
        let cause = |Recording { span, tracer }: &Recording| Cause {
            context: span.span_context().clone(),
            tracer: tracer.clone(),
        };
        Trace(self.0.as_deref().map(cause).map(Arc::new))
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Notes what came of it, if that is an error.
    pub fn note<'a, T, E>(&mut self, result: &'a Result<T, E>)
    where
        &'a E: Into<&'static str>,
    {
        if let (Some(_), Err(error)) = (&self.0, result) {
            self.fail(error.into());
        }
    }

    fn fail(&mut self, error: impl Into<Value>) {
        self.set("error.type", error);
        if let Some(recording) = &mut self.0 {
            recording.span.set_status(Status::error(""));
        }
    }

    fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(recording) = &mut self.0 {
            recording.span.set_attribute(KeyValue::new(key, value));
        }
    }
}

/// Begins a span, if it is sampled. Its attributes are only put together then.
fn begin(
    tracer: &SdkTracer,
    builder: SpanBuilder,
    cause: Option<SpanContext>,
    attributes: impl FnOnce() -> Vec<KeyValue>,
) -> Span {
    let parent = cause.map_or_else(Context::new, |cause| Context::new().with_remote_span_context(cause));
    let mut span = tracer.build_with_context(builder, &parent);
    if !span.is_recording() {
        return Span::default();
    }
    span.set_attributes(attributes());
    Span(Some(Box::new(Recording { span, tracer: tracer.clone() })))
}
