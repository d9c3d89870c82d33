//! Logs: plain lines on a terminal, JSON elsewhere, both on standard error.
//!
//! What a line is about stands in the spans around it: the task of a NodeUpdate carries
//! `namespace`, `run`, `node`, `runner` and `attempt`, a decision `namespace` and `run`. So nobody
//! who writes a line has to think of it, and nobody can forget it.

mod json;

use json::Json;
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;

/// How the log looks, and how much of it there is.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// How the log is written. Without it: text on a terminal, json elsewhere.
    #[arg(long, env = "FARRIER_LOG_FORMAT", global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<Format>,

    /// How much is logged: off, error, warn, info, debug or trace. For single modules, set
    /// `RUST_LOG` instead, for instance to `info,farrier::ssh=debug`.
    #[arg(long, env = "FARRIER_LOG_LEVEL", global = true, value_name = "LEVEL")]
    log_level: Option<LevelFilter>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One JSON object a line; fields of spans stand beside those of the line itself.
    Json,
}

/// Sets logging up.
///
/// # Errors
/// When `RUST_LOG` cannot be read.
pub fn init(options: Options) -> anyhow::Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let usual = if terminal { Format::Text } else { Format::Json };
    let builder = tracing_subscriber::fmt().with_env_filter(filter(options)?).with_writer(std::io::stderr);
    match options.log_format.unwrap_or(usual) {
        Format::Text => builder.with_target(false).with_ansi(terminal).init(),
        Format::Json => builder.fmt_fields(JsonFields::new()).event_format(Json).init(),
    }
    Ok(())
}

/// What is shown: what `RUST_LOG` says, or ours from this level on. Of others warnings, and
/// nothing of the client library, which repeats what we say and prints whole responses.
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
