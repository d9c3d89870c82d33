//! The client side of the SSH handshake, and the server's messages outside of channels.

use super::algorithms;
use super::channel_count::Count;
use super::heard::Heard;
use super::hostkey::{HostKeys, KeyCheck};
use russh::client::{self, DisconnectReason, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{ChannelId, Error, Names};
use tokio::sync::watch;

/// The client side of a connection: keeps what the server says, and counts the open channels.
pub(super) struct Client {
    keys: HostKeys,
    heard: Heard,
    channels: watch::Sender<Count>,
}

impl Client {
    /// Creates a client that accepts `keys`. It keeps what the server says in `heard`, and the number of channels
    /// in `channels`, which closes with the connection.
    pub(super) fn new(keys: HostKeys, heard: Heard, channels: watch::Sender<Count>) -> Self {
        Self { keys, heard, channels }
    }
}

impl client::Handler for Client {
    type Error = Error;

    async fn check_server_key(&mut self, server: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = server else { return Ok(false) };
        self.heard.note_key(key);
        Ok(matches!(self.keys.check(key), KeyCheck::Known | KeyCheck::First(_)))
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        names: &Names,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.heard.note_old(algorithms::old(names));
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _session: &mut Session) -> Result<(), Self::Error> {
        self.heard.note_banner(banner);
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        _id: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.send_modify(|count| count.open += 1);
        Ok(())
    }

    /// The library has answered the server's close before it calls this method.
    async fn channel_close(&mut self, _id: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.send_modify(|count| {
            count.open = count.open.saturating_sub(1);
            count.closed += 1;
        });
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.heard.note_farewell(&info);
                tracing::debug!(code = ?info.reason_code, words = info.message, "the server disconnects");
                Ok(())
            }
            DisconnectReason::Error(error) => Err(error),
        }
    }
}
