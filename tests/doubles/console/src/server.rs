//! SSH: sign-in, terminals, and ports that really close while the device is away.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use farrier_double_parts::port::Port;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Response, run_stream};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Preferred, SshId};
use tokio::net::TcpStream;

use crate::device::{Device, Net};
use crate::fault::Fault;
use crate::session::Session;
use crate::terminal::Terminal;
use crate::web::Web;

/// What an SSH server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithms {
    /// What the library prefers today.
    Modern,
    /// Only what devices of 2008 have: SHA-1, CBC, an RSA key of 1024 bits.
    Legacy,
}

/// How somebody signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignIn {
    /// By `password` and by `keyboard-interactive`.
    Any,
    /// By `password` only.
    Password,
    /// By `keyboard-interactive` only.
    Interactive,
}

pub(crate) const BACKLOG: i32 = 16;

/// RSA keys of that age had this length; it is also the shortest that OpenSSH's client takes.
const LEGACY_BITS: usize = 1024;

/// Makes host keys.
pub(crate) fn host_keys(algorithms: Algorithms) -> anyhow::Result<Vec<PrivateKey>> {
    let make = |algorithm| PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm);
    if algorithms == Algorithms::Legacy {
        let pair = russh::keys::ssh_key::private::RsaKeypair::random(
            &mut russh::keys::key::safe_rng(),
            LEGACY_BITS,
        )?;
        return Ok(vec![PrivateKey::from(pair)]);
    }
    let curve = russh::keys::EcdsaCurve::NistP256;
    Ok(vec![make(Algorithm::Ed25519)?, make(Algorithm::Ecdsa { curve })?])
}

/// The configuration of the server.
pub(crate) fn config(
    device: &Device,
    algorithms: Algorithms,
    sign_in: SignIn,
    keys: Vec<PrivateKey>,
) -> Arc<Config> {
    let methods: &[MethodKind] = match sign_in {
        SignIn::Any => &[MethodKind::Password, MethodKind::KeyboardInteractive],
        SignIn::Password => &[MethodKind::Password],
        SignIn::Interactive => &[MethodKind::KeyboardInteractive],
    };
    let preferred = match algorithms {
        Algorithms::Modern => Preferred::DEFAULT,
        Algorithms::Legacy => Preferred {
            kex: Cow::Borrowed(&[russh::kex::DH_G14_SHA1, russh::kex::DH_G1_SHA1]),
            key: Cow::Borrowed(&[Algorithm::Rsa { hash: None }]),
            cipher: Cow::Borrowed(&[russh::cipher::AES_128_CBC]),
            mac: Cow::Borrowed(&[russh::mac::HMAC_SHA1]),
            ..Preferred::DEFAULT
        },
    };
    Arc::new(Config {
        server_id: SshId::Standard(Cow::Borrowed(device.product.profile().ssh_id)),
        methods: MethodSet::from(methods),
        auth_rejection_time: Duration::from_millis(300),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys,
        preferred,
        max_auth_attempts: 4,
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    })
}

/// What is behind a port.
#[derive(Clone)]
pub(crate) enum Service {
    /// `true`: at the address of the standby module.
    Ssh(Arc<Config>, bool),
    Web(Arc<Web>),
}

/// Serves until the double ends. While the device is away the port is kept, but closed.
pub(crate) async fn serve(device: Arc<Device>, port: Port, service: Service) -> anyhow::Result<()> {
    let connected = |stream| drop(tokio::spawn(connection(Arc::clone(&device), stream, service.clone())));
    let closed = || match &service {
        Service::Web(web) => web.forget(),
        Service::Ssh(..) => {}
    };
    port.serve(device.net.subscribe(), &device.listening, connected, closed).await
}

/// The library reads from a pipe, so that the connection itself can be cut at any time.
async fn connection(device: Arc<Device>, mut stream: TcpStream, service: Service) {
    let mut net = device.net.subscribe();
    if *net.borrow_and_update() != Net::Up {
        return;
    }
    let born = device.lock().cut;
    let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
    let owner = Arc::clone(&device);
    tokio::spawn(async move {
        // Connections that a client or a test breaks are none of the double's business.
        match service {
            Service::Ssh(config, on_standby) => {
                let (sizes, open) = (HashMap::new(), HashMap::new());
                let handler = Connection { device: owner, on_standby, user: None, sizes, open };
                if let Ok(session) = run_stream(config, theirs, handler).await {
                    drop(session.await);
                }
            }
            Service::Web(web) => drop(web.serve(theirs).await),
        }
    });
    let watched = Arc::clone(&device);
    let cut = watched.until(|state| state.cut != born);
    let silent = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut stream, &mut ours) => false,
        _ = net.changed() => device.has(&Fault::Silent),
        () = cut => device.has(&Fault::Silent),
    };
    drop(ours);
    if silent {
        // The kernel still answers for it, as a dead device's switch port would not; nothing more is sent.
        device.until(|_| *net.borrow() == Net::Gone).await;
    }
}

/// One connection.
struct Connection {
    device: Arc<Device>,
    on_standby: bool,
    user: Option<String>,
    sizes: HashMap<ChannelId, (u32, u32)>,
    open: HashMap<ChannelId, Channel<Msg>>,
}

impl Connection {
    fn sign_in(&mut self, user: &str, password: &str, how: &str) -> Auth {
        if !self.device.accepts(user, password, how) {
            return Auth::reject();
        }
        self.user = Some(user.to_owned());
        Auth::Accept
    }

    /// Takes the channel for a session. `None` if it has one already, or never was.
    fn session(&mut self, id: ChannelId) -> Option<Session> {
        let channel = self.open.remove(&id)?;
        let settings = self.device.settings();
        let idle = Duration::from_millis(settings.idle_ms);
        let size = self.sizes.get(&id).copied();
        let terminal = Terminal::new(Box::new(channel.into_stream()), size, settings.echo, idle);
        let user = self.user.clone()?;
        let on_standby = self.on_standby || settings.on_standby;
        Some(Session { device: Arc::clone(&self.device), terminal, user, on_standby, mode: String::new() })
    }
}

/// Tells the client that its program has ended; it may be gone by now.
async fn end(handle: russh::server::Handle, id: ChannelId) {
    let _told = handle.exit_status_request(id, 0).await;
    let _ended = handle.eof(id).await;
    let _closed = handle.close(id).await;
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        Ok(self.device.product.profile().sign_in_banner.map(str::to_owned))
    }

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        _: russh::server::PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::reject())
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(self.sign_in(user, password, "password"))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(mut response) = response else {
            let prompts = Cow::Borrowed(&[(Cow::Borrowed("Password: "), false)][..]);
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts });
        };
        let password = response.next().unwrap_or_default();
        Ok(self.sign_in(user, &String::from_utf8_lossy(&password), "keyboard-interactive"))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.open.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &[(russh::Pty, u32)],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.sizes.insert(channel, (columns, rows));
        session.channel_success(channel)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let Some(own) = self.session(channel) else { return session.channel_failure(channel) };
        session.channel_success(channel)?;
        let handle = session.handle();
        tokio::spawn(async move {
            own.shell().await;
            end(handle, channel).await;
        });
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let Some(own) = self.session(channel) else { return session.channel_failure(channel) };
        session.channel_success(channel)?;
        let (handle, line) = (session.handle(), String::from_utf8_lossy(command).into_owned());
        tokio::spawn(async move {
            own.command(&line).await;
            end(handle, channel).await;
        });
        Ok(())
    }
}
