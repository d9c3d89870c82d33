//! An interactive shell with a terminal: bytes in, bytes out.
//!
//! What the bytes mean is not known here; the dialogue with a device is in `drivers/console`.

use super::connect::Connection;
use super::exec::{PIECE, end_input_later};
use super::heard::Heard;
use crate::failure::Failure;
use bytes::Bytes;
use farrier_update::Reason;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

/// The terminal that a device is told, if its file names no other. Paramiko, and so Netmiko and Ansible's
/// `network_cli`, and Oxidized say the same, so that devices are used to it: a terminal without colours, which
/// firmware of the nineties knows.
pub const TERM: &str = "vt100";

/// How long a device may take to accept what is typed: it has as long as a keepalive may stay unanswered.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// How many bytes are kept that a device prints while it accepts none, which is more than it prints for one command.
const UNREAD_LIMIT: usize = 256 * 1024;

/// The terminal of a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal<'a> {
    /// Its name, as in `TERM`.
    pub name: &'a str,
    /// How many characters a line has.
    pub columns: u32,
    /// How many lines it has.
    pub rows: u32,
}

/// A shell of a device. Dropping it ends its input.
pub struct Shell {
    write: ChannelWriteHalf<Msg>,
    reader: Reader,
}

/// Reads the server's messages about a shell.
struct Reader {
    channel: ChannelReadHalf,
    /// Requests that the server has not answered. It answers them in order, if it does: some devices do not.
    unanswered: VecDeque<Request>,
    unread: VecDeque<Bytes>,
    has_printed: bool,
    /// The server has ended the output, or closed the channel.
    is_over: bool,
    node: String,
    user: String,
    heard: Heard,
}

/// A request to the server on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Terminal,
    Shell,
}

impl Connection {
    /// Opens a shell with a terminal. Does not wait for the server's answer, which is read with the first bytes.
    ///
    /// # Errors
    /// `SshSessionRefused`, `SessionLimitReached`, `ConnectionLost`.
    pub async fn shell(&self, terminal: &Terminal<'_>) -> Result<Shell, Failure> {
        let (channel, write) = self.open().await?.split();
        let lost = |error: russh::Error| self.heard.connection_lost(&self.node, &error);
        let Terminal { name, columns, rows } = *terminal;
        write.request_pty(true, name, columns, rows, 0, 0, &[]).await.map_err(lost)?;
        write.request_shell(true).await.map_err(lost)?;
        let reader = Reader {
            channel,
            unanswered: VecDeque::from([Request::Terminal, Request::Shell]),
            unread: VecDeque::new(),
            has_printed: false,
            is_over: false,
            node: self.node.clone(),
            user: self.user.clone(),
            heard: self.heard.clone(),
        };
        Ok(Shell { write, reader })
    }
}

impl Shell {
    /// Returns what the device prints next; `None` when it has ended the session. Nothing is lost if this is
    /// cancelled.
    ///
    /// # Errors
    /// `SshTerminalRefused`, `SshCommandRefused`, `SessionLimitReached` if the session ends before anything was
    /// printed, `ConnectionLost`.
    pub async fn read(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(bytes) = self.reader.unread.pop_front() {
                return Ok(Some(bytes));
            }
            if !self.reader.next().await? {
                return Ok(None);
            }
        }
    }

    /// Types bytes. Meanwhile what the device prints is kept for [`Shell::read`]: a device that waits until it is
    /// read must not block this. If this is cancelled, a part may have been typed.
    ///
    /// # Errors
    /// As [`Shell::read`]; `ConnectionLost` also if the session has ended, or the device accepts nothing.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Failure> {
        while !bytes.is_empty() {
            if self.reader.is_over {
                return Err(self.reader.heard.connection_lost(&self.reader.node, &russh::Error::Disconnect));
            }
            let piece = bytes.split_to(PIECE.min(bytes.len()));
            let written = tokio::time::timeout(WRITE_LIMIT, self.write_piece(piece)).await;
            written.unwrap_or_else(|_| Err(self.reader.accepts_nothing()))?;
        }
        Ok(())
    }

    async fn write_piece(&mut self, piece: Bytes) -> Result<(), Failure> {
        let mut sending = pin!(self.write.data_bytes(piece));
        let sent = loop {
            tokio::select! {
                biased;
                sent = &mut sending => break sent,
                more = self.reader.next(), if self.reader.has_room() => if !more? { break Err(russh::Error::Disconnect) },
            }
        };
        sent.map_err(|error| self.reader.heard.connection_lost(&self.reader.node, &error))
    }

    /// Ends the session. A device that does not respond any more is not an error.
    pub async fn close(self) {
        self.write.close().await.ok();
    }
}

impl Drop for Shell {
    /// A device that grants one session only would otherwise keep it for an abandoned shell.
    fn drop(&mut self) {
        if !self.reader.is_over {
            end_input_later(self.write.make_writer());
        }
    }
}

impl Reader {
    /// Processes the next message. Returns false when nothing more is printed.
    async fn next(&mut self) -> Result<bool, Failure> {
        if self.is_over {
            return Ok(false);
        }
        let Some(message) = self.channel.wait().await else {
            return Err(self.heard.connection_lost(&self.node, &russh::Error::Disconnect));
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive; only these matter here")]
        match message {
            ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                self.has_printed = true;
                self.unread.push_back(data);
            }
            ChannelMsg::Success => _ = self.unanswered.pop_front(),
            ChannelMsg::Failure => match self.unanswered.pop_front() {
                Some(Request::Terminal) => return Err(self.no_terminal()),
                Some(Request::Shell) => return Err(self.no_shell()),
                None => {}
            },
            ChannelMsg::Eof | ChannelMsg::Close => {
                self.is_over = true;
                if !self.has_printed {
                    return Err(self.ended_at_once());
                }
            }
            _ => {}
        }
        Ok(!self.is_over)
    }

    fn has_room(&self) -> bool {
        !self.is_over && self.unread.iter().map(Bytes::len).sum::<usize>() < UNREAD_LIMIT
    }

    fn no_terminal(&self) -> Failure {
        Failure::new(
            Reason::SshTerminalRefused,
            format!(
                "user {} of {} signed in, but the SSH server gives no terminal; allow the user the command line on it",
                self.user, self.node
            ),
        )
    }

    fn no_shell(&self) -> Failure {
        Failure::new(
            Reason::SshCommandRefused,
            format!(
                "user {} of {} signed in, but the SSH server refused its command line (shell request); allow the user the command line on it",
                self.user, self.node
            ),
        )
    }

    fn ended_at_once(&self) -> Failure {
        Failure::new(
            Reason::SessionLimitReached,
            format!(
                "user {} of {} signed in, but the session was closed before anything was printed; close other sessions on it, or wait until they expire, and check that the user may use the command line",
                self.user, self.node
            ),
        )
    }

    fn accepts_nothing(&self) -> Failure {
        Failure::new(
            Reason::ConnectionLost,
            format!(
                "{} accepted nothing that was typed for {} s; look at its load, and close other sessions on it",
                self.node,
                WRITE_LIMIT.as_secs()
            ),
        )
    }
}
