//! Servers that refuse requests: each refusal has its own reason, and none is reported as a lost
//! connection.
//!
//! Real OpenSSH servers are in tests/e2e. This server refuses what OpenSSH refuses only in special builds.

use super::algorithms::Algorithms;
use super::channel_count::Count;
use super::client::Client;
use super::connect::{Connection, connect};
use super::credentials::Credentials;
use super::dial::{Family, Target};
use super::exec::Terminal as HasTerminal;
use super::heard::Heard;
use super::hostkey::HostKeys;
use super::shell::{Shell, TERM, Terminal};
use crate::failure::Failure;
use bytes::Bytes;
use farrier_update::Reason;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Session, run_stream};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, Pty};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The timeout of a command in tests of timeouts.
const SHORT: Duration = Duration::from_millis(300);

/// Far less than any timeout of the client, and more than a busy machine needs to respond.
const TEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that grants `sessions` channels at a time. It closes a channel when the client closes the
/// channel's input, or immediately.
struct Server {
    sessions: usize,
    /// How requests for further channels are refused; `None`: they are not answered.
    refusal: Option<ChannelOpenFailure>,
    /// Requests for channels that are not answered. Dropping one would refuse it.
    unanswered: Vec<ChannelOpenHandle>,
    open: usize,
    /// The slot of a closed channel is freed only after the next request has been read, as sshd does.
    frees_late: bool,
    terminals: bool,
    /// How many sessions are closed without an answer to their command.
    closes: usize,
    shell: AtShell,
    /// How many bytes may be sent to it before it allows more.
    window: u32,
}

/// What a server does when a shell is requested.
#[derive(Clone, Copy)]
enum AtShell {
    Echoes,
    SaysNothing,
    Refuses,
    IsFull,
}

impl Server {
    fn with_sessions(sessions: usize) -> Self {
        let (refusal, unanswered) = (Some(ChannelOpenFailure::ConnectFailed), Vec::new());
        Self {
            sessions,
            refusal,
            unanswered,
            open: 0,
            frees_late: false,
            terminals: true,
            closes: 0,
            shell: AtShell::Echoes,
            window: 1 << 21,
        }
    }

    fn end(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.data(channel, Bytes::from_static(b"done"))?;
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)?;
        self.frees_late = true;
        Ok(())
    }
}

impl Handler for Server {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.open < self.sessions {
            self.open += 1;
            reply.accept().await;
        } else if let Some(refusal) = self.refusal.clone() {
            reply.reject(refusal).await;
        } else {
            self.unanswered.push(reply);
        }
        if std::mem::take(&mut self.frees_late) {
            self.open -= 1;
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _col_width: u32,
        _row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.terminals { session.channel_success(channel) } else { session.channel_failure(channel) }
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.closes > 0 {
            self.closes -= 1;
            self.open -= 1;
            return session.close(channel);
        }
        match command {
            b"refused" => session.channel_failure(channel),
            b"unanswered" => Ok(()),
            b"hangup" => Err(russh::Error::HUP),
            b"reads" => session.channel_success(channel),
            _ => {
                session.channel_success(channel)?;
                self.end(channel, session)
            }
        }
    }

    /// Echoes what is typed, `exit` excepted.
    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        match self.shell {
            AtShell::Echoes => {
                session.channel_success(channel)?;
                session.data(channel, Bytes::from_static(b"Welcome\r\n> "))
            }
            AtShell::SaysNothing => session.close(channel),
            AtShell::Refuses => session.channel_failure(channel),
            AtShell::IsFull => session.disconnect(Disconnect::TooManyConnections, "5 users\r\nat most", "en"),
        }
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match data {
            b"exit\r" => self.end(channel, session),
            b"drop\r" => Err(russh::Error::HUP),
            _ => session.data(channel, Bytes::copy_from_slice(data)),
        }
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.end(channel, session)
    }
}

/// Returns an authenticated connection, for tests that only need one.
pub(crate) async fn connection() -> Connection {
    connected(Server::with_sessions(1)).await
}

/// Returns the port of a server that answers one connection, on the loopback address.
pub(crate) async fn listening() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        run_stream(Arc::new(server_config()), stream, Server::with_sessions(1)).await?.await
    });
    port
}

