//! Logs: plain lines on a terminal, JSON elsewhere, both on standard error.
//!
//! The spans around a line carry its context: the task of a NodeUpdate has the fields `namespace`,
//! `run`, `node`, `runner` and `attempt`, a reconciliation has `namespace` and `run`. Individual log
//! statements do not have to repeat these fields.

mod json;
#[cfg(feature = "otlp")]
mod traces;

use json::Json;
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Format and level of the log.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// Format of the log. Default: text on a terminal, json elsewhere.
    #[arg(
        long,
        env = "FARRIER_LOG_FORMAT",
        global = true,
        help_heading = "Log",
        value_enum,
        value_name = "FORMAT"
    )]
    log_format: Option<Format>,

    /// Level of the log: off, error, warn, info, debug or trace. For single modules, set `RUST_LOG`
    /// instead, for instance to `info,farrier::ssh=debug`.
    #[arg(long, env = "FARRIER_LOG_LEVEL", global = true, help_heading = "Log", value_name = "LEVEL")]
    log_level: Option<LevelFilter>,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Plain lines for terminals.
    Text,
    /// One JSON object per line; fields of spans are merged into the object.
    Json,
}

/// Must live as long as the process; with traces, it owns the exporter.
#[derive(Debug, Default)]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    #[expect(dead_code, reason = "sends what is left when it is dropped")]
    traces: Option<traces::Traces>,
}

/// Sets up logging, and traces if a collector is configured. Must not be called from async code.
///
/// # Errors
/// When `RUST_LOG` or the collector's address cannot be parsed.
pub fn init(options: Options) -> anyhow::Result<Telemetry> {
    let terminal = std::io::stderr().is_terminal();
    let usual = if terminal { Format::Text } else { Format::Json };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match options.log_format.unwrap_or(usual) {
        Format::Text => lines.with_target(false).with_ansi(terminal).boxed(),
        Format::Json => lines.fmt_fields(JsonFields::new()).event_format(Json).boxed(),
    };
    let logged = tracing_subscriber::registry().with(lines.with_filter(filter(options)?));
    let wanted = COLLECTOR.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    #[cfg(feature = "otlp")]
    {
        let traces = wanted.then(traces::Traces::start).transpose()?;
        logged.with(traces.as_ref().map(traces::Traces::layer)).init();
        Ok(Telemetry { traces })
    }
    #[cfg(not(feature = "otlp"))]
    {
        logged.init();
        if wanted {
            tracing::warn!(
                "a collector of traces is named, and this build has no traces; build with --features otlp"
            );
        }
        Ok(Telemetry::default())
    }
}

/// The environment variables that name a collector; the OpenTelemetry library reads the others.
const COLLECTOR: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// Adds a span to the trace of the run with this UID, if traces are enabled.
pub fn join_run(span: &tracing::Span, run: &str) {
    #[cfg(feature = "otlp")]
    traces::join(span, run);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, run);
}

/// Builds the filter: `RUST_LOG` if set, otherwise our own modules from the configured level on. Other
/// crates log warnings only, and the client library nothing, because it repeats our messages and prints
/// whole responses.
fn filter(options: Options) -> anyhow::Result<EnvFilter> {
    let said = std::env::var("RUST_LOG").unwrap_or_default();
    let words = match options.log_level {
        Some(level) => format!("warn,farrier={level},kube_client=off"),
        None if said.is_empty() => "warn,farrier=info,kube_client=off".to_owned(),
        None => said,
    };
    words.parse().map_err(|error| {
        anyhow::anyhow!("RUST_LOG={words:?} cannot be read ({error}); write for instance info,farrier=debug")
    })
}
