//! The byte stream between runner and engine: `farrier-engine attach` over SSH.

use super::Machine;
use crate::drivers::engine::Deployed;
use crate::drivers::shell::script::command_line;
use crate::engine_api::EngineApi;
use crate::failure::{Failure, chain};
use crate::ssh::exec::end_input_later;
use farrier_protocol::ATTACH_MARKER;
use farrier_update::Reason;
use russh::Channel;
use russh::client::Msg;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How long the server may take to start `attach`, and `attach` to print its marker.
const LIMIT: Duration = Duration::from_secs(20);

/// Maximum number of bytes before the marker, larger than any login banner.
const BANNER_LIMIT: usize = 256 * 1024;

impl Machine {
    /// Serves the engine until the stream ends.
    ///
    /// # Errors
    /// `EngineLost` if no engine answers, and those of starting a command. The loss of an established stream
    /// is not an error: the caller learns from `engine_api` whether everything was exchanged.
    pub async fn talk(&self, deployed: &Deployed, engine_api: &Arc<EngineApi>) -> Result<(), Failure> {
        let engine = format!("{}/engine", deployed.dir);
        let command = command_line(&[&engine, "attach", "--dir", &deployed.dir]);
        let mut attached = Attached(self.session.connection.channel(&command).await?);
        self.session.connection.accepted(&mut attached.0, LIMIT).await?;
        let writer = attached.0.make_writer();
        let mut reader = attached.0.make_reader();
        let rest = tokio::time::timeout(LIMIT, skip_banner(&mut reader))
            .await
            .ok()
            .flatten()
            .ok_or_else(|| self.engine_unreachable())?;
        tracing::trace!(node = %self.session.connection.node, rest = rest.len(), "attached");
        let stream = tokio::io::join(Cursor::new(rest).chain(reader), writer);
        if let Err(error) = engine_api.serve(stream, || {}).await {
            tracing::debug!(error = %chain(&error), "the stream to the engine ended");
        }
        Ok(())
    }

    fn engine_unreachable(&self) -> Failure {
        Failure::new(
            Reason::EngineLost,
            format!(
                "the engine on {} does not answer; it is launched again if retries are left",
                self.session.connection.node
            ),
        )
    }
}

/// The channel to the engine. On drop, `attach` receives the end of its input and exits. The client does not
/// close the channel: the server would then not confirm when the channel is free again.
struct Attached(Channel<Msg>);

impl Drop for Attached {
    fn drop(&mut self) {
        end_input_later(self.0.make_writer());
    }
}

/// Reads past the marker line; returns the bytes that were read after the marker.
async fn skip_banner(reader: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let marker = format!("{ATTACH_MARKER}\n").into_bytes();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(at) = seen.windows(marker.len()).position(|w| w == marker) {
            return Some(seen.split_off(at + marker.len()));
        }
        let n = reader.read(&mut buffer).await.ok()?;
        if n == 0 || seen.len() > BANNER_LIMIT {
            return None;
        }
        seen.extend_from_slice(buffer.get(..n)?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_before_the_marker_are_discarded_and_none_after_it() {
        let mut stream: &[u8] = b"Welcome!\nfarrier-attached-1\nPOST /v1/hello";
        assert_eq!(skip_banner(&mut stream).await, Some(b"POST /v1/hello".to_vec()));
        let mut stream: &[u8] = b"This account is currently not available.\n";
        assert_eq!(skip_banner(&mut stream).await, None);
    }
}