fn server_config() -> russh::server::Config {
    let key = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[7; 32]));
    let key = PrivateKey::new(key, "").unwrap();
    russh::server::Config { keys: vec![key], ..Default::default() }
}

/// Returns an authenticated connection to this server.
async fn connected(server: Server) -> Connection {
    let config = russh::server::Config { window_size: server.window, ..server_config() };
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move { run_stream(Arc::new(config), theirs, server).await?.await });
    let (counter, channels) = watch::channel(Count::default());
    let keys = HostKeys::parse("db", std::iter::empty(), true).unwrap();
    let heard = Heard::default();
    let client = Client::new(keys, heard.clone(), counter);
    let config = Arc::new(russh::client::Config::default());
    let mut handle = russh::client::connect_stream(config, ours, client).await.unwrap();
    assert!(handle.authenticate_none("ops").await.unwrap().success());
    let (node, user) = ("db".to_owned(), "ops".to_owned());
    Connection { handle, channels, heard, node, address: "::1".into(), user, first_key: None }
}

async fn run(connection: &Connection, command: &str) -> Result<String, Failure> {
    connection.run(command, Vec::new(), TEST_TIMEOUT).await.map(|output| output.stdout)
}

/// Otherwise a machine with a hardened server (`MaxSessions 1`) could never be updated.
#[tokio::test]
async fn one_session_at_a_time_is_enough() {
    let connection = connected(Server::with_sessions(1)).await;
    for _ in 0..3 {
        assert_eq!(run(&connection, "ends").await.unwrap(), "done");
    }
    // The server still holds the first session when the next one is requested.
    let first = connection.start("reads", HasTerminal::No).await.unwrap();
    let next = run(&connection, "ends");
    let (next, ()) = tokio::join!(next, async { drop(first) });
    assert_eq!(next.unwrap(), "done");
}

/// Otherwise `MaxSessions 0` would look like a failing network: the attempt would be repeated, and the
/// machine would count as unreachable.
#[tokio::test]
async fn a_server_that_opens_no_session_is_named_at_once() {
    let begun = Instant::now();
    let failure = run(&connected(Server::with_sessions(0)).await, "ends").await.unwrap_err();
    assert_eq!(failure.reason, Reason::SshSessionRefused);
    assert!(failure.message.contains("MaxSessions"), "{failure}");
    assert!(begun.elapsed() < TEST_TIMEOUT, "{:?}", begun.elapsed());
}

/// Otherwise a machine that was short of memory for a moment would count as one that needs another
/// configuration, and would not be tried again.
#[tokio::test]
async fn a_shortage_of_resources_is_retried() {
    let refusal = Some(ChannelOpenFailure::ResourceShortage);
    let connection = connected(Server { refusal, ..Server::with_sessions(0) }).await;
    let failure = run(&connection, "ends").await.unwrap_err();
    assert!(failure.reason.retryable() && !failure.message.contains("MaxSessions"), "{failure}");
}

/// Otherwise a server that answers keepalives and nothing else would hold an attempt for ever.
#[tokio::test]
async fn a_server_that_does_not_answer_a_request_for_a_session_is_lost() {
    let connection = connected(Server { refusal: None, ..Server::with_sessions(0) }).await;
    let failure = connection.open_within(TEST_TIMEOUT, SHORT).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ConnectionLost, "{failure}");
    assert!(failure.message.contains("did not answer the request for a session"), "{failure}");
}

/// Otherwise a server that refuses the command of the stream to the engine, and only that one, would count
/// as an engine that does not answer.
#[tokio::test]
async fn a_refused_command_is_told_apart_where_its_channel_is_wanted() {
    let connection = connected(Server::with_sessions(3)).await;
    for (command, reason) in [("refused", Reason::SshCommandRefused), ("unanswered", Reason::ConnectionLost)]
    {
        let mut channel = connection.channel(command).await.unwrap();
        let failure = connection.accepted(&mut channel, SHORT).await.unwrap_err();
        assert_eq!(failure.reason, reason, "{failure}");
    }
    let connection = connected(Server::with_sessions(1)).await;
    let mut read = String::new();
    let mut channel = connection.channel("ends").await.unwrap();
    connection.accepted(&mut channel, TEST_TIMEOUT).await.unwrap();
    tokio::io::AsyncReadExt::read_to_string(&mut channel.into_stream(), &mut read).await.unwrap();
    assert_eq!(read, "done");
}

