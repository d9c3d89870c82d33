//! Logs: plain lines on a terminal, JSON elsewhere, both on standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Sets logging up. `RUST_LOG` chooses what is shown; without it: ours from info, others from
/// warn, and nothing of the client library, which repeats what we say and prints whole responses.
pub fn init() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,farrier=info,kube_client=off"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder.json().init();
    }
}
