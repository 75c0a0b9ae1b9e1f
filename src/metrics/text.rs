//! All samples as text, in the format that every version of Prometheus reads and `promtool check metrics` checks.
//!
//! The library writes OpenMetrics, in which a counter's name has its `_total` only in the samples, there is a type for
//! what is only information, and the text says where it ends.

use std::fmt::Write as _;

use prometheus_client::registry::Registry;

/// The format, as a scrape is told it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All samples of a registry.
pub fn write(registry: &Registry) -> String {
    let mut text = String::new();
    // A String takes whatever is written.
    let _ = prometheus_client::encoding::text::encode_registry(&mut text, registry);
    plain(&text)
}

/// The same in the older format.
fn plain(open_metrics: &str) -> String {
    let (mut text, mut help) = (String::with_capacity(open_metrics.len()), "");
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let _ = writeln!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with("# ") {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::info::Info;

    use super::*;

    #[test]
    fn names_and_types_are_those_of_the_samples() {
        let mut registry = Registry::default();
        registry.register("a", "Counts # HELP and more", Counter::<u64>::default());
        registry.register("b", "Is", Gauge::<i64>::default());
        registry.register("c", "Says", Info::new([("version", "1 # x")]));
        let expected = "# HELP a_total Counts # HELP and more.\n# TYPE a_total counter\na_total 0\n\
             # HELP b Is.\n# TYPE b gauge\nb 0\n# HELP c_info Says.\n# TYPE c_info gauge\nc_info{version=\"1 # x\"} 1\n";
        assert_eq!(write(&registry), expected);
    }
}
