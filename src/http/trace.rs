//! The span of a request: begun from the headers that say what caused it, ended with its answer.
//!
//! Nothing of it goes back to the client: no header for that is more than a draft.

use hyper::{HeaderMap, Method, Request};
use opentelemetry::trace::SpanContext;

use super::Answer;
use crate::metrics::http::NO_ROUTE;
use crate::traces::context::{self, TRACEPARENT, TRACESTATE};
use crate::traces::{Span, Traces};

/// What is asked every few seconds, by those who look after a process.
const PROBES: [&str; 4] = ["/health", "/livez", "/metrics", "/readyz"];

/// Begins the span of a request.
pub fn begin<B>(traces: &Traces, request: &Request<B>) -> Span {
    let path = request.uri().path();
    match name_of(request.method()) {
        Some(method) if !PROBES.contains(&path) => traces.request(method, path, || caller(request.headers())),
        _ => Span::default(),
    }
}

/// Notes how it was answered.
pub fn end(span: &mut Span, method: &Method, answer: &Answer) {
    if let Some(method) = name_of(method) {
        let route = Some(answer.route()).filter(|route| *route != NO_ROUTE);
        span.answered(method, route, answer.status().as_u16());
    }
}

/// The methods that routes have.
fn name_of(method: &Method) -> Option<&'static str> {
    ["GET", "POST", "HEAD", "DELETE"].into_iter().find(|name| method == name)
}

/// What caused a request, as its headers say: `traceparent` once, and `tracestate` in as many parts as it came.
fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    let texts = |name| headers.get_all(name).iter().map(|value| value.to_str().ok()).collect::<Option<Vec<_>>>();
    let [traceparent] = texts(TRACEPARENT)?[..] else { return None };
    let tracestate = texts(TRACESTATE).map(|parts| parts.join(","));
    context::read(traceparent, tracestate.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENTS: [&str; 2] = [
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];

    fn caller_of(headers: &[(&'static str, &str)]) -> Option<(String, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        caller(&map).map(|context| (context.trace_id().to_string(), context.trace_state().header()))
    }

    #[test]
    fn a_caller_says_once_who_it_is() {
        let [first, second] = TRACEPARENTS.map(|traceparent| (TRACEPARENT, traceparent));
        let trace = first.1[3..35].to_owned();
        assert_eq!(caller_of(&[]), None);
        assert_eq!(caller_of(&[first]), Some((trace.clone(), String::new())));
        assert_eq!(caller_of(&[first, second]), None);
        let parts = [(TRACESTATE, "a=1"), (TRACESTATE, "b=2")];
        assert_eq!(caller_of(&[&[first][..], &parts].concat()), Some((trace.clone(), "a=1,b=2".into())));
        assert_eq!(caller_of(&[first, (TRACESTATE, "\u{e9}")]), Some((trace, String::new())));
    }
}
