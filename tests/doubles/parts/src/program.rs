//! A double as a program: it prints where it serves, and serves until it is ended.

use std::io::Write as _;

use serde_json::Value;

/// Prints what the double is and where, as one line, and returns when the program is to end.
///
/// # Errors
/// Those of the system.
pub async fn until_ended(described: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{described}")?;
    out.flush()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
