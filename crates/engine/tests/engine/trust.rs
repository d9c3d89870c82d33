//! Servers that are not the runner: the engine sends them nothing, and reports later what they were.

use crate::machine::{Machine, digest};
use crate::runner::{Connection, Runner};
use crate::tls::{Certified, SESSION, Server};
use farrier_protocol::{Dial, DialOutcome};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// Presents the runner's certificate, which is no secret, without having its key.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl Impostor {
    fn of(certified: &Certified, other: &Certified) -> Self {
        let key = any_supported_type(&other.key()).unwrap();
        Self(Arc::new(CertifiedKey::new(vec![certified.certificate.der().clone()], key)))
    }
}

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn tls(
    versions: &[&'static rustls::SupportedProtocolVersion],
    who: Arc<dyn ResolvesServerCert>,
) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(who)
}

/// Returns the engine's report on a server that handles each connection with `act`.
fn dial(server: Server, act: fn(&Server, TcpStream, &Sender<String>)) -> (Dial, Vec<String>) {
    let config = server.callback();
    let (words, heard) = channel();
    let (called, calls) = channel();
    thread::spawn(move || {
        loop {
            let (tcp, _) = server.listener.accept().unwrap();
            called.send(()).ok();
            act(&server, tcp, &words);
        }
    });
    let machine = Machine::new(SESSION).calling(&config);
    // The second connection proves that the first one has ended.
    calls.recv().unwrap();
    calls.recv().unwrap();
    let mut runner = Runner::default();
    let mut connection = Connection::attach(&machine);
    assert!(runner.serve(&mut connection, |runner| runner.hellos.len() == 1));
    drop(connection);
    machine.kill();
    let dials = &runner.hellos[0].dials;
    assert_eq!(dials.len(), 1, "{dials:?}");
    (dials[0].clone(), heard.try_iter().collect())
}

/// Performs the handshake as far as it gets, and reports what the engine sends after it.
fn shake(server: &Server, tcp: TcpStream, heard: &Sender<String>) {
    if let Ok(mut connection) = server.shake(tcp) {
        heard.send(connection.read_remaining()).ok();
    }
}

fn assert_untrusted(server: Server, message: &str) {
    let (dial, heard) = dial(server, shake);
    assert_eq!(dial.result, DialOutcome::Untrusted, "{dial:?}");
    assert!(dial.message.contains(message), "{dial:?}");
    assert!(heard.iter().all(String::is_empty), "the engine talked to a stranger: {heard:?}");
}

sandboxed! {
    /// A man in the middle with a plausible certificate: the run's own authority signed it.
    fn another_certificate_is_refused() {
        let server = Server::on("127.0.0.1:0");
        let other = server.authority.issue("runner");
        let config = server.authority.server_config(&other);
        assert_untrusted(server.with(config), &format!("certificate is {}", digest(other.certificate.der())));
    }
}

sandboxed! {
    fn a_server_without_the_key_is_refused() {
        let server = Server::on("127.0.0.1:0");
        let impostor = Impostor::of(&server.own, &server.authority.issue("runner"));
        let config = tls(&[&rustls::version::TLS13], Arc::new(impostor));
        assert_untrusted(server.with(config), "BadSignature");
    }
}

sandboxed! {
    fn a_server_that_speaks_tls_1_2_only_is_refused() {
        let server = Server::on("127.0.0.1:0");
        let config = tls(&[&rustls::version::TLS12], Arc::new(Impostor::of(&server.own, &server.own)));
        assert_untrusted(server.with(config), "ProtocolVersion");
    }
}

sandboxed! {
    /// Such a server would take any machine for this one.
    fn a_server_that_does_not_request_a_client_certificate_is_refused() {
        let server = Server::on("127.0.0.1:0");
        let config = tls(&[&rustls::version::TLS13], Arc::new(Impostor::of(&server.own, &server.own)));
        assert_untrusted(server.with(config), "does not request a client certificate");
    }
}

sandboxed! {
    /// The runner of another run: in TLS 1.3 the engine may send data before it learns of the
    /// rejection.
    fn a_server_that_rejects_the_engine_is_untrusted() {
        let server = Server::on("127.0.0.1:0");
        let stranger = crate::tls::Authority::new().server_config(&server.own);
        let (dial, _) = dial(server.with(stranger), shake);
        assert_eq!(dial.result, DialOutcome::Untrusted, "{dial:?}");
        assert!(dial.message.contains("alert"), "{dial:?}");
    }
}

sandboxed! {
    fn a_server_without_tls_is_refused() {
        let (dial, _) = dial(Server::on("127.0.0.1:0"), |_, mut tcp, _| {
            tcp.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
            tcp.read_to_end(&mut Vec::new()).ok();
        });
        assert_eq!(dial.result, DialOutcome::Untrusted, "{dial:?}");
    }
}

sandboxed! {
    /// A port forwarding behaves like this when its target is gone, and the runner when the source
    /// address is not part of the run.
    fn a_closed_connection_is_distinguished_from_silence() {
        let (dial, _) = dial(Server::on("127.0.0.1:0"), |_, tcp, _| drop(tcp));
        assert_eq!(dial.result, DialOutcome::Closed, "{dial:?}");
        assert!(dial.message.contains("and then closed"), "{dial:?}");
    }
}

fn assert_timed_out(act: fn(&Server, TcpStream, &Sender<String>)) {
    let (dial, _) = dial(Server::on("127.0.0.1:0"), act);
    assert_eq!(dial.result, DialOutcome::Silent, "{dial:?}");
    assert!(dial.message.contains("no data arrived"), "{dial:?}");
}

sandboxed! {
    fn a_silent_server_times_out() {
        assert_timed_out(|_, mut tcp, _| {
            tcp.read_to_end(&mut Vec::new()).ok();
        });
    }
}

sandboxed! {
    /// An occasional byte must not extend the handshake timeout.
    fn a_server_that_sends_single_bytes_times_out() {
        assert_timed_out(|_, mut tcp, _| {
            tcp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            // The header of a record, and then a record without end.
            let record = [0x16, 3, 3, 0x40, 0].into_iter().chain(std::iter::repeat(2));
            for byte in record {
                if tcp.write_all(&[byte]).is_err() || matches!(tcp.read(&mut [0; 1024]), Ok(0)) {
                    break;
                }
            }
        });
    }
}
