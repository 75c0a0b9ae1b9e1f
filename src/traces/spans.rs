//! Every span, with its name and its attributes. The names are those of OpenTelemetry's conventions for HTTP, messaging and
//! databases; what these have no name for begins with `rockets.`. Text that a client may choose without end is in no name.

use opentelemetry::trace::{Link, Span as _, SpanBuilder, SpanContext, SpanKind, TraceState};
use opentelemetry::{KeyValue, Value};

use super::{LINKS_MAX, Span, Trace, Traces, begin};

const BROKER: &str = "nats";
/// Longest path that is said of a request, in characters; of a longer one the end is left out.
const PATH_CHARS_MAX: usize = 256;

/// A message that is published.
pub struct Published<'a> {
    /// Its subject.
    pub subject: &'a str,
    /// What all such subjects have in common.
    pub template: &'static str,
    /// What the broker recognises it by.
    pub id: &'a str,
    /// Its size, in bytes.
    pub bytes: usize,
}

/// Messages of one delivery that are worked on together.
pub struct Batch {
    /// The stream that they are from.
    pub stream: &'static str,
    /// The durable that delivered them.
    pub durable: String,
    /// Their partition.
    pub partition: u16,
    /// How many they are.
    pub messages: usize,
}

impl Traces {
    /// A request over HTTP, until its answer is there. The caller may have said what caused it.
    pub fn request(&self, method: &'static str, path: &str, caller: impl FnOnce() -> Option<SpanContext>) -> Span {
        let Some(tracer) = self.tracer() else { return Span::default() };
        begin(tracer, SpanBuilder::from_name(method).with_kind(SpanKind::Server), caller(), || {
            vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("url.path", path.chars().take(PATH_CHARS_MAX).collect::<String>()),
                KeyValue::new("url.scheme", "http"),
            ]
        })
    }

    /// The work on a batch, until its effect is stored: linked to what caused its messages, and of a single message the
    /// next in its trace. There is none where no message is traced.
    pub fn batch<'a>(&self, batch: impl FnOnce() -> Batch, causes: impl Iterator<Item = &'a SpanContext>) -> Span {
        let Some(tracer) = self.tracer() else { return Span::default() };
        let mut causes = causes.peekable();
        let Some(first) = causes.peek() else { return Span::default() };
        let batch = batch();
        let builder = SpanBuilder::from_name(format!("process {}", batch.stream)).with_kind(SpanKind::Consumer);
        let (links, parent) = match batch.messages {
            1 => (Vec::new(), Some((*first).clone())),
            _ => (links(causes), None),
        };
        begin(tracer, builder.with_links(links), parent, || {
            vec![
                KeyValue::new("messaging.system", BROKER),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", batch.stream),
                KeyValue::new("messaging.destination.partition.id", batch.partition.to_string()),
                KeyValue::new("messaging.consumer.group.name", batch.durable),
                KeyValue::new("messaging.batch.message_count", whole(batch.messages)),
            ]
        })
    }
}

impl Span {
    /// How a request was answered, by the route with this pattern; without one where no route has its path.
    pub fn answered(&mut self, method: &'static str, route: Option<&str>, status: u16) {
        if let (Some(recording), Some(route)) = (&mut self.0, route) {
            recording.span.update_name(format!("{method} /{route}"));
            self.set("http.route", format!("/{route}"));
        }
        self.set("http.response.status_code", i64::from(status));
        if status >= 500 {
            self.fail(status.to_string());
        }
    }

    /// Where a message was stored.
    pub fn stored(&mut self, event: u64) {
        self.set("rockets.event_id", whole(event));
    }
}

impl Trace {
    /// A message on its way into the stream, until the broker has it.
    pub fn publish(&self, message: &Published) -> Span {
        let builder = || SpanBuilder::from_name(format!("publish {}", message.template)).with_kind(SpanKind::Producer);
        self.child(builder, || {
            vec![
                KeyValue::new("messaging.system", BROKER),
                KeyValue::new("messaging.operation.name", "publish"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.destination.name", message.subject.to_owned()),
                KeyValue::new("messaging.destination.template", message.template),
                KeyValue::new("messaging.message.id", message.id.to_owned()),
                KeyValue::new("messaging.message.body.size", whole(message.bytes)),
            ]
        })
    }

    /// The writing of a channel's record, which applies so many messages; linked to what caused those.
    pub fn write<'a>(
        &self,
        channel: impl ToString,
        applied: usize,
        causes: impl Iterator<Item = &'a SpanContext>,
    ) -> Span {
        let builder = || SpanBuilder::from_name("write rockets").with_kind(SpanKind::Client).with_links(links(causes));
        self.child(builder, || {
            vec![
                KeyValue::new("db.system.name", BROKER),
                KeyValue::new("db.operation.name", "write"),
                KeyValue::new("db.collection.name", "rockets"),
                KeyValue::new("rockets.channel", channel.to_string()),
                KeyValue::new("rockets.applied", whole(applied)),
            ]
        })
    }

    /// The replay of a channel for an override, until its effect is stored.
    pub fn replay(&self, channel: impl ToString) -> Span {
        let builder = || SpanBuilder::from_name("replay rockets").with_kind(SpanKind::Internal);
        self.child(builder, || vec![KeyValue::new("rockets.channel", channel.to_string())])
    }
}

/// Links to what caused something, without what tracing systems have to say to each other: thousands of spans may wait to be
/// sent, and outsiders write that.
fn links<'a>(causes: impl Iterator<Item = &'a SpanContext>) -> Vec<Link> {
    let link = |cause: &SpanContext| {
        let (trace, span, flags) = (cause.trace_id(), cause.span_id(), cause.trace_flags());
        Link::with_context(SpanContext::new(trace, span, flags, cause.is_remote(), TraceState::NONE))
    };
    causes.take(LINKS_MAX).map(link).collect()
}

fn whole(number: impl TryInto<i64>) -> Value {
    number.try_into().unwrap_or(i64::MAX).into()
}
