//! The two headers of W3C Trace Context, by which a trace goes from one program to the next. Anybody may send them, over HTTP
//! and past the service into the stream, so they are read as strictly as the standard has them: what does not read is not
//! there. (The library's own reader takes ids of any length.)

use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};

/// Names the trace and the span that caused what it comes with, and says whether they are sampled.
pub const TRACEPARENT: &str = "traceparent";
/// What tracing systems have to say to each other; it is passed on as it is.
pub const TRACESTATE: &str = "tracestate";

/// Bytes of a `traceparent`. Those of later versions may go on behind them.
const TRACEPARENT_BYTES: usize = 55;
/// Longest `tracestate` that is passed on, in bytes: what the standard asks for at least.
const TRACESTATE_BYTES_MAX: usize = 512;
/// Roughly what a cause takes in memory at most, in bytes: 32 pairs of texts.
pub const CAUSE_BYTES_MAX: usize = 32 * 48 + TRACESTATE_BYTES_MAX + 64;

/// Reads what caused something, in another program.
pub fn read(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let (known, later) = traceparent.split_at_checked(TRACEPARENT_BYTES)?;
    let [version, trace, span, flags] = <[&str; 4]>::try_from(known.split('-').collect::<Vec<_>>()).ok()?;
    let is_whole = match hex(version, 2)? {
        0 => later.is_empty(),
        0xff => false,
        _ => later.is_empty() || later.starts_with('-'),
    };
    let (trace, span, flags) = (hex(trace, 32)?, hex(span, 16)?, hex(flags, 2)?);
    let flags = TraceFlags::default().with_sampled(flags & 1 == 1);
    let span = u64::try_from(span).ok()?;
    let state = tracestate.and_then(read_state).unwrap_or_default();
    let context = SpanContext::new(trace.into(), span.into(), flags, true, state);
    (is_whole && context.is_valid()).then_some(context)
}

/// The same of what a message has come with, if that is sampled: of anything else nothing is ever said.
pub fn read_sampled<'a>(
    traceparent: Option<&str>,
    tracestate: impl FnOnce() -> Option<&'a str>,
) -> Option<Box<SpanContext>> {
    read(traceparent?, tracestate()).filter(SpanContext::is_sampled).map(Box::new)
}

/// The headers that say it.
pub fn headers(context: &SpanContext) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let flags = u8::from(context.is_sampled());
    let traceparent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    let tracestate = Some(context.trace_state().header()).filter(|state| !state.is_empty());
    [(TRACEPARENT, traceparent)].into_iter().chain(tracestate.map(|state| (TRACESTATE, state)))
}

/// So many hexadecimal digits, in lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_hex = text.len() == digits && text.bytes().all(is_digit);
    u128::from_str_radix(text, 16).ok().filter(|_| is_hex)
}

fn read_state(text: &str) -> Option<TraceState> {
    let is_readable = text.len() <= TRACESTATE_BYTES_MAX && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    text.parse().ok().filter(|_| is_readable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn written(traceparent: &str, tracestate: Option<&str>) -> Option<Vec<String>> {
        Some(headers(&read(traceparent, tracestate)?).map(|(_, value)| value).collect())
    }

    #[test]
    fn what_the_standard_has_is_read_and_passed_on() {
        for (traceparent, flags) in [
            (format!("00-{TRACE}-{SPAN}-00"), "00"),
            (format!("00-{TRACE}-{SPAN}-01"), "01"),
            (format!("00-{TRACE}-{SPAN}-ff"), "01"),
            (format!("00-{TRACE}-{SPAN}-fe"), "00"),
            (format!("01-{TRACE}-{SPAN}-01"), "01"),
            (format!("fe-{TRACE}-{SPAN}-01-more"), "01"),
        ] {
            assert_eq!(written(&traceparent, None), Some(vec![format!("00-{TRACE}-{SPAN}-{flags}")]), "{traceparent}");
        }
    }

    #[test]
    fn anything_else_is_not_there() {
        let (nothing, upper) = ("0".repeat(32), TRACE.to_uppercase());
        for traceparent in [
            String::new(),
            "nonsense".into(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-010"),
            format!("fe-{TRACE}-{SPAN}-01more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{nothing}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{upper}-{SPAN}-01"),
            format!("00-{TRACE}-+0f067aa0ba902b7-01"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-0\u{e9}"),
            "-".repeat(55),
        ] {
            assert_eq!(written(&traceparent, None), None, "{traceparent}");
        }
    }

    #[test]
    fn a_state_is_passed_on_where_it_reads_and_is_short() {
        let traceparent = format!("00-{TRACE}-{SPAN}-01");
        let state = |text: &str| written(&traceparent, Some(text)).unwrap().get(1).cloned();
        assert_eq!(state("a=1, b@c=2").as_deref(), Some("a=1,b@c=2"));
        for text in ["", "a", "A=1", "a=1\r\nNats-Rollup: all", "a=\u{e9}", &format!("a={}", "x".repeat(511))] {
            assert_eq!(state(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_sampled_comes_with_nothing() {
        let sampled = |flags| read_sampled(Some(&format!("00-{TRACE}-{SPAN}-{flags}")), || None).is_some();
        assert!(sampled("01") && !sampled("00") && read_sampled(None, || Some("a=1")).is_none());
    }
}
