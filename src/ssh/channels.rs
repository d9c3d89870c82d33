//! Opens session channels, also on servers that grant only one at a time.
//!
//! sshd counts a session channel against `MaxSessions` until its command has ended and both sides have
//! closed the channel. The work on a machine needs one channel at a time, but requests the next channel
//! while the server may still be closing the previous one. On most servers that saves a round trip. If the
//! server refuses, the request waits until an open channel has closed, and is repeated.

use super::connect::Connection;
use crate::failure::Failure;
use farrier_update::Reason;
use russh::client::Msg;
use russh::{Channel, ChannelOpenFailure};
use std::time::Duration;

/// How long a refused request waits for an earlier channel to close. The earlier commands have printed all
/// their output by then, or have been abandoned and their standard input is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How long the server may take to answer a request for a channel. OpenSSH answers at once; a machine under
/// load has as long as a keepalive may stay unanswered.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

impl Connection {
    /// Opens a session channel.
    ///
    /// # Errors
    /// `SshSessionRefused` if the server grants no sessions at all, `CommandTimedOut` if the only session
    /// that it grants is held by a command that does not end, `SessionLimitReached` if the server lacks the
    /// resources for a channel, `ConnectionLost` also if the server does not answer.
    pub(super) async fn open(&self) -> Result<Channel<Msg>, Failure> {
        self.open_within(CLOSE_LIMIT, ANSWER_LIMIT).await
    }

    /// Like `open`, with different timeouts for an earlier channel to close, and for the server to answer.
    pub(super) async fn open_within(
        &self,
        limit: Duration,
        answer_limit: Duration,
    ) -> Result<Channel<Msg>, Failure> {
        let mut count = self.channels.clone();
        // sshd reads everything that has arrived before it frees the slots of closed channels. A request
        // that directly follows a close is therefore refused, and granted when it is repeated.
        let mut repeated_after = 0;
        loop {
            let before = *count.borrow_and_update();
            // The client library waits for the answer as long as the server answers keepalives.
            let opened = tokio::time::timeout(answer_limit, self.handle.channel_open_session()).await;
            let why = match opened {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(russh::Error::ChannelOpenFailure(why))) => why,
                Ok(Err(error)) => return Err(self.heard.connection_lost(&self.node, &error)),
                Err(_) => return Err(self.unanswered("a session", answer_limit).await),
            };
            let now = *count.borrow_and_update();
            if now.open > 0 {
                tracing::debug!(node = %self.node, open = now.open, "the server refused another session; waiting for one to close");
                let closed = count.wait_for(|count| count.closed != now.closed);
                match tokio::time::timeout(limit, closed).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => {
                        return Err(self.heard.connection_lost(&self.node, &russh::Error::Disconnect));
                    }
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

    /// Closes a connection on which the server answers no requests, and returns the failure.
    pub(super) async fn unanswered(&self, what: &str, limit: Duration) -> Failure {
        self.close().await;
        Failure::new(
            Reason::ConnectionLost,
            format!(
                "the SSH server of {} did not answer the request for {what} within {} s; look at the machine's load and at the log of its SSH server",
                self.node,
                limit.as_secs()
            ),
        )
    }

    fn refused(&self, why: &ChannelOpenFailure) -> Failure {
        if matches!(why, ChannelOpenFailure::ResourceShortage) {
            return Failure::new(
                Reason::SessionLimitReached,
                format!(
                    "the SSH server of {} has no resources for a session at present (resource shortage); close other sessions on it, and look at its memory and processes",
                    self.node
                ),
            );
        }
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
