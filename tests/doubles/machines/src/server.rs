//! The SSH server of all machines: which one is meant is told by the address that was dialled.

use crate::fleet::{self, Fleet};
use crate::foreign;
use crate::program::words;
use crate::shell::{Peer, READY};
use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey, run_stream};
use russh::{Channel, ChannelId, ChannelStream, MethodKind, MethodSet, SshId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that may wait to be accepted: a run dials a thousand machines at once.
const BACKLOG: u32 = 4096;

/// Program that serves `sftp` and `scp` of OpenSSH 9.
const SFTP_SERVER: &str = "exec /usr/lib/openssh/sftp-server";

/// Binds one port at the addresses of all machines.
///
/// # Errors
/// If the port is taken.
pub fn bind(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    socket.listen(BACKLOG)
}

/// Serves the machines forever.
pub async fn serve(fleet: Arc<Fleet>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => drop(tokio::spawn(connection(Arc::clone(&fleet), stream, from))),
            // sleep: without it a lack of descriptors is a busy loop.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Serves one connection. What a client breaks is none of the machine's business.
async fn connection(fleet: Arc<Fleet>, stream: TcpStream, from: SocketAddr) {
    let Ok(at) = stream.local_addr() else { return };
    let IpAddr::V4(own) = at.ip() else { return };
    let Some(number) = fleet::number(own).filter(|number| fleet.machine(*number).is_some()) else { return };
    let Ok(key) = fleet::host_key(number) else { return };
    fleet.counted.connections.fetch_add(1, Ordering::Relaxed);
    // Answers are small, and wait for each other otherwise.
    stream.set_nodelay(true).ok();
    let config = Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-OpenSSH_9.2p1 simulated")),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::ZERO,
        keys: vec![key],
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    };
    let handler = Connection { peer: Peer { fleet, number, from, at }, open: HashMap::new() };
    if let Ok(session) = run_stream(Arc::new(config), stream, handler).await {
        drop(session.await);
    }
}

struct Connection {
    peer: Peer,
    open: HashMap<ChannelId, Channel<Msg>>,
}

impl Connection {
    fn may_sign_in(&self, user: &str, key: &PublicKey) -> Auth {
        let authorized = &self.peer.fleet.settings.authorized;
        if user == "root" && key.key_data() == authorized.key_data() { Auth::Accept } else { Auth::reject() }
    }

    fn start(&mut self, id: ChannelId, line: String, session: &mut Session) -> Result<(), russh::Error> {
        let Some(channel) = self.open.remove(&id) else { return session.channel_failure(id) };
        session.channel_success(id)?;
        let (handle, peer) = (session.handle(), self.peer.clone());
        tokio::spawn(async move {
            let status = run(&peer, &line, channel).await;
            // The client may be gone by now.
            let _told = handle.exit_status_request(id, status).await;
            let _ended = handle.eof(id).await;
            let _closed = handle.close(id).await;
        });
        Ok(())
    }
}

/// Runs a command line. Returns its exit status.
async fn run(peer: &Peer, line: &str, channel: Channel<Msg>) -> u32 {
    if line.contains(READY) {
        return peer.shell(channel.into_stream()).await.unwrap_or(1);
    }
    let command = words(line);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    match command.as_slice() {
        ["exec", program, "attach", "--dir", dir] if *program == format!("{dir}/engine") => {
            attach(peer, dir, channel.into_stream()).await
        }
        _ => foreign::run(peer, line, channel).await.unwrap_or(1),
    }
}

/// `farrier-engine attach`.
async fn attach(peer: &Peer, dir: &str, stream: ChannelStream<Msg>) -> u32 {
    /// Exit code: no engine listens on the socket.
    const NOBODY: u32 = 3;
    let Some(engine) = peer.engine().filter(|engine| engine.dir == dir) else { return NOBODY };
    match engine.converse(&peer.fleet, stream).await {
        Ok(()) => 0,
        // The operator has closed the stream, and attaches again if it needs the engine.
        Err(_) => 1,
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: russh::server::PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.may_sign_in(user, offer.public_key))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.may_sign_in(user, key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.open.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, String::from_utf8_lossy(command).into_owned(), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name == "sftp" {
            return self.start(channel, SFTP_SERVER.to_owned(), session);
        }
        session.channel_failure(channel)
    }
}
