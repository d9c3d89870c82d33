//! Running commands over a connection.

use super::connect::Connection;
use crate::failure::{Failure, chain};
use bytes::Bytes;
use farrier_update::Reason;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, Sig};
use std::time::Duration;

/// What a command printed is kept up to this length: our own scripts print a few lines, and a
/// machine must not be able to fill the operator's memory.
const OUTPUT_LIMIT: usize = 256 * 1024;

/// How long a command that was killed may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// What came of a command.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Exit status; `None` if a signal or the loss of the connection ended it.
    pub status: Option<u32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A command under way.
pub struct Running {
    /// The channel it runs in.
    channel: Channel<Msg>,
    output: Output,
    node: String,
    ended: bool,
}

/// Whether a command gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// Standard input, output and error stay apart.
    No,
    /// For programs that insist on one.
    Yes,
}

impl Connection {
    /// Starts a command.
    ///
    /// # Errors
    /// `ConnectionLost`; `ShellUnusable` where the server refuses to run commands.
    pub async fn start(&self, command: &str, terminal: Terminal) -> Result<Running, Failure> {
        let channel = self.channel(command, terminal).await?;
        Ok(Running { channel, output: Output::default(), node: self.node.clone(), ended: false })
    }

    /// Starts a command and hands out its channel as it is.
    ///
    /// # Errors
    /// As for [`Connection::start`].
    pub async fn channel(&self, command: &str, terminal: Terminal) -> Result<Channel<Msg>, Failure> {
        let lost = |error: russh::Error| connection_lost(&self.node, &error);
        let channel = self.handle.channel_open_session().await.map_err(lost)?;
        if terminal == Terminal::Yes {
            // Raw from the start would hide the password prompts of old programs.
            channel.request_pty(false, "dumb", 200, 50, 0, 0, &[]).await.map_err(lost)?;
        }
        channel.exec(false, command).await.map_err(lost)?;
        Ok(channel)
    }

    /// Runs a command to its end, with this on its standard input.
    ///
    /// # Errors
    /// As for [`Connection::start`]; `ConnectionLost` after `limit` too.
    pub async fn run(&self, command: &str, input: Vec<Bytes>, limit: Duration) -> Result<Output, Failure> {
        let mut running = self.start(command, Terminal::No).await?;
        let work = async {
            for part in input {
                running.send(part).await?;
            }
            running.end_input().await?;
            running.finish().await
        };
        if let Ok(result) = tokio::time::timeout(limit, work).await {
            return result;
        }
        running.kill().await;
        Err(too_slow(&self.node, limit))
    }

    /// Says goodbye. A machine that does not listen any more is no problem.
    pub async fn close(&self) {
        self.handle.disconnect(russh::Disconnect::ByApplication, "done", "en").await.ok();
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }
}

impl Running {
    /// Writes to the command's standard input.
    ///
    /// # Errors
    /// `ConnectionLost`. A command that has ended already is no error: what it printed tells more.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), Failure> {
        if self.ended {
            return Ok(());
        }
        match self.channel.data_bytes(bytes).await {
            // The channel may be closed: `finish` will see why.
            Ok(()) | Err(russh::Error::SendError | russh::Error::WrongChannel) => Ok(()),
            Err(error) => Err(connection_lost(&self.node, &error)),
        }
    }

    /// Ends the command's standard input.
    ///
    /// # Errors
    /// As for [`Running::send`].
    pub async fn end_input(&mut self) -> Result<(), Failure> {
        self.channel.eof().await.ok();
        Ok(())
    }

    /// Reads until `found` says that what was printed so far is enough, or the command ends.
    /// Returns whether it was found.
    pub async fn read_until(&mut self, found: impl Fn(&Output) -> bool) -> bool {
        loop {
            if found(&self.output) {
                return true;
            }
            // A server may tell the exit status before the last of the output.
            if !self.read_one().await {
                return false;
            }
        }
    }

    /// Ends the command, as far as the server is willing to.
    async fn kill(&mut self) {
        // What hangs must not stay behind; a server that cannot do it leaves it to the machine.
        self.channel.signal(Sig::KILL).await.ok();
        tokio::time::timeout(KILL_LIMIT, self.finish()).await.ok();
    }

    /// What was printed so far.
    pub fn so_far(&self) -> &Output {
        &self.output
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// `ConnectionLost` if the connection went away before the command ended.
    pub async fn finish(&mut self) -> Result<Output, Failure> {
        while self.read_one().await {}
        if self.output.status.is_none() && !self.ended {
            return Err(Failure::new(
                Reason::ConnectionLost,
                format!(
                    "the connection to {} was lost while a command ran; it is tried again where retries are left",
                    self.node
                ),
            ));
        }
        Ok(self.output.clone())
    }

    /// Takes the next message. False when there is none any more.
    async fn read_one(&mut self) -> bool {
        let Some(message) = self.channel.wait().await else { return false };
        #[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive; only these matter here")]
        match message {
            ChannelMsg::Data { data } => append(&mut self.output.stdout, &data),
            ChannelMsg::ExtendedData { data, .. } => append(&mut self.output.stderr, &data),
            ChannelMsg::ExitStatus { exit_status } => {
                self.output.status = Some(exit_status);
                self.ended = true;
            }
            ChannelMsg::ExitSignal { .. } | ChannelMsg::Failure => self.ended = true,
            _ => {}
        }
        true
    }
}

fn append(text: &mut String, data: &[u8]) {
    if text.len() < OUTPUT_LIMIT {
        text.push_str(&String::from_utf8_lossy(data));
    }
}

fn connection_lost(node: &str, error: &russh::Error) -> Failure {
    Failure::new(
        Reason::ConnectionLost,
        format!(
            "the connection to {node} was lost ({}); it is tried again where retries are left",
            chain(error)
        ),
    )
}

fn too_slow(node: &str, limit: Duration) -> Failure {
    Failure::new(
        Reason::ConnectionLost,
        format!(
            "a command on {node} did not end within {} s; look at the machine's load and its login scripts",
            limit.as_secs()
        ),
    )
}
