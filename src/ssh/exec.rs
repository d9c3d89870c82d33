//! Runs commands over a connection.
//!
//! A refusal by the server (of a channel, a command or a terminal) is distinguished from a lost connection:
//! the server responds to each request, and closes each channel before it forgets the channel.

use super::connect::Connection;
use super::heard::Heard;
use crate::failure::Failure;
use bytes::Bytes;
use farrier_update::Reason;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;

/// Maximum length of the output that is kept. Our own scripts print a few lines, and a machine must not be
/// able to fill the operator's memory.
const OUTPUT_LIMIT: usize = 256 * 1024;

/// How many bytes are sent at once. russh encrypts all that is in its queue, which is ten pieces long, into one
/// buffer, and keeps that buffer until the connection ends: with its own pieces of 32 KiB, each connection held
/// 0.5 MiB (measured with heaptrack, russh 0.65).
pub(super) const PIECE: usize = 8 * 1024;

/// Timeout for the end of a command that was killed.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// The result of a command.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Exit status; `None` if a signal ended the command, or the command has not ended.
    pub status: Option<u32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The server refused the requested terminal; the command ran without a terminal.
    pub no_terminal: bool,
}

/// A running command. Dropping it closes the command's standard input.
pub struct Running {
    write: ChannelWriteHalf<Msg>,
    input_ended: bool,
    reader: Reader,
}

/// Reads the server's messages about a command.
struct Reader {
    channel: ChannelReadHalf,
    /// Requests that the server has not answered, oldest first. The server answers them in order.
    unanswered: VecDeque<Request>,
    output: Output,
    /// The server has closed the channel: all messages have been read.
    closed: bool,
    node: String,
    user: String,
    heard: Heard,
}

/// A request to the server on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Terminal,
    /// A command, or a subsystem.
    Command,
}

/// Whether a command gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// Standard input, output and error stay separate.
    No,
    /// For programs that require a terminal.
    Yes,
}

impl Connection {
    /// Starts a command. Does not wait for the server's response, which is read with the output.
    ///
    /// # Errors
    /// `SshSessionRefused`; `CommandTimedOut` if an earlier command holds the only session that the server
    /// grants; `ConnectionLost`.
    pub async fn start(&self, command: &str, terminal: Terminal) -> Result<Running, Failure> {
        let mut running = self.session().await?;
        let lost = |error: russh::Error| self.heard.connection_lost(&self.node, &error);
        if terminal == Terminal::Yes {
            // Raw mode from the start would hide the password prompts of old programs.
            running.write.request_pty(true, "dumb", 200, 50, 0, 0, &[]).await.map_err(lost)?;
            running.reader.unanswered.push_back(Request::Terminal);
        }
        running.write.exec(true, command).await.map_err(lost)?;
        running.reader.unanswered.push_back(Request::Command);
        Ok(running)
    }

    /// Starts a subsystem of the server, for example `sftp`.
    ///
    /// # Errors
    /// As for [`Connection::start`].
    pub async fn subsystem(&self, name: &str) -> Result<Running, Failure> {
        let mut running = self.session().await?;
        let lost = |error: russh::Error| self.heard.connection_lost(&self.node, &error);
        running.write.request_subsystem(true, name).await.map_err(lost)?;
        running.reader.unanswered.push_back(Request::Command);
        Ok(running)
    }

    /// Opens a session in which no command runs yet.
    async fn session(&self) -> Result<Running, Failure> {
        let (channel, write) = self.open().await?.split();
        let reader = Reader {
            channel,
            unanswered: VecDeque::new(),
            output: Output::default(),
            closed: false,
            node: self.node.clone(),
            user: self.user.clone(),
            heard: self.heard.clone(),
        };
        Ok(Running { write, input_ended: false, reader })
    }

    /// Starts a command and returns its channel. Does not wait for the server's response; see
    /// [`Connection::accepted`].
    ///
    /// # Errors
    /// As for [`Connection::start`].
    pub async fn channel(&self, command: &str) -> Result<Channel<Msg>, Failure> {
        let channel = self.open().await?;
        channel.exec(true, command).await.map_err(|error| self.heard.connection_lost(&self.node, &error))?;
        Ok(channel)
    }

