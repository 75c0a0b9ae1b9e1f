//! What is traced, and how spans hang together, with spans that are kept in memory.

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};

use super::context::read;
use super::sampling::{ASKED_FOR_A_SECOND_MAX, Sampling};
use super::spans::{Batch, Published};
use super::{LINKS_MAX, Traces};

struct Kept {
    traces: Traces,
    exporter: InMemorySpanExporter,
}

impl Kept {
    fn with(root: Sampler, heeds_callers: bool) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone());
        let provider = provider.with_sampler(Sampling::new(root, heeds_callers)).build();
        Self { traces: Traces(Some(provider.tracer("test"))), exporter }
    }

    fn spans(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }

    fn batch(&self, messages: usize, causes: &[SpanContext]) {
        let batch = || Batch { stream: "ROCKETS", durable: "rockets-p03".into(), partition: 3, messages };
        drop(self.traces.batch(batch, causes.iter()));
    }
}

fn cause(number: u64, flags: &str) -> SpanContext {
    read(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{number:016x}-{flags}"), Some("a=1")).unwrap()
}

#[test]
fn what_is_off_is_nothing() {
    let traces = Traces::default();
    let span = traces.request("POST", "/messages", || panic!("nobody asks who called"));
    assert!(span.is_none() && span.trace().id().is_none() && span.trace().headers().next().is_none());
}

#[test]
fn what_is_caused_is_of_the_caller_s_trace() {
    let kept = Kept::with(Sampler::AlwaysOff, true);
    let path = "/messages/".repeat(100);
    let mut request = kept.traces.request("POST", &path, || Some(cause(1, "01")));
    let message = Published { subject: "rockets.a", template: "rockets.{channel}", id: "1", bytes: 2 };
    let publish = request.trace().publish(&message);
    let headers: Vec<_> = publish.trace().headers().collect();
    drop(publish);
    request.answered("POST", Some("messages"), 503);
    drop(request);

    let [publish, request] = &kept.spans()[..] else { panic!("{:?}", kept.spans()) };
    assert_eq!((&*request.name, &request.span_kind), ("POST /messages", &SpanKind::Server));
    assert_eq!((&*publish.name, &publish.span_kind), ("publish rockets.{channel}", &SpanKind::Producer));
    assert_eq!((request.parent_span_id, publish.parent_span_id), (SpanId::from(1), request.span_context.span_id()));
    assert!(request.attributes.iter().all(|attribute| attribute.value.as_str().len() <= 256));
    assert!(matches!(request.status, opentelemetry::trace::Status::Error { .. }));
    let span_id = publish.span_context.span_id();
    let traceparent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span_id}-01");
    assert_eq!(headers, [("traceparent", traceparent), ("tracestate", "a=1".into())]);
}

#[test]
fn what_a_caller_does_not_want_traced_is_not() {
    for (root, flags, expected) in
        [(Sampler::AlwaysOn, "00", 0), (Sampler::AlwaysOff, "01", 1), (Sampler::AlwaysOn, "01", 1)]
    {
        let kept = Kept::with(root, true);
        drop(kept.traces.request("GET", "/rockets", || Some(cause(1, flags))));
        assert_eq!(kept.spans().len(), expected, "{flags}");
    }
    for (root, expected) in [(Sampler::AlwaysOn, 1), (Sampler::AlwaysOff, 0)] {
        let kept = Kept::with(root, false);
        drop(kept.traces.request("GET", "/rockets", || Some(cause(1, if expected == 0 { "01" } else { "00" }))));
        assert_eq!(kept.spans().len(), expected);
    }
}

#[test]
fn a_batch_is_linked_and_one_message_is_followed() {
    let kept = Kept::with(Sampler::AlwaysOff, true);
    kept.batch(2, &[]);
    kept.batch(1, &[cause(1, "01")]);
    kept.batch(1_000, &(1..=200).map(|number| cause(number, "01")).collect::<Vec<_>>());
    let [one, many] = &kept.spans()[..] else { panic!("{:?}", kept.spans()) };
    assert_eq!((&*one.name, &one.span_kind), ("process ROCKETS", &SpanKind::Consumer));
    assert_eq!((one.parent_span_id, one.links.len()), (SpanId::from(1), 0));
    assert_eq!((many.parent_span_id, many.links.len()), (SpanId::INVALID, LINKS_MAX));
    assert_ne!(many.span_context.trace_id(), one.span_context.trace_id());
    let states = many.links.iter().map(|link| link.span_context.trace_state().header());
    assert!(states.into_iter().all(|state| state.is_empty()));
}

#[test]
fn callers_are_heeded_only_so_often() {
    let kept = Kept::with(Sampler::AlwaysOff, true);
    let asks = 5 * ASKED_FOR_A_SECOND_MAX;
    let begun = std::time::Instant::now();
    for number in 1..=asks {
        drop(kept.traces.request("POST", "/messages", || Some(cause(number, "01"))));
        kept.batch(2, &[cause(number, "01")]);
    }
    // A limit counts by the second of the clock.
    let seconds = begun.elapsed().as_secs() + 2;
    let of_kind = |kind| kept.spans().iter().filter(|span| span.span_kind == kind).count() as u64;
    for kind in [SpanKind::Server, SpanKind::Consumer] {
        let spans = of_kind(kind);
        assert!((ASKED_FOR_A_SECOND_MAX..=ASKED_FOR_A_SECOND_MAX * seconds).contains(&spans), "{spans}");
    }
    let kept = Kept::with(Sampler::AlwaysOn, true);
    (1..=asks).for_each(|number| drop(kept.traces.request("POST", "/messages", || Some(cause(number, "01")))));
    assert_eq!(kept.spans().len() as u64, asks, "all is traced in any case");
}
