//! The variables of OpenTelemetry: which are taken, and what each may be. The libraries read most of them themselves, and take
//! a wrong one for none without a word; so what is wrong is told here, before anything runs.

use opentelemetry_sdk::trace::Sampler;
use warp::http::{HeaderName, HeaderValue, Uri};

use super::sampling::Sampling;

/// Which share of all requests is traced unless a variable says otherwise.
const RATIO_DEFAULT: f64 = 0.01;

/// Reads a variable; an empty one is none.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A variable's name, what it may be, and whether a text is that.
type Variable = (&'static str, &'static str, fn(&str) -> bool);

const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
/// Where the collector is: for everything, and for traces alone.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

const AN_ADDRESS: &str = "an address such as http://localhost:4318 (https needs a collector in between)";
const HEADERS: &str = "pairs such as name=value, several with commas";
const A_NUMBER: &str = "a whole number above 0";
const MILLISECONDS: &str = "milliseconds, a whole number above 0";
const A_SAMPLER: &str = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or \
                         parentbased_traceidratio";

/// Every variable that is taken, but for `OTEL_SERVICE_NAME`, which may be anything.
const VARIABLES: [Variable; 18] = [
    (DISABLED, "true or false", is_bool),
    (EXPORTER, "otlp or none", |text| ["otlp", "none"].contains(&text)),
    (ENDPOINTS[0], AN_ADDRESS, is_address),
    (ENDPOINTS[1], AN_ADDRESS, is_address),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", is_protocol),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf", is_protocol),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "none", is_none),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none", is_none),
    ("OTEL_EXPORTER_OTLP_HEADERS", HEADERS, are_headers),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", HEADERS, are_headers),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", MILLISECONDS, is_number),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", MILLISECONDS, is_number),
    ("OTEL_RESOURCE_ATTRIBUTES", HEADERS, are_pairs),
    (SAMPLER, A_SAMPLER, is_sampler),
    (SAMPLER_ARGUMENT, "a number from 0 to 1 such as 0.01", |text| ratio(text).is_some()),
    ("OTEL_BSP_SCHEDULE_DELAY", MILLISECONDS, is_number),
    ("OTEL_BSP_MAX_QUEUE_SIZE", A_NUMBER, is_number),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", A_NUMBER, is_number),
];

/// What `--help` says of them.
pub const HELP: &str = "\
Traces are sent where OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) names a collector, such as \
http://localhost:4318. These variables of OpenTelemetry are taken beside: OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER, \
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG, OTEL_BSP_SCHEDULE_DELAY, \
OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_EXPORT_BATCH_SIZE; OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_TIMEOUT, \
OTEL_EXPORTER_OTLP_PROTOCOL and OTEL_EXPORTER_OTLP_COMPRESSION, or the same with OTLP_TRACES. See docs/traces.md.";

/// What is wrong with the variables, a line each; nothing where they do not ask for traces.
pub fn wrong_variables() -> Vec<String> {
    problems(&variable)
}

/// What is traced, if a collector is named.
pub fn sampling() -> Option<Sampling> {
    is_on(&variable).then(|| sampling_of(&variable))
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|text| text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
}

fn is_on(get: Lookup) -> bool {
    let is_disabled = get(DISABLED).is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let is_none = get(EXPORTER).is_some_and(|text| text == "none");
    !is_disabled && !is_none && ENDPOINTS.iter().any(|name| get(name).is_some())
}

fn problems(get: Lookup) -> Vec<String> {
    let given = VARIABLES.iter().filter(|_| is_on(get)).filter_map(|variable| Some((variable, get(variable.0)?)));
    let wrong = given.filter(|((_, _, is_right), text)| !is_right(text));
    // What may hold a secret is not quoted.
    let shown = |name: &str, text: String| match name.ends_with("_HEADERS") || text.contains('@') {
        true => "something else".to_owned(),
        false => format!("{text:?}"),
    };
    wrong.map(|((name, may_be, _), text)| format!("{name}: must be {may_be}; is {}", shown(name, text))).collect()
}

fn sampling_of(get: Lookup) -> Sampling {
    let name = get(SAMPLER).unwrap_or_else(|| "parentbased_traceidratio".into());
    let root = match name.trim_start_matches("parentbased_") {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        _ => {
            let argument = get(SAMPLER_ARGUMENT).and_then(|text| ratio(&text));
            Sampler::TraceIdRatioBased(argument.unwrap_or(RATIO_DEFAULT))
        }
    };
    Sampling::new(root, name.starts_with("parentbased_"))
}

