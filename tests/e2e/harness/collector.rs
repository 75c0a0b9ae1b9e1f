//! A collector of traces, as far as a test needs one: takes what is sent to it as protobuf over HTTP, and keeps the spans.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as SentSpan;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use warp::Filter as _;

use super::eventually;

/// A collector that runs until it is dropped.
pub struct Collector {
    addr: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    _serving: JoinSet<()>,
}

/// A span as it was sent, its ids in hexadecimal digits.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// What it is: 2 is a server's, 3 a client's, 4 a producer's, 5 a consumer's.
    pub kind: i32,
    /// Its trace.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of what caused it; empty where nothing did.
    pub parent: String,
    /// What it is linked to: traces, and ids of spans.
    pub links: Vec<(String, String)>,
    /// What is said of it.
    pub attributes: BTreeMap<String, String>,
    /// What is said of the process that sent it.
    pub process: BTreeMap<String, String>,
}

impl Collector {
    /// One on a free port.
    pub async fn start() -> Self {
        Self::at(0).await
    }

    /// One on this port.
    pub async fn at(port: u16) -> Self {
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let kept = spans.clone();
        let taken = warp::post().and(warp::path!("v1" / "traces")).and(warp::body::bytes()).map(move |body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            kept.lock().unwrap().extend(spans_of(request));
            // An answer without any fields: all were taken.
            String::new()
        });
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (addr, mut serving) = (listener.local_addr().unwrap(), JoinSet::new());
        serving.spawn(warp::serve(taken).incoming(listener).run());
        Self { addr, spans, _serving: serving }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// All spans of a trace.
    pub fn trace(&self, trace: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace == trace).collect()
    }

    /// All spans.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits until a span is there that is as expected.
    pub async fn span(&self, what: &str, is_expected: impl Fn(&Span) -> bool) -> Span {
        eventually(what, async || self.spans().into_iter().find(&is_expected)).await
    }

    /// Waits until a span of this trace and name is there.
    pub async fn named(&self, trace: &str, name: &str) -> Span {
        self.span(&format!("{name} in {trace}"), |span| span.trace == trace && span.name == name).await
    }
}

fn spans_of(request: ExportTraceServiceRequest) -> Vec<Span> {
    let of_process = request.resource_spans.into_iter().flat_map(|sent| {
        let process = texts(sent.resource.unwrap_or_default().attributes);
        let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(|span| read(span, process.clone())).collect::<Vec<_>>()
    });
    of_process.collect()
}

fn read(span: SentSpan, process: BTreeMap<String, String>) -> Span {
    Span {
        name: span.name,
        kind: span.kind,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        attributes: texts(span.attributes),
        process,
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
