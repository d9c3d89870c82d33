//! Traces: each NodeUpdate with its attempts and their steps, exported to an OpenTelemetry collector.
//!
//! The trace ID is derived from the run's UID, so that the spans of all replicas that work on a run
//! belong to one trace. The standard OpenTelemetry variables configure the exporter.

use anyhow::Context as _;
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState, TracerProvider as _};
use opentelemetry::{Context, SpanId, TraceId};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, layer};

/// Flushes buffered spans when it is dropped.
#[derive(Debug)]
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the exporter. It has its own thread and must be created outside the async runtime.
    pub(super) fn start() -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .build()
            .context("failed to set traces up; correct OTEL_EXPORTER_OTLP_ENDPOINT, for instance http://collector:4318")?;
        let resource = Resource::builder().with_service_name("farrier").build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
        Ok(Self(provider.build()))
    }

    /// Returns the layer that exports our spans, independent of the log filter.
    pub(super) fn layer<S>(&self) -> impl layer::Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let ours = Targets::new().with_target("farrier", LevelFilter::INFO);
        tracing_opentelemetry::layer().with_tracer(self.0.tracer("farrier")).with_filter(ours)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Adds a span to the trace of the run with this UID.
pub(super) fn join(span: &Span, run: &str) {
    let Some(id) = number(run) else { return };
    // The lower half of the UID is the ID of the run's root span, the parent of all its spans.
    let half = u64::try_from(id & u128::from(u64::MAX)).unwrap_or_default();
    let (trace, root) = (TraceId::from_bytes(id.to_be_bytes()), SpanId::from_bytes(half.to_be_bytes()));
    let parent = SpanContext::new(trace, root, TraceFlags::SAMPLED, true, TraceState::default());
    // Fails if the span is disabled; then there is no span to add.
    span.set_parent(Context::new().with_remote_span_context(parent)).ok();
}

/// Parses a UID without its dashes as a number.
fn number(uid: &str) -> Option<u128> {
    u128::from_str_radix(&uid.replace('-', ""), 16).ok().filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// Reads one request with its body and responds with success.
    fn collect(listener: &TcpListener) -> (String, Vec<u8>) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0, "the exporter closed the connection");
            bytes.extend_from_slice(&buffer[..n]);
            let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
            let body = &bytes[end + 4..];
            if body.len() < length.parse().unwrap() {
                continue;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            return (head, body.to_vec());
        }
    }

    /// Spans that are lost, or that belong to another trace than their run's, are useless.
    #[test]
    fn a_collector_gets_the_spans_of_a_run_in_one_trace() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let collector = std::thread::spawn(move || collect(&listener));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build()
            .unwrap();
        let traces = Traces(SdkTracerProvider::builder().with_batch_exporter(exporter).build());
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        let uid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        tracing::subscriber::with_default(subscriber, || {
            let task =
                tracing::error_span!(target: "farrier::runner", "node_update", run = "r12", node = "db-01");
            join(&task, uid);
            let _task = task.enter();
            let _attempt = tracing::error_span!(target: "farrier::runner", "attempt", attempt = 1).entered();
            let _step = tracing::info_span!(target: "farrier::drivers", "step", step = "survey").entered();
            let _foreign = tracing::info_span!(target: "hyper", "foreign").entered();
        });
        drop(traces);
        let (head, body) = collector.join().unwrap();
        assert!(head.starts_with("post /v1/traces "), "{head}");
        let has = |wanted: &[u8]| body.windows(wanted.len()).any(|w| w == wanted);
        for name in ["node_update", "attempt", "step", "survey", "db-01", "r12"] {
            assert!(has(name.as_bytes()), "no {name}");
        }
        assert!(!has(b"foreign"));
        let id = number(uid).unwrap().to_be_bytes();
        assert_eq!(body.windows(16).filter(|w| *w == id).count(), 3, "each span is in the trace of the run");
    }
}
