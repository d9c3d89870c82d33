//! Opens session channels, also on servers that grant only one at a time.
//!
//! sshd counts a session channel against `MaxSessions` until its command has ended and both sides have
//! closed the channel. The work on a machine needs one channel at a time, but requests the next channel
//! while the server may still be closing the previous one. On most servers that saves a round trip. If the
//! server refuses, the request waits until an open channel has closed, and is repeated.

use super::connect::Connection;
use super::exec::connection_lost;
use crate::failure::Failure;
use farrier_update::Reason;
use russh::client::Msg;
use russh::{Channel, ChannelOpenFailure};
use std::time::Duration;

/// How long a refused request waits for an earlier channel to close. The earlier commands have printed all
/// their output by then, or have been abandoned and their standard input is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

impl Connection {
    /// Opens a session channel.
    ///
    /// # Errors
    /// `SshSessionRefused` if the server grants no sessions at all, `CommandTimedOut` if the only session
    /// that it grants is held by a command that does not end, `ConnectionLost`.
    pub(super) async fn open(&self) -> Result<Channel<Msg>, Failure> {
        self.open_within(CLOSE_LIMIT).await
    }

    /// Like `open`, with a different timeout for an earlier channel to close.
    pub(super) async fn open_within(&self, limit: Duration) -> Result<Channel<Msg>, Failure> {
        let mut count = self.channels.clone();
        // sshd reads everything that has arrived before it frees the slots of closed channels. A request
        // that directly follows a close is therefore refused, and granted when it is repeated.
        let mut repeated_after = 0;
        loop {
            let before = *count.borrow_and_update();
            let why = match self.handle.channel_open_session().await {
                Ok(channel) => return Ok(channel),
                Err(russh::Error::ChannelOpenFailure(why)) => why,
                Err(error) => return Err(connection_lost(&self.node, &error)),
            };
            let now = *count.borrow_and_update();
            if now.open > 0 {
                tracing::debug!(node = %self.node, open = now.open, "the server refused another session; waiting for one to close");
                let closed = count.wait_for(|count| count.closed != now.closed);
                match tokio::time::timeout(limit, closed).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => return Err(connection_lost(&self.node, &russh::Error::Disconnect)),
                    Err(_) => return Err(self.occupied(limit)),
                }
            } else if now.closed == before.closed {
                // No channel was open when the server refused.
                if before.closed == repeated_after {
                    return Err(self.refused(&why));
                }
                repeated_after = before.closed;
            }
        }
    }

    fn occupied(&self, limit: Duration) -> Failure {
        Failure::new(
            Reason::CommandTimedOut,
            format!(
                "the SSH server of {} grants no further session (MaxSessions), and the command before it did not end within {} s; look at the machine's load, or raise MaxSessions in its sshd_config",
                self.node,
                limit.as_secs()
            ),
        )
    }

    fn refused(&self, why: &ChannelOpenFailure) -> Failure {
        Failure::new(
            Reason::SshSessionRefused,
            format!(
                "user {} of {} signed in, but the SSH server opens no session ({}); set MaxSessions to 1 or more in its sshd_config, also in Match blocks that apply to {}, and reload sshd",
                self.user,
                self.node,
                in_words(why),
                self.user
            ),
        )
    }
}

/// The reason codes of RFC 4254, section 5.1, in words.
const fn in_words(why: &ChannelOpenFailure) -> &'static str {
    match why {
        ChannelOpenFailure::AdministrativelyProhibited => "administratively prohibited",
        ChannelOpenFailure::ConnectFailed => "open failed",
        ChannelOpenFailure::UnknownChannelType => "unknown channel type",
        ChannelOpenFailure::ResourceShortage => "resource shortage",
        ChannelOpenFailure::Other { .. } => "other reason",
    }
}
