//! Somebody who types at a terminal, by russh's client.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use farrier_console_double::Double;
use russh::client::{self, AuthResult, KeyboardInteractiveAuthResponse};
use russh::keys::{Algorithm, PublicKeyOrCertificate};
use russh::{ChannelMsg, Preferred};

/// More than a busy machine needs.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// A session with a terminal of 80 columns and 24 rows.
pub(crate) struct Person {
    _connection: client::Handle<Trusting>,
    channel: russh::Channel<client::Msg>,
    text: String,
    /// So far it has been looked at.
    seen: usize,
}

/// What clients offer when they are asked to work with old devices.
pub(crate) fn old() -> Preferred {
    Preferred {
        kex: Cow::Borrowed(&[russh::kex::DH_G1_SHA1]),
        key: Cow::Borrowed(&[Algorithm::Rsa { hash: None }]),
        cipher: Cow::Borrowed(&[russh::cipher::AES_128_CBC]),
        mac: Cow::Borrowed(&[russh::mac::HMAC_SHA1]),
        ..Preferred::DEFAULT
    }
}

async fn connect(
    address: SocketAddr,
    preferred: Preferred,
) -> Result<client::Handle<Trusting>, russh::Error> {
    let config = client::Config { preferred, ..client::Config::default() };
    client::connect(Arc::new(config), address, Trusting).await
}

impl Person {
    /// Signs in with a password.
    pub(crate) async fn at(double: &Double) -> Self {
        Self::with(double, Preferred::DEFAULT).await.unwrap()
    }

    /// The answer to one command without a terminal.
    pub(crate) async fn command(double: &Double, command: &str) -> String {
        let (connection, channel) = Self::channel(double, Preferred::DEFAULT).await.unwrap();
        channel.exec(false, command).await.unwrap();
        Self { _connection: connection, channel, text: String::new(), seen: 0 }.end().await
    }

    /// Signs in with these algorithms.
    pub(crate) async fn with(double: &Double, preferred: Preferred) -> Result<Self, russh::Error> {
        let (connection, channel) = Self::channel(double, preferred).await?;
        channel.request_pty(false, "xterm", 80, 24, 0, 0, &[]).await?;
        channel.request_shell(false).await?;
        Ok(Self { _connection: connection, channel, text: String::new(), seen: 0 })
    }

    async fn channel(
        double: &Double,
        preferred: Preferred,
    ) -> Result<(client::Handle<Trusting>, russh::Channel<client::Msg>), russh::Error> {
        let mut connection = connect(double.ssh(), preferred).await?;
        let signed_in = connection.authenticate_password("admin", "password").await?;
        if !matches!(signed_in, AuthResult::Success) {
            let first = connection.authenticate_keyboard_interactive_start("admin", None).await?;
            assert!(matches!(first, KeyboardInteractiveAuthResponse::InfoRequest { .. }), "{first:?}");
            let answer = vec!["password".to_owned()];
            let second = connection.authenticate_keyboard_interactive_respond(answer).await?;
            assert!(matches!(second, KeyboardInteractiveAuthResponse::Success), "{second:?}");
        }
        let channel = connection.channel_open_session().await?;
        Ok((connection, channel))
    }

    /// Types.
    pub(crate) async fn say(&mut self, text: &str) {
        self.channel.data(text.as_bytes()).await.unwrap();
    }

    /// Waits for this text, and returns what came up to it.
    pub(crate) async fn wait(&mut self, expected: &str) -> String {
        loop {
            let new = self.text.get(self.seen..).unwrap_or_default();
            if let Some(at) = new.find(expected) {
                let upto = new[..at + expected.len()].to_owned();
                self.seen += upto.len();
                return upto;
            }
            assert!(self.read().await, "the session ended before {expected:?} in {new:?}", new = self.text);
        }
    }

    /// Waits for the end of the session, and returns what came up to it.
    pub(crate) async fn end(mut self) -> String {
        while self.read().await {}
        self.text.split_off(self.seen)
    }

    /// Whether something came.
    async fn read(&mut self) -> bool {
        let message = tokio::time::timeout(LIMIT, self.channel.wait()).await;
        match message.unwrap_or_else(|_| panic!("nothing more comes after {:?}", self.text)) {
            Some(ChannelMsg::Data { data }) => {
                self.text.push_str(&String::from_utf8_lossy(&data));
                true
            }
            Some(ChannelMsg::Close | ChannelMsg::Eof) | None => false,
            Some(_) => true,
        }
    }

    /// A dialogue: waits for the first of each pair and types the second with a return.
    pub(crate) async fn dialogue(&mut self, steps: &[(&str, &str)]) {
        for (expected, answer) in steps {
            self.wait(expected).await;
            self.say(&format!("{answer}\r")).await;
        }
    }
}

/// Waits until the double is as wanted.
pub(crate) async fn until(double: &Double, what: &str, wanted: impl Fn(&Double) -> bool) {
    let end = tokio::time::Instant::now() + LIMIT;
    while !wanted(double) {
        assert!(tokio::time::Instant::now() < end, "{what}: {}", double.state());
        // sleep: the double tells nobody of its changes; this asks again.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