/// Otherwise a command that hangs on a server with one session would block the attempt for ever.
#[tokio::test]
async fn waiting_for_a_session_that_does_not_end_times_out() {
    let connection = connected(Server::with_sessions(1)).await;
    let held = connection.start("reads", HasTerminal::No).await.unwrap();
    let failure = connection.open_within(SHORT, TEST_TIMEOUT).await.unwrap_err();
    assert_eq!(failure.reason, Reason::CommandTimedOut, "{failure}");
    drop(held);
}

/// Otherwise an attempt fails, or uses another channel, because a server closed a session while an earlier
/// one ended.
#[tokio::test]
async fn a_command_whose_session_was_closed_without_an_answer_is_repeated_once() {
    let closing = |closes| Server { closes, ..Server::with_sessions(1) };
    assert_eq!(run(&connected(closing(1)).await, "ends").await.unwrap(), "done");
    let output = connected(closing(2)).await.run("ends", Vec::new(), TEST_TIMEOUT).await.unwrap();
    assert_eq!((output.status, output.stdout.as_str()), (None, ""));
}

/// Otherwise a server that runs no commands would be waited for until the timeout, or reported as a lost
/// connection.
#[tokio::test]
async fn a_refused_command_is_known_before_its_input_is_sent() {
    let connection = connected(Server::with_sessions(1)).await;
    // More than any server accepts before a command reads it.
    let input = vec![Bytes::from(vec![0; 8 << 20])];
    let failure = connection.run("refused", input, TEST_TIMEOUT).await.unwrap_err();
    assert_eq!(failure.reason, Reason::SshCommandRefused, "{failure}");
}

/// Otherwise input that a command does not read would hide the command's output.
#[tokio::test]
async fn a_command_that_ends_without_reading_its_input_is_done() {
    let connection = connected(Server::with_sessions(1)).await;
    let input = vec![Bytes::from(vec![0; 8 << 20])];
    assert_eq!(connection.run("ends", input, TEST_TIMEOUT).await.unwrap().stdout, "done");
}

/// Otherwise a refused terminal (`PermitTTY no`) would be reported as a refusal of sudo or of the command.
#[tokio::test]
async fn a_refused_terminal_is_known_and_the_command_runs() {
    for terminals in [true, false] {
        let connection = connected(Server { terminals, ..Server::with_sessions(1) }).await;
        let mut running = connection.start("ends", HasTerminal::Yes).await.unwrap();
        let output = running.finish().await.unwrap();
        assert_eq!((output.no_terminal, output.stdout.as_str()), (!terminals, "done"));
    }
}

/// Otherwise a lost connection would not be retried, because it would look like a refusal.
#[tokio::test]
async fn a_lost_connection_is_reported_as_lost() {
    let connection = connected(Server::with_sessions(1)).await;
    let failure = run(&connection, "hangup").await.unwrap_err();
    assert_eq!(failure.reason, Reason::ConnectionLost, "{failure}");
    let failure = run(&connection, "ends").await.unwrap_err();
    assert_eq!(failure.reason, Reason::ConnectionLost, "{failure}");
    let connection = connected(Server::with_sessions(1)).await;
    let mut running = connection.start("hangup", HasTerminal::No).await.unwrap();
    let failure = running.read_until(|_| false).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ConnectionLost, "{failure}");
}

/// Otherwise a machine with a login script that hangs would count as unreachable.
#[tokio::test]
async fn a_started_command_that_hangs_is_not_a_lost_connection() {
    for (command, reason) in [("reads", Reason::CommandTimedOut), ("unanswered", Reason::ConnectionLost)] {
        let connection = connected(Server::with_sessions(1)).await;
        let mut running = connection.start(command, HasTerminal::No).await.unwrap();
        tokio::time::timeout(SHORT, running.read_until(|_| false)).await.unwrap_err();
        assert_eq!(running.timed_out(SHORT).reason, reason, "{command}");
    }
}