    /// Waits until the server has accepted the command of a channel. Servers answer in order, so that there
    /// is no output before.
    ///
    /// # Errors
    /// `SshCommandRefused`; `ConnectionLost`, also if the server has not responded after `limit`.
    pub async fn accepted(&self, channel: &mut Channel<Msg>, limit: Duration) -> Result<(), Failure> {
        let answer = async {
            loop {
                match channel.wait().await {
                    Some(ChannelMsg::Success) => return Ok(()),
                    Some(ChannelMsg::Failure) => return Err(command_refused(&self.node, &self.user)),
                    Some(ChannelMsg::Close) | None => {
                        return Err(self.heard.connection_lost(&self.node, &russh::Error::Disconnect));
                    }
                    Some(_) => {}
                }
            }
        };
        match tokio::time::timeout(limit, answer).await {
            Ok(accepted) => accepted,
            Err(_) => Err(self.unanswered("a command", limit).await),
        }
    }

    /// Runs a command with `input` on its standard input, until the command ends.
    ///
    /// # Errors
    /// As for [`Connection::start`]; `SshCommandRefused`; after `limit`, `CommandTimedOut` if the server
    /// has started the command, and `ConnectionLost` if the server has not responded.
    pub async fn run(&self, command: &str, input: Vec<Bytes>, limit: Duration) -> Result<Output, Failure> {
        let (ended, was_answered) = self.run_once(command, input.clone(), limit).await?;
        if was_answered || self.is_closed() {
            return ended;
        }
        // Seen with dropbear: a new session is closed while an earlier one ends. A server answers before it
        // runs a command, so that nothing was executed.
        tracing::debug!(node = %self.node, "the server closed a session without an answer; repeating");
        self.run_once(command, input, limit).await?.0
    }

    /// Runs a command once. Returns its end, and false if the session ended without an answer of the server.
    async fn run_once(
        &self,
        command: &str,
        input: Vec<Bytes>,
        limit: Duration,
    ) -> Result<(Result<Output, Failure>, bool), Failure> {
        let mut running = self.start(command, Terminal::No).await?;
        let work = async {
            for part in input {
                running.send(part).await?;
            }
            running.end_input().await;
            running.finish().await
        };
        if let Ok(result) = tokio::time::timeout(limit, work).await {
            return Ok((result, running.reader.unanswered.is_empty()));
        }
        let failure = running.timed_out(limit);
        running.kill().await;
        Err(failure)
    }

    /// Closes the connection. A machine that does not respond any more is not an error.
    pub async fn close(&self) {
        self.handle.disconnect(russh::Disconnect::ByApplication, "done", "en").await.ok();
    }

    /// Reports whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }
}

