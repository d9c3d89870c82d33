//! SFTP and SCP: reading the run's offers inside SSH.
//!
//! A client signs in with the account of an offer. It may open session channels with the subsystem `sftp` or the
//! command `scp -f FILE`, which this process answers itself. There is no shell and no other command, nothing is
//! forwarded, and nothing can be written.

mod channel;
mod cut;
mod host_keys;
mod pace;
mod scp;
mod sftp;

pub use host_keys::{HostKeyError, HostKeys};

use super::counters::Cause;
use super::files::{Folder, Visitor};
use super::ftp::IDLE;
use super::server::settle;
use super::write_timeout::WriteTimeout;
use channel::{OpenChannel, Wanted};
use cut::Cut;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, run_stream};
use russh::{Channel, ChannelId, MethodKind, MethodSet, SshId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// How long an answer to a wrong password takes.
const REJECTION: Duration = Duration::from_secs(1);

/// Attempts to sign in on one connection. OpenSSH's client asks first which methods there are.
const MAX_ATTEMPTS: usize = 4;

/// Channels of one connection at the same time.
const MAX_CHANNELS: usize = 4;

/// The SFTP and SCP service of one run.
pub(super) struct SshService {
    config: Arc<Config>,
}

impl SshService {
    /// Creates the service with these host keys.
    pub(super) fn new(keys: &HostKeys) -> Self {
        let config = Config {
            server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-farrier")),
            methods: MethodSet::from([MethodKind::Password, MethodKind::KeyboardInteractive].as_slice()),
            auth_rejection_time: REJECTION,
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: keys.private().to_vec(),
            max_auth_attempts: MAX_ATTEMPTS,
            inactivity_timeout: Some(IDLE),
            ..Config::default()
        };
        Self { config: Arc::new(config) }
    }

    /// Serves a connection until its end, or until `leave` is cancelled.
    pub(super) async fn serve(&self, visitor: Visitor, stream: TcpStream, leave: CancellationToken) {
        settle(&stream);
        let admission = visitor.state.admission.clone();
        let (limit, permit) = (admission.limits().request, visitor.permit.clone());
        let ended = leave.child_token();
        let stream = Cut::new(WriteTimeout::new(stream, admission, visitor.source), ended.clone());
        let (signed_in, mut is_signed_in) = watch::channel(false);
        let handler = SshSession {
            visitor,
            folder: None,
            channels: HashMap::new(),
            places: Arc::new(Semaphore::new(MAX_CHANNELS)),
            ended: ended.clone(),
            signed_in,
        };
        // The end of the handler, too, ends this wait.
        let in_time = async { is_signed_in.wait_for(|is| *is).await.is_ok() };
        let guard = async {
            if tokio::time::timeout(limit, in_time).await.is_err() {
                permit.refuse(Cause::TooSlow);
                ended.cancel();
            }
        };
        let session = async {
            match run_stream(self.config.clone(), stream, handler).await {
                Ok(running) => running.await,
                Err(error) => Err(error),
            }
        };
        let (result, ()) = tokio::join!(session, guard);
        if let Err(error) = result {
            tracing::debug!(%error, "an SSH connection ended");
        }
    }
}

/// One connection.
struct SshSession {
    visitor: Visitor,
    folder: Option<Folder>,
    /// The open channels, and some that have ended: the library does not report each end.
    channels: HashMap<ChannelId, OpenChannel>,
    /// A permit for each channel that may be open.
    places: Arc<Semaphore>,
    /// The end of the connection.
    ended: CancellationToken,
    signed_in: watch::Sender<bool>,
}

impl SshSession {
    fn sign_in(&mut self, user: &str, password: &str) -> Auth {
        self.folder = self.visitor.sign_in(user, password);
        if self.folder.is_none() {
            return Auth::reject();
        }
        self.signed_in.send_replace(true);
        Auth::Accept
    }

    fn refuse(&self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.visitor.refuse();
        session.channel_failure(channel)
    }

    /// Answers a request for a command or a subsystem; `None` is one that this service does not know.
    fn decide(
        &self,
        channel: ChannelId,
        wanted: Option<Wanted>,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let open = self.channels.get(&channel).filter(|open| open.is_waiting());
        let granted = wanted.filter(|_| open.is_some()).zip(self.folder.clone());
        let answered = match granted {
            Some(_) => session.channel_success(channel),
            None => self.refuse(channel, session),
        };
        if let Some(open) = open {
            open.decide(granted);
        }
        answered
    }
}

impl Handler for SshSession {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        _: russh::server::PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::reject())
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(self.sign_in(user, password))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<russh::server::Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(mut response) = response else {
            let prompts = Cow::Borrowed(&[(Cow::Borrowed("Password: "), false)][..]);
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts });
        };
        let password = response.next().unwrap_or_default();
        Ok(self.sign_in(user, &String::from_utf8_lossy(&password)))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.retain(|_, open| open.is_served());
        match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                let id = channel.id();
                let (open, served) = channel::open(channel, &self.ended, place);
                self.channels.insert(id, open);
                reply.accept().await;
                self.visitor.state.tasks.spawn(served);
            }
            Err(_) => self.visitor.state.admission.refuse(Cause::TooMany, self.visitor.source),
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.refuse(channel, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.decide(channel, scp::Request::parse(command).map(Wanted::Scp), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.decide(channel, (name == "sftp").then_some(Wanted::Sftp), session)
    }
}