fn is_bool(text: &str) -> bool {
    ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn is_address(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some())
}

fn is_protocol(text: &str) -> bool {
    text == "http/protobuf"
}

fn is_none(text: &str) -> bool {
    text == "none"
}

fn is_sampler(text: &str) -> bool {
    ["always_on", "always_off", "traceidratio"].contains(&text.strip_prefix("parentbased_").unwrap_or(text))
}

fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|number| number > 0)
}

fn ratio(text: &str) -> Option<f64> {
    text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
}

fn are_pairs(text: &str) -> bool {
    text.split_terminator(',').all(|pair| pair.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty()))
}

fn are_headers(text: &str) -> bool {
    let is_header = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or_default();
        name.trim().parse::<HeaderName>().is_ok() && value.trim().parse::<HeaderValue>().is_ok()
    };
    text.split_terminator(',').all(is_header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = (ENDPOINTS[0], "http://localhost:4318");

    fn problems_of(variables: &[(&str, &str)]) -> Vec<String> {
        problems(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned()))
    }

    fn is_on_with(variables: &[(&str, &str)]) -> bool {
        is_on(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn a_collector_that_is_named_turns_them_on() {
        assert!(!is_on_with(&[]) && is_on_with(&[ENDPOINT]) && is_on_with(&[(ENDPOINTS[1], "http://a/v1/traces")]));
        for off in [(DISABLED, "true"), (DISABLED, "TRUE"), (EXPORTER, "none")] {
            assert!(!is_on_with(&[ENDPOINT, off]), "{off:?}");
        }
        assert!(is_on_with(&[ENDPOINT, (DISABLED, "false"), (EXPORTER, "otlp")]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_name() {
        for (name, wrong) in [
            (DISABLED, "yes"),
            (EXPORTER, "console"),
            (ENDPOINTS[1], "localhost:4318"),
            (ENDPOINTS[1], "https://collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
            (SAMPLER, "xray"),
            (SAMPLER, "parentbased_jaeger_remote"),
            (SAMPLER_ARGUMENT, "2"),
            (SAMPLER_ARGUMENT, "NaN"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ] {
            let problems = problems_of(&[ENDPOINT, (name, wrong)]);
            assert!(problems.len() == 1 && problems[0].starts_with(&format!("{name}: must be ")), "{problems:?}");
            assert_eq!(problems_of(&[(name, wrong), (EXPORTER, "none")]), [""; 0], "traces are off");
        }
        let secret = problems_of(&[(ENDPOINTS[0], "https://user:secret@a"), ("OTEL_EXPORTER_OTLP_HEADERS", "secret")]);
        assert!(secret.len() == 2 && !secret.concat().contains("secret"), "{secret:?}");
    }

    #[test]
    fn what_is_taken_is_documented() {
        let page = include_str!("../../docs/traces.md");
        for name in VARIABLES.map(|(name, ..)| name).into_iter().chain(["OTEL_SERVICE_NAME"]) {
            assert!(page.contains(&format!("`{name}`")), "docs/traces.md does not name {name}");
            let of_all = name.replace("OTLP_TRACES_", "OTLP_");
            assert!(HELP.contains(&of_all), "--help does not name {name}");
        }
    }

    #[test]
    fn what_is_right_is_taken() {
        let right = [
            ENDPOINT,
            (ENDPOINTS[1], "http://[::1]:4318/v1/traces"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x,a=b"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,a=b"),
            (SAMPLER, "traceidratio"),
            (SAMPLER_ARGUMENT, "0.25"),
        ];
        assert_eq!(problems_of(&right), [""; 0]);
    }

    #[test]
    fn a_hundredth_is_traced_unless_something_else_is_asked_for() {
        let of = |variables: &[(&str, &str)]| {
            let Sampling { root, heeds_callers, .. } = sampling_of(&|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
            });
            (format!("{root:?}"), heeds_callers)
        };
        assert_eq!(of(&[]), ("TraceIdRatioBased(0.01)".into(), true));
        assert_eq!(of(&[(SAMPLER_ARGUMENT, "1")]), ("TraceIdRatioBased(1.0)".into(), true));
        assert_eq!(of(&[(SAMPLER, "traceidratio")]), ("TraceIdRatioBased(0.01)".into(), false));
        assert_eq!(of(&[(SAMPLER, "parentbased_always_off")]), ("AlwaysOff".into(), true));
        assert_eq!(of(&[(SAMPLER, "always_on")]), ("AlwaysOn".into(), false));
    }
}