impl Running {
    /// Writes to the command's standard input. Meanwhile the output is read: a command that has ended, or
    /// that reads no input until its output is read, must not block this.
    ///
    /// # Errors
    /// `ConnectionLost`, `SshCommandRefused`. A command that has ended already is not an error, because its
    /// output explains more.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(PIECE.min(bytes.len()));
            let mut sending = pin!(self.write.data_bytes(piece));
            let sent = loop {
                tokio::select! {
                    biased;
                    sent = &mut sending => break sent,
                    more = self.reader.next() => if !more? { return Ok(()) },
                }
            };
            match sent {
                Ok(()) => {}
                // The channel may be closed; `finish` reads the reason.
                Err(russh::Error::SendError | russh::Error::WrongChannel) => return Ok(()),
                Err(error) => return Err(self.reader.heard.connection_lost(&self.reader.node, &error)),
            }
        }
        Ok(())
    }

    /// Closes the command's standard input. Has no effect on a command that has ended.
    pub async fn end_input(&mut self) {
        self.input_ended = true;
        self.write.eof().await.ok();
    }

    /// Reads until `found` accepts the output so far, or the command ends. Returns whether `found` accepted
    /// it.
    ///
    /// # Errors
    /// `ConnectionLost`, `SshCommandRefused`.
    pub async fn read_until(&mut self, found: impl Fn(&Output) -> bool) -> Result<bool, Failure> {
        loop {
            if found(&self.reader.output) {
                return Ok(true);
            }
            // A server may send the exit status before the last of the output.
            if !self.reader.next().await? {
                return Ok(false);
            }
        }
    }

    /// Returns the failure for a command that exceeded `limit`.
    pub(super) fn timed_out(&self, limit: Duration) -> Failure {
        self.reader.timed_out(limit)
    }

    /// Kills the command, if the server supports signals.
    async fn kill(&mut self) {
        // A hanging command must not stay behind. If the server cannot send the signal, the command is left
        // to the machine.
        self.write.signal(Sig::KILL).await.ok();
        tokio::time::timeout(KILL_LIMIT, self.finish()).await.ok();
    }

    /// Returns the output so far.
    pub fn output_so_far(&self) -> &Output {
        &self.reader.output
    }

    /// Reads until the command ends.
    ///
    /// # Errors
    /// `ConnectionLost` if the connection was lost before the command ended; `SshCommandRefused`.
    pub async fn finish(&mut self) -> Result<Output, Failure> {
        while self.reader.next().await? {}
        Ok(self.reader.output.clone())
    }
}

impl Drop for Running {
    /// An abandoned command would otherwise wait for input and keep its channel open.
    fn drop(&mut self) {
        if !self.input_ended && !self.reader.closed {
            end_input_later(self.write.make_writer());
        }
    }
}

/// Closes the standard input of a command from code that cannot wait, such as `Drop`.
pub(crate) fn end_input_later(mut writer: impl AsyncWrite + Unpin + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move { writer.shutdown().await.ok() });
    }
}

impl Reader {
    /// Processes the next message. Returns false when there are no more messages.
    async fn next(&mut self) -> Result<bool, Failure> {
        if self.closed {
            return Ok(false);
        }
        let Some(message) = self.channel.wait().await else {
            return Err(self.heard.connection_lost(&self.node, &russh::Error::Disconnect));
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive; only these matter here")]
        match message {
            ChannelMsg::Data { data } => append(&mut self.output.stdout, &data),
            ChannelMsg::ExtendedData { data, .. } => append(&mut self.output.stderr, &data),
            ChannelMsg::ExitStatus { exit_status } => self.output.status = Some(exit_status),
            ChannelMsg::Success => _ = self.unanswered.pop_front(),
            ChannelMsg::Failure => match self.unanswered.pop_front() {
                Some(Request::Command) => return Err(command_refused(&self.node, &self.user)),
                Some(Request::Terminal) => self.output.no_terminal = true,
                None => {}
            },
            ChannelMsg::Close => self.closed = true,
            _ => {}
        }
        Ok(!self.closed)
    }

    fn timed_out(&self, limit: Duration) -> Failure {
        let (node, seconds) = (&self.node, limit.as_secs());
        if self.unanswered.is_empty() {
            return Failure::new(
                Reason::CommandTimedOut,
                format!(
                    "a command of user {} on {node} did not end within {seconds} s; look at the machine's load, at the user's login scripts, and at ForceCommand in sshd_config",
                    self.user
                ),
            );
        }
        Failure::new(
            Reason::ConnectionLost,
            format!(
                "the SSH server of {node} did not start a command within {seconds} s; check the network and the machine's load"
            ),
        )
    }
}

fn command_refused(node: &str, user: &str) -> Failure {
    Failure::new(
        Reason::SshCommandRefused,
        format!(
            "user {user} of {node} signed in, but the SSH server refused to run a command (exec request); allow commands for user {user} in its configuration, or configure another user"
        ),
    )
}

fn append(text: &mut String, data: &[u8]) {
    if text.len() < OUTPUT_LIMIT {
        text.push_str(&String::from_utf8_lossy(data));
    }
}
