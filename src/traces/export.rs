//! Sends spans to a collector, in batches, from a thread of the library's own: nothing in the way of a message waits for it,
//! and of what it cannot send or keep (2,048 spans unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise) nothing is left.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

use super::sampling::Sampling;
use super::{LINKS_MAX, Traces, settings};

/// How long the last spans may take at the end of the process.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);

/// What a process is called by a collector unless `OTEL_SERVICE_NAME` says otherwise.
const SERVICE_NAME: &str = "rockets";

/// The sending of spans, if a collector is named.
#[derive(Debug, Default)]
pub struct Export(Option<SdkTracerProvider>);

impl Export {
    /// Begins it as the variables say, for a process with these roles.
    pub fn start(roles: &str) -> anyhow::Result<Self> {
        let Some(sampling) = settings::sampling() else { return Ok(Self::default()) };
        let otlp = opentelemetry_otlp::SpanExporter::builder().with_http().build();
        let exporter = Exporter { otlp: otlp.context("spans cannot be sent")?, lost: AtomicU64::new(0) };
        tracing::info!(sampler = ?sampling.root, heeds_callers = sampling.heeds_callers, "sending spans");
        Ok(Self::of(exporter, sampling, roles))
    }

    fn of(exporter: impl SpanExporter + 'static, sampling: Sampling, roles: &str) -> Self {
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampling);
        Self(Some(provider.with_max_links_per_span(LINKS_MAX as u32).with_resource(resource(roles)).build()))
    }

    /// Where traces begin in this process.
    pub fn traces(&self) -> Traces {
        let scope = InstrumentationScope::builder("rockets").with_version(env!("CARGO_PKG_VERSION")).build();
        Traces(self.0.as_ref().map(|provider| provider.tracer_with_scope(scope)))
    }

    /// Sends what is left, as long as that is soon done.
    pub async fn finish(self) {
        let Some(provider) = self.0 else { return };
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_DEADLINE)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be sent in time");
        }
    }
}

/// What a collector is told of this process. The variables come before what is known here.
fn resource(roles: &str) -> Resource {
    let known = [
        KeyValue::new("service.name", SERVICE_NAME),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
        KeyValue::new("rockets.roles", roles.to_owned()),
    ];
    let resource = Resource::builder_empty().with_attributes(known);
    let resource =
        resource.with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty()) {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

/// The library's exporter, which tells the log when it begins to fail and when it works again, and not each time.
#[derive(Debug)]
struct Exporter {
    otlp: opentelemetry_otlp::SpanExporter,
    /// Spans that were lost since it began to fail.
    lost: AtomicU64,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let exported = self.otlp.export(batch).await;
        match &exported {
            Err(error) if self.lost.fetch_add(spans, Ordering::Relaxed) == 0 => {
                tracing::warn!(%error, "spans cannot be sent to the collector and are lost until it takes them");
            }
            Err(_) => {}
            Ok(()) => match self.lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => tracing::info!(lost, "the collector takes spans again"),
            },
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}