/// Otherwise a server that accepts no logins at the moment (`MaxStartups`) would be reported as another
/// service on its port.
#[tokio::test]
async fn a_server_that_closes_before_the_handshake_is_classified_by_its_greeting() {
    for (said, reason, words) in [
        (&b""[..], Reason::ConnectionClosed, "MaxStartups"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Reason::ConnectionClosed, "MaxStartups"),
        (b"Exceeded MaxStartups\r\n", Reason::NotAnSshServer, "\"Exceeded MaxStartups\""),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", Reason::NotAnSshServer, "\"HTTP/1.0 400 Bad Request\""),
    ] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(said).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let families = vec![Family::V4];
        let target = Target { node: "db".into(), addresses: vec!["127.0.0.1".into()], families, port };
        let credentials = Credentials::without_secrets();
        let failure = connect(&target, &HostKeys::default(), &credentials, Algorithms::Current, |_| ())
            .await
            .err()
            .unwrap();
        assert_eq!(failure.reason, reason, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    }
}

const TERMINAL: Terminal<'_> = Terminal { name: TERM, columns: 200, rows: 50 };

/// Reads until a text was printed, or the session ends.
async fn printed(shell: &mut Shell, text: &str) -> Result<String, Failure> {
    let mut all = String::new();
    while !all.contains(text)
        && let Some(bytes) = tokio::time::timeout(TEST_TIMEOUT, shell.read()).await.unwrap()?
    {
        all.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    Ok(all)
}

/// Otherwise a device with a command line could not be worked, or its end would be waited for.
#[tokio::test]
async fn a_shell_takes_bytes_and_gives_bytes_until_it_ends() {
    let connection = connected(Server { window: 1024, ..Server::with_sessions(1) }).await;
    let mut shell = connection.shell(&TERMINAL).await.unwrap();
    assert_eq!(printed(&mut shell, "> ").await.unwrap(), "Welcome\r\n> ");
    // More pieces than are kept for a reader: the connection stands still until the echo is read.
    let much = "0123456789abcde\n".repeat(12 << 10);
    shell.write(Bytes::from(much.clone())).await.unwrap();
    shell.write(Bytes::from_static(b"exit\r")).await.unwrap();
    assert_eq!(printed(&mut shell, "\0").await.unwrap(), much + "done");
    assert_eq!(shell.read().await.unwrap(), None, "it is over");
    let failure = shell.write(Bytes::from_static(b"x")).await.err().map(|failure| failure.reason);
    assert_eq!(failure, Some(Reason::ConnectionLost));
    // The only session of the server is free again.
    let mut shell = connection.shell(&TERMINAL).await.unwrap();
    printed(&mut shell, "> ").await.unwrap();
    shell.write(Bytes::from_static(b"drop\r")).await.unwrap();
    assert_eq!(printed(&mut shell, "\0").await.unwrap_err().reason, Reason::ConnectionLost);
}

/// Otherwise a device without a free session would count as lost, or as one without a command line.
#[tokio::test]
async fn a_shell_that_is_not_granted_says_why() {
    for (server, reason) in [
        (Server { shell: AtShell::SaysNothing, ..Server::with_sessions(1) }, Reason::SessionLimitReached),
        (Server { shell: AtShell::Refuses, ..Server::with_sessions(1) }, Reason::SshCommandRefused),
        (Server { terminals: false, ..Server::with_sessions(1) }, Reason::SshTerminalRefused),
        (Server { shell: AtShell::IsFull, ..Server::with_sessions(1) }, Reason::SessionLimitReached),
    ] {
        let is_full = matches!(server.shell, AtShell::IsFull);
        let connection = connected(server).await;
        let mut shell = connection.shell(&TERMINAL).await.unwrap();
        let failure = printed(&mut shell, "> ").await.unwrap_err();
        assert_eq!(failure.reason, reason, "{failure}");
        assert_eq!(
            failure.message.contains("too many connections (\"5 users at most\")"),
            is_full,
            "{failure}"
        );
    }
}
